package secrets

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
)

// TestCorpus scans each chart below the folder that HELMPROOF_CHARTS names: no
// place without a line, no redacted manifests that are other objects, nothing
// found left in clear. Run with -v, it lists what was found, for people to judge.
func TestCorpus(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HELMPROOF_CHARTS")
	if dir == "" {
		t.Skip("HELMPROOF_CHARTS names no folder of charts")
	}
	var refs []string
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		more, err := filepath.Glob(filepath.Join(dir, pattern, "Chart.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		refs = append(refs, more...)
	}
	slices.Sort(refs)
	charts, with := 0, 0
	rules := map[string]int{}
	var scanning, redacting time.Duration
	size := 0
	for _, ref := range refs {
		rel, err := chart.Load(t.Context(), filepath.Dir(ref), chart.LoadOptions{})
		if err != nil {
			continue
		}
		charts++
		for _, f := range rel.Files {
			size += len(f.Data)
		}
		start := time.Now()
		rep, red, err := Scan(t.Context(), rel)
		scanning += time.Since(start)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
			continue
		}
		start = time.Now()
		sealed, _ := red.Redact(rel.Manifests)
		values, err := yaml.Marshal(rel.Values)
		if err != nil {
			t.Fatal(err)
		}
		values, _ = red.Redact(values)
		redacting += time.Since(start)
		checkClean(t, ref, red, rel, sealed, values)
		if len(rep.Places) > 0 {
			with++
		}
		for _, p := range rep.Places {
			rules[p.Rule]++
			t.Logf("%s: %s %s %s %s", filepath.Base(filepath.Dir(ref)), p.Rule, p.Detail, p.Target, p.Key)
		}
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Logf("%d charts, %d with secrets, %v, %.1f MB, scan %v, redact %v", charts, with, rules, float64(size)/1e6, scanning, redacting)
}

// checkClean holds that nothing found is left, and that the same objects remain.
func checkClean(t *testing.T, ref string, r *Redactor, rel *chart.Release, sealed, values []byte) {
	t.Helper()
	for what, b := range map[string][]byte{"manifests": sealed, "values": values} {
		if _, n := r.forms.replace(b); n > 0 {
			t.Errorf("%s: %d secrets are left in the %s", ref, n, what)
		}
	}
	before, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	after, err := manifest.Parse(sealed)
	if err != nil {
		t.Fatal(err)
	}
	if len(before.Objects) != len(after.Objects) || len(before.Broken) != len(after.Broken) {
		t.Fatalf("%s: %d objects and %d broken documents become %d and %d", ref, len(before.Objects), len(before.Broken), len(after.Objects), len(after.Broken))
	}
	for i := range before.Objects {
		a, b := &before.Objects[i], &after.Objects[i]
		if a.GetKind() != b.GetKind() || a.GetName() != b.GetName() || a.File != b.File || a.Line != b.Line || !sameShape(a.Object, b.Object) || !r.clean(b.Object) || a.GetAPIVersion() != b.GetAPIVersion() {
			t.Errorf("%s: %s is another object after redaction, or not clean", ref, a.Target(""))
		}
	}
}
