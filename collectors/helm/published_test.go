package helm

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// TestPublishedCRDs holds that every embedded schema is read and compiles.
func TestPublishedCRDs(t *testing.T) {
	t.Parallel()
	all, err := publishedCRDs()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 20 {
		t.Fatalf("only %d schemas", len(all))
	}
	for key := range all {
		gv, kind, _ := strings.Cut(key, " ")
		parsed, err := schema.ParseGroupVersion(gv)
		if err != nil {
			t.Fatal(err)
		}
		crd, source, err := published(parsed.WithKind(kind))
		if err != nil || crd == nil || crd.Compile() != nil || !strings.Contains(source, " v") {
			t.Errorf("%s: %v, %+v from %q", key, err, crd, source)
		}
	}
}
