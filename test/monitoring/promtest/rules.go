// Package promtest runs the rules of templates/monitoring in a real Prometheus, for
// tests that scrape helmproof watch or what stands in for it. Its paths are those of
// tests two folders below the project.
package promtest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// Templates is the folder of rules and dashboards.
const Templates = "../../templates/monitoring"

// RuleFile is a file of rules.
type RuleFile struct {
	Groups []RuleGroup `json:"groups"`
}

// RuleGroup are rules that are evaluated together.
type RuleGroup struct {
	Name  string `json:"name"`
	Rules []Rule `json:"rules"`
}

// Rule records a series, or is an alert.
type Rule struct {
	Record        string            `json:"record,omitempty"`
	Alert         string            `json:"alert,omitempty"`
	Expr          string            `json:"expr"`
	For           string            `json:"for,omitempty"`
	KeepFiringFor string            `json:"keep_firing_for,omitempty"`
	Labels        map[string]string `json:"labels,omitempty"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

// Key tells rules of one alert apart.
func (r Rule) Key() string { return r.Alert + " " + r.Labels["severity"] }

// ReadRules reads rules.yaml.
func ReadRules(t *testing.T) RuleFile {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(Templates, "rules.yaml"))
	var f RuleFile
	if err == nil {
		err = yaml.UnmarshalStrict(raw, &f)
	}
	if err != nil {
		t.Fatalf("read the rules: %v", err)
	}
	return f
}

// Alerts are the rules that are alerts.
func (f RuleFile) Alerts() []Rule {
	var out []Rule
	for _, g := range f.Groups {
		out = append(out, slices.DeleteFunc(slices.Clone(g.Rules), func(r Rule) bool { return r.Alert == "" })...)
	}
	return out
}

// Edit changes every rule and writes the file.
func (f RuleFile) Edit(t *testing.T, file string, change func(*Rule)) {
	t.Helper()
	for i := range f.Groups {
		for j := range f.Groups[i].Rules {
			change(&f.Groups[i].Rules[j])
		}
	}
	raw, err := yaml.Marshal(f)
	if err = errors.Join(err, os.WriteFile(file, raw, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// Tool is the path of a program that make builds from tools/prometheus. Where it was
// built for no test, the test is skipped.
func Tool(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("HELMPROOF_TEST_PROMETHEUS")
	if dir == "" {
		t.Skip("HELMPROOF_TEST_PROMETHEUS is not set: `make rules-test` builds the programs and sets it")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// DashboardQueries are all queries of the dashboards, with what Grafana fills in, by
// file, panel and name.
func DashboardQueries(t *testing.T) map[string]string {
	t.Helper()
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$namespace", ".*")
	files, err := filepath.Glob(Templates + "/dashboards/*.json")
	if err != nil || len(files) < 4 {
		t.Fatalf("%d dashboards (%v)", len(files), err)
	}
	out := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var d struct {
			Panels []struct {
				Title   string
				Targets []struct{ Expr, RefID string }
			}
		}
		if err := yaml.Unmarshal(raw, &d); err != nil {
			t.Fatal(err)
		}
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				out[filepath.Base(file)+": "+p.Title+" "+q.RefID] = fill.Replace(q.Expr)
			}
		}
	}
	if len(out) < 30 {
		t.Fatalf("%d queries", len(out))
	}
	return out
}
