package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	chartcommon "helm.sh/helm/v4/pkg/chart/common"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/cli"
	kubefake "helm.sh/helm/v4/pkg/kube/fake"
	"helm.sh/helm/v4/pkg/postrenderer"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage"
	"helm.sh/helm/v4/pkg/storage/driver"

	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/harden"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/report"
)

// helmRender renders the chart as `helm template` does, with Helm's own code.
func helmRender(c *chart.Chart, pr postrenderer.PostRenderer, strategy action.PostRenderStrategy) (*release.Release, error) {
	cfg := action.NewConfiguration()
	cfg.Capabilities = chartcommon.DefaultCapabilities
	cfg.Releases = storage.Init(driver.NewMemory())
	cfg.KubeClient = &kubefake.PrintingKubeClient{Out: io.Discard}
	install := action.NewInstall(cfg)
	install.ReleaseName, install.Namespace, install.DryRunStrategy = "plain", "default", action.DryRunClient
	install.PostRenderer, install.PostRenderStrategy = pr, strategy
	install.KubeVersion = &chartcommon.KubeVersion{Version: "v1.35.0", Major: "1", Minor: "35"}
	out, err := install.Run(c, map[string]any{})
	if err != nil {
		return nil, err
	}
	rel, ok := out.(*release.Release)
	if !ok {
		return nil, fmt.Errorf("helm returns %T", out)
	}
	return rel, nil
}

// plugin is templates/helm-plugin as Helm finds and runs it, with this test's own
// program as the helmproof in PATH.
func plugin(t *testing.T) postrenderer.PostRenderer {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "helmproof")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	plugins, err := filepath.Abs(filepath.Join("..", "..", "templates"))
	if err != nil {
		t.Fatal(err)
	}
	settings := cli.New()
	settings.PluginsDirectory = plugins
	pr, err := postrenderer.NewPostRendererPlugin(settings, "helmproof-harden")
	if err != nil {
		t.Fatal(err)
	}
	return pr
}

// identities lists the objects of manifests, sorted, without the budgets that harden added.
func identities(t *testing.T, manifests string) []string {
	t.Helper()
	set, err := manifest.Parse([]byte(manifests))
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, o := range set.Objects {
		if o.GetKind() == "PodDisruptionBudget" && o.GetAnnotations()[harden.Annotation] != "" {
			continue
		}
		ids = append(ids, strings.Join([]string{o.GetAPIVersion(), o.GetKind(), o.GetNamespace(), o.GetName(), o.GetGenerateName()}, " "))
	}
	slices.Sort(ids)
	return ids
}

// hookNotes says everything about hooks that Helm acts on.
func hookNotes(t *testing.T, rel *release.Release) []string {
	t.Helper()
	hooks := slices.Clone(rel.Hooks)
	slices.SortFunc(hooks, func(a, b *release.Hook) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	var notes []string
	for _, h := range hooks {
		notes = append(notes, fmt.Sprint(h.Kind, h.Name, h.Events, h.Weight, h.DeletePolicies, h.OutputLogPolicies, len(identities(t, h.Manifest))))
	}
	return notes
}

// TestHelmPostRenders renders charts with Helm itself, without and with the
// plugin, in each way in which Helm calls one: the same objects and hooks.
// HELMPROOF_CHART_LIST may name a file of further charts.
func TestHelmPostRenders(t *testing.T) {
	pr := plugin(t)
	refs := []string{filepath.Join("testdata", "plainchart")}
	if file := os.Getenv("HELMPROOF_CHART_LIST"); file != "" {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, strings.Fields(string(b))...)
		// The plugin would take it for a misspelled setting.
		t.Setenv("HELMPROOF_CHART_LIST", "")
		if err := os.Unsetenv("HELMPROOF_CHART_LIST"); err != nil {
			t.Fatal(err)
		}
	}
	rendered, budgets, random := 0, 0, 0
	for i, ref := range refs {
		c, err := loader.Load(ref)
		if err != nil {
			t.Logf("%s: not loaded: %v", ref, err)
			continue
		}
		plain, err := helmRender(c, nil, "")
		if err != nil {
			t.Logf("%s: Helm does not render it: %v", ref, err)
			continue
		}
		again, err := helmRender(c, nil, "")
		if err != nil {
			t.Fatalf("%s: a second time: %v", ref, err)
		}
		if gocmp.Diff(identities(t, plain.Manifest), identities(t, again.Manifest))+gocmp.Diff(hookNotes(t, plain), hookNotes(t, again)) != "" {
			random++ // it makes names up
			continue
		}
		strategies := []action.PostRenderStrategy{action.PostRenderStrategyCombined, action.PostRenderStrategySeparate, action.PostRenderStrategyNoHooks}
		if i > 0 {
			strategies = strategies[:1]
		}
		for _, s := range strategies {
			hard, err := helmRender(c, pr, s)
			if err != nil {
				t.Errorf("%s, %s: %v", ref, s, err)
				continue
			}
			if d := gocmp.Diff(identities(t, plain.Manifest), identities(t, hard.Manifest)); d != "" {
				t.Errorf("%s, %s: objects (-before +after):\n%s", ref, s, d)
			}
			if d := gocmp.Diff(hookNotes(t, plain), hookNotes(t, hard)); d != "" {
				t.Errorf("%s, %s: hooks (-before +after):\n%s", ref, s, d)
			}
			rendered++
			budgets += strings.Count(hard.Manifest, harden.Annotation+": podDisruptionBudget")
			if i == 0 && (s == action.PostRenderStrategyNoHooks) == strings.Contains(hard.Hooks[0].Manifest, "runAsNonRoot: true") {
				t.Errorf("%s: hooks hardened or not, the other way round:\n%s", s, hard.Hooks[0].Manifest)
			}
		}
	}
	t.Logf("%d charts, %d renderings, %d budgets added; %d charts make names up", len(refs), rendered, budgets, random)
	if rendered < 3 || budgets < 3 {
		t.Errorf("%d renderings, %d budgets: tests less than it says", rendered, budgets)
	}
}

// TestPostRendererFails holds that Helm stops where harden refuses its input.
func TestPostRendererFails(t *testing.T) {
	pr := plugin(t)
	if out, err := pr.Run(bytes.NewBufferString("a: [")); err == nil || !strings.Contains(err.Error(), "exited with error") {
		t.Errorf("output %v, error %v", out, err)
	}
}

// judgeManifests runs `helmproof check` on manifests.
func judgeManifests(t *testing.T, manifests string) report.ReleaseJSON {
	t.Helper()
	file := filepath.Join(t.TempDir(), "all.yaml")
	if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
		t.Fatal(err)
	}
	_, rel := check(t, "--manifests", file)
	return rel
}

// TestHardenedFindings holds what hardening is for: all stays valid for
// Kubernetes, findings go down, and none is new.
func TestHardenedFindings(t *testing.T) {
	t.Parallel()
	c, err := loader.Load(filepath.Join("testdata", "plainchart"))
	if err != nil {
		t.Fatal(err)
	}
	rel, err := helmRender(c, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	text := rel.Manifest
	for _, h := range rel.Hooks {
		text += "---\n" + h.Manifest + "\n"
	}
	before := judgeManifests(t, text)
	var all harden.Options
	all.Aggressive()
	for _, tt := range []struct {
		name  string
		o     harden.Options
		gone  []string // rules without any finding
		fewer []string // rules with fewer findings
	}{
		{"safe", harden.Options{}, []string{"workload/pdb-selects", "policy/topology-spread"}, nil},
		{"controls", harden.Options{Controls: []evidence.ControlID{"SEC-3", "SEC-4"}}, []string{"policy/seccomp"}, []string{"podsecurity/restricted", "policy/privilege-escalation"}},
		{"all", all,
			[]string{"workload/pdb-selects", "policy/seccomp", "policy/topology-spread"},
			[]string{"podsecurity/restricted", "policy/privilege-escalation", "policy/read-only-root", "policy/liveness-probe", "policy/readiness-probe", "policy/startup-probe"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			res, err := harden.Harden([]byte(text), tt.o)
			if err != nil {
				t.Fatal(err)
			}
			after := judgeManifests(t, string(res.Manifests))
			was, is := open(before), open(after)
			for rule, n := range is {
				if n > was[rule] {
					t.Errorf("%s: %d findings, %d before", rule, n, was[rule])
				}
			}
			valid := 0
			for _, f := range after.Findings {
				if f.Rule == helm.RuleSchema && f.Outcome == evidence.OutcomePass {
					valid++
				}
			}
			if want := len(identities(t, text)) + strings.Count(string(res.Manifests), harden.Annotation+": podDisruptionBudget"); valid != want || is[helm.RuleSchema] > 0 {
				t.Errorf("%d objects are valid for Kubernetes, want %d; %d findings", valid, want, is[helm.RuleSchema])
			}
			for _, rule := range tt.gone {
				if was[rule] == 0 || is[rule] != 0 {
					t.Errorf("%s: %d findings, %d before; want none of some", rule, is[rule], was[rule])
				}
			}
			for _, rule := range tt.fewer {
				if is[rule] >= was[rule] {
					t.Errorf("%s: %d findings, %d before; want fewer", rule, is[rule], was[rule])
				}
			}
			if d := gocmp.Diff(identities(t, text), identities(t, string(res.Manifests))); d != "" {
				t.Errorf("objects (-before +after):\n%s", d)
			}
		})
	}
}

// open counts the findings that need somebody, by rule.
func open(r report.ReleaseJSON) map[string]int {
	n := map[string]int{}
	for _, f := range r.Findings {
		if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable {
			n[f.Rule]++
		}
	}
	return n
}

// TestHardenReportAgrees holds the report's numbers to those of check.
func TestHardenReportAgrees(t *testing.T) {
	t.Parallel()
	ref := filepath.Join("testdata", "plainchart")
	var out, errs bytes.Buffer
	if code := run(t.Context(), []string{"harden", ref, "--report", "-o", "json"}, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != exitPass {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	var got hardenJSON
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	_, checked := check(t, ref)
	if len(got.Controls) != len(checked.Verdict.Results) {
		t.Errorf("%d controls, check has %d", len(got.Controls), len(checked.Verdict.Results))
	}
	for i, c := range got.Controls {
		n := 0
		for _, f := range checked.Findings {
			if slices.Contains(f.Controls, c.Control) && f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable {
				n++
			}
		}
		if r := checked.Verdict.Results[i]; r.Control != c.Control || r.Outcome != c.Before.Outcome || n != c.Before.Findings {
			t.Errorf("%s: before %+v, check says %s and %d findings", c.Control, c.Before, r.Outcome, n)
		}
		if c.After.Findings > c.Before.Findings {
			t.Errorf("%s: %d findings after, %d before", c.Control, c.After.Findings, c.Before.Findings)
		}
	}
	if len(got.Changes) == 0 || len(got.Kept) == 0 || len(got.Remaining) == 0 {
		t.Errorf("%d changes, %d kept, %d remaining", len(got.Changes), len(got.Kept), len(got.Remaining))
	}
}

// TestHardenDocs holds that the guide speaks of every rule and every option.
func TestHardenDocs(t *testing.T) {
	t.Parallel()
	guide, err := os.ReadFile(filepath.Join("..", "..", "docs", "harden.md"))
	if err != nil {
		t.Fatal(err)
	}
	words := []string{
		harden.Annotation, harden.OptOut + ": skip", "PodDisruptionBudget", "--probes tcp", "--report", "--skip",
		"--aggressive", "--control SEC-4", "--resolve", "--read-only-root", "--run-as-non-root", "--drop-capabilities",
	}
	for _, r := range []harden.Rule{harden.RuleEscalation, harden.RuleCapabilities, harden.RuleSeccomp, harden.RuleNonRoot, harden.RuleReadOnly, harden.RuleToken, harden.RuleSpread, harden.RuleProbes} {
		words = append(words, string(r))
	}
	for _, w := range words {
		if !strings.Contains(string(guide), w) {
			t.Errorf("docs/harden.md does not say %q", w)
		}
	}
}
