package secrets

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

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
	named map[string]bool     // names of Secrets that the release knows, for secretNames
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
		s.annotations(o)
		known, unknown := false, false
		for _, w := range o.Workloads(extra) {
			if w.As != nil {
				s.podEnv(o, w.As)
				known = true
			} else {
				unknown = true
			}
		}
		if unknown && !known {
			// Nobody knows what becomes of it; it is sealed all the same.
			s.anything(o, "", "", o.Object["spec"], secretKey, 0)
		} else if !known {
			s.fields(o)
		}
		if gk := o.GroupVersionKind().GroupKind(); gk.Group == "tekton.dev" && gk.Kind == "StepAction" {
			if spec, ok := o.Object["spec"].(map[string]any); ok {
				c, _ := runsOf(spec) // what is odd in it is looked at as well
				s.container(o, &c)
			}
		}
	}
	return nil
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
				if _, named := x["name"].(string); k == "value" && named {
					continue // it was looked at with its name
				}
				w.noteAll("key", p, k, text)
				continue
			}
			// A list of passwords or tokens.
			if list, ok := x[k].([]any); ok && namesSecret(strings.TrimSuffix(k, "s")) && !areVerbs(list) {
				for i, e := range list {
					if text, ok := scalar(e); ok && secretKey(strings.TrimSuffix(k, "s"), text) {
						w.note("list", append(slices.Clone(p), strconv.Itoa(i)), k, secret{text: text})
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
					w.noteAll("variable", append(slices.Clone(p), "value"), name, text)
				}
			}
			if text, ok := e.(string); ok {
				w.noteAll("list", p, "", text)
			}
			w.walk(e, p, depth+1)
		}
	}
}

// areVerbs reports whether a list under "secrets" is what a role may do with them.
func areVerbs(list []any) bool {
	return !slices.ContainsFunc(list, func(e any) bool {
		verb, _ := e.(string)
		return !slices.Contains([]string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*"}, verb)
	})
}

// noteAll adds the secrets of one text among the values.
func (w *valueWalk) noteAll(detail string, path []string, name, text string) {
	for _, x := range w.secretsOf(name, text, secretKey) {
		w.note(detail, path, name, x)
	}
}

// note adds a secret among the values with the file that it comes from.
func (w *valueWalk) note(detail string, path []string, name string, x secret) {
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
	w.scan.note(found{place: Place{Rule: RuleValuesKey, Detail: detail, Target: t, Key: key + x.beside()}, value: x.text, also: x.also})
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
