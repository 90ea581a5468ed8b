package secrets

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// found is one secret at one place, in clear: in memory only.
type found struct {
	place Place
	value string   // as it stands there
	also  []string // other texts that must not be seen either: decoded, parts

	object *manifest.Object // that it stands in; nil outside of the rendering
	spot   spot             // where in it
}

// Scan looks for secrets in the true content of a release, before anything of
// it is sealed. What it returns is for that release only: a Redactor for all
// that is written about it, artifacts as well as error texts, and the report.
// An error means that nothing may be written.
func Scan(ctx context.Context, rel *chart.Release) (*Report, *Redactor, error) {
	set, err := rel.Objects()
	if err != nil {
		return nil, nil, err
	}
	s := &scan{rel: rel, set: set, names: map[string]int{}, known: map[uint64]struct{}{}, index: map[string][]int{}}
	if err := s.objects(); err != nil {
		return nil, nil, err
	}
	s.values()
	if err := s.texts(ctx); err != nil {
		return nil, nil, err
	}
	red, err := newRedactor(s.found, rel, set)
	if err != nil {
		return nil, nil, err
	}
	counts := red.forms.count(rel.Manifests)
	rep := &Report{Places: []Place{}, Scanned: Scanned{Files: s.files, Objects: len(set.Objects)}}
	for _, f := range s.found {
		f.place.Length = lengthClass(f.value)
		f.place.Occurrences = max(1, occurrences(counts, f.value))
		f.place.Partial = red.isPartial(f.value)
		rep.Places = append(rep.Places, f.place)
	}
	slices.SortStableFunc(rep.Places, comparePlaces)
	return rep, red, nil
}

func comparePlaces(a, b Place) int {
	return cmp.Or(strings.Compare(a.Target.File, b.Target.File), cmp.Compare(a.Target.Line, b.Target.Line),
		strings.Compare(a.Target.String(), b.Target.String()), strings.Compare(a.Key, b.Key), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Detail, b.Detail))
}

// lengthClass says how long a secret is without saying it exactly.
func lengthClass(v string) string {
	if v == "" {
		return "a file"
	}
	for _, n := range []int{8, 16, 32, 64, 256} {
		if len(v) < n {
			return "under " + strconv.Itoa(n)
		}
	}
	return "256 and more"
}

type scan struct {
	rel   *chart.Release
	set   *manifest.ObjectSet
	found []found
	files int
	names map[string]int      // places by what a finding's id is made of
	known map[uint64]struct{} // hashes of the source lines that were scanned

	index   map[string][]int // of found, for near
	indexed int
}

// add notes a secret outside of the objects.
func (s *scan) add(rule, detail string, t evidence.Target, key, value string) {
	s.note(found{place: Place{Rule: rule, Detail: detail, Target: t, Key: key}, value: value})
}

// addIn notes a secret in an object.
func (s *scan) addIn(o *manifest.Object, at spot, rule, detail, container, key, value string, also ...string) {
	s.note(found{place: Place{Rule: rule, Detail: detail, Target: o.Target(container), Key: key}, value: value, also: also, object: o, spot: at})
}

// note notes a secret. Values that rendering made up in the place of generated
// ones are none: CHT-5 reports them.
func (s *scan) note(f found) {
	if f.value == "" || chart.IsGenerated(f.value) {
		return
	}
	t, key := f.place.Target, f.place.Key
	id := strings.Join([]string{f.place.Rule, f.place.Detail, t.APIVersion, t.Kind, t.Namespace, t.Name, t.Container, t.File, key}, "\x00")
	if s.names[id]++; s.names[id] > 1 {
		f.place.Key += fmt.Sprintf(" (%d)", s.names[id])
	}
	s.found = append(s.found, f)
}

// objects looks at Secrets, ConfigMaps and the environment of containers.
func (s *scan) objects() error {
	extra, err := manifest.ParsePodTemplates(s.rel.Info.PodTemplates)
	if err != nil {
		return err
	}
	for i := range s.set.Objects {
		o := &s.set.Objects[i]
		if o.GroupVersionKind().Group == "" {
			switch o.GetKind() {
			case "Secret":
				s.secret(o)
			case "ConfigMap":
				s.configMap(o)
			}
		}
		for _, w := range o.Workloads(extra) {
			if w.As != nil {
				s.podEnv(o, w.As)
			}
		}
	}
	return nil
}

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
			if isPublic(key, plain) || strings.Contains(plain, "\n") && !s.holdsSecret(key, plain) {
				continue
			}
			at := spot{entry: field + "\x00" + key, encoded: encoded, secret: true}
			s.addIn(o, at, RuleData, field, "", field+"."+key, v, append([]string{plain}, jsonSecrets(plain)...)...)
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
// names, addresses, switches. A name that says secret is never public.
func isPublic(key, plain string) bool {
	plain = strings.TrimSpace(plain)
	if plain == "" || isPublicKey(plain) || strings.Contains(plain, "\n") {
		return plain == "" || isPublicKey(plain)
	}
	if namesSecret(key) {
		return false
	}
	if _, ok := urlPassword(plain); ok {
		return false
	}
	return publicEntry.MatchString(key) || switchValue.MatchString(plain)
}

// holdsSecret reports whether a file in a Secret can be one. Whoever keeps a
// configuration file in a Secret usually does so for what can be added to it:
// without a key that names a secret, and a value to it, there is none.
func (s *scan) holdsSecret(key, plain string) bool {
	return strings.Contains(plain, "PRIVATE KEY") || !looksLikeConfig(plain) || namesSecret(key) || len(configSecrets(plain)) > 0
}

// configMap looks at entries by their names, and at addresses with passwords.
func (s *scan) configMap(o *manifest.Object) {
	m, ok := o.Object["data"].(map[string]any)
	if !ok {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(m)) {
		v, ok := scalar(m[key])
		if !ok {
			continue
		}
		if strings.Contains(v, "\n") {
			if p, ok := urlPassword(v); ok {
				s.addIn(o, spot{}, RuleEnv, "address in a ConfigMap", "", "data."+key, p)
			}
			continue
		}
		if secret, ok := secretLiteral(key, v); ok {
			s.addIn(o, spot{entry: "data\x00" + key}, RuleEnv, "entry of a ConfigMap", "", "data."+key, secret)
		}
	}
}

// podEnv looks at literal variables and arguments of all containers.
func (s *scan) podEnv(o, as *manifest.Object) {
	tpl, ok, err := as.PodTemplate()
	if !ok || err != nil {
		return // what is no pod template is reported by the collectors that judge it
	}
	look := func(container string, env map[string]string, args []string) {
		for _, name := range slices.Sorted(maps.Keys(env)) {
			if secret, ok := secretLiteral(name, env[name]); ok {
				s.addIn(o, spot{variable: name + "\x00" + strings.TrimSpace(secret)}, RuleEnv, "literal", container, "env "+name, secret)
			}
		}
		for i, a := range args {
			name, value := "", a
			if m := secretArgument.FindStringSubmatch(a); m != nil {
				name, value = m[1], m[2]
			} else if i > 0 && strings.HasPrefix(args[i-1], "-") && !strings.HasPrefix(a, "-") {
				name = strings.TrimLeft(args[i-1], "-")
			}
			if secret, ok := secretLiteral(name, value); ok && !strings.Contains(secret, "\n") {
				s.addIn(o, spot{argument: name + "\x00" + strings.TrimSpace(secret)}, RuleEnv, "argument", container, "argument "+cmp.Or(name, strconv.Itoa(i)), secret)
			}
		}
	}
	for _, c := range slices.Concat(tpl.Spec.InitContainers, tpl.Spec.Containers) {
		env := map[string]string{}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				env[e.Name] = e.Value
			}
		}
		look(c.Name, env, slices.Concat(c.Command, c.Args))
	}
	for _, c := range tpl.Spec.EphemeralContainers {
		env := map[string]string{}
		for _, e := range c.Env {
			if e.ValueFrom == nil {
				env[e.Name] = e.Value
			}
		}
		look(c.Name, env, slices.Concat(c.Command, c.Args))
	}
}

// values looks at the coalesced values by their keys.
func (s *scan) values() {
	w := &valueWalk{scan: s, user: s.rel.UserValues}
	w.walk(s.rel.Values, nil, 0)
}

// valueWalk finds secrets among values and where they were written.
type valueWalk struct {
	*scan
	user  map[string]any
	lines map[string]map[string]int // per values file: path → line
}

func (w *valueWalk) walk(v any, path []string, depth int) {
	if depth > 200 {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(x)) {
			p := append(slices.Clone(path), k)
			if text, ok := scalar(x[k]); ok {
				if secret, ok := secretLiteral(k, text); ok {
					w.note("key", p, k, secret)
				}
				continue
			}
			// A list of passwords or tokens.
			if list, ok := x[k].([]any); ok && namesSecret(strings.TrimSuffix(k, "s")) {
				for i, e := range list {
					if text, ok := scalar(e); ok && secretKey(strings.TrimSuffix(k, "s"), text) {
						w.note("list", append(slices.Clone(p), strconv.Itoa(i)), k, text)
					}
				}
			}
			w.walk(x[k], p, depth+1)
		}
	case []any:
		for i, e := range x {
			p := append(slices.Clone(path), strconv.Itoa(i))
			// {name: DB_PASSWORD, value: …} is an environment variable.
			if m, ok := e.(map[string]any); ok {
				name, _ := m["name"].(string)
				if text, ok := scalar(m["value"]); ok {
					if secret, ok := secretLiteral(name, text); ok {
						w.note("variable", append(slices.Clone(p), "value"), name, secret)
					}
				}
			}
			w.walk(e, p, depth+1)
		}
	}
}

// note adds a secret among the values with the file that it comes from.
func (w *valueWalk) note(detail string, path []string, name, value string) {
	t := evidence.Target{Kind: "Chart", Name: w.rel.Info.Chart}
	if given(w.user, path) {
		detail += ", given by the user"
	} else {
		t.File, t.Line = w.locate(path)
	}
	key := strings.Join(path, ".")
	if detail == "variable" || strings.HasPrefix(detail, "variable,") {
		key += " " + name
	}
	w.add(RuleValuesKey, detail, t, key, value)
}

// given reports whether the user's own values have something at the path.
func given(v any, path []string) bool {
	for _, p := range path {
		switch x := v.(type) {
		case map[string]any:
			e, ok := x[p]
			if !ok {
				return false
			}
			v = e
		case []any:
			i, err := strconv.Atoi(p)
			if err != nil || i >= len(x) {
				return false
			}
			v = x[i]
		default:
			return false
		}
	}
	return len(path) > 0
}

// locate returns the values file of the chart, or of the subchart whose values
// they are, that has the path, and the line.
func (w *valueWalk) locate(path []string) (file string, line int) {
	for n := 0; n < len(path); n++ {
		name := "values.yaml"
		if n > 0 {
			name = "charts/" + strings.Join(path[:n], "/charts/") + "/values.yaml"
		}
		if l, ok := w.linesOf(name)[strings.Join(path[n:], "\x00")]; ok {
			return name, l
		}
	}
	return "values.yaml", 0
}

func (w *valueWalk) linesOf(name string) map[string]int {
	if lines, ok := w.lines[name]; ok {
		return lines
	}
	if w.lines == nil {
		w.lines = map[string]map[string]int{}
	}
	var lines map[string]int
	i, ok := slices.BinarySearchFunc(w.rel.Files, name, func(f chart.File, n string) int { return strings.Compare(f.Name, n) })
	if ok {
		lines = yamlLines(bytes.TrimPrefix(w.rel.Files[i].Data, []byte("\xef\xbb\xbf")))
	}
	w.lines[name] = lines
	return lines
}

// scalar returns the text of a string or number.
func scalar(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case int64:
		return strconv.FormatInt(x, 10), true
	case int:
		return strconv.Itoa(x), true
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64), true
	case uint64:
		return strconv.FormatUint(x, 10), true
	}
	return "", false
}
