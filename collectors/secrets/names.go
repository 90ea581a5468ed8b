package secrets

import (
	"regexp"
	"strings"
)

var (
	// secretName matches how a key or variable that holds a secret ends.
	secretName = lazily(`(?i)(password|passwd|passphrase|[-_.]pwd|^pwd|[-_.]pass|^pass|token|api[-_]?key|private[-_]?key|access[-_]?key|encryption[-_]?key|signing[-_]?key|secret[-_]?key|master[-_]?key|auth[-_]?key|license[-_]?key|account[-_]?key|credentials?|connection[-_]?string|htpasswd|[-_.]secret|^secret)$|[a-z]Secret$|[a-z]Pwd$`)
	// notSecretName matches keys that are about a secret without holding it.
	notSecretName = lazily(`(?i)(existing|automount|^enable|enabled$|^use[-_A-Z]|^create|rotate|names?$|refs?$|max|min_|length|ttl|expir|public|header|field|mount|type$|ur[li]$|path$|file$|dir$|id$|cancellation|per[-_]?token|image[-_]?pull|pull[-_]?secret|tls[-_]?secret|cert[a-z]*[-_]?secret|ca[-_]?secret|root[-_]?secret|secret[-_]?keys?$)`)
	// holdsAnyway are names that notSecretName would let go.
	holdsAnyway = lazily(`(?i)(^|[-_.]|[a-z])(password|passwd|passphrase)$|client[-_]?secret([-_]?key)?$|^secret[-_]?key$|[-_](secret[-_]key)$|^[A-Z0-9_]*SECRET_KEY$`)
	// referenceName matches keys whose value often is the name of a Secret, or of a key in one.
	referenceName = lazily(`(?i)(secret|secret[-_]?key|credentials?|token)$`)
	dnsName       = lazily(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	keyReference  = lazily(`(?i)^[a-z][-_a-z0-9.]*(password|token|secret|key|passwd|credentials?)[-_a-z0-9.]*$`)
	credentialURL = lazily(`(?i)\b[a-z][a-z0-9+.-]{1,20}://[^/\s:@"'{}]{0,100}:([^/\s@"'{}]{1,200})@[^/\s]`)
	// keyName and camelWord match "passwordKey: adminPassword" and the like.
	keyName     = lazily(`([Kk]ey|_KEY|[Cc]redentials?)$`)
	camelWord   = lazily(`^[a-z]{3,}([A-Z][a-z]+)*$`)
	placeholder = lazily(`(?i)^(change|replace|secret|password|minio|admin|root|test|example)`)
	// connectionPassword matches the password in "user=a password='b'".
	connectionPassword = regexp.MustCompile(`(?i)\b(?:password|pwd|accountkey|sharedaccesskey)\s*=\s*['"]?([^'";\s]+)`)
	// secretArgument matches "--db-password=…" and "-token …".
	secretArgument = regexp.MustCompile(`^--?([A-Za-z][-_.A-Za-z0-9]*)[= ](.+)$`)
)

// namesSecret reports whether something of this name holds a secret itself.
func namesSecret(key string) bool {
	return secretName.MatchString(key) && (!notSecretName.MatchString(key) || holdsAnyway.MatchString(key) && !aboutSecret.MatchString(key))
}

// aboutSecret matches names that stay harmless whatever they end with.
var aboutSecret = regexp.MustCompile(`(?i)(existing|^enable|^use[-_A-Z]|^create|rotate|^allow|^require|^random|^generate|auto|max|length|[-_.]?empty)`)

// secretKey reports whether a key with this value holds a secret.
func secretKey(key, value string) bool {
	if isReference(value) || !namesSecret(key) {
		return false
	}
	// "secretKey: clientSecret" names a key; "accessKey: changeMe" is a default password.
	if keyName.MatchString(key) && camelWord.MatchString(value) && !placeholder.MatchString(value) {
		return false
	}
	// "secret: my-tls" names a Secret; "clientSecret: my-tls" does not.
	if referenceName.MatchString(key) && dnsName.MatchString(value) && strings.ContainsAny(value, "-.") &&
		!strings.Contains(strings.ToLower(key), "client") && !looksRandom(value) {
		return false
	}
	return true
}

// secretLiteral reports whether an environment variable holds a secret itself,
// and which part of its value is the secret.
func secretLiteral(name, value string) (secret string, ok bool) {
	if isReference(value) {
		return "", false
	}
	if s, ok := urlPassword(value); ok {
		return s, true
	}
	if m := connectionPassword.FindStringSubmatch(value); m != nil && strings.HasSuffix(strings.ToLower(name), "string") {
		return m[1], !isReference(m[1])
	}
	if strings.HasPrefix(value, "/") || strings.Contains(value, "://") || strings.Contains(value, "$(") || !secretKey(name, value) {
		return "", false
	}
	return value, true
}

// urlPassword returns the password of a URL in the value: scheme://user:password@host.
func urlPassword(value string) (string, bool) {
	if !strings.Contains(value, "://") {
		return "", false
	}
	for _, m := range credentialURL.FindAllStringSubmatch(value, 4) {
		if !isReference(m[1]) && !strings.ContainsAny(m[1], "$%<>*[]") {
			return m[1], true
		}
	}
	return "", false
}

// isReference are values that point to a secret, switch something, or say nothing.
func isReference(v string) bool {
	v = strings.TrimSpace(v)
	lower := strings.ToLower(v)
	switch lower {
	case "", "true", "false", "null", "nil", "none", "~", "redacted", "<nil>", "0", "yes", "no", "on", "off", "default", "auto", "-", `""`, "''", "{}", "[]", "random", "required", "optional", "enabled", "disabled":
		return true
	}
	for _, p := range []string{"{{", "$(", "${", "vault:", "ref+", "arn:", "file:", "secretref:", "projects/", "<", "op://", "/etc/", "/var/", "/run/", "/opt/", "/mnt/", "env:", "gcp:secretmanager", "awssm:", "ssm:", "%(", "k8s:"} {
		if strings.HasPrefix(lower, p) {
			return true
		}
	}
	if strings.Trim(v, "*xX.-_") == "" {
		return true // ****, xxx, …
	}
	if strings.HasPrefix(v, "$") && !strings.ContainsAny(v[1:], "$/.!") && strings.ToUpper(v) == v {
		return true // $DB_PASSWORD
	}
	// "db-password" and "REDIS_TOKEN" are the names of keys, not their values.
	return keyReference.MatchString(v) && !looksRandom(v) && strings.ContainsAny(v, "-_.")
}

// looksRandom is a cheap test for text that nobody made up as a name: long, with
// digits among letters.
func looksRandom(v string) bool {
	digits, letters := 0, 0
	for _, c := range v {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z':
			letters++
		}
	}
	return len(v) >= 16 && digits >= 4 && letters >= 4
}

// isPublicKey reports whether a text is a certificate or public key, and nothing private.
func isPublicKey(v string) bool {
	v = strings.TrimSpace(v)
	return (strings.HasPrefix(v, "-----BEGIN CERTIFICATE") || strings.HasPrefix(v, "-----BEGIN PUBLIC KEY") ||
		strings.HasPrefix(v, "-----BEGIN TRUSTED CERTIFICATE") || strings.HasPrefix(v, "-----BEGIN X509 CRL") ||
		strings.HasPrefix(v, "ssh-rsa ") || strings.HasPrefix(v, "ssh-ed25519 ")) && !strings.Contains(v, "PRIVATE KEY")
}
