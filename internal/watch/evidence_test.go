package watch

import (
	"context"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/internal/pipeline"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// store is a repository with bundles that are sealed by hand: composed verdicts on nothing
// are the smallest that verify.
type store struct {
	t      testing.TB
	repo   *repository.Repository
	signer attest.Signer
	trust  *attest.Trust
}

func newStore(t testing.TB) *store {
	t.Helper()
	priv, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	key, pubFile := filepath.Join(folder, "k.key"), filepath.Join(folder, "k.pub")
	for name, raw := range map[string][]byte{key: priv, pubFile: pub} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &store{t: t, repo: repository.New(dir.Open(filepath.Join(folder, "repo")))}
	if s.signer, err = attest.LoadSigner(key, func() ([]byte, error) { return nil, nil }); err != nil {
		t.Fatal(err)
	}
	if s.trust, err = attest.LoadTrust([]string{pubFile}); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *store) verifier() *bundle.Verifier {
	return pipeline.NewVerifier(s.trust, s.repo, bundle.Limits{}, "helmproof test")
}

// add seals a verdict on nothing about a release: it is INCOMPLETE.
func (s *store) add(chart, namespace string, at time.Time) evidence.Digest {
	s.t.Helper()
	by, err := pipeline.LoadRules(pipeline.RulesOptions{Profile: "chart"})
	if err != nil {
		s.t.Fatal(err)
	}
	done, err := pipeline.Gate(s.t.Context(), s.repo, s.verifier(), by, pipeline.GateRequest{
		Chart: chart, Namespace: namespace, ReleaseName: chart, At: at, AsOf: true, AnyRepository: true,
	})
	if err != nil {
		s.t.Fatal(err)
	}
	p := &pipeline.Pipeline{Tool: "helmproof test", Repo: s.repo, Signer: s.signer, Repository: "ours"}
	if _, err := s.repo.EnsureID(s.t.Context(), "ours"); err != nil {
		s.t.Fatal(err)
	}
	if err := p.SealGated(s.t.Context(), done[0]); err != nil {
		s.t.Fatal(err)
	}
	return done[0].Bundle
}

func (s *store) watch(now func() time.Time) *Watch {
	return New(Options{
		Survey: &Survey{Repo: s.repo, Verifier: s.verifier(), Interval: time.Minute, Now: now},
		Limits: Limits{Series: 1000, PerMetric: 100}, Version: "v1", Now: now, Log: quiet,
	})
}

// has holds that the watch exports the lines, and none that begins with one after a "!".
func has(t *testing.T, w *Watch, lines ...string) {
	t.Helper()
	var b strings.Builder
	if err := w.Write(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range lines {
		if not, ok := strings.CutPrefix(want, "!"); ok {
			if strings.Contains("\n"+b.String(), "\n"+not) {
				t.Errorf("exports %s:\n%s", not, b.String())
			}
		} else if !strings.Contains("\n"+b.String(), "\n"+want+"\n") {
			t.Errorf("does not export %s:\n%s", want, b.String())
		}
	}
}

var noon = time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)

const incomplete = `helmproof_verdict{chart="web",kind="composed",namespace="shop",profile="chart",release="web",verdict="INCOMPLETE"}`

// TestRepository follows a repository: bundles that come, that are damaged and restored,
// that are dated in the future, and a repository that is away.
func TestRepository(t *testing.T) {
	t.Parallel()
	s, now := newStore(t), noon
	w := s.watch(func() time.Time { return now })
	read := func() error { return w.ReadRepository(t.Context()) }
	has(t, w, `helmproof_watch_up{source="repository"} 0`, `!helmproof_verdict`, `!helmproof_evidence_unverifiable`)
	if why := w.unready(); why == "" {
		t.Error("ready before anything was read")
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_watch_up{source="repository"} 1`, `helmproof_evidence_unverifiable{reason="signature"} 0`)
	if why := w.unready(); why != "" {
		t.Errorf("not ready: %s", why)
	}

	old := s.add("web", "shop", noon.Add(-2*time.Hour))
	newest := s.add("web", "shop", noon.Add(-time.Hour))
	if err := read(); err != nil {
		t.Fatal(err)
	}
	const at = `helmproof_evidence_timestamp_seconds{chart="web",kind="composed",namespace="shop",profile="chart",release="web"} `
	has(t, w, incomplete+" 1", at+"1.79595e+09")

	// The newest one is damaged: after a day it is verified again, and the older counts.
	file := filepath.Join(s.repo.URL(), "bundles", newest.Hex(), bundle.EvidenceFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	swap := func(content []byte) {
		t.Helper()
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	swap(raw[:100])
	now = now.Add(again)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_evidence_unverifiable{reason="unreadable"} 1`, at+"1.7959464e+09", incomplete+" 1")
	swap(raw)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_evidence_unverifiable{reason="unreadable"} 1`) // not tried again yet
	now = now.Add(patience)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_evidence_unverifiable{reason="unreadable"} 0`, at+"1.79595e+09")

	// Evidence from the future does not count until then.
	s.add("web", "shop", now.Add(time.Hour))
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_evidence_unverifiable{reason="time"} 1`, at+"1.79595e+09")
	now = now.Add(time.Hour)
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_evidence_unverifiable{reason="time"} 0`, `!`+at+"1.79595e+09")

	// The repository is away, and the last values stay.
	root := s.repo.URL()
	if err := os.Rename(root, root+".away"); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || !strings.Contains(err.Error(), "holds no evidence any more") {
		t.Errorf("read of nothing: %v", err)
	}
	has(t, w, `helmproof_watch_up{source="repository"} 0`, incomplete+" 1")
	if err := os.Rename(root+".away", root); err != nil {
		t.Fatal(err)
	}
	// Somebody swaps its id, so that nothing in it counts.
	id := filepath.Join(root, "repository.json")
	if err := os.WriteFile(id, []byte(`{"id":"theirs"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := read(); err == nil || !strings.Contains(err.Error(), "somebody swapped its id") {
		t.Errorf("read of a repository of another id: %v", err)
	}
	has(t, w, `helmproof_watch_up{source="repository"} 0`, incomplete+" 1")
	if err := os.WriteFile(id, []byte(`{"id":"ours"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := read(); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_watch_up{source="repository"} 1`)
	if len(w.Survey.known) != 3 || w.Survey.known[old] == nil {
		t.Errorf("knows %d bundles, want 3", len(w.Survey.known))
	}
}

// TestVerifiedOnce holds that a bundle is verified once a day, not at each reading.
func TestVerifiedOnce(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.watch(func() time.Time { return noon })
	s.add("web", "shop", noon.Add(-time.Hour))
	verified := 0
	replay := w.Survey.Verifier.Compose
	w.Survey.Verifier.Compose = func(ctx context.Context, b *bundle.Bundle) ([]evidence.Finding, evidence.Verdict, error) {
		verified++
		return replay(ctx, b)
	}
	for range 3 {
		if err := w.ReadRepository(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if verified != 1 {
		t.Errorf("verified %d times, want once", verified)
	}
}

// TestHTTP asks the server as Prometheus does.
func TestHTTP(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.watch(func() time.Time { return noon })
	get := func(path string) (int, string) {
		rec := httptest.NewRecorder()
		w.Handler().ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		return rec.Code, rec.Body.String()
	}
	if code, body := get("/readyz"); code != 503 || !strings.Contains(body, "repository was not read yet") {
		t.Errorf("/readyz before a reading: %d %s", code, body)
	}
	s.add("web", "shop", noon.Add(-time.Hour))
	if err := w.ReadRepository(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/readyz": "ok", "/healthz": "ok", "/metrics": incomplete + " 1\n",
	} {
		if code, body := get(path); code != 200 || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := get("/metrics"); !strings.Contains(body, "go_goroutines ") {
		t.Errorf("no metrics of the process:\n%s", body)
	}
	if problems, err := testutil.GatherAndLint(w.Registry()); err != nil || len(problems) > 0 {
		t.Errorf("lint: %v, %v", problems, err)
	}
}

// TestLimits holds that a limit leaves the last series out, and counts them.
func TestLimits(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	w := s.watch(func() time.Time { return noon })
	w.Limits = Limits{Series: 6, PerMetric: 4}
	for _, chart := range []string{"a", "b", "web"} {
		s.add(chart, "shop", noon.Add(-time.Hour))
	}
	if err := w.ReadRepository(t.Context()); err != nil {
		t.Fatal(err)
	}
	has(t, w, `helmproof_watch_series 6`, `helmproof_watch_series_limit 6`, `helmproof_watch_series_dropped{metric="helmproof_verdict"} 5`,
		`helmproof_watch_series_dropped{metric="helmproof_evidence_timestamp_seconds"} 1`, `helmproof_watch_series_dropped{metric="helmproof_evidence_unverifiable"} 4`)
}

// TestSameLabels: evidence of several clusters with the same labels is one series, of the
// worst; of a cluster that is watched only its own counts.
func TestSameLabels(t *testing.T) {
	t.Parallel()
	of := func(cluster string, v evidence.VerdictOutcome, hours int) *Evidence {
		return &Evidence{Release: evidence.Release{Scope: evidence.ScopeRelease, Chart: "web", ReleaseName: "web", Namespace: "shop", Cluster: cluster},
			Profile: "chart", series: "chart", Outcome: v, At: noon.Add(-time.Duration(hours) * time.Hour)}
	}
	c := &Census{All: []*Evidence{of("east", evidence.VerdictPass, 1), of("west", evidence.VerdictFail, 2), of("east", evidence.VerdictIncomplete, 3)}}
	for cluster, want := range map[string]string{"": "FAIL", "east": "PASS", "west": "FAIL", "other": ""} {
		s := newSamples()
		s.addCensus(c, cluster)
		got := ""
		for _, x := range s.of[verdict] {
			if x.value == 1 {
				got += x.labels[5]
			}
		}
		if got != want {
			t.Errorf("cluster %q: %q, want %q", cluster, got, want)
		}
	}
}

// TestLabels holds that what a chart calls itself is a label, and no more.
func TestLabels(t *testing.T) {
	t.Parallel()
	s := newSamples()
	s.set(verdict, 1, "release", "a\xff", strings.Repeat("ü", 500), "\n", `"`, "PASS")
	for _, x := range s.of[verdict] {
		for _, l := range x.labels {
			if len(l) > maxLabel || strings.ToValidUTF8(l, "") != l {
				t.Errorf("label %q", l)
			}
		}
	}
}

// TestDrills counts the drills of golden bundles, and takes none back.
func TestDrills(t *testing.T) {
	t.Parallel()
	w := golden(t, "drill")
	const of = `namespace="shop",target="Deployment/web"} `
	lines := []string{
		`chaos_test_failures_total{experiment="eviction",` + of + "2", `chaos_test_failures_total{experiment="pod-kill",` + of + "1", `chaos_test_failures_total{experiment="node-drain",` + of + "0",
		`helmproof_drill_passed{experiment="eviction",` + of + "0", `helmproof_drill_passed{experiment="node-drain",` + of + "1",
		`helmproof_drill_timestamp_seconds{experiment="node-drain",` + of + "1.79361372e+09",
	}
	has(t, w, lines...)
	w.census.All = slices.DeleteFunc(w.census.All, func(e *Evidence) bool { return e.Drill.Failed })
	has(t, w, lines[0])
}

// TestWaivers shows when the waivers of the newest evidence end.
func TestWaivers(t *testing.T) {
	t.Parallel()
	w := golden(t, "waived")
	found := w.samples().of[waiverExpiry]
	controls := map[string]bool{}
	for _, x := range found {
		controls[x.labels[5]] = x.value > seconds(noon)
	}
	if !controls["SEC-5"] || !controls["RES-2"] {
		t.Errorf("waivers of %v", controls)
	}
}

// golden is a watch that read golden bundles, which were sealed for other repositories.
func golden(t *testing.T, kind string) *Watch {
	t.Helper()
	root := filepath.Join("..", "pipeline", "testdata", "golden", "2", kind)
	trust, err := attest.LoadTrust([]string{root})
	if err != nil {
		t.Fatal(err)
	}
	s := &store{t: t, trust: trust, repo: repository.New(dir.Open(root))}
	w := s.watch(func() time.Time { return noon.AddDate(1, 0, 0) })
	w.Survey.AnyRepository = true
	if err := w.ReadRepository(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w
}
