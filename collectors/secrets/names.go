package secrets

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
)

var (
	// secretName matches what a key or variable that holds a secret ends with.
	secretName = regexp.MustCompile(`(?i)(password|passwd|passphrase|[-_]pwd|^pwd|token|api[-_]?key|private[-_]?key|access[-_]?key|encryption[-_]?key|signing[-_]?key|secret[-_]?key|client[-_]?secret|credential|credentials|connection[-_]?string|htpasswd|[-_]secret|^secret|[a-z]Secret)$`)
	// notSecretName matches keys that are about a secret without holding it.
	notSecretName = regexp.MustCompile(`(?i)(existing|automount|enabled?$|use[-_]?|create|rotate|name$|ref$|max|min|length|ttl|expir|public|header|field|mount|type$|url$|uri$|path$|file$|csrf.*cookie|cancellation|per[-_]?token|image[-_]?pull)`)
	// referenceName matches keys whose value usually is the name of a Secret.
	referenceName = regexp.MustCompile(`(?i)(secret|secret[-_]?key|credentials?)$`)
	dnsName       = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	keyReference  = regexp.MustCompile(`(?i)^[a-z][-_a-z0-9.]*(password|token|secret|key|passwd|credentials?)[-_a-z0-9.]*$`)
	credentialURL = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://[^/\s:@]*:([^/\s:@]+)@`)
)

// secretKey reports whether a values key with this value holds a secret itself.
func secretKey(key, value string) bool {
	if isReference(value) || !secretName.MatchString(key) || notSecretName.MatchString(key) {
		return false
	}
	// "secret: my-tls" names a Secret; "clientSecret: my-tls" does not.
	if referenceName.MatchString(key) && dnsName.MatchString(value) && !strings.Contains(strings.ToLower(key), "client") && !looksRandom(value) {
		return false
	}
	return true
}

// secretLiteral reports whether an environment variable holds a secret itself.
func secretLiteral(name, value string) bool {
	if isReference(value) {
		return false
	}
	if m := credentialURL.FindStringSubmatch(value); m != nil && !isReference(m[1]) {
		return true
	}
	return secretKey(name, value) && !strings.HasPrefix(value, "/") && !strings.Contains(value, "://")
}

// isReference are values that point to a secret, switch something, or say nothing.
func isReference(v string) bool {
	v = strings.TrimSpace(v)
	switch strings.ToLower(v) {
	case "", "true", "false", "null", "nil", "none", "~", "redacted", "<nil>", "0", "yes", "no", "on", "off", "default", "auto":
		return true
	}
	for _, p := range []string{"{{", "$(", "${", "vault:", "ref+", "arn:", "file:", "secretref:", "projects/", "<", "op://", "/etc/", "/var/", "/run/", "/opt/", "/mnt/"} {
		if strings.HasPrefix(strings.ToLower(v), p) {
			return true
		}
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

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// identifiers are the names that findings and reports must be able to write:
// a secret that is equal to one of them is redacted only where it is a secret.
func identifiers(set *collectors.ObjectSet, rel *collectors.Release) map[string]bool {
	out := map[string]bool{rel.Info.Chart: true, rel.Info.ReleaseName: true, rel.Info.Namespace: true}
	for i := range set.Objects {
		o := &set.Objects[i]
		for _, s := range []string{o.GetName(), o.GetNamespace(), o.GetKind(), o.GetAPIVersion(), o.File} {
			out[s] = true
		}
		for k, v := range o.GetLabels() {
			out[k], out[v] = true, true
		}
		if tpl, ok, err := o.PodTemplate(); ok && err == nil {
			for _, c := range slices.Concat(tpl.Spec.InitContainers, tpl.Spec.Containers) {
				out[c.Name], out[c.Image] = true, true
			}
		}
		keysOf(o.Object, out, 0)
	}
	delete(out, "")
	return out
}

func keysOf(v any, out map[string]bool, depth int) {
	if depth > 64 {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for k, e := range x {
			out[k] = true
			keysOf(e, out, depth+1)
		}
	case []any:
		for _, e := range x {
			keysOf(e, out, depth+1)
		}
	}
}
