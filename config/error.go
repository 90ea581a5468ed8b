package config

import (
	"net/url"
	"strconv"
	"strings"
)

// Error says which value cannot be used, where it came from, and what could
// stand there instead. It is a user's mistake (exit code 2).
type Error struct {
	File    string // the file; empty for flags and environment variables
	Key     string // "kubeVersion", "--kube-version" or "HELMPROOF_KUBE_VERSION"
	Value   string // as given, with passwords in URLs redacted; may be empty
	Problem string // what is wrong, where Allowed alone does not say it
	Allowed string // what can stand there
}

// Error reads `helmproof.yaml: kubeVersion: "banana": want a version like 1.37`.
func (e *Error) Error() string {
	var parts []string
	for _, s := range []string{e.File, e.Key} {
		if s != "" {
			parts = append(parts, s)
		}
	}
	if e.Value != "" {
		parts = append(parts, strconv.Quote(redact(e.Value)))
	}
	if e.Problem != "" {
		parts = append(parts, e.Problem)
	}
	if e.Allowed != "" {
		parts = append(parts, "want "+e.Allowed)
	}
	return strings.Join(parts, ": ")
}

// redact hides the password and the query values of a URL: tokens stand there.
func redact(s string) string {
	if !strings.Contains(s, "://") {
		return s
	}
	u, err := url.Parse(s)
	if err != nil {
		// Not a URL that can be taken apart: keep the scheme only.
		scheme, _, _ := strings.Cut(s, "://")
		return scheme + "://REDACTED"
	}
	if u.User != nil {
		u.User = url.User("REDACTED")
	}
	if u.RawQuery != "" {
		u.RawQuery = "REDACTED"
	}
	if u.Fragment != "" {
		u.Fragment = "REDACTED"
	}
	return u.String()
}
