package pipeline

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	helmcommon "helm.sh/helm/v4/pkg/chart/common"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/release/common"
	releasev1 "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/storage/driver"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/gate"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/internal/cluster"
)

// at is when the first evidence of a test was judged.
var at = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

const fewControls = "name: few\ntitle: Few\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols:\n  - {id: SCR-1}\n"

// bench is a repository with its key, and a pipeline that seals in it.
type bench struct {
	*Pipeline
	t        *testing.T
	verifier *bundle.Verifier
	now      time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	folder := t.TempDir()
	priv, pub, err := attest.GeneratePlainKeyPair()
	if err != nil {
		t.Fatal(err)
	}
	key, profile := filepath.Join(folder, "a.key"), filepath.Join(folder, "few.yaml")
	for name, raw := range map[string][]byte{key: priv, filepath.Join(folder, "a.pub"): pub, profile: []byte(fewControls)} {
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	signer, err := OpenSigner(t.Context(), key, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	trust, err := OpenTrust(t.Context(), []string{filepath.Join(folder, "a.pub")})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, now: at}
	b.Pipeline = &Pipeline{
		Rules: rules(t, profile), Tool: "helmproof test", Timeout: time.Minute, Signer: signer, Repo: repository.New(dir.Open(filepath.Join(folder, "repo"))),
		Formats: []string{"json"}, Now: func() time.Time { return b.now }, Log: slog.New(slog.DiscardHandler),
	}
	b.verifier = NewVerifier(trust, b.Repo, bundle.Limits{}, "helmproof test")
	return b
}

// load renders a chart with one ConfigMap and one Pod.
func (b *bench) load(name, version, color string) *chart.Release {
	b.t.Helper()
	folder := filepath.Join(b.t.TempDir(), name)
	for file, text := range map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: " + name + "\nversion: " + version + "\n", "values.yaml": "color: blue\n",
		"templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, labels: {v: {{ .Chart.Version | quote }}}}\ndata: {color: {{ .Values.color }}}\n",
	} {
		path := filepath.Join(folder, filepath.FromSlash(file))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.t.Fatal(err)
		}
	}
	rel, err := b.Load(b.t.Context(), Job{Ref: folder}, chart.LoadOptions{Set: []string{"color=" + color}})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { _ = rel.Close() })
	return rel
}

// collect judges and seals, an hour after what was collected before.
func (b *bench) collect(rel *chart.Release) evidence.Digest {
	b.t.Helper()
	j, err := b.Release(b.t.Context(), rel)
	if err != nil {
		b.t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	return j.Bundle
}

// sealed seals evidence of any scope, without a finding.
func (b *bench) sealed(scope evidence.Scope, info evidence.Release, manifests []byte) evidence.Digest {
	b.t.Helper()
	info.Scope, info.Images = scope, []string{}
	j := &Judged{Release: info, Runs: evidence.Runs{Tool: b.Tool, Rules: evidence.RulesVersion, Reports: evidence.ReportsVersion, Collectors: []evidence.CollectorRun{}}, Findings: []evidence.Finding{}}
	if manifests != nil {
		j.Release.SealedManifestsDigest = evidence.DigestOf(manifests)
	}
	j.Verdict = gate.Evaluate(gate.Input{
		Profile: b.Rules.Profile, ProfileDigest: evidence.DigestOf(b.Rules.ProfileRaw), Catalog: b.Rules.Catalog, CatalogDigest: evidence.DigestOf(b.Rules.CatalogRaw), At: b.now,
	})
	files := b.Rules.files()
	var err error
	if files[bundle.ReleaseFile], err = bundle.CanonicalJSON(j.Release); err != nil {
		b.t.Fatal(err)
	}
	if manifests != nil {
		files[collectors.ManifestsFile] = manifests
	}
	if err := b.seal(b.t.Context(), files, j); err != nil {
		b.t.Fatal(err)
	}
	b.now = b.now.Add(time.Hour)
	return j.Bundle
}

func (b *bench) gate(req GateRequest) []*Judged {
	b.t.Helper()
	if req.At.IsZero() {
		req.At = b.now
	}
	done, err := Gate(b.t.Context(), b.Repo, b.verifier, b.Rules, req)
	if err != nil {
		b.t.Fatal(err)
	}
	return done
}

func inputs(j *Judged) []evidence.Digest {
	var out []evidence.Digest
	for _, in := range j.Inputs {
		out = append(out, in.Bundle)
	}
	return out
}

// TestGateDeploy: evidence of the same digests counts, the newest of it, whatever was
// collected of the chart since.
func TestGateDeploy(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.load("web", "1.0.0", "blue")
	b.collect(first)
	newest := b.collect(first)
	b.collect(b.load("web", "1.0.0", "red"))
	b.collect(b.load("web", "2.0.0", "blue"))

	j := b.gate(GateRequest{Deploy: b.load("web", "1.0.0", "blue")})[0]
	if j.Verdict.Outcome != evidence.VerdictPass || j.RestsOn() != newest || !slices.Equal(inputs(j), []evidence.Digest{newest}) || len(j.Reasons) > 0 {
		t.Errorf("%s by %v, rests on %s, reasons %q; want PASS by %s", j.Verdict.Outcome, inputs(j), j.RestsOn(), j.Reasons, newest)
	}
	if r := j.Release; r.Bound != evidence.BoundToManifests || r.ManifestsDigest != first.Info.ManifestsDigest || r.ChartDigest != first.Info.ChartDigest || r.ValuesDigest != first.Info.ValuesDigest {
		t.Errorf("bound to %+v", r)
	}
	for _, tt := range []struct {
		name   string
		deploy *chart.Release
		want   []string // the beginning of each reason
	}{
		{"another version", b.load("web", "3.0.0", "blue"), []string{"there is evidence for chart web 2.0.0 (bundle ", "the version differs (have 2.0.0, want 3.0.0)", "the chart differs (have sha256:", "the manifests differ (have sha256:"}},
		{"other values", b.load("web", "2.0.0", "red"), []string{"there is evidence for chart web 2.0.0 (bundle ", "the values differ (have sha256:", "the manifests differ (have sha256:", "the chart is the same: give the -f and --set"}},
		{"another chart", b.load("api", "1.0.0", "blue"), []string{"no evidence for chart api; there is evidence for web"}},
	} {
		done := b.gate(GateRequest{Deploy: tt.deploy})
		j := done[0]
		if len(done) != 1 || j.Verdict.Outcome != evidence.VerdictIncomplete || len(j.Inputs) > 0 || j.RestsOn() != "" {
			t.Errorf("%s: %s by %v", tt.name, j.Verdict.Outcome, inputs(j))
		}
		if j.Release.ManifestsDigest != tt.deploy.Info.ManifestsDigest || j.Release.Bound != evidence.BoundToManifests {
			t.Errorf("%s: the verdict is about %+v", tt.name, j.Release)
		}
		if len(j.Reasons) != len(tt.want) {
			t.Fatalf("%s: reasons %q, want %q", tt.name, j.Reasons, tt.want)
		}
		for i, r := range j.Reasons {
			if !strings.HasPrefix(r, tt.want[i]) {
				t.Errorf("%s: reason %q, want %q", tt.name, r, tt.want[i])
			}
		}
	}
}

// TestGateScopes: evidence of the release's cluster joins, and that of drills of the
// same manifests, which need not know the chart; what is of something else does not.
func TestGateScopes(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel, other := b.load("web", "1.0.0", "blue"), b.load("web", "2.0.0", "blue")
	onCluster := rel.Info
	onCluster.Cluster = "here"
	release := b.sealed(evidence.ScopeRelease, onCluster, rel.Manifests)
	drill := onCluster
	drill.ChartDigest, drill.ValuesDigest = "", ""
	sameDrill := b.sealed(evidence.ScopeDrill, drill, nil)
	drill.ManifestsDigest = other.Info.ManifestsDigest
	b.sealed(evidence.ScopeDrill, drill, nil)
	wholeCluster := b.sealed(evidence.ScopeCluster, evidence.Release{Source: "cluster", Chart: "cluster", ReleaseName: "cluster", Cluster: "here"}, nil)

	j := b.gate(GateRequest{Deploy: rel})[0]
	want := []evidence.Digest{sameDrill, release, wholeCluster} // the release's own first, each newest first
	if d := cmp.Diff(want, inputs(j)); d != "" {
		t.Error(d)
	}
	if j.RestsOn() != release || j.Release.Cluster != "here" || j.Release.ChartDigest != rel.Info.ChartDigest {
		t.Errorf("rests on %s, about %+v", j.RestsOn(), j.Release)
	}
	if err := b.SealGated(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(j.Bundle), ""); err != nil {
		t.Error(err)
	}
	if done := b.gate(GateRequest{Deploy: other}); len(done) != 1 || done[0].Reasons == nil {
		t.Errorf("a drill of it alone: %+v", done)
	}
}

// TestGateLive: what Helm stored is compared with evidence of what Helm stored, on
// the same cluster.
func TestGateLive(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	kube := fake.NewClientset()
	if err := driver.NewSecrets(kube.CoreV1().Secrets("shop")).Create("sh.helm.release.v1.web.v1", &releasev1.Release{
		Name: "web", Namespace: "shop", Version: 1, Info: &releasev1.Info{Status: common.StatusDeployed},
		Chart: &chartv2.Chart{
			Metadata:  &chartv2.Metadata{APIVersion: "v2", Name: "web", Version: "1.0.0"},
			Templates: []*helmcommon.File{{Name: "templates/a.yaml", Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")}},
		},
		Manifest: "---\n# Source: web/templates/a.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
	}); err != nil {
		t.Fatal(err)
	}
	live := &Pipeline{Timeout: time.Minute, Cluster: &cluster.Cluster{Kube: kube, Info: cluster.Info{Version: "v1.37.2", Fingerprint: "here"}}}
	job := Job{Ref: "shop/web", Stored: &chart.StoredRelease{Name: "web", Namespace: "shop", Storage: chart.StorageSecrets, Object: "sh.helm.release.v1.web.v1", Revision: 1, Status: "deployed", Deployed: []int{1}}}
	rel, err := live.Load(t.Context(), job, chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rel.Close() }()
	elsewhere := rel.Info
	elsewhere.Cluster = "elsewhere"
	b.sealed(evidence.ScopeRelease, elsewhere, rel.Manifests)
	j := b.gate(GateRequest{Deploy: rel})[0]
	if len(j.Inputs) != 0 || !slices.Contains(j.Reasons, "the cluster differs (have elsewhere, want here)") {
		t.Errorf("by %v: %q", inputs(j), j.Reasons)
	}
	here := b.sealed(evidence.ScopeRelease, rel.Info, rel.Manifests)
	if j := b.gate(GateRequest{Deploy: rel})[0]; !slices.Equal(inputs(j), []evidence.Digest{here}) {
		t.Errorf("by %v, want %s", inputs(j), here)
	}
	ofChart := b.load("web", "1.0.0", "blue")
	ofChart.Info.Namespace, ofChart.Info.ReleaseName = "shop", "web"
	j = b.gate(GateRequest{Deploy: ofChart})[0]
	if !slices.Contains(j.Reasons, "the evidence is from what Helm stored in a cluster (gate --release), this is from a chart (gate CHART)") {
		t.Errorf("a chart beside live evidence: %q", j.Reasons)
	}

	// The chart that it was installed from, which Helm does not store as it was: what
	// renders the same objects counts, and what renders others does not.
	whole := rel.Info
	whole.Source, whole.Cluster, whole.ChartDigest = chart.SourceChart, "", evidence.DigestOf([]byte("chart"))
	sorted := []byte("# rendered\n" + string(rel.Manifests))
	whole.ManifestsDigest = evidence.DigestOf(sorted)
	other := whole
	otherManifests := []byte(strings.Replace(string(sorted), "name: a", "name: b", 1))
	other.ManifestsDigest = evidence.DigestOf(otherManifests)
	values := whole
	values.ValuesDigest = evidence.DigestOf([]byte("values"))
	fromChart := b.sealed(evidence.ScopeRelease, whole, sorted)
	b.sealed(evidence.ScopeRelease, other, otherManifests)
	b.sealed(evidence.ScopeRelease, values, sorted)
	both := b.gate(GateRequest{Deploy: rel})[0]
	if !slices.Equal(inputs(both), []evidence.Digest{fromChart, here}) {
		t.Errorf("by %v, want %s and %s", inputs(both), fromChart, here)
	}
	if both.Release.ManifestsDigest != rel.Info.ManifestsDigest || both.Release.Cluster != "here" {
		t.Errorf("it is about %+v", both.Release)
	}
	if err := b.SealGated(t.Context(), both); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(both.Bundle), ""); err != nil {
		t.Errorf("sealed: %v", err)
	}
}

// TestGateName: a name alone lets any rendering through, and says so; version and
// digest of the manifests tie it.
func TestGateName(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	first := b.load("web", "1.0.0", "blue")
	old := b.collect(first)
	newest := b.collect(b.load("web", "2.0.0", "blue"))
	for _, tt := range []struct {
		req   GateRequest
		bound evidence.Bound
		want  evidence.Digest
	}{
		{GateRequest{Chart: "web"}, evidence.BoundToName, newest},
		{GateRequest{Chart: "web", Version: "1.0.0"}, evidence.BoundToName, old},
		{GateRequest{Chart: "web", ReleaseName: "web"}, evidence.BoundToName, newest},
		{GateRequest{Chart: "web", ManifestsDigest: first.Info.ManifestsDigest}, evidence.BoundToManifests, old},
		{GateRequest{Chart: "web", At: at.Add(time.Minute), AsOf: true}, evidence.BoundToName, old},
		{GateRequest{Chart: "web", Version: "3.0.0"}, evidence.BoundToName, ""},
		{GateRequest{Chart: "web", Version: "2.0.0", ManifestsDigest: first.Info.ManifestsDigest}, evidence.BoundToManifests, ""},
		{GateRequest{Chart: "web", Namespace: "prod"}, evidence.BoundToName, ""},
	} {
		j := b.gate(tt.req)[0]
		if j.RestsOn() != tt.want || j.Release.Bound != tt.bound {
			t.Errorf("%+v: rests on %q, bound to %q; want %q, %q (%q)", tt.req, j.RestsOn(), j.Release.Bound, tt.want, tt.bound, j.Reasons)
		}
	}
}

// TestGateNames: at most so many charts are named.
func TestGateNames(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range maxNames + 2 {
		b.sealed(evidence.ScopeRelease, evidence.Release{Source: "chart", Chart: fmt.Sprint("chart-", i)}, []byte("a: 1\n"))
	}
	got := b.gate(GateRequest{Chart: "nothing"})[0].Reasons
	want := []string{"no evidence for chart nothing; there is evidence for chart-0, chart-1, chart-2, chart-3, chart-4, chart-5, chart-6, chart-7 and 2 more (helmproof list)"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestGateAdded: what was added to the profile of the newest evidence counts, for the
// profile of that name; the gate's own threshold and age hold for it.
func TestGateAdded(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	rel := b.load("web", "1.0.0", "blue")
	b.collect(rel)
	plain := b.Rules
	with, err := plain.With("IMG-5")
	if err != nil {
		t.Fatal(err)
	}
	b.Rules = with
	b.collect(rel)
	b.Rules = plain
	j := b.gate(GateRequest{Deploy: rel})[0]
	if j.Verdict.Outcome != evidence.VerdictIncomplete || j.By.Profile.Text() != "few, with IMG-5 added" || !slices.ContainsFunc(j.Reasons, func(r string) bool { return strings.HasPrefix(r, "IMG-5 incomplete: ") }) {
		t.Errorf("%s by %s: %q", j.Verdict.Outcome, j.By.Profile.Text(), j.Reasons)
	}
	if err := b.SealGated(t.Context(), j); err != nil {
		t.Fatal(err)
	}
	v, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(j.Bundle), "")
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := gate.ParseProfile(v.Profile()); err != nil || sealed.Text() != "few, with IMG-5 added" {
		t.Errorf("sealed profile %s, %v", v.Profile(), err)
	}
	other := rules(t, "chart")
	done, err := Gate(t.Context(), b.Repo, b.verifier, other, GateRequest{Deploy: rel, At: b.now})
	if err != nil || len(done[0].By.Profile.Added()) > 0 {
		t.Errorf("by a profile of another name: %s, %v", done[0].By.Profile.Text(), err)
	}
	b.collect(rel) // asked no more
	if j := b.gate(GateRequest{Deploy: rel})[0]; j.Verdict.Outcome != evidence.VerdictPass {
		t.Errorf("%s: %q", j.Verdict.Outcome, j.Reasons)
	}
}

// TestSealedBound: a composed bundle that says to be bound to what its inputs are not
// of does not verify.
func TestSealedBound(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.collect(b.load("web", "1.0.0", "blue"))
	second := rules(t, "chart")
	few := b.Rules
	b.Rules = second
	b.collect(b.load("web", "2.0.0", "blue"))
	b.Rules = few
	image := evidence.Digest("sha256:" + strings.Repeat("a", 64))
	for _, tt := range []struct {
		bound evidence.Bound
		image evidence.Digest
		want  string // empty: it verifies
	}{
		{evidence.BoundToName, "", ""},
		{"", "", "does not say what it is bound to"},
		{evidence.BoundToManifests, "", "the composed verdict is bound to manifests, but of input "},
		{evidence.BoundToImage, image, "bound to image " + string(image) + ", which input "},
		{evidence.BoundToImage, "", `the composed verdict is bound to "image", and names image ""`},
		{evidence.BoundToName, image, `the composed verdict is bound to "name", and names image "sha256:`},
		{"hope", "", `the composed verdict is bound to "hope", which this version does not know`},
	} {
		j := b.gate(GateRequest{Chart: "web"})[0]
		if len(j.Inputs) != 2 {
			t.Fatalf("%d inputs", len(j.Inputs))
		}
		j.Release.Bound, j.Release.BoundImage = tt.bound, tt.image
		if err := b.SealGated(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		_, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(j.Bundle), "")
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("bound to %q %q: %v, want %q", tt.bound, tt.image, err, tt.want)
		}
		b.now = b.now.Add(time.Second)
	}

	// Without inputs it may name what was asked about, and nothing that only evidence shows.
	j := b.gate(GateRequest{Deploy: b.load("web", "3.0.0", "blue")})[0]
	seal := func() error {
		b.now = b.now.Add(time.Second)
		if err := b.SealGated(t.Context(), j); err != nil {
			t.Fatal(err)
		}
		_, err := OpenVerified(context.WithoutCancel(t.Context()), b.verifier, b.Repo, string(j.Bundle), "")
		return err
	}
	if err := seal(); err != nil {
		t.Error(err)
	}
	j.Release.SealedManifestsDigest = j.Release.ManifestsDigest
	if err := seal(); err == nil || !strings.Contains(err.Error(), "is about another release") {
		t.Errorf("with sealed manifests that nobody saw: %v", err)
	}
}

// TestGateSecret: a secret in what is about to be deployed is in no record of the
// gate, and evidence, whose record has it redacted, is found all the same.
func TestGateSecret(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	token := "ghp_" + "a9Bq3xZ7tKw2LmN8vRc4yHd6jPs1fGe5uTiX"
	file := filepath.Join(t.TempDir(), "pod.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: \"registry.example.com/a:"+token+"\"}]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	rel, err := b.Load(t.Context(), Job{Ref: file, Manifests: true}, chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(rel.Info.Images, ","), token) {
		t.Fatalf("images %q", rel.Info.Images)
	}
	none := b.gate(GateRequest{Deploy: rel})[0]
	if err := b.SealGated(t.Context(), none); err != nil {
		t.Fatal(err)
	}
	v, err := OpenVerified(t.Context(), b.verifier, b.Repo, string(none.Bundle), "")
	if err != nil {
		t.Fatal(err)
	}
	if all := fmt.Sprintf("%+v %+v", none.Release, v.Release()); strings.Contains(all, token) || !strings.Contains(strings.ToLower(all), "redact") {
		t.Errorf("the record: %s", all)
	}
	id := b.collect(rel)
	j := b.gate(GateRequest{Deploy: rel})[0]
	if !slices.Equal(inputs(j), []evidence.Digest{id}) || j.Verdict.Outcome != evidence.VerdictFail {
		t.Errorf("%s by %v: %q", j.Verdict.Outcome, inputs(j), j.Reasons)
	}
}
