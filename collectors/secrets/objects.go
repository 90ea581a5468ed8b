package secrets

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/companyos/helmproof/internal/manifest"
)

// secret is what a value holds: all of it, or a part of it beside a key.
type secret struct {
	text, key string
	also      []string // other texts of it: decoded
}

// beside is the key as an end of a place's key.
func (x secret) beside() string {
	if x.key == "" {
		return ""
	}
	return " " + x.key
}

// secretsOf returns the secrets of a value: itself, if isSecret says so of its name, or
// else what stands inside of it.
func (s *scan) secretsOf(name, value string, isSecret func(name, value string) bool) []secret {
	whole := isSecret(name, value) && (!connectionName.MatchString(name) || !strings.ContainsAny(value, "=:"))
	if whole && (!referenceName.MatchString(name) || !s.secretNames()[strings.TrimSpace(value)]) {
		x := secret{text: value}
		if rest, ok := strings.CutPrefix(value, "base64:"); ok {
			x.also = []string{rest}
		}
		return []secret{x}
	}
	return insideOf(value, name)
}

// maxPlaces bounds the places of one text; what is beyond is redacted with the last.
const maxPlaces = 50

// insideOf returns the secrets that stand inside of a text, each once.
func insideOf(text, name string) []secret {
	if !strings.Contains(text, "\n") && inStore.MatchString(text) {
		return nil
	}
	var out []secret
	seen := map[string]bool{}
	for _, p := range parts(text, name) {
		v := text[p.from:p.to]
		if seen[v] {
			continue
		}
		seen[v] = true
		also := otherForms(v)
		if len(out) >= maxPlaces {
			last := &out[len(out)-1]
			last.also = append(append(last.also, v), also...)
			continue
		}
		out = append(out, secret{text: v, key: p.key, also: also})
	}
	return out
}

// otherForms are what a part of a text means: without percent escapes, backslashes,
// and encoding.
func otherForms(v string) []string {
	var out []string
	if plain := unescaped(v); plain != v {
		out = append(out, plain)
	}
	if plain := strings.NewReplacer(`\\`, `\`, `\"`, `"`).Replace(v); plain != v {
		out = append(out, plain)
	}
	if password, ok := accountOf(v); ok {
		out = append(out, password)
	}
	return out
}

// secretNames are the names of Secrets that the release makes or refers to.
func (s *scan) secretNames() map[string]bool {
	if s.named != nil {
		return s.named
	}
	s.named = map[string]bool{}
	var walk func(v any, depth int)
	walk = func(v any, depth int) {
		switch x := v.(type) {
		case map[string]any:
			for k, e := range x {
				switch k {
				case "secretName":
					if name, ok := e.(string); ok {
						s.named[name] = true
					}
				case "secretKeyRef", "secretRef", "secret":
					if ref, ok := e.(map[string]any); ok {
						if name, ok := ref["name"].(string); ok {
							s.named[name] = true
						}
					}
				}
				if depth < maxDepth {
					walk(e, depth+1)
				}
			}
		case []any:
			for _, e := range x {
				if depth < maxDepth {
					walk(e, depth+1)
				}
			}
		}
	}
	for i := range s.set.Objects {
		o := &s.set.Objects[i]
		if o.GetKind() == "Secret" || o.GetKind() == "ExternalSecret" {
			s.named[o.GetName()] = true
		}
		walk(o.Object, 0)
	}
	delete(s.named, "")
	return s.named
}

const maxDepth = 200

// secret looks at the entries of a Secret: all are secrets but for what is public.
func (s *scan) secret(o *manifest.Object) {
	for _, field := range []string{"data", "stringData"} {
		m, ok := o.Object[field].(map[string]any)
		if !ok {
			continue
		}
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v, ok := m[key].(string)
			if !ok {
				// Kubernetes would refuse it, but the value stands there.
				if v, ok = scalar(m[key]); !ok {
					continue
				}
			}
			plain, encoded := v, false
			if field == "data" {
				if b, err := decodeBase64(v); err == nil && utf8.Valid(b) {
					plain, encoded = string(b), true
				}
			}
			if isPublic(key, plain) || isArgoEntry(o, key) || strings.Contains(plain, "\n") && !holdsSecret(key, plain) {
				continue
			}
			also := append([]string{plain}, jsonSecrets(plain)...)
			for _, x := range insideOf(plain, key) {
				also = append(append(also, x.text), x.also...)
			}
			at := spot{entry: field + "\x00" + key, encoded: encoded, secret: true}
			s.addIn(o, at, RuleData, field, "", field+"."+key, v, also...)
		}
	}
}

// decodeBase64 accepts what the API server accepts, and text without padding.
func decodeBase64(v string) ([]byte, error) {
	v = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || r == ' ' {
			return -1
		}
		return r
	}, v)
	if b, err := base64.StdEncoding.DecodeString(v); err == nil {
		return b, nil
	}
	return base64.RawStdEncoding.DecodeString(v)
}

// isPublic are the entries of a Secret that are no secrets: certificates, user
// names, addresses, switches, places to be filled in. A name that says secret is not
// public because of what its value looks like.
func isPublic(key, plain string) bool {
	plain = strings.TrimSpace(plain)
	switch {
	case plain == "" || isPublicKey(plain) || isPublishable(plain):
		return true
	case strings.Contains(plain, "\n"):
		return false
	case filledIn(plain) || inStore.MatchString(plain):
		return len(parts(plain, key)) == 0
	case namesSecret(key), len(parts(plain, key)) > 0:
		return false
	}
	return publicEntry.MatchString(key) || switchValue.MatchString(plain) || isPublicAddress(key, plain) || isPublicJSON(plain)
}

// isPublicAddress reports whether an address can be known to all: one of a webhook
// cannot, nor one with something in its path that nobody could guess.
func isPublicAddress(key, plain string) bool {
	if !plainAddress.MatchString(plain) || strings.Contains(strings.ToLower(key+plain), "hook") {
		return false
	}
	if strings.HasPrefix(plain, "jdbc:") {
		plain = strings.NewReplacer(":@//", "://", ":@", "://").Replace(plain) // of Oracle
	}
	rest := ""
	for {
		before, after, ok := strings.Cut(plain, "://")
		rest += before
		if !ok {
			break
		}
		rest += "/"
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		if next := strings.Index(after, "://"); next >= 0 && next < end {
			end = next // a list of addresses
		}
		if slices.ContainsFunc(hostWords(after[:end]), looksRandom) {
			return false
		}
		plain = after[end:]
	}
	return !slices.ContainsFunc(strings.FieldsFunc(rest, func(c rune) bool { return strings.ContainsRune("/?&=#", c) }), looksRandom)
}

// hostWords are the words of the hosts in an address, without their ports. What has a
// user is one word: that may be a token.
func hostWords(authority string) []string {
	hosts := hostPort.ReplaceAllString(authority, "$1$2")
	if !hostList.MatchString(hosts) {
		return []string{hosts}
	}
	return strings.FieldsFunc(hosts, func(c rune) bool { return strings.ContainsRune(".,;:[]", c) })
}

var (
	hostPort = lazily(`([A-Za-z0-9.\]]):[0-9]{1,5}([,;:]|$)`)
	// hostList matches names and numbers of hosts.
	hostList = lazily(`^([a-z0-9.-]+|\[[0-9a-fA-F:.]+\])([,;]([a-z0-9.-]+|\[[0-9a-fA-F:.]+\]))*[,;:]?$`)
)

// isPublicJSON reports whether a text is a JSON object without anything that looks
// like a key; parts has looked at its names.
func isPublicJSON(plain string) bool {
	if plain[0] != '{' {
		return false
	}
	if _, err := decodeJSON([]byte(plain)); err != nil {
		return false
	}
	return !slices.ContainsFunc(strings.FieldsFunc(plain, func(c rune) bool { return strings.ContainsRune("{}[]\":, ", c) }), looksRandom)
}

// isArgoEntry are the entries by which Argo CD tells a repository or cluster.
func isArgoEntry(o *manifest.Object, key string) bool {
	if o.GetLabels()["argocd.argoproj.io/secret-type"] == "" {
		return false
	}
	switch key {
	case "name", "project", "server", "githubAppID", "githubAppInstallationID":
		return true
	}
	return false
}

// holdsSecret reports whether a file in a Secret can be one. Whoever keeps a
// configuration file in a Secret usually does so for what can be added to it:
// without a key that names a secret, and a value to it, there is none.
func holdsSecret(key, plain string) bool {
	return strings.Contains(plain, "PRIVATE KEY") || !looksLikeConfig(plain) || namesSecret(key) || len(parts(plain, key)) > 0
}

// configMap looks at entries by their names, and at what stands inside of them.
func (s *scan) configMap(o *manifest.Object) {
	if m, ok := o.Object["data"].(map[string]any); ok {
		for _, key := range slices.Sorted(maps.Keys(m)) {
			v, ok := scalar(m[key])
			if !ok {
				continue
			}
			for _, x := range s.entrySecrets(key, v) {
				if x.key != "" && s.namesOwn(o, x) {
					continue
				}
				at := spot{entry: "data\x00" + key}
				if x.key != "" {
					at = spot{}
				}
				s.addIn(o, at, RuleEnv, "entry of a ConfigMap", "", "data."+key+x.beside(), x.text, x.also...)
			}
		}
	}
	m, ok := o.Object["binaryData"].(map[string]any)
	if !ok {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v, ok := m[key].(string)
		if !ok {
			continue
		}
		b, err := decodeBase64(v)
		if err != nil {
			continue // what it is, nobody can read
		}
		at := spot{entry: "binaryData\x00" + key, secret: true, encoded: utf8.Valid(b)}
		if bytes.HasPrefix(b, jksMagic) || keyStore.MatchString(key) || bytes.Contains(b, []byte("PRIVATE KEY-----")) && len(keys(string(b), []int{1})) > 0 {
			s.addIn(o, at, RuleEnv, "key in a ConfigMap", "", "binaryData."+key, v, string(b))
			continue
		}
		if !utf8.Valid(b) {
			continue
		}
		for _, x := range s.entrySecrets(key, string(b)) {
			s.addIn(o, at, RuleEnv, "entry of a ConfigMap", "", "binaryData."+key+x.beside(), v, append(x.also, x.text)...)
		}
	}
}

// namesOwn reports whether what a configuration file says is the name of a Secret of
// the release: it begins as the names of its objects do.
func (s *scan) namesOwn(o *manifest.Object, x secret) bool {
	if !referenceName.MatchString(x.key) || !namesObject(x.text) || strings.Contains(strings.ToLower(x.key), "client") {
		return false
	}
	return s.secretNames()[x.text] || slices.ContainsFunc([]string{s.rel.Info.Chart, s.rel.Info.ReleaseName, o.GetName()}, func(name string) bool {
		return name != "" && strings.HasPrefix(x.text, name+"-")
	})
}

// jksMagic begins a Java key store.
var jksMagic = []byte("\xfe\xed\xfe\xed")

// entrySecrets returns the secrets of one entry of a ConfigMap.
func (s *scan) entrySecrets(key, v string) []secret {
	if strings.Contains(v, "\n") {
		return insideOf(v, key)
	}
	return s.secretsOf(key, v, literalSecret)
}

func (s *scan) arguments(o *manifest.Object, container string, args []string) {
	found := map[int]bool{}
	for i, a := range args {
		name, whole := "", a
		if m := option.FindStringSubmatch(a); m != nil && namesSecret(m[1]) {
			name, whole = m[1], m[2]
		} else if i > 0 && strings.HasPrefix(args[i-1], "-") && !strings.ContainsAny(args[i-1], "= ") && !strings.HasPrefix(a, "-") {
			name = strings.TrimLeft(args[i-1], "-")
		}
		isSecret := literalSecret
		if strings.HasSuffix(strings.ToLower(name), "secret") {
			isSecret = secretKey // "--secret my-tls" names one
		}
		var list []secret
		switch script := strings.ContainsAny(a, " \n") && (name == "c" || strings.HasSuffix(name, "c") && len(name) < 4 || strings.ContainsAny(a, "\n")); {
		case script:
			list = insideOf(a, "command.sh")
		case name == "":
			list = insideOf(a, "")
		default:
			list = s.secretsOf(name, whole, isSecret)
		}
		for _, x := range list {
			at := spot{}
			if x.key == "" {
				at.argument = name + "\x00" + strings.TrimSpace(x.text)
			}
			found[i] = true
			s.addIn(o, at, RuleEnv, "argument", container, "argument "+cmp.Or(name, x.key, strconv.Itoa(i)), x.text, x.also...)
		}
	}
	for _, p := range passwords(args) {
		v, before := args[p.word], args[p.word-1]
		if found[p.word] || !isTyped(v[p.from:p.to]) {
			continue
		}
		s.addIn(o, spot{argument: strings.TrimLeft(before, "-") + "\x00" + v}, RuleEnv, "argument", container, "argument password", v, v[p.from:p.to])
	}
}

// option matches "--db-password=…" and "-token …": an argument is one word, whatever is in it.
var option = lazily(`(?s)^--?([A-Za-z][-_.A-Za-z0-9]*)[= ](.+)$`)
