// Package charts holds tests of the project's own charts: charts/hardened,
// charts/service, and library-user, which stands for anybody's chart.
package charts

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"log"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/collectors/rbac"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/internal/helmlog"
)

var update = flag.Bool("update", false, "write what is generated: vendored copies of the library, tables of the READMEs")

const (
	libraryDir = "../../charts/hardened"
	serviceDir = "../../charts/service"
	userDir    = "library-user"
)

func TestMain(m *testing.M) {
	helmlog.Route()
	os.Exit(m.Run())
}

type values = map[string]any

// load renders a chart as helmproof does.
func load(tb testing.TB, dir string, v values) (*chart.Release, error) {
	tb.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		tb.Fatal(err)
	}
	file := filepath.Join(tb.TempDir(), "values.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		tb.Fatal(err)
	}
	rel, err := chart.Load(tb.Context(), dir, chart.LoadOptions{ValueFiles: []string{file}})
	if err == nil {
		tb.Cleanup(func() {
			if err := rel.Close(); err != nil {
				tb.Error(err)
			}
		})
	}
	return rel, err
}

// judge is judgeBy with profile chart.
func judge(tb testing.TB, rel *chart.Release) ([]evidence.Finding, evidence.Verdict) {
	tb.Helper()
	return judgeBy(tb, rel, "chart")
}

// judgeBy runs helmproof's collectors and its gate with the profile, no waiver.
func judgeBy(tb testing.TB, rel *chart.Release, name string) ([]evidence.Finding, evidence.Verdict) {
	tb.Helper()
	found, redactor, err := secrets.Scan(tb.Context(), rel)
	if err != nil {
		tb.Fatal(err)
	}
	policies, err := policy.Bundle("")
	if err != nil {
		tb.Fatal(err)
	}
	pol, err := policy.New(policies)
	if err != nil {
		tb.Fatal(err)
	}
	art := collectors.NewArtifacts(redactor)
	put := func(name string, v any, marshal func(any) ([]byte, error)) {
		raw, err := marshal(v)
		if err == nil {
			_, err = art.Put(name, raw)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	asIs := func(v any) ([]byte, error) { return v.([]byte), nil }
	put(collectors.ReleaseFile, rel.Info, bundle.CanonicalJSON)
	put(collectors.ManifestsFile, rel.Manifests, asIs)
	put(collectors.ChartFile, rel.Record, bundle.CanonicalJSON)
	put(collectors.ValuesFile, rel.Values, func(v any) ([]byte, error) { return yaml.Marshal(v) })
	put(collectors.PoliciesFile, policies, asIs)
	list := []collectors.Collector{helm.New(helm.Options{}), podsecurity.New(), workload.New(), rbac.New(), pol, secrets.New(found)}
	runs, err := collectors.Run(tb.Context(), collectors.Input{Release: rel}, list, art, collectors.RunOptions{Timeout: time.Minute, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	findings, runs := collectors.Derive(collectors.NewSealedWith(art, config.RuleControls(), rel), list, runs)
	profileRaw, profile, err := config.Profile(name)
	if err != nil {
		tb.Fatal(err)
	}
	catalogRaw, catalog := config.Catalog()
	return findings, gate.Evaluate(gate.Input{
		Profile: profile, ProfileDigest: evidence.DigestOf(profileRaw), Catalog: catalog, CatalogDigest: evidence.DigestOf(catalogRaw),
		Findings: findings, Runs: runs, At: time.Now().UTC(),
	})
}

func readValues(tb testing.TB, file string) values {
	tb.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		tb.Fatal(err)
	}
	v := values{}
	if err := yaml.Unmarshal(raw, &v); err != nil {
		tb.Fatalf("%s: %v", file, err)
	}
	return v
}

// valueSets are each chart's defaults, service's examples, and helmproof watch by it.
func valueSets(tb testing.TB) map[string]struct {
	chart  string
	values values
} {
	tb.Helper()
	type set = struct {
		chart  string
		values values
	}
	out := map[string]set{"service": {serviceDir, nil}, "library-user": {userDir, nil}}
	examples, err := filepath.Glob(filepath.Join(serviceDir, "examples", "*.yaml"))
	if err != nil || len(examples) < 8 {
		tb.Fatalf("only %d examples: %v", len(examples), err)
	}
	for _, e := range examples {
		out["service "+filepath.Base(e)] = set{serviceDir, readValues(tb, e)}
	}
	for _, own := range watchExamples {
		out["service watch "+own] = set{serviceDir, watchValues(tb, own)}
	}
	return out
}

// TestPass holds that every example passes with nothing failed, waived, warned
// of or unchecked; an agent of the nodes by the profile for those, with what it
// declares.
func TestPass(t *testing.T) {
	t.Parallel()
	for name, set := range valueSets(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel, err := load(t, set.chart, set.values)
			if err != nil {
				t.Fatal(err)
			}
			profile := "chart"
			if set.values["nodeAgent"] != nil {
				profile = "node-agent"
			}
			found, verdict := judgeBy(t, rel, profile)
			if verdict.Outcome != evidence.VerdictPass || len(verdict.Waivers) > 0 {
				t.Errorf("%s: %s", verdict.Outcome, verdict.Reason)
			}
			for _, f := range found {
				if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable && (profile == "chart" || f.Declared == "") {
					t.Errorf("%s %s: %s: %s", f.Outcome, f.Rule, f.Target, f.Message)
				}
			}
		})
	}
}

// TestLint holds that helm lint --strict, by Helm itself, says nothing above
// info and logs nothing. It listens to the process's loggers, so it runs alone.
func TestLint(t *testing.T) {
	lint := func(dir string, v values) (bad []string, logged string) {
		var b bytes.Buffer
		out, flags, def := log.Writer(), log.Flags(), slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&b, nil)))
		log.SetOutput(&b)
		defer func() {
			slog.SetDefault(def)
			log.SetOutput(out)
			log.SetFlags(flags)
		}()
		l := action.NewLint()
		l.Strict, l.Namespace, l.WithSubcharts = true, "default", true
		kube, err := common.ParseKubeVersion("v" + chart.DefaultKubeVersion)
		if err != nil {
			t.Fatal(err)
		}
		l.KubeVersion = kube
		result := l.Run([]string{dir}, v)
		for _, m := range result.Messages {
			if m.Severity > support.InfoSev {
				bad = append(bad, m.Error())
			}
		}
		for _, err := range result.Errors {
			bad = append(bad, err.Error())
		}
		return bad, b.String()
	}
	sets := valueSets(t)
	for name, set := range sets {
		if bad, logged := lint(set.chart, set.values); len(bad) > 0 || logged != "" {
			t.Errorf("%s: %s\nlogged: %s", name, strings.Join(bad, "\n"), logged)
		}
	}
	if bad, logged := lint(libraryDir, nil); len(bad) > 0 || logged != "" {
		t.Errorf("hardened: %s\nlogged: %s", strings.Join(bad, "\n"), logged)
	}
	// The check itself: what is wrong is said, and what is logged is heard.
	if bad, _ := lint("weak", nil); len(bad) == 0 {
		t.Error("the weak chart lints without a message")
	}
	if _, logged := lint(serviceDir, values{"image": "text"}); !strings.Contains(logged, "image") {
		t.Errorf("a value of another type is not heard: %q", logged)
	}
}

// tree reads all files below dir.
func tree(tb testing.TB, dir string) map[string]string {
	tb.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !d.Type().IsRegular() {
			return errors.New(name + " is no regular file: packaging tools refuse links")
		}
		raw, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(raw)
		return err
	})
	if err != nil {
		tb.Fatal(err)
	}
	return files
}

// TestVendored holds that the committed copies of the library are the library.
func TestVendored(t *testing.T) {
	t.Parallel()
	for _, chart := range []string{serviceDir, userDir} {
		dir := filepath.Join(chart, "charts", "hardened")
		if *update {
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(dir, os.DirFS(libraryDir)); err != nil {
				t.Fatal(err)
			}
		}
		if d := cmp.Diff(tree(t, libraryDir), tree(t, dir)); d != "" {
			t.Errorf("%s is not %s; go test ./test/charts -update copies it (-want +got):\n%s", dir, libraryDir, d)
		}
	}
}

// passThrough writes a chart without a schema whose one value, spec, goes to
// the library as it is: what the templates alone refuse.
func passThrough(tb testing.TB) string {
	tb.Helper()
	dir := tb.TempDir()
	files := map[string]string{
		"Chart.yaml":           "apiVersion: v2\nname: any\nversion: 1.0.0\ndependencies:\n  - name: hardened\n    version: \">=0.1.0\"\n",
		"templates/thing.yaml": "{{- $c := dict \"root\" $ \"spec\" .Values.spec }}\n{{ include \"hardened.workload\" $c }}\n---\n{{ include \"hardened.networkpolicy\" $c }}\n",
	}
	for name, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700), os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := os.CopyFS(filepath.Join(dir, "charts", "hardened"), os.DirFS(libraryDir)); err != nil {
		tb.Fatal(err)
	}
	return dir
}
