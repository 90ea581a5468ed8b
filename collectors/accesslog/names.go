package accesslog

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/companyos/helmproof/internal/manifest"
)

// everySecret stands for secrets that are found by a search, whatever their names.
const everySecret = "*"

// secretsOf are the names under which an object asks its store for secrets: those of
// an ExternalSecret, or everySecret where it searches for them.
func secretsOf(o *manifest.Object) []string {
	var spec map[string]any
	switch gvk := o.GroupVersionKind(); {
	case gvk.Group == "external-secrets.io" && gvk.Kind == "ExternalSecret":
		spec, _ = o.Object["spec"].(map[string]any)
	case gvk.Group == "external-secrets.io" && gvk.Kind == "ClusterExternalSecret":
		outer, _ := o.Object["spec"].(map[string]any)
		spec, _ = outer["externalSecretSpec"].(map[string]any)
	case gvk.Group == "secrets-store.csi.x-k8s.io" && gvk.Kind == "SecretProviderClass":
		return []string{everySecret} // each provider names its secrets in a way of its own
	}
	var out []string
	key := func(e any, field string) {
		m, _ := e.(map[string]any)
		if ref, ok := m[field].(map[string]any); ok && ref["key"] != nil {
			out = append(out, fmt.Sprint(ref["key"]))
		}
	}
	data, _ := spec["data"].([]any)
	for _, e := range data {
		key(e, "remoteRef")
	}
	from, _ := spec["dataFrom"].([]any)
	for _, e := range from {
		key(e, "extract")
		if m, _ := e.(map[string]any); m["find"] != nil {
			out = append(out, everySecret)
		}
	}
	return distinct(out)
}

// awsSuffix is what Secrets Manager appends to a name in an ARN.
var awsSuffix = regexp.MustCompile(`-[A-Za-z0-9]{6}$`)

// of reports whether the read is one of the secret that an ExternalSecret names key.
// Where a log and a name do not say the same, such as a project's number and its name,
// more reads count rather than fewer.
func (r *Read) of(key string) bool {
	if key == everySecret {
		return true
	}
	switch r.Provider {
	case providerGCP:
		return short(r.Secret) == short(key)
	case providerAWS:
		return slices.ContainsFunc(awsNames(r.Secret), func(n string) bool { return slices.Contains(awsNames(key), n) })
	}
	return r.vaultOf(strings.Trim(key, "/"))
}

// short is a secret's name without its project.
func short(name string) string {
	name, _, _ = strings.Cut(name, "/versions/")
	if _, tail, ok := strings.Cut(name, "/secrets/"); ok {
		return tail
	}
	return strings.TrimPrefix(name, "secrets/")
}

// awsNames are the names that a secret's id may stand for: of an ARN its tail, with
// and without the suffix.
func awsNames(id string) []string {
	_, tail, ok := strings.Cut(id, ":secret:")
	if !ok || !strings.HasPrefix(id, "arn:") {
		return []string{id}
	}
	return []string{tail, awsSuffix.ReplaceAllString(tail, "")}
}

// vaultOf compares paths without their engine's mount and the data/ of a versioned
// engine, which a store may add to a key. Where the log does not tell the mount, the
// end of the path counts.
func (r *Read) vaultOf(key string) bool {
	plain := func(p string) string { return strings.TrimPrefix(strings.TrimPrefix(p, "/"), "data/") }
	if r.Mount != "" {
		path := plain(strings.TrimPrefix(r.Secret, r.Mount))
		return path == plain(key) || path == plain(strings.TrimPrefix(key, r.Mount+"/"))
	}
	for _, path := range []string{r.Secret, strings.Replace(r.Secret, "/data/", "/", 1)} {
		for _, k := range []string{key, plain(key), strings.Replace(key, "/data/", "/", 1)} {
			if path == k || strings.HasSuffix(path, "/"+k) {
				return true
			}
		}
	}
	return false
}

// reader patterns.
const (
	maxReaders   = 1000
	maxPattern   = 256
	maxWildcards = 4
	minLiteral   = 4 // letters and digits beside the wildcards
)

// ParseReader parses a pattern of principals that may read secrets: their name as the
// log has it (an account's address, a role's ARN, Vault's display name), in which *
// stands for any characters but /, : and @. One that is little but wildcards is refused.
func ParseReader(s string) (*regexp.Regexp, error) {
	literal := 0
	for _, c := range s {
		switch {
		case c < ' ' || c == 0x7f:
			return nil, fmt.Errorf("reader %q: control characters", s)
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c > 0x7f:
			literal++
		}
	}
	n := strings.Count(s, "*")
	switch {
	case s == "" || len(s) > maxPattern:
		return nil, fmt.Errorf("reader %.40q: want 1 to %d characters", s, maxPattern)
	case n > maxWildcards || strings.Contains(s, "**"):
		return nil, fmt.Errorf("reader %q: at most %d *, none beside another", s, maxWildcards)
	case n > 0 && literal < minLiteral:
		return nil, fmt.Errorf("reader %q: allows nearly everybody: want at least %d letters or digits beside *", s, minLiteral)
	}
	return regexp.Compile(`^` + strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `[^/:@]*`) + `$`)
}

func parseReaders(list []string) ([]*regexp.Regexp, error) {
	if len(list) > maxReaders {
		return nil, fmt.Errorf("%d readers: at most %d", len(list), maxReaders)
	}
	var out []*regexp.Regexp
	for _, s := range list {
		p, err := ParseReader(s)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// allowed reports whether a pattern stands for the principal.
func allowed(patterns []*regexp.Regexp, principal string) bool {
	return principal != "" && !strings.HasSuffix(principal, clipped) &&
		slices.ContainsFunc(patterns, func(p *regexp.Regexp) bool { return p.MatchString(principal) })
}
