package secrets

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"
)

// accounts looks at files whose lines are accounts: .pgpass and htpasswd, whose lines
// stand in other files, too.
func (r *reading) accounts(name string) {
	if strings.Contains(r.text, ":$") || strings.Contains(r.text, ":{S") {
		for _, m := range account.FindAllStringSubmatchIndex(r.text, -1) {
			r.add(m[2], m[3], "htpasswd")
		}
	}
	if r.kind == conf {
		for _, m := range directive.FindAllStringSubmatchIndex(r.text, -1) {
			for g := 2; g < len(m); g += 2 {
				if m[g] >= 0 && isURLPassword(r.text[m[g]:m[g+1]]) {
					r.add(m[g], m[g+1], "directive")
				}
			}
		}
	}
	lower := strings.ToLower(name)
	if strings.Contains(lower, "userlist") { // of PgBouncer
		for _, m := range userLine.FindAllStringSubmatchIndex(r.text, -1) {
			if isURLPassword(r.text[m[2]:m[3]]) {
				r.add(m[2], m[3], "userlist")
			}
		}
	}
	if !strings.Contains(lower, "pgpass") {
		return
	}
	for _, m := range pgpassLine.FindAllStringSubmatchIndex(r.text, -1) {
		if isURLPassword(r.text[m[2]:m[3]]) {
			r.add(m[2], m[3], "pgpass")
		}
	}
}

var (
	account = lazily(`[\w.@-]:(\$(?:apr1|2[abxy]|1|5|6|y)\$[./$=,A-Za-z0-9]{8,}|\{S?SHA[0-9]*\}[A-Za-z0-9+/=]{8,})`)
	// directive matches those of HAProxy, Redis, PgBouncer and Postfix that have
	// something between name and password.
	directive  = lazily(`(?m)^[ \t]*(?:user[ \t]+\S+[ \t]+(?:insecure-)?password[ \t]+(\S+)|sentinel[ \t]+auth-pass[ \t]+\S+[ \t]+(\S+)|user[ \t]+\S+[ \t]+on[ \t].*?>(\S+)|"\w+"[ \t]+"((?:md5[0-9a-f]{32}|SCRAM-SHA)[^"]*)"|smtp_sasl_password_maps[ \t]*=[ \t]*static:[^:\s]+:(\S+))`)
	userLine   = lazily(`(?m)^[ \t]*"[^"\n]+"[ \t]+"([^"\n]+)"`)
	pgpassLine = lazily(`(?m)^\s*[^:#\s]+:(?:\d+|\*):[^:\s]+:[^:\s]+:(\S+)`)
)

// isAccount reports whether a text is base64 of user:password.
func isAccount(v string) bool {
	plain, err := decodeBase64(v)
	if err != nil || !utf8.Valid(plain) || bytes.ContainsAny(plain, "\n\x00") {
		return false
	}
	_, password, ok := bytes.Cut(plain, []byte(":"))
	return ok && len(password) > 0 && !pointsElsewhere(string(password))
}

// accountName matches names of variables and keys that hold user:password, as it is or as
// the header of HTTP has it.
var accountName = lazily(`(?i)(^|[-_.a-z])(basic|http)[-_.]?auth([-_.]?users?)?$|__auth$`)

// holdsAccount reports whether a text is user:password, in base64 or as it is.
func holdsAccount(v string) bool {
	user, password, ok := strings.Cut(v, ":")
	if !ok {
		return isAccount(v)
	}
	return user != "" && len(password) > 2 && !strings.ContainsAny(v, " /\n") && !isPort(password) && !pointsElsewhere(user) && !pointsElsewhere(password) && !isEmpty(password)
}

// isPort reports whether a text is the number of a port.
func isPort(v string) bool {
	n, err := strconv.ParseUint(v, 10, 16)
	return err == nil && n > 0 && len(v) <= 5
}

// accountOf is what a base64 account holds: the password.
func accountOf(v string) (password string, ok bool) {
	if len(v)%4 != 0 || !isAccount(v) {
		return "", false
	}
	plain, err := base64.StdEncoding.DecodeString(v)
	if err != nil {
		return "", false
	}
	_, password, ok = strings.Cut(string(plain), ":")
	return password, ok
}
