package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const (
	dir     = "../../templates/monitoring"
	metrics = "../../test/monitoring/testdata/metrics.txt"
)

// variables stand for what Grafana fills in.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h", "$namespace", ".*")

// TestGenerated: what is committed is what this program makes.
func TestGenerated(t *testing.T) {
	t.Parallel()
	files, err := generate(dir)
	if err != nil {
		t.Fatal(err)
	}
	have, err := filepath.Glob(dir + "/dashboards/*")
	if err != nil || len(have) != len(files)-1 {
		t.Errorf("%d files in dashboards, want %d (%v)", len(have), len(files)-1, err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s has drifted (%v): run make dashboards", name, err)
		}
	}
}

// TestKustomization: the objects are those of the Prometheus operator, field by field;
// the rule has the very groups of rules.yaml, and each dashboard is a ConfigMap.
func TestKustomization(t *testing.T) {
	t.Parallel()
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, o := range objects.Resources() {
		raw, err := o.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		kinds[o.GetKind()]++
		switch o.GetKind() {
		case "PrometheusRule":
			var rule monitoring.PrometheusRule
			var plain monitoring.PrometheusRuleSpec
			rules, err := os.ReadFile(dir + "/rules.yaml")
			if err == nil {
				err = errors.Join(yaml.UnmarshalStrict(rules, &plain), yaml.UnmarshalStrict(raw, &rule))
			}
			if err != nil || len(plain.Groups) < 5 || !reflect.DeepEqual(rule.Spec, plain) {
				t.Errorf("rules.yaml has other groups than the PrometheusRule (%v)", err)
			}
		case "ServiceMonitor":
			var m monitoring.ServiceMonitor
			if err := yaml.UnmarshalStrict(raw, &m); err != nil || len(m.Spec.Endpoints) != 1 || !m.Spec.Endpoints[0].HonorLabels {
				t.Errorf("the ServiceMonitor does not decode, or renames the namespaces of metrics (%v)", err)
			}
		case "ConfigMap":
			var m corev1.ConfigMap
			if err := yaml.UnmarshalStrict(raw, &m); err != nil || len(m.Data) != 1 || m.Labels["grafana_dashboard"] != "1" {
				t.Errorf("ConfigMap %s: %v", m.Name, err)
			}
			for file, text := range m.Data {
				if want, err := os.ReadFile(filepath.Join(dir, "dashboards", file)); err != nil || text != string(want) {
					t.Errorf("ConfigMap %s is not dashboard %s (%v)", m.Name, file, err)
				}
			}
		}
	}
	if want := map[string]int{"PrometheusRule": 1, "ServiceMonitor": 1, "ConfigMap": len(committed(t))}; !maps.Equal(kinds, want) {
		t.Errorf("kinds %v, want %v", kinds, want)
	}
}

// TestSchema: Grafana's own types, by which its schema is published, know every field.
func TestSchema(t *testing.T) {
	t.Parallel()
	plugins.RegisterDefaultPlugins()
	for name, raw := range committed(t) {
		var d dashboard.Dashboard
		if err := strictly(raw, &d); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		other := bytes.Replace(raw, []byte(`"gridPos"`), []byte(`"gridpos"`), 1)
		if err := strictly(other, &dashboard.Dashboard{}); err == nil || !strings.Contains(err.Error(), "gridpos") {
			t.Errorf("%s: a field that there is not: %v", name, err)
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		seen := map[string]bool{}
		for _, p := range d.Panels {
			if p.Panel == nil || seen[*p.Panel.Title] || len(p.Panel.Targets) == 0 {
				t.Errorf("%s: a panel without queries, or two of one title: %+v", name, p.Panel)
				continue
			}
			seen[*p.Panel.Title] = true
			if g := p.Panel.GridPos; g.X+g.W > 24 {
				t.Errorf("%s: %q stands out of the dashboard: %+v", name, *p.Panel.Title, *g)
			}
		}
	}
}

// strictly decodes, and refuses what does not come out again: a field that Grafana's
// types do not have.
func strictly(raw []byte, d *dashboard.Dashboard) error {
	if err := json.Unmarshal(raw, d); err != nil {
		return err
	}
	again, err := marshal(*d)
	if err != nil {
		return err
	}
	lines := strings.Split(string(again), "\n")
	for i, line := range strings.Split(string(raw), "\n") {
		if i >= len(lines) || lines[i] != line {
			return fmt.Errorf("line %d is not of the schema: %s", i+1, line)
		}
	}
	return nil
}

func committed(t *testing.T) map[string][]byte {
	t.Helper()
	names, err := filepath.Glob(dir + "/dashboards/*.json")
	if err != nil || len(names) < 4 {
		t.Fatalf("%d dashboards (%v)", len(names), err)
	}
	out := map[string][]byte{}
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		out[filepath.Base(name)] = raw
	}
	return out
}

// known gives the labels of each metric. Those of what rules.yaml records are those
// that its expression keeps.
func known(t *testing.T) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(metrics)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(strings.Replace(line, "SCOPE", "kind chart release namespace profile", 1)); len(f) > 1 && f[0] != "#" {
			out[f[0]] = append(f[2:], "job", "instance")
		}
	}
	scope := []string{"kind", "chart", "release", "namespace", "profile"}
	for _, recorded := range []string{"helmproof:evidence_age_seconds", "helmproof:verdict", "helmproof:evidence_ok"} {
		out[recorded] = scope
	}
	out["helmproof:evidence_bad:ratio"], out["helmproof:evidence_bad:count"] = nil, nil
	return out
}

// problems says what an expression asks for that is not there.
func problems(expr string, known map[string][]string) []string {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(expr))
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		switch n := n.(type) {
		case *parser.VectorSelector:
			labels, ok := known[n.Name]
			if !ok {
				out = append(out, "no metric "+n.Name)
			}
			for _, m := range n.LabelMatchers {
				if m.Name != "__name__" && !slices.Contains(labels, m.Name) {
					out = append(out, n.Name+" has no label "+m.Name)
				}
			}
		case *parser.AggregateExpr:
			labels := labelsIn(n.Expr, known)
			for _, l := range n.Grouping {
				if !slices.Contains(labels, l) {
					out = append(out, "nothing in "+n.Expr.String()+" has label "+l)
				}
			}
		case *parser.BinaryExpr:
			if n.VectorMatching == nil {
				break
			}
			for _, side := range []parser.Expr{n.LHS, n.RHS} {
				for _, l := range n.VectorMatching.MatchingLabels {
					if n.VectorMatching.On && !slices.Contains(labelsIn(side, known), l) {
						out = append(out, side.String()+" has no label "+l)
					}
				}
			}
		}
		return nil
	})
	return out
}

func labelsIn(n parser.Node, known map[string][]string) []string {
	var out []string
	parser.Inspect(n, func(n parser.Node, _ []parser.Node) error {
		if v, ok := n.(*parser.VectorSelector); ok {
			out = append(out, known[v.Name]...)
		}
		return nil
	})
	return out
}

// TestQueries: every query of the dashboards and the rules is PromQL, asks for metrics
// that there are, and by labels that they have.
func TestQueries(t *testing.T) {
	t.Parallel()
	known := known(t)
	asked := map[string]bool{}
	name := regexp.MustCompile(`[a-zA-Z_:]+`)
	check := func(where, expr string) {
		for _, p := range problems(expr, known) {
			t.Errorf("%s: %s\n%s", where, p, expr)
		}
		for _, n := range name.FindAllString(expr, -1) {
			asked[n] = true
		}
	}
	for file, raw := range committed(t) {
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr string }
			}
		}
		if err := json.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				check(file+": "+p.Title, q.Expr)
			}
		}
	}
	raw, err := os.ReadFile(dir + "/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(raw, false, model.UTF8Validation, parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			check(g.Name+": "+r.Alert+r.Record, r.Expr)
		}
	}
	for _, m := range slices.Sorted(maps.Keys(known)) {
		if !asked[m] {
			t.Errorf("nothing shows %s", m)
		}
	}
}

// TestProblems: what TestQueries would not let through.
func TestProblems(t *testing.T) {
	t.Parallel()
	known := map[string][]string{"m": {"a"}, "n": {"b"}}
	for expr, want := range map[string]string{
		"sum by (a) (m)":              "",
		"m +":                         "unexpected end of input",
		"rate(x[5m])":                 "no metric x",
		`m{b="1"}`:                    "m has no label b",
		"sum by (b) (m)":              "has label b",
		"m - on (a) n":                "n has no label a",
		`{a="1"}`:                     "no metric ",
		"max(m) or sum without (c) n": "unexpected",
	} {
		got := strings.Join(problems(expr, known), "; ")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", expr, got, want)
		}
	}
}
