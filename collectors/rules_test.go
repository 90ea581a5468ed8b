package collectors

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

// saying is a collector that finds what it is told.
type saying struct{ found []evidence.Finding }

func (saying) Name() string                                                  { return "saying" }
func (saying) Rules() []string                                               { return []string{"saying/one", "saying/many/*"} }
func (saying) Collect(context.Context, Input, evidence.ArtifactWriter) error { return nil }
func (s saying) Findings(*Sealed) ([]evidence.Finding, error)                { return s.found, nil }

func TestFindingsCountForTheCatalogsControls(t *testing.T) {
	t.Parallel()
	in := NewSealed(NewArtifacts(nil), evidence.NewRuleControls(&evidence.Catalog{Controls: []evidence.Control{
		{ID: "AAA-1", Rules: []string{"saying/one"}}, {ID: "BBB-1", Rules: []string{"saying/many*", "saying/one"}}, {ID: "CCC-1", Rules: []string{"other/rule"}},
	}}))
	for _, tt := range []struct {
		rule    string
		outcome evidence.Outcome
		named   []evidence.ControlID
		want    string // controls, or the error
	}{
		{"saying/one", evidence.OutcomePass, nil, "AAA-1 BBB-1"},
		{"saying/many/a", evidence.OutcomePass, nil, "BBB-1"},
		{"saying/many/a", evidence.OutcomePass, []evidence.ControlID{"CCC-1"}, "BBB-1"},
		{"saying/many/a", evidence.OutcomeWarn, []evidence.ControlID{"CCC-1"}, "BBB-1"},
		{"saying/many/a", evidence.OutcomeNotApplicable, []evidence.ControlID{"CCC-1"}, "BBB-1"},
		{"saying/many/a", evidence.OutcomeFail, []evidence.ControlID{"CCC-1", "AAA-1", "BBB-1"}, "AAA-1 BBB-1 CCC-1"},
		{"saying/many/a", evidence.OutcomeNotChecked, []evidence.ControlID{"CCC-1"}, "BBB-1 CCC-1"},
		{"saying/many/a", evidence.OutcomeError, []evidence.ControlID{"CCC-1"}, "BBB-1 CCC-1"},
		{"saying/two", evidence.OutcomePass, nil, `collector saying: a finding of rule "saying/two", which is none of its rules`},
		{"other/rule", evidence.OutcomePass, nil, `collector saying: a finding of rule "other/rule", which is none of its rules`},
	} {
		found, err := Findings(in, saying{[]evidence.Finding{{Rule: tt.rule, Outcome: tt.outcome, Controls: tt.named}}})
		var got []string
		if err != nil {
			got = append(got, err.Error())
		}
		for _, f := range found {
			for _, id := range f.Controls {
				got = append(got, string(id))
			}
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s %s: %s, want %s", tt.outcome, tt.rule, s, tt.want)
		}
	}
	none := NewSealed(NewArtifacts(nil), evidence.NewRuleControls(&evidence.Catalog{}))
	runs := []evidence.CollectorRun{{Collector: "saying", Outcome: evidence.OutcomePass}}
	found, after := Derive(none, []Collector{saying{[]evidence.Finding{{Rule: "saying/one", Outcome: evidence.OutcomePass}}}}, runs)
	if len(found) != 0 || after[0].Outcome != evidence.OutcomeError || after[0].Error != `collector saying: a finding of rule "saying/one", which no control of the catalog has` {
		t.Errorf("a rule that no control has: %v, %+v", found, after)
	}
	if !slices.Equal(runs, []evidence.CollectorRun{{Collector: "saying", Outcome: evidence.OutcomePass}}) {
		t.Error("Derive changed its input")
	}
}
