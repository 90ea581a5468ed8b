package bundle_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence/bundle"
)

// large is a release with 300 findings and manifests of 300 objects.
func large(b *testing.B) *bundle.Contents {
	b.Helper()
	c := contents(b, "api")
	var seen strings.Builder
	for i := range 300 {
		fmt.Fprintf(&seen, "RES-1 pass workload-%d container app requests cpu and memory, both above zero\n", i)
	}
	c.Files[artifactOf("lines")] = []byte(seen.String())
	c.Files["artifacts/release/chart.json"] = []byte(strings.Repeat(`{"name":"templates/deployment.yaml","digest":"sha256:0123456789abcdef"}`, 300))
	judge(b, c)
	return c
}

func BenchmarkSeal(b *testing.B) {
	s, c := newSigner(b), large(b)
	b.ReportAllocs()
	for b.Loop() {
		p := seal(b, c, s)
		if len(p.Files) != 6 {
			b.Fatalf("%d files", len(p.Files))
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	s := newSigner(b)
	p := seal(b, large(b), s)
	v := verifier(b, s)
	b.ReportAllocs()
	for b.Loop() {
		if r := v.Verify(b.Context(), p.Files, p.ID); !r.OK() {
			b.Fatal(r.Reason())
		}
	}
}

func BenchmarkOpen(b *testing.B) {
	raw := pack(b, large(b))
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := bundle.Open(raw, bundle.DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}
