package charts

import (
	"testing"

	"github.com/companyos/helmproof/collectors/chart"
)

// BenchmarkRender loads and renders the service chart with its defaults.
func BenchmarkRender(b *testing.B) {
	for b.Loop() {
		rel, err := chart.Load(b.Context(), serviceDir, chart.LoadOptions{})
		if err != nil {
			b.Fatal(err)
		}
		if err := rel.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
