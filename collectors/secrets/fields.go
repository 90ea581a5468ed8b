package secrets

import (
	"encoding/json"
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/companyos/helmproof/internal/manifest"
)

// fields looks at what objects hold that are neither Secrets, ConfigMaps nor workloads:
// the fields of custom resources, and of volumes and their classes, whose parameters
// are a driver's.
func (s *scan) fields(o *manifest.Object) {
	gk := o.GroupVersionKind().GroupKind()
	if aboutSecrets.MatchString(gk.String()) {
		s.templates(o, "spec", o.Object["spec"], 0)
	}
	switch {
	case gk.Group == "" && gk.Kind == "PersistentVolume", gk.Group == "storage.k8s.io" && gk.Kind == "StorageClass":
	case !strings.Contains(gk.Group, ".") || builtIn.MatchString(gk.Group) || aboutSecrets.MatchString(gk.String()):
		return
	}
	for _, k := range slices.Sorted(maps.Keys(o.Object)) {
		switch k {
		case "apiVersion", "kind", "metadata", "status":
		default:
			s.field(o, k, k, o.Object[k], 0)
		}
	}
}

var (
	// builtIn matches the groups of Kubernetes itself.
	builtIn = lazily(`^(admissionregistration|apiextensions|apiregistration|authentication|authorization|certificates|coordination|discovery|events|(internal|flowcontrol)\.apiserver|networking|node|rbac\.authorization|resource|scheduling|storage|storagemigration)\.k8s\.io$`)
	// aboutSecrets matches kinds that say where secrets are, hold them encrypted, or say
	// what others may have.
	aboutSecrets = lazily(`\.(external-secrets\.io|bitnami\.com|isindir\.github\.com|secrets\.hashicorp\.com|secrets-store\.csi\.x-k8s\.io|kyverno\.io|templates\.gatekeeper\.sh|constraints\.gatekeeper\.sh)$`)
)

// field looks at one value, which stands at path below key.
func (s *scan) field(o *manifest.Object, path, key string, v any, depth int) {
	if depth > maxDepth {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		name, _ := x["name"].(string)
		if x["type"] == "password" { // of Keycloak
			name = "password"
		}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			below := k
			if k == "value" && name != "" {
				below = name
			}
			s.field(o, path+"."+k, below, x[k], depth+1)
		}
	case []any:
		for _, e := range x {
			s.field(o, path, strings.TrimSuffix(key, "s"), e, depth+1)
		}
	default:
		text, ok := scalar(v)
		if !ok {
			return
		}
		for _, found := range s.secretsOf(key, text, fieldSecret) {
			s.addIn(o, spot{}, RuleEnv, "field", "", path+found.beside(), found.text, found.also...)
		}
	}
}

// templates looks at the Secrets that an object says how to make: what is written out in
// their templates stands in them. All else in such an object says where a secret is.
func (s *scan) templates(o *manifest.Object, path string, v any, depth int) {
	if depth > maxDepth {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			at := path + "." + k
			switch {
			case (k == "data" || k == "stringData") && (strings.HasSuffix(path, ".template") || strings.HasSuffix(path, ".secretTemplates")),
				k == "data" && strings.HasSuffix(path, ".fakeSpec"), // of a ClusterGenerator
				k == "data" && path == "spec" && o.GetKind() == "Fake" && o.GroupVersionKind().Group == "generators.external-secrets.io":
				s.templateEntries(o, at, x[k])
			case k == "templates": // of Vault's operator: {KEY: {name: …, text: …}}
				named, _ := x[k].(map[string]any)
				for _, key := range slices.Sorted(maps.Keys(named)) {
					m, _ := named[key].(map[string]any)
					s.templateEntry(o, at, telling(key, m["name"]), m["text"])
				}
			case k == "sourceTemplates": // of Vault's operator: [{name: …, text: …}]
				for m := range mappings(x[k]) {
					s.templateEntry(o, at, telling("text", m["name"]), m["text"])
				}
			case k == "literal" && strings.HasSuffix(path, ".templateFrom"):
				s.templateEntry(o, path, "literal.yaml", x[k])
			case k == "fake": // a store that holds the values itself: {data: [{key: …, value: …, valueMap: …}]}
				store, _ := x[k].(map[string]any)
				for m := range mappings(store["data"]) {
					name, _ := m["key"].(string)
					s.templateEntry(o, at, name[strings.LastIndexByte(name, '/')+1:], m["value"])
					s.templateEntries(o, at, m["valueMap"])
				}
			default:
				s.templates(o, at, x[k], depth+1)
			}
		}
	case []any:
		for _, e := range x {
			s.templates(o, path, e, depth+1)
		}
	}
}

// telling is the key of an entry, or else the name that it has.
func telling(key string, name any) string {
	if n, _ := name.(string); n != "" && !hasSecretWord(key) {
		return n
	}
	return key
}

// mappings are those of a list.
func mappings(v any) iter.Seq[map[string]any] {
	return func(yield func(map[string]any) bool) {
		list, _ := v.([]any)
		for _, e := range list {
			if m, ok := e.(map[string]any); ok && !yield(m) {
				return
			}
		}
	}
}

func (s *scan) templateEntries(o *manifest.Object, path string, entries any) {
	m, _ := entries.(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(m)) {
		s.templateEntry(o, path, key, m[key])
	}
}

func (s *scan) templateEntry(o *manifest.Object, path, key string, v any) {
	text, ok := scalar(v)
	if !ok {
		return
	}
	for _, x := range s.entrySecrets(key, text) {
		s.addIn(o, spot{}, RuleEnv, "template of a Secret", "", path+"."+key+x.beside(), x.text, x.also...)
	}
}

// fieldSecret is secretKey for fields of custom resources, whose texts under "secret",
// "credentials" and the like are names in nearly every kind, and those under "key" of entries.
func fieldSecret(key, value string) bool {
	return secretKey(key, value) && (looksRandom(value) || !fieldReference.MatchString(key) || !dnsName.MatchString(strings.ToLower(strings.ReplaceAll(value, "_", "-"))))
}

var fieldReference = lazily(`(?i)(secret|key|credentials?|creds)$`)

// annotations looks inside of annotations. Those whose names say password say where it is,
// unless the value is a random key.
func (s *scan) annotations(o *manifest.Object) {
	m := o.GetAnnotations()
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if strings.Contains(k, "checksum") || strings.HasPrefix(k, "vault.hashicorp.com/") {
			continue
		}
		name := k[strings.LastIndexByte(k, '/')+1:]
		if k == lastApplied {
			name += ".json" // the whole object as somebody once applied it
			s.appliedSecret(o, m[k])
		}
		for _, x := range s.secretsOf(name, m[k], annotationSecret) {
			s.addIn(o, spot{}, RuleEnv, "annotation", "", "metadata.annotations."+k+x.beside(), x.text, x.also...)
		}
	}
}

// appliedSecret looks at the entries of a Secret as it was once applied.
func (s *scan) appliedSecret(o *manifest.Object, text string) {
	var was manifest.Object
	if json.Unmarshal([]byte(text), &was.Object) != nil || was.Object["kind"] != "Secret" || was.Object["apiVersion"] != "v1" {
		return
	}
	for _, field := range []string{"data", "stringData"} {
		entries, _ := was.Object[field].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			text, ok := scalar(entries[key])
			if !ok {
				continue
			}
			plain := text
			if b, err := decodeBase64(text); field == "data" && err == nil && utf8.Valid(b) {
				plain = string(b)
			}
			if !isPublic(key, plain) && (!strings.Contains(plain, "\n") || holdsSecret(key, plain)) {
				s.addIn(o, spot{}, RuleEnv, "annotation", "", "metadata.annotations."+lastApplied+" "+key, text, plain)
			}
		}
	}
}

const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func annotationSecret(key, value string) bool { return looksRandom(value) && fieldSecret(key, value) }
