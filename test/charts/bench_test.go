package charts

import (
	"testing"

	"github.com/companyos/helmproof/collectors"
)

// BenchmarkRender loads and renders the service chart with its defaults.
func BenchmarkRender(b *testing.B) {
	for b.Loop() {
		rel, err := collectors.Load(b.Context(), serviceDir, collectors.LoadOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := rel.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
