package secrets

import (
	"net/url"
	"strings"
)

// addresses looks at the passwords in scheme://user:password@host, and in Go's
// user:password@tcp(host).
func (r *reading) addresses() {
	for at := 0; ; {
		i := strings.Index(r.text[at:], "://")
		if i < 0 {
			break
		}
		at += i + len("://")
		if i := at - len("://"); i == 0 || !isName(r.text[i-1]) {
			continue
		}
		if from, to, ok := userPassword(r.text[at:]); ok && isURLPassword(r.text[at+from:at+to]) {
			r.add(at+from, at+to, "address")
			at += to
		} else if m := capability.FindStringSubmatchIndex(r.text[at:min(len(r.text), at+500)]); m != nil {
			for g := 2; g < len(m); g += 2 {
				if m[g] >= 0 && looksRandom(r.text[at+m[g]:at+m[g+1]]) {
					r.add(at+m[g], at+m[g+1], "webhook")
				}
			}
		}
	}
	if strings.Contains(r.text, "jdbc:oracle:") {
		for _, m := range oracle.FindAllStringSubmatchIndex(r.text, -1) {
			if isURLPassword(r.text[m[2]:m[3]]) {
				r.add(m[2], m[3], "address")
			}
		}
	}
	if !strings.Contains(r.text, "@tcp(") && !strings.Contains(r.text, "@unix(") && !strings.Contains(r.text, "@tcp6(") {
		return
	}
	for _, m := range dsn.FindAllStringSubmatchIndex(r.text, -1) {
		if isURLPassword(r.text[m[2]:m[3]]) {
			r.add(m[2], m[3], "address")
		}
	}
}

// capability matches addresses of webhooks and bots, who knows which may write there:
// those of services, and what self-hosted chats have. Those of Slack and Teams are known
// to gitleaks.
var capability = lazily(`^(?:(?:[a-z]+\.)?discord(?:app)?\.com/api/webhooks/\d+/([\w-]{30,})|api\.telegram\.org/bot(\d+:[\w-]{30,})|hooks\.zapier\.com/hooks/catch/\d+/(\w{6,})` +
	`|chat\.googleapis\.com/v1/spaces/[^\s"']+[?&]token=([\w%=-]{20,})|[\w.:-]+/(?:[\w-]+/)*hooks/(?:[\w-]+/)*([\w-]{20,}))`)

// oracle matches addresses of Oracle.
var oracle = lazily(`jdbc:oracle:\w+:[^/@:\s]+/([^@\s"']+)@`)

// dsn matches Go's names of data sources.
var dsn = lazily(`(?:^|[\s"'=])[^\s:@/"'=]+:([^\s"']+?)@(?:tcp6?|unix)\(`)

// userPassword returns where the password of an address stands that begins with
// user and password. Both may have any sign, percent-encoded or not: an address ends
// with blanks and quotes, its authority with the last @ before the path.
func userPassword(s string) (from, to int, ok bool) {
	end := strings.IndexAny(s, " \t\r\n\"'`\\,|")
	if end >= 0 && s[end] == ',' && !strings.Contains(s[:end], "@") {
		// A password with a comma, or the next of a list of addresses.
		if rest := strings.IndexAny(s[end:], " \t\r\n\"'`\\|"); rest >= 0 {
			rest += end
			end = rest
		} else {
			end = len(s)
		}
		if strings.Contains(s[:end], "://") {
			return 0, 0, false
		}
	}
	if end < 0 {
		end = len(s)
	}
	s = s[:end]
	if next := strings.Index(s, "://"); next >= 0 {
		// Another address inside: its scheme is no part of this one.
		s = strings.TrimRight(s[:next], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+.-")
	}
	colon := strings.IndexByte(s, ':')
	if colon < 0 {
		return 0, 0, false
	}
	authority := s
	if i := strings.IndexAny(s, "/?#"); i >= 0 {
		authority = s[:i]
	}
	at := strings.LastIndexByte(authority, '@')
	if at < 0 {
		// With a sign in the password that should have been encoded, what follows
		// the colon is no port.
		port := authority[min(colon+1, len(authority)):]
		if colon >= len(authority) || strings.Trim(port, "0123456789") == "" || templating.MatchString(authority) {
			return 0, 0, false
		}
		if at = strings.LastIndexByte(s, '@'); at >= 0 && !hostAfter.MatchString(s[at+1:]) {
			at = -1
		}
	}
	if at <= colon+1 {
		return 0, 0, false
	}
	if at+1 >= len(s) || strings.ContainsAny(s[:colon], "/?#@") {
		return 0, 0, false
	}
	return colon + 1, at, true
}

var hostAfter = lazily(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?(/|\?|,|$)`)

// isURLPassword reports whether a password in an address is one, and not a place for one.
func isURLPassword(v string) bool {
	return !isEmpty(v) && !filledIn(v) && !inStore.MatchString(v) && !brackets.MatchString(v)
}

// brackets matches places to be filled in.
var brackets = lazily(`^\[.*\]$|^\{.*\}$|^%[0-9]*\$?[sdvq]$|^:[a-z_]+$`)

// unescaped is a text without percent escapes, where that can be done.
func unescaped(v string) string {
	if plain, err := url.PathUnescape(v); err == nil {
		return plain
	}
	return v
}
