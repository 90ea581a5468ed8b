package secrets

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/zricethezav/gitleaks/v8/detect"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// maxScanned bounds one text that is scanned by gitleaks' rules, in bytes: what
// is longer is scanned in its first part, and that is said.
const maxScanned = 8 << 20

// detector is gitleaks' own with its own rules; loading takes some 80 ms.
var detector = sync.OnceValues(detect.NewDetectorDefaultConfig)

// found is one secret at one place, in clear: in memory only.
type found struct {
	place Place
	value string
}

// Scan looks for secrets in the true content of a release, before anything of
// it is sealed. The redactor is never nil.
func Scan(ctx context.Context, rel *collectors.Release) (*Report, collectors.Redactor, error) {
	set, err := rel.Objects()
	if err != nil {
		return nil, nil, err
	}
	s := &scan{rel: rel, set: set, seen: map[string]bool{}}
	s.structure()
	s.values()
	if err := s.texts(ctx); err != nil {
		return nil, nil, err
	}
	red := newRedactor(s.found, identifiers(set, rel))
	if err := red.settle(rel.Manifests, set); err != nil {
		return nil, nil, err
	}
	rep := &Report{Places: []Place{}, Scanned: Scanned{Files: s.files, Objects: len(set.Objects)}}
	for _, f := range s.found {
		f.place.Partial = red.partial[f.value]
		if !slices.Contains(rep.Places, f.place) {
			rep.Places = append(rep.Places, f.place)
		}
	}
	return rep, red, nil
}

type scan struct {
	rel   *collectors.Release
	set   *collectors.ObjectSet
	found []found
	files int
	seen  map[string]bool // trimmed source lines that were scanned already
}

func (s *scan) add(rule, detail string, t evidence.Target, key, value string) {
	if value == "" || collectors.IsGenerated(value) {
		return
	}
	s.found = append(s.found, found{Place{Rule: rule, Detail: detail, Target: t, Key: key}, value})
}

// structure looks at Secrets and at the environment of containers.
func (s *scan) structure() {
	for i := range s.set.Objects {
		o := &s.set.Objects[i]
		if o.GetKind() == "Secret" && o.GroupVersionKind().Group == "" {
			s.secret(o)
		}
		if tpl, ok, err := o.PodTemplate(); ok && err == nil {
			for _, c := range slices.Concat(tpl.Spec.InitContainers, tpl.Spec.Containers) {
				for _, e := range c.Env {
					if e.ValueFrom == nil && secretLiteral(e.Name, e.Value) {
						s.add(RuleEnv, "literal", o.Target(c.Name), "env "+e.Name, e.Value)
					}
				}
			}
		}
	}
}

func (s *scan) secret(o *collectors.Object) {
	if o.Object["type"] == "helm.sh/release.v1" {
		return
	}
	for _, field := range []string{"data", "stringData"} {
		m, ok := o.Object[field].(map[string]any)
		if !ok {
			continue
		}
		for _, key := range sortedKeys(m) {
			v, ok := m[key].(string)
			if !ok || isPublic(key, v, field == "data") {
				continue
			}
			s.add(RuleData, field, o.Target(""), field+"."+key, v)
			if field == "data" {
				if plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v)); err == nil && utf8.Valid(plain) && !collectors.IsGenerated(v) {
					// The same value elsewhere in clear is redacted too.
					s.found = append(s.found, found{Place{Rule: RuleData, Detail: field, Target: o.Target(""), Key: field + "." + key}, string(plain)})
				}
			}
		}
	}
}

// isPublic are the parts of a Secret that are no secrets: certificates, user
// names and the like.
func isPublic(key, v string, encoded bool) bool {
	if encoded {
		plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(v))
		if err != nil {
			return false
		}
		v = string(plain)
	}
	v = strings.TrimSpace(v)
	return v == "" || strings.HasPrefix(v, "-----BEGIN CERTIFICATE") && !strings.Contains(v, "PRIVATE KEY") ||
		strings.HasPrefix(v, "-----BEGIN PUBLIC KEY") || slices.Contains([]string{"username", "user", "host", "port", "database", "ca.crt", "namespace"}, strings.ToLower(key))
}

// values looks at the coalesced values by their keys.
func (s *scan) values() {
	lines := map[string]int{}
	for _, f := range s.rel.Files {
		if f.Name == "values.yaml" {
			for i, l := range bytes.Split(f.Data, []byte("\n")) {
				k, _, ok := bytes.Cut(bytes.TrimSpace(l), []byte(":"))
				if key := strings.Trim(string(k), `"'- `); ok && lines[key] == 0 {
					lines[key] = i + 1
				}
			}
		}
	}
	s.walk(s.rel.Values, "", lines, 0)
}

func (s *scan) walk(v any, at string, lines map[string]int, depth int) {
	if depth > 64 {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		for _, k := range sortedKeys(x) {
			p := strings.TrimPrefix(at+"."+k, ".")
			if text, ok := scalar(x[k]); ok && secretKey(k, text) {
				t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart, File: "values.yaml", Line: lines[k]}
				s.add(RuleValuesKey, "key", t, p, text)
			}
			s.walk(x[k], p, lines, depth+1)
		}
	case []any:
		for i, e := range x {
			// {name: DB_PASSWORD, value: …} in a list is an environment variable.
			if m, ok := e.(map[string]any); ok {
				name, _ := m["name"].(string)
				if text, ok := scalar(m["value"]); ok && secretLiteral(name, text) {
					t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart, File: "values.yaml", Line: lines["name"]}
					s.add(RuleValuesKey, "variable", t, fmt.Sprintf("%s[%d] %s", at, i, name), text)
				}
			}
			s.walk(e, fmt.Sprintf("%s[%d]", at, i), lines, depth+1)
		}
	}
}

func scalar(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case int64, int, float64, uint64:
		return fmt.Sprint(x), true
	}
	return "", false
}

// texts runs gitleaks' rules over the chart's files and over what of the
// rendering is not there literally.
func (s *scan) texts(ctx context.Context) error {
	for _, f := range s.rel.Files {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if !scannable(f) {
			continue
		}
		s.files++
		text, ok, err := interesting(f.Data, nil)
		if err != nil {
			return err
		}
		for line := range bytes.Lines(f.Data) {
			s.seen[string(bytes.TrimSpace(line))] = true
		}
		if ok {
			t := evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart, File: f.Name}
			if err := s.gitleaks(text, func(line int) evidence.Target { t.Line = line; return t }); err != nil {
				return err
			}
		}
	}
	text, ok, err := interesting(s.rel.Manifests, s.seen)
	if err != nil || !ok {
		return err
	}
	return s.gitleaks(text, func(line int) evidence.Target {
		for i := range s.set.Objects {
			if o := &s.set.Objects[i]; o.From <= line && line <= o.To {
				return o.Target("")
			}
		}
		return evidence.Target{Kind: "Chart", Name: s.rel.Info.Chart}
	})
}

// scannable are the files that could hold a secret that gets into a cluster;
// documentation, lock files, CRDs and what is not text are left out.
func scannable(f collectors.File) bool {
	base := path.Base(f.Name)
	switch {
	case strings.HasSuffix(base, ".md"), base == "LICENSE", base == "Chart.lock", base == "values.schema.json", strings.HasSuffix(base, ".tgz"),
		strings.HasSuffix(base, ".prov"), strings.HasPrefix(f.Name, "crds/"), strings.Contains(f.Name, "/crds/"):
		return false
	}
	return bytes.IndexByte(f.Data[:min(len(f.Data), 8000)], 0) < 0
}

func (s *scan) gitleaks(text string, where func(line int) evidence.Target) error {
	d, err := detector()
	if err != nil {
		return fmt.Errorf("load gitleaks' rules: %w", err)
	}
	for _, f := range d.DetectString(text) {
		if strings.Contains(f.Secret, "{{") || f.RuleID == "kubernetes-secret-yaml" || isReference(f.Secret) {
			continue // a template, or what structure judges better
		}
		// gitleaks counts lines of a text from 0.
		s.add(RuleGitleaks, f.RuleID, where(f.StartLine+1), "", f.Secret)
	}
	return nil
}
