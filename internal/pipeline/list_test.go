package pipeline

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/policy"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
)

func list(t *testing.T) []listed {
	t.Helper()
	policies, err := policy.Bundle("")
	if err != nil {
		t.Fatal(err)
	}
	all, err := collectorList(collectorOptions{policies: policies})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Every rule that a collector may have findings of counts for a control, and
// every rule that a control names is one of its collector's.
func TestRulesOfCatalogAndCollectors(t *testing.T) {
	t.Parallel()
	_, catalog := config.Catalog()
	rules := map[string][]string{}
	for _, c := range list(t) {
		rules[c.Name()] = c.Rules()
		for _, r := range c.Rules() {
			ids := config.RuleControls().Of(strings.TrimSuffix(r, "*"))
			if len(ids) == 0 {
				t.Errorf("collector %s: no control has its rule %s", c.Name(), r)
			}
			for _, id := range ids {
				if x, _ := catalog.Control(id); x.Collector != c.Name() {
					t.Errorf("collector %s: its rule %s counts for %s, which collector %s decides", c.Name(), r, id, x.Collector)
				}
			}
		}
	}
	for _, x := range catalog.Controls {
		have, ok := rules[x.Collector]
		if !ok {
			t.Errorf("%s: there is no collector %s", x.ID, x.Collector)
		}
		for _, r := range x.Rules {
			prefix, open := strings.CutSuffix(r, "*")
			if ok && !slices.Contains(have, r) && (!open || !slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, prefix) })) {
				t.Errorf("%s: rule %s is none of collector %s", x.ID, r, x.Collector)
			}
		}
	}
}

// Profile chart has the controls whose collectors need no cluster and nothing
// that is given to judge by, and no others.
func TestProfileChart(t *testing.T) {
	t.Parallel()
	alone := map[string]bool{}
	for _, c := range list(t) {
		alone[c.Name()] = !c.live && !c.idle && slices.Contains(c.scopes, evidence.ScopeRelease)
	}
	_, catalog := config.Catalog()
	_, profile, err := config.Profile("chart")
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range catalog.Controls {
		in := slices.ContainsFunc(profile.Controls, func(pc evidence.ProfileControl) bool { return pc.ID == x.ID })
		if in != alone[x.Collector] {
			t.Errorf("%s of collector %s: in profile chart: %v", x.ID, x.Collector, in)
		}
	}
}

// A drill of last year does not become fresh by being sealed again.
func TestDrillsAreOfTheirRun(t *testing.T) {
	t.Parallel()
	files := drilltest.New(drill.PodKill).Files("chaos")
	run := evidence.CollectorRun{Collector: "chaos", Outcome: evidence.OutcomePass, StartedAt: drilltest.Began.Add(-30 * time.Second), FinishedAt: drilltest.Began.Add(40 * time.Second)}
	if err := drilledThen(files, run); err != nil {
		t.Error(err)
	}
	for _, by := range []time.Duration{-2 * time.Minute, 2 * time.Minute, 365 * 24 * time.Hour} {
		later := run
		later.StartedAt, later.FinishedAt = run.StartedAt.Add(by), run.FinishedAt.Add(by)
		if err := drilledThen(files, later); err == nil || !strings.Contains(err.Error(), "the drill began at 2026-11-02T10:00:00Z and took 25s, and collector chaos ran from") {
			t.Errorf("%s: %v", by, err)
		}
	}
}
