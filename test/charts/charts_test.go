// Package charts holds the charts that the tests use, and the tests of the
// charts that helmproof ships.
package charts_test

import (
	"testing"

	"github.com/companyos/helmproof/collectors"
)

func load(t *testing.T, dir string, o collectors.LoadOptions) *collectors.Release {
	t.Helper()
	rel, err := collectors.Load(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	})
	return rel
}

func TestLoad(t *testing.T) {
	for _, d := range []string{"weak", "../../charts/service"} {
		rel := load(t, d, collectors.LoadOptions{})
		t.Logf("%s", rel.Manifests)
	}
}
