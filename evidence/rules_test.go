package evidence_test

import (
	"slices"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

func TestRuleControls(t *testing.T) {
	t.Parallel()
	r := evidence.NewRuleControls(&evidence.Catalog{Controls: []evidence.Control{
		{ID: "CIS-1", Rules: []string{"bench/*"}},
		{ID: "CIS-2", Rules: []string{"bench/covered", "bench/node*"}},
		{ID: "CIS-3", Rules: []string{"bench/covered", "bench/covered"}},
	}})
	for rule, want := range map[string][]evidence.ControlID{
		"bench/1.1":       {"CIS-1"},
		"bench/":          {"CIS-1"},
		"bench/covered":   {"CIS-2", "CIS-3"},
		"bench/covered-x": {"CIS-1"},
		"bench/nodes":     {"CIS-2"},
		"bench":           nil,
		"":                nil,
		"other/1.1":       nil,
	} {
		if got := r.Of(rule); !slices.Equal(got, want) {
			t.Errorf("%q counts for %v, want %v", rule, got, want)
		}
	}
}
