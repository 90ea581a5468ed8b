// Package monitoring holds templates/monitoring to Prometheus, promtool, Alertmanager
// and amtool, and to the metrics that testdata/metrics.txt lists.
package monitoring

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/test/monitoring/promtest"
)

const templates = promtest.Templates

// decodeSome decodes what into has fields for.
func decodeSome(t *testing.T, raw []byte, into any) {
	t.Helper()
	if err := yaml.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, dir, program string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestAlerts: every alert has what somebody who gets it needs.
func TestAlerts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, r := range promtest.ReadRules(t).Alerts() {
		if seen[r.Key()+r.Labels["window"]] {
			t.Errorf("%s is there twice", r.Key())
		}
		seen[r.Key()+r.Labels["window"]] = true
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
		}
		if want := "https://github.com/companyos/helmproof/blob/main/docs/runbooks/" + r.Alert + ".md"; r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q", r.Alert, r.Annotations["runbook_url"])
		}
		if r.Annotations["summary"] == "" || !strings.HasSuffix(r.Annotations["description"], ".") {
			t.Errorf("%s: no summary, or no description in whole sentences", r.Alert)
		}
		if regexp.MustCompile(`\bby \([^)]*\b(instance|pod)\b`).MatchString(r.Expr) {
			t.Errorf("%s differs by the replica of watch that leads: %s", r.Alert, r.Expr)
		}
	}
	if len(seen) < 20 {
		t.Errorf("%d alerts", len(seen))
	}
}

// TestPromtool: the rules are well-formed, and fire and do not fire as
// templates/monitoring/tests says.
func TestPromtool(t *testing.T) {
	t.Parallel()
	promtool := promtest.Tool(t, "promtool")
	if out, err := run(t, templates, promtool, "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if out, err := run(t, templates, promtool, "test", "rules", "tests/budget.yaml", "tests/cluster.yaml", "tests/evidence.yaml", "tests/watch.yaml"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// TestPromtoolNotices: with alerts that never fire, and with alerts that always do,
// the tests of each alert fail. So there is one that it fires, and one that it does not.
func TestPromtoolNotices(t *testing.T) {
	t.Parallel()
	promtool := promtest.Tool(t, "promtool")
	expected := regexp.MustCompile(`(?m)expr: "ALERTS\{alertname=.*\n +exp: (.*)$`)
	for name, expr := range map[string]string{"never": "vector(0) > 1", "always": "vector(1)"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			rules := promtest.ReadRules(t)
			alerts := rules.Alerts()
			rules.Edit(t, filepath.Join(dir, "rules.yaml"), func(r *promtest.Rule) {
				if r.Alert != "" {
					r.Expr, r.For = expr, ""
				}
			})
			if err := os.CopyFS(filepath.Join(dir, "tests"), os.DirFS(filepath.Join(templates, "tests"))); err != nil {
				t.Fatal(err)
			}
			out, err := run(t, dir, promtool, "test", "rules", "tests/budget.yaml", "tests/cluster.yaml", "tests/evidence.yaml", "tests/watch.yaml")
			if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, r := range alerts {
				failed := slices.ContainsFunc(expected.FindAllStringSubmatch(out, -1), func(m []string) bool {
					if name == "always" {
						return m[1] == "nil" && strings.Contains(m[0], `alertname=\"`+r.Alert+`\"`)
					}
					return strings.Contains(m[1], `alertname="`+r.Alert+`"`) && strings.Contains(m[1], `severity="`+r.Labels["severity"]+`"`)
				})
				if !failed {
					t.Errorf("no test notices that %s %s fires", r.Key(), name)
				}
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}
