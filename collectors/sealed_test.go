package collectors_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/internal/manifest"
)

func TestSealedSharesObjects(t *testing.T) {
	t.Parallel()
	rel, err := chart.Load(t.Context(), "../charts/service", chart.LoadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer rel.Close() //nolint:errcheck // nothing was unpacked
	own, err := rel.Objects()
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		sealed string
		shared bool
	}{
		"same bytes":   {string(rel.Manifests), true},
		"other bytes":  {string(rel.Manifests) + "\n", false},
		"other object": {strings.Replace(string(rel.Manifests), "kind: Service\n", "kind: Sacret\n", 1), false},
	} {
		a := collectors.NewArtifacts(nil)
		if _, err := a.Put(collectors.ManifestsFile, []byte(tt.sealed)); err != nil {
			t.Fatal(err)
		}
		set, err := collectors.NewSealedWith(a, config.RuleControls(), rel).Objects()
		if err != nil {
			t.Fatal(err)
		}
		if (set == own) != tt.shared {
			t.Errorf("%s: shared %v, want %v", name, set == own, tt.shared)
		}
		if want := strings.Count(tt.sealed, "kind: Sacret"); want > 0 && !slices.ContainsFunc(set.Objects, func(o manifest.Object) bool { return o.GetKind() == "Sacret" }) {
			t.Errorf("%s: the sealed object was not parsed", name)
		}
	}
}
