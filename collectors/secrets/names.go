package secrets

import (
	"encoding/base64"
	"slices"
	"strings"
)

var (
	// secretName matches how a key or variable that holds a secret ends.
	secretName = lazily(`(?i)(password|passwd|passwort|passphrase|passcode|htpasswd|[-_.]pwd|^pwd|[a-z]pwd|[-_.]psw|^psw|[-_.]pw|^pw|[-_.]pass|^pass|(db|pg|my|ftp|smtp|mail|ldap|admin|root|user|bind|store|require)(pass|pw)` +
		`|token|bearer|secret|api[-_.]?key|private[-_]?key|access[-_.]?key|encrypt(ion)?[-_]?key|sign(ing)?[-_]?key|secret[-_.]?key([-_]?base)?|master[-_]?key|auth[-_]?key|license[-_]?key|account[-_]?key|(jwt|hmac|cipher|crypto)[-_]?key` +
		`|credentials?|[-_.]creds|^creds|connection[-_]?strings?|masterauth|(redis|rediscli|neo4j)[-_]?auth|(erlang|release)[-_]?cookie)$|(?-i:[a-z]Pass$)`)
	// notSecretName matches keys that are about a secret without holding it.
	notSecretName = lazily(`(?i)(existing|automount|^enable|enabled$|(?-i:^use[-_A-Z]|^USE_)|^create|rotate|names?$|refs?$|(^|[-_.])max[-_.]|(^|[-_.])min[-_.]|(?-i:^max[A-Z])|length|(^|[-_.])ttl|(?-i:[a-z]T(TL|tl))|expir|public|publishable|header|mount|type$|ur[li]$|path$|file$|dir$|id$|cancellation|per[-_]?token|initial[-_]?cluster[-_]?token|(proxy|fastcgi|uwsgi|scgi|grpc|memcached)_pass$|image[-_]?pull|pull[-_]?secret|tls[-_]?secret|cert[a-z]*[-_]?secret|(^|[-_.])ca[-_]?secret|(?-i:[a-z](Ca|CA)Secret)|root[-_]?secret|secret[-_]?keys?$)`)
	// holdsAnyway are names that notSecretName would let go.
	holdsAnyway = lazily(`(?i)(^|[-_.]|[a-z])(password|passwd|passphrase)$|client[-_]?secret([-_]?key)?$|^secret[-_]?key$|[-_.](secret[-_.]key)$|^[A-Z0-9_]*SECRET_KEY$`)
	// aboutSecret matches names that stay harmless whatever they end with.
	aboutSecret = lazily(`(?i)(existing|^enable|^no[-_]|(?-i:^use[-_A-Z]|^USE_)|^create|rotate|(?-i:^(allow|require|random)[-_A-Z])|^(allow|require|random)[-_]|^generate|(^|[-_.])auto[-_.]|automount|autogen|(?-i:^auto[A-Z])|(^|[-_.])max[-_.]|(?-i:^max[A-Z])|length|[-_.]?empty)`)
	// passwordName matches names of passwords, which may be any word.
	passwordName = lazily(`(?i)(password|passwd|passwort|passphrase|pwd|pass|pw)$`)
	// connectionName matches names of values that hold a secret among other things.
	connectionName = lazily(`(?i)connection[-_]?strings?$`)
	// referenceName matches keys whose value often is the name of a Secret, or of a key in one.
	referenceName = lazily(`(?i)(secret|secret[-_]?key|credentials?|(^|[-_.])creds)$`)
	dnsName       = lazily(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	keyReference  = lazily(`(?i)^[a-z][-_a-z0-9.]*(password|token|secret|key|passwd|credentials?)[-_a-z0-9.]*$`)
	// keyName, entryName and camelWord match "passwordKey: adminPassword" and the like.
	keyName     = lazily(`([Kk]ey|_KEY|[Cc]redentials?)$`)
	entryName   = lazily(`(?i)(secret[-_]?key|private[-_]?key|sign(ing)?[-_]?key|license[-_]?key|credentials?)$`)
	camelWord   = lazily(`^[a-z]{3,}([A-Z][a-z]+)*$`)
	placeholder = lazily(`(?i)^(change|replace|secret|password|minio|admin|root|test|example)`)
	// anyKey and noKey tell names of keys and salts that are secrets if their values look random.
	anyKey = lazily(`(?i)(^|[-_.a-z0-9])(key|salt|pepper|cookie)$`)
	noKey  = lazily(`(?i)(public|publishable|pub|site|partition|sort|cache|object|s3|kms|fingerprint|gpg|host|index|label|idempotency)[-_.]?key$`)
	// secretOfPassword matches names of what holds a password; TOKEN_SECRET is a secret.
	secretOfPassword = lazily(`(?i)(password|passwd)[-_]?secret$`)
	// partElsewhere matches what is put in later, in a value or as a whole; wholeElsewhere
	// what only a whole value can be.
	partElsewhere  = lazily(`\$\([^()]*\)|\$\{[^{}]*\}|\{\{.*\}\}|#\{[^{}]*\}|%[A-Za-z]*\{[^{}]*\}`)
	wholeElsewhere = lazily(`^(\$__[a-z]+\{.*\}|<[^<>]*>|\{[A-Za-z_][A-Za-z0-9_]*\}|\$[A-Z_][A-Z0-9_]*|\$[0-9@]|(?i:\$[a-z0-9_]*(pass|pw|secret|token|key|cred)[a-z_]*)|%[a-z]|%\(.*\)s?|%[A-Za-z_]+%|@@?[A-Za-z_.-]+@@?|__[A-Z0-9_]+__)$`)
	// saysWhat matches words of texts that stand for a value.
	saysWhat = lazily(`(?i)(change|replac|your|insert|enter|fill|todo|tbd|here|placeholder|value|name|user|account|host|url|id\b|generated?|redacted|hidden|masked|example|set[-_ ]|from[-_ ]|provided|unset|none|empty)`)
	// inStore matches addresses in stores of secrets, and what is encrypted.
	inStore = lazily(`(?i)^(vault:|ref\+|arn:|file:|secretref:|projects/|op://|(?-i:env:[A-Z_][A-Z0-9_]*$)|gcp:secretmanager|awssm:|ssm:|k8s:|keyvault:|akv:|@microsoft\.keyvault\(|enc\[|\$ansible_vault;|!vault|(?-i:[a-z][a-z_-]*(/[a-z0-9_.-]+)+#[a-zA-Z_.-]+$))`)
	// filePath matches paths and names of files.
	filePath = lazily(`^(~|\.{1,2})?(/[A-Za-z0-9._@-]+)+/?$|^[A-Za-z]:\\[^"]+$|^[\w./-]+\.(pem|crt|json|ya?ml|txt|jks|p12|cert)$|^([\w-]*/)*[\w-]+\.key$`)
)

// namesSecret reports whether something of this name holds a secret itself.
func namesSecret(key string) bool {
	return hasSecretWord(key) && secretName.MatchString(key) && (!notSecretName.MatchString(key) || holdsAnyway.MatchString(key) && !aboutSecret.MatchString(key))
}

// hasSecretWord reports whether a name has one of the words that all names of secrets
// have: most have none, which is cheaper to see than by a pattern.
func hasSecretWord(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc([]string{"pass", "secret", "token", "key", "cred", "pwd", "pw", "psw", "auth", "bearer", "cookie", "connection", "salt", "pepper"},
		func(word string) bool { return strings.Contains(name, word) })
}

// secretKey reports whether a key with this value holds a secret. In values and
// configuration files, what a key says may be the name of a Secret, or of an entry.
func secretKey(key, value string) bool {
	if !literalSecret(key, value) || saysNothing(key, value) {
		return false
	}
	if !namesSecret(key) {
		return true // by its value
	}
	// "secretKey: clientSecret" names a key; "accessKey: changeMe" is a default password.
	if keyName.MatchString(key) && (camelWord.MatchString(value) && !placeholder.MatchString(value) || entryName.MatchString(key) && namesEntry(value)) {
		return false
	}
	// "secret: my-tls" names a Secret; "clientSecret: my-tls" does not.
	return !referenceName.MatchString(key) || !namesObject(value) || strings.Contains(strings.ToLower(key), "client")
}

// namesObject reports whether a value could be the name of a Secret.
func namesObject(v string) bool {
	return dnsName.MatchString(v) && strings.ContainsAny(v, "-.") && !looksRandom(v)
}

// saysNothing reports whether a value says that something is put in its place, or
// chooses how that is made. As a password, it is one.
func saysNothing(key, v string) bool {
	return strings.Contains(strings.ToLower(v), "placeholder") || isChoice(v) && !passwordName.MatchString(key)
}

// literalSecret reports whether a literal of this name is a secret, whatever words
// it has: a variable's value is never the name of a Secret.
func literalSecret(name, value string) bool {
	if !hasSecretWord(name) {
		return false
	}
	if accountName.MatchString(name) && holdsAccount(strings.TrimSpace(value)) {
		return true
	}
	named := namesSecret(name)
	if !named && (!anyKey.MatchString(name) || noKey.MatchString(name)) {
		return false
	}
	value = strings.TrimSpace(value)
	if secretOfPassword.MatchString(name) && namesObject(value) {
		return false // DB_PASSWORD_SECRET is the Secret that holds it
	}
	if n := len(value); n > 1 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		value = value[1 : n-1]
	}
	value = orElse(value)
	if isEmpty(value) || pointsElsewhere(value) || isPublishable(value) || strings.HasPrefix(value, "-----BEGIN") && len(value) < keyReach && !holdsKey(value) {
		return false // a key without a body is none
	}
	return named || madeAtRandom(value) || strings.HasPrefix(value, "base64:") && len(value) > 20
}

// isEmpty are values that say nothing, or switch something.
func isEmpty(v string) bool {
	switch strings.ToLower(v) {
	case "", "true", "false", "null", "nil", "none", "~", "redacted", "<nil>", "0", "yes", "no", "on", "off", "-", `""`, "''", "{}", "[]", "enabled", "disabled", "undefined":
		return true
	}
	return strings.Trim(v, "*xX.-_") == "" // ****, xxx, …
}

// isChoice are words that choose how something is done; as a password they are one.
func isChoice(v string) bool {
	switch strings.ToLower(v) {
	case "default", "auto", "random", "required", "optional", "string":
		return true
	}
	return false
}

// pointsElsewhere are values that say where the secret is: a variable, a template,
// a store, a file, an address without a password.
func pointsElsewhere(v string) bool {
	return plainAddress.MatchString(v) || isElsewhere(v)
}

func isElsewhere(v string) bool {
	if filledIn(v) || inStore.MatchString(v) || isSealedValue(v) {
		return true
	}
	if !filePath.MatchString(v) {
		return false
	}
	for part := range strings.SplitSeq(v, "/") {
		if madeAtRandom(part) {
			return false // base64 has slashes, too
		}
	}
	return true
}

// filledIn reports whether a value is put in later. What stands beside a variable, or
// inside of its signs, may be a password all the same.
func filledIn(v string) bool {
	rest := partElsewhere.ReplaceAllString(v, "")
	if rest == v {
		return wholeElsewhere.MatchString(v) && !madeUp(v)
	}
	for _, part := range partElsewhere.FindAllString(v) {
		if hasAny(part, "${", "#{", "%") && madeUp(part) {
			return false
		}
	}
	return !slices.ContainsFunc(strings.FieldsFunc(rest, func(c rune) bool { return strings.ContainsRune("/:@,;=& ", c) }), madeUp)
}

// madeUp reports whether a text has letters and digits in the way of passwords, and
// no word of what stands for one.
func madeUp(v string) bool {
	v = strings.Trim(v, "$#%<>{}()@_ ")
	digits := strings.ContainsAny(v, "0123456789")
	return len(v) >= 6 && digits && strings.ToUpper(v) != v && !hasSecretWord(v) && !saysWhat.MatchString(v) && !strings.Contains(v, "://")
}

// sealedLength is less than any value has that is sealed with RSA and base64.
const sealedLength = 200

// isSealedValue reports whether a text is what SealedSecrets hold: the length of an
// RSA block of 2048, 3072 or 4096 bits in two bytes, that block and more, in base64.
func isSealedValue(v string) bool {
	if len(v) < sealedLength || strings.Trim(v, base64Alphabet+"=") != "" {
		return false
	}
	b, err := base64.StdEncoding.DecodeString(v[:4])
	return err == nil && slices.Contains([]int{256, 384, 512}, int(b[0])<<8|int(b[1]))
}

// plainAddress matches addresses.
var plainAddress = lazily(`^[a-zA-Z][a-zA-Z0-9+.-]{1,30}://\S*$|^jdbc:\S+$`)

// isPublishable reports whether a value is a key that its issuer made to be seen in
// browsers: of Stripe and of Mapbox.
func isPublishable(v string) bool { return publishable.MatchString(v) }

var publishable = lazily(`^(pk_(live|test)_[A-Za-z0-9]+|pk\.eyJ[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+)$`)

// isReference are values that point to a secret, switch something, or say nothing,
// for texts of which nobody knows what they are: names of keys, too.
func isReference(v string) bool {
	v = strings.TrimSpace(v)
	return isEmpty(v) || isChoice(v) || isElsewhere(v) || namesEntry(v)
}

// namesEntry reports whether a value reads like the name of an entry: "db-password",
// "REDIS_TOKEN".
func namesEntry(v string) bool {
	return keyReference.MatchString(v) && !looksRandom(v) && strings.ContainsAny(v, "-_.")
}

// madeAtRandom reports whether a value is a key that a program made: long, of one
// alphabet, with digits among the letters and without a structure of names.
func madeAtRandom(v string) bool {
	if len(v) < 20 || len(v) > 1024 || isUUID.MatchString(v) || strings.Trim(v, base64Alphabet+"=") != "" || entropy(v) < 3.3 {
		return false
	}
	for part := range strings.FieldsFuncSeq(v, func(c rune) bool { return strings.ContainsRune("-_/+=", c) }) {
		if looksRandom(part) {
			return true
		}
	}
	return false
}

var isUUID = lazily(`(?i)^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

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
