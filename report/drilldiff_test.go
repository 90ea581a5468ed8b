package report_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/report"
	"github.com/companyos/helmproof/report/reporttest"
)

func TestDiffDrills(t *testing.T) {
	t.Parallel()
	steady := func(int) int { return 100 }
	changed := func(change func(*drill.Figures)) *drill.Figures {
		f := reporttest.Figures(60, steady)
		change(f)
		return f
	}
	for name, tt := range map[string]struct {
		b    *drill.Figures
		want string // figures that are not the same
	}{
		"the same":                {changed(func(*drill.Figures) {}), ""},
		"within noise":            {changed(func(f *drill.Figures) { *f.Recover = *f.Recover * 103 / 100 }), ""},
		"slower recovery":         {changed(func(f *drill.Figures) { *f.Recover = *f.Recover * 2 }), "recovery worse (25.2 s, 50.4 s)"},
		"no recovery":             {changed(func(f *drill.Figures) { f.Recover = nil }), "recovery worse (25.2 s, not within the drill)"},
		"faster":                  {changed(func(f *drill.Figures) { f.Probes[0].During.P99 /= 2 }), "p99 during better (108 ms, 54 ms)"},
		"none good":               {changed(func(f *drill.Figures) { f.Probes[0].During = drill.Latency{} }), "p99 during worse (108 ms, none good)"},
		"spent more":              {changed(func(f *drill.Figures) { f.Budget.Spent = 2 }), "spent budget worse (0 s of 3.60 s, 2.00 s of 3.60 s)"},
		"less available":          {changed(func(f *drill.Figures) { f.Probes[0].Availability = .99 }), "availability worse (100 %, 99 %)"},
		"down":                    {changed(func(f *drill.Figures) { f.Probes[0].Downtime = time.Second }), "downtime worse (0 s, 1.00 s)"},
		"violated":                {changed(func(f *drill.Figures) { f.Violations = []drill.Violation{{Pods: []string{"a", "b"}}} }), "violations worse (0, 1); pods lost in violations worse (0, 2)"},
		"a pod that never starts": {changed(func(f *drill.Figures) { f.Pods[0].Ready = nil }), "worst ready time worse (8.21 s, 1 never)"},
		"no pods":                 {changed(func(f *drill.Figures) { f.Pods = nil }), "worst ready time unknown (8.21 s, no new pod)"},
		"a problem":               {changed(func(f *drill.Figures) { f.Problems = []string{"prober lost"} }), "not measured worse (0, 1)"},
		"not a number": {changed(func(f *drill.Figures) { f.Probes[0].Availability, f.Budget.Spent = math.NaN(), math.Inf(1) }),
			"availability unknown (100 %, not measured); spent budget unknown (0 s of 3.60 s, not measured); not measured worse (0, 2)"},
	} {
		a, b := reporttest.Drill(reporttest.Figures(60, steady)), reporttest.Drill(tt.b)
		d := report.Diff(&a, &b).Drill
		var got []string
		for _, f := range d.Figures {
			if f.Change != report.Same {
				got = append(got, fmt.Sprintf("%s %s (%s, %s)", f.Figure, f.Change, f.AText, f.BText))
			}
		}
		if s := strings.Join(got, "; "); s != tt.want || len(d.Differs) > 0 || len(d.Figures) != 9 {
			t.Errorf("%s: %q, plans differ in %q", name, s, d.Differs)
		}
		// The other way round what was worse is better.
		back := report.Diff(&b, &a).Drill
		for i, f := range d.Figures {
			want := map[report.Change]report.Change{report.Better: report.Worse, report.Worse: report.Better, report.Same: report.Same, report.Unknown: report.Unknown}[f.Change]
			if back.Figures[i].Change != want {
				t.Errorf("%s back: %s is %s, want %s", name, f.Figure, back.Figures[i].Change, want)
			}
		}
	}
}

func TestDiffDrillsOfOtherPlans(t *testing.T) {
	t.Parallel()
	steady := func(int) int { return 100 }
	a, b := reporttest.Drill(reporttest.Figures(60, steady)), reporttest.Drill(reporttest.Figures(60, steady))
	b.Drill.Plan.Experiment = drill.PodKill
	b.Drill.Plan.Target.Count = 3
	b.Drill.Plan.SLO.Latency = evidence.Duration(time.Second)
	if diff := gocmp.Diff([]string{"experiment: eviction and pod-kill", "target", "objective"}, report.Diff(&a, &b).Drill.Differs); diff != "" {
		t.Error(diff)
	}
	b.DrillUnread = "timeline.jsonl is cut"
	if d := report.Diff(&a, &b).Drill; len(d.Figures) != 0 || !gocmp.Equal(d.Unread, []string{"b: timeline.jsonl is cut"}) {
		t.Errorf("a record that cannot be read: %+v", d)
	}
	chart := reporttest.Small()
	if d := report.Diff(&a, &chart).Drill; d != nil {
		t.Errorf("a drill and a chart: %+v", d)
	}
}

func TestDrillDiffSchema(t *testing.T) {
	t.Parallel()
	c := jsonschema.NewCompiler()
	for _, name := range []string{"report.schema.json", "diff.schema.json"} {
		raw, err := os.ReadFile("../docs/schemas/" + name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.AddResource("https://github.com/companyos/helmproof/docs/schemas/"+name, f); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile("https://github.com/companyos/helmproof/docs/schemas/diff.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	fs := reporttest.Drills()
	a := reporttest.Drill(fs["eviction"])
	for name, f := range fs {
		b := reporttest.Drill(f)
		raw, err := json.Marshal(report.Diff(&a, &b))
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, raw); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
