package pipeline

import (
	"slices"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// Each experiment has controls of the built-in profile that ask for it.
func TestForDrill(t *testing.T) {
	t.Parallel()
	rules, err := LoadRules(RulesOptions{Profile: "drill"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[drill.Experiment][]evidence.ControlID{
		drill.PodKill: {"RSL-1"}, drill.Eviction: {"RSL-1"}, drill.RollingRestart: {"RSL-1"}, drill.ContainerKill: {"RSL-1"},
		drill.NodeDrain: {"RSL-2"}, drill.ZoneDrain: {"RSL-2"}, drill.Rollback: {"RSL-3"}, drill.Load: {"RES-4", "RSL-4"},
	}
	for _, e := range drill.Experiments() {
		by, err := rules.ForDrill(e)
		if err != nil {
			t.Errorf("%s: %v", e, err)
			continue
		}
		var got []evidence.ControlID
		for _, c := range by.Profile.Controls {
			got = append(got, c.ID)
		}
		slices.Sort(got)
		if !slices.Equal(got, want[e]) {
			t.Errorf("%s asks for %v, want %v", e, got, want[e])
		}
	}
}
