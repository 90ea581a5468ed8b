package pipeline

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chaos"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/bundle"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/dir"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
)

// recorded is a collector of drills that has done its drill already.
type recorded struct {
	collectors.Lasting
	files drilltest.Files
}

func (r recorded) Collect(_ context.Context, _ collectors.Input, out evidence.ArtifactWriter) error {
	for name, raw := range r.files {
		if err := out.Write(strings.TrimPrefix(name, "artifacts/"+r.Name()+"/"), raw); err != nil {
			return err
		}
	}
	return nil
}

// TestForgedDrill seals, with the trusted key, a drill that failed, after its record
// was edited: it is refused, whatever verdict it comes with.
func TestForgedDrill(t *testing.T) {
	t.Parallel()
	signer, trust := testSigner(t)
	rules, err := LoadRules(RulesOptions{Profile: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	if rules, err = rules.ForDrill(drill.Eviction); err != nil {
		t.Fatal(err)
	}
	rel, err := chart.Load(t.Context(), filepath.Join("..", "..", "charts", "service"), chart.LoadOptions{ReleaseName: "shop", Namespace: "shop", KubeVersion: "1.37"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rel.Close() })
	failed := drilltest.New(drill.Eviction)
	failed.Fail(10, 16, "refused")
	const samples, timeline = "artifacts/chaos/probe-web.csv", "artifacts/chaos/timeline.jsonl"
	for name, tt := range map[string]struct {
		file string
		edit func([]byte) []byte
	}{
		"nothing":         {samples, func(b []byte) []byte { return b }},
		"samples edited":  {samples, func(b []byte) []byte { return bytes.ReplaceAll(b, []byte(",refused"), []byte(",")) }},
		"samples dropped": {samples, func(b []byte) []byte { return without(b, "refused") }},
		"samples cut":     {samples, func(b []byte) []byte { return b[:len(b)/2] }},
		"pods dropped":    {timeline, func(b []byte) []byte { return without(b, `"deleting":true`) }},
		"action dropped":  {timeline, func(b []byte) []byte { return without(b, `"verb":"evict"`) }},
		"a lax plan": {"artifacts/chaos/plan.json", func(b []byte) []byte {
			return bytes.Replace(b, []byte(`"objective":0.999`), []byte(`"objective":0.5`), 1)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			p := &Pipeline{
				Rules: rules, Tool: "helmproof test", Signer: signer, Formats: []string{"md"}, Repo: repository.New(dir.Open(t.TempDir())),
				Cluster: &cluster.Cluster{Info: cluster.Info{Fingerprint: "c1", Nodes: []cluster.Node{}}},
				Now:     func() time.Time { asked++; return drilltest.Began.Add(time.Duration(asked-1) * time.Minute) },
			}
			honest, err := p.DrillBy(t.Context(), rel, recorded{chaos.New(chaos.Options{}), failed.Files(chaos.Name)})
			if err != nil || honest.Verdict.Outcome != evidence.VerdictFail {
				t.Fatalf("%+v, %v", honest, err)
			}
			files, err := p.Repo.Get(t.Context(), honest.Bundle)
			if err != nil {
				t.Fatal(err)
			}
			b, err := bundle.Open(files[bundle.EvidenceFile], bundle.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			for _, claim := range []bool{false, true} { // the edited record under the honest verdict, and under one that passes
				j, forged := *honest, rules.files()
				if claim {
					forged = forge(t, p, &j, evidence.RulesVersion)
				}
				for _, n := range b.Names() {
					if forged[n], err = b.Read(n); err != nil {
						t.Fatal(err)
					}
				}
				was := forged[tt.file]
				forged[tt.file] = tt.edit(was)
				if name != "nothing" && bytes.Equal(forged[tt.file], was) {
					t.Fatal("nothing was edited")
				}
				q := *p
				q.Repo = repository.New(dir.Open(t.TempDir()))
				if err := q.seal(t.Context(), forged, &j); err != nil {
					t.Fatal(err)
				}
				_, err := stored(t.Context(), NewVerifier(trust, q.Repo, bundle.DefaultLimits(), "helmproof test"), q.Repo, j.Bundle)
				var broken *IntegrityError
				if honestly := name == "nothing" && !claim; honestly != (err == nil) || !honestly && (!errors.As(err, &broken) || !strings.Contains(err.Error(), "findings: ")) {
					t.Errorf("claims a pass: %v: %v", claim, err)
				}
			}
		})
	}
}

// without is text without the lines that have part in them.
func without(text []byte, part string) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(part)) {
			out = append(out, line...)
		}
	}
	return out
}
