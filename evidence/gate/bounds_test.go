package gate

import (
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// TestComposeBoundsWaivers: the gate's profile says which waivers of the evidence count.
func TestComposeBoundsWaivers(t *testing.T) {
	t.Parallel()
	soon, never := at.Add(24*time.Hour), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)
	failing := finding(evidence.OutcomeFail, evidence.SeverityHigh, "a", "AAA-1")
	all := &evidence.WaiverBounds{Wildcards: true}
	rule := failing.Rule
	for _, tt := range []struct {
		name   string
		target evidence.Selector
		until  time.Time
		bounds *evidence.WaiverBounds
		want   string // the beginning of the reason; empty: it counts
	}{
		{"an object", evidence.Selector{Name: "a"}, soon, nil, ""},
		{"an object, within a year", evidence.Selector{Name: "a"}, at.Add(365 * 24 * time.Hour), nil, ""},
		{"an object, for ever", evidence.Selector{Name: "a"}, never, nil, "ends on 9999-01-01, and the profile accepts waivers that end within 8760h"},
		{"longer than the profile says", evidence.Selector{Name: "a"}, soon, &evidence.WaiverBounds{MaxAge: evidence.Duration(time.Hour)}, "ends on "},
		{"every name", evidence.Selector{Name: "*"}, soon, nil, `its target has the wildcard "*"`},
		{"every name, spelled otherwise", evidence.Selector{Name: "?*"}, soon, nil, `its target has the wildcard "?*"`},
		{"every name, as a set", evidence.Selector{Name: "[^x]"}, soon, nil, `its target has the wildcard "[^x]"`},
		{"every name, quoted", evidence.Selector{Name: `\a`}, soon, nil, `its target has the wildcard "\\a"`},
		{"every kind", evidence.Selector{Name: "a", Kind: "*"}, soon, nil, `its target has the wildcard "*"`},
		{"a kind", evidence.Selector{Kind: failing.Target.Kind}, soon, nil, "its target names no object"},
		{"a namespace", evidence.Selector{Namespace: failing.Target.Namespace}, soon, nil, "its target names no object"},
		{"the rule of the control", evidence.Selector{Rule: rule}, soon, nil, "its target names no object"},
		{"every name, as the profile allows", evidence.Selector{Name: "*"}, soon, all, ""},
		{"every name, for ever, as the profile half allows", evidence.Selector{Name: "*"}, never, all, "ends on 9999-01-01"},
		{"the rule, as the profile allows", evidence.Selector{Rule: rule}, soon, all, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := seen("release", evidence.ScopeRelease, time.Hour, []string{"first"}, failing)
			e.Verdict.Waivers = []evidence.WaiverResult{{Waiver: evidence.Waiver{Control: "AAA-1", Target: tt.target, Reason: "r", ApprovedBy: "Ada", ExpiresAt: tt.until}}}
			p := testProfile("AAA-1")
			p.Waivers = tt.bounds
			in := ComposeInput{Profile: p, Catalog: testCatalog(), Evidence: []Evidence{e}, At: at}
			v := Compose(in)
			w := v.Waivers[0]
			if tt.want == "" && (v.Outcome != evidence.VerdictPass || w.Status != WaiverApplied) {
				t.Errorf("%s, waiver %s: %s; want it to count", v.Outcome, w.Status, w.Reason)
			}
			if tt.want != "" && (v.Outcome != evidence.VerdictFail || w.Status != WaiverRefused || !strings.HasPrefix(w.Reason, tt.want)) {
				t.Errorf("%s, waiver %s: %s; want it refused: %s", v.Outcome, w.Status, w.Reason, tt.want)
			}
			in.AnyWaiver = true
			if v := Compose(in); v.Outcome != evidence.VerdictPass {
				t.Errorf("as older versions did: %s", v.Reason)
			}
		})
	}
}
