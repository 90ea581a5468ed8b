package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/internal/manifest/manifesttest"
)

// TestLoadCorpus loads each chart below the folder that HELMPROOF_CHARTS names
// twice: the same bytes, objects as Kubernetes' clients read them, short errors.
func TestLoadCorpus(t *testing.T) {
	t.Parallel()
	dir := os.Getenv("HELMPROOF_CHARTS")
	if dir == "" {
		t.Skip("HELMPROOF_CHARTS names no folder of charts")
	}
	loaded, refused, objects, size := 0, 0, 0, 0
	var spent time.Duration
	for _, pattern := range []string{"*", "*/*", "*/*/*"} {
		refs, err := filepath.Glob(filepath.Join(dir, pattern, "Chart.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, ref := range refs {
			ref = filepath.Dir(ref)
			start := time.Now()
			a, err := Load(t.Context(), ref, LoadOptions{})
			spent += time.Since(start)
			if err != nil {
				refused++
				t.Log(err)
				continue
			}
			loaded++
			size += len(a.Manifests)
			b := mustLoad(t, ref, LoadOptions{})
			if !bytes.Equal(a.Manifests, b.Manifests) {
				t.Errorf("%s: two renderings differ:\n%s", ref, cmp.Diff(string(a.Manifests), string(b.Manifests)))
			}
			if diff := cmp.Diff(a.Record, b.Record); diff != "" {
				t.Errorf("%s: two records differ:\n%s", ref, diff)
			}
			set, err := a.Objects()
			if err != nil {
				t.Errorf("%s: %v", ref, err)
				continue
			}
			objects += len(set.Objects)
			for _, bd := range set.Broken {
				t.Logf("%s: broken %+v", ref, bd)
			}
			manifesttest.CompareWithKubernetes(t, ref, a.Manifests, set)
		}
	}
	t.Logf("%d loaded, %d refused, %d objects, %d bytes, first loads took %s", loaded, refused, objects, size, spent)
}
