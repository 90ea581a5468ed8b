package drill

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

const s = time.Second

func podEvent(at time.Duration, name string, touch func(p *Pod)) Event {
	p := Pod{Name: "shop/" + name, UID: name, Labels: map[string]string{"app": "web", "tier": "front"}, Phase: "Running", Ready: true}
	if touch != nil {
		touch(&p)
	}
	return Event{At: at, Pod: &p}
}

func budgetEvent(at time.Duration, desired int32, expression string) Event {
	return Event{At: at, Budget: &Budget{Name: "shop/web", Selector: map[string]string{"app": "web"}, Expression: expression, Desired: desired}}
}

func TestViolations(t *testing.T) {
	t.Parallel()
	deleting := func(p *Pod) { p.Deleting = true }
	gone := func(p *Pod) { p.Gone = true }
	unready := func(p *Pod) { p.Ready = false }
	three := []Event{podEvent(0, "a", nil), podEvent(0, "b", nil), podEvent(0, "c", nil)}
	of := func(from, to time.Duration, desired, lowest int32, pods ...string) Violation {
		return Violation{Budget: "shop/web", From: from, To: to, Desired: desired, Lowest: lowest, Pods: pods}
	}
	tests := []struct {
		name   string
		events []Event
		want   []Violation
	}{
		{"one that may go", []Event{budgetEvent(0, 2, ""), podEvent(1*s, "a", deleting), podEvent(2*s, "a", gone)}, nil},
		{"two at once", []Event{budgetEvent(0, 2, ""), podEvent(1*s, "a", deleting), podEvent(2*s, "b", unready), podEvent(3*s, "a", gone), podEvent(4*s, "d", nil)},
			[]Violation{of(2*s, 4*s, 2, 1, "shop/b")}},
		{"no end", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", gone), podEvent(2*s, "b", gone)}, []Violation{of(1*s, 9*s, 3, 1, "shop/a", "shop/b")}},
		{"each pod once", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", unready), podEvent(2*s, "a", nil), podEvent(3*s, "a", unready), podEvent(4*s, "a", nil)},
			[]Violation{of(1*s, 2*s, 3, 2, "shop/a"), of(3*s, 4*s, 3, 2)}},
		{"the budget of that time", []Event{budgetEvent(0, 3, ""), budgetEvent(1*s, 2, ""), podEvent(2*s, "a", gone)}, nil},
		{"one that was not healthy", []Event{budgetEvent(0, 3, ""), podEvent(0, "d", unready), podEvent(1*s, "d", gone)}, nil},
		{"one that is not selected", []Event{budgetEvent(0, 3, ""), podEvent(0, "x", func(p *Pod) { p.Labels = nil }), podEvent(1*s, "x", gone)}, nil},
		{"another namespace", []Event{budgetEvent(0, 3, ""), podEvent(0, "x", func(p *Pod) { p.Name = "other/x" }), podEvent(1*s, "x", func(p *Pod) { p.Name, p.Gone = "other/x", true })}, nil},
		{"expression", []Event{budgetEvent(0, 3, "app in (web,api),tier!=back"), podEvent(1*s, "a", gone)}, []Violation{of(1*s, 9*s, 3, 2, "shop/a")}},
		{"expression that does not select", []Event{budgetEvent(0, 3, "tier notin (front)"), podEvent(1*s, "a", gone)}, nil},
		{"labels stay those of the first event", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", func(p *Pod) { p.Labels, p.Ready = nil, false })}, []Violation{of(1*s, 9*s, 3, 2, "shop/a")}},
		{"budget that goes", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", gone), {At: 2 * s, Budget: &Budget{Name: "shop/web", Gone: true}}, podEvent(3*s, "b", gone)},
			[]Violation{of(1*s, 2*s, 3, 2, "shop/a")}},
		{"desire that falls", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", gone), budgetEvent(2*s, 2, ""), podEvent(3*s, "d", nil)}, []Violation{of(1*s, 2*s, 3, 2, "shop/a")}},
		{"pod that ends", []Event{budgetEvent(0, 3, ""), podEvent(1*s, "a", func(p *Pod) { p.Phase = "Failed" })}, []Violation{of(1*s, 9*s, 3, 2, "shop/a")}},
	}
	for _, tt := range tests {
		for i, v := range tt.want {
			if v.Pods == nil {
				tt.want[i].Pods = []string{}
			}
		}
		got, problems := violations(slices.Concat(three, tt.events), 9*s)
		if diff := cmp.Diff(append([]Violation{}, tt.want...), got); diff != "" || len(problems) > 0 != (tt.name == "budget that goes") {
			t.Errorf("%s: %s %v", tt.name, diff, problems)
		}
	}
}

// TestViolationsOracle compares with a count that has no state but all pods' last
// events: at each event, of every budget, who was healthy before and is not now.
func TestViolationsOracle(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Event {
			if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
				n := rapid.IntRange(0, 1).Draw(t, "budget")
				return Event{Budget: &Budget{Name: fmt.Sprintf("shop/b%d", n), Selector: map[string]string{"b": fmt.Sprint(n)}, Desired: int32(rapid.IntRange(0, 4).Draw(t, "desired"))}}
			}
			n := rapid.IntRange(0, 7).Draw(t, "pod")
			return Event{Pod: &Pod{
				Name: fmt.Sprintf("shop/p%d", n), UID: fmt.Sprint(n), Labels: map[string]string{"b": fmt.Sprint(n % 2)},
				Ready: rapid.Bool().Draw(t, "ready"), Deleting: rapid.IntRange(0, 4).Draw(t, "deleting") == 0,
			}}
		}), 0, 120).Draw(t, "events")
		want := map[string]bool{}
		for i := range events {
			events[i].At = time.Duration(i)
			for pair := range lostAt(events[:i], events[i]) {
				want[pair] = true
			}
		}
		got := map[string]bool{}
		all, _ := violations(events, time.Duration(len(events)))
		for _, v := range all {
			if v.To < v.From || v.Lowest >= v.Desired {
				t.Fatalf("%+v", v)
			}
			for _, p := range v.Pods {
				if pair := v.Budget + " " + p; got[pair] {
					t.Fatalf("%s twice", pair)
				} else {
					got[pair] = true
				}
			}
		}
		if !maps.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func lostAt(before []Event, now Event) map[string]bool {
	out := map[string]bool{}
	if now.Pod == nil {
		return out
	}
	pods, budgets := map[string]*Pod{}, map[string]*Budget{}
	for _, e := range before {
		if e.Pod != nil {
			pods[e.Pod.Name] = e.Pod
		} else {
			budgets[e.Budget.Name] = e.Budget
		}
	}
	old := pods[now.Pod.Name]
	if old == nil || !old.Healthy() || now.Pod.Healthy() {
		return out
	}
	pods[now.Pod.Name] = now.Pod
	for name, b := range budgets {
		healthy := 0
		for _, p := range pods {
			if p.Labels["b"] == b.Selector["b"] && p.Healthy() {
				healthy++
			}
		}
		if now.Pod.Labels["b"] == b.Selector["b"] && healthy < int(b.Desired) {
			out[name+" "+now.Pod.Name] = true
		}
	}
	return out
}

// Percentiles are values that were measured, by nearest rank.
func TestRank(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) time.Duration { return time.Duration(rapid.IntRange(0, 50).Draw(t, "v")) }), 1, 400).Draw(t, "values")
		l := latencyOf(slices.Clone(values))
		for percent, got := range map[int]time.Duration{50: l.P50, 99: l.P99} {
			below, upTo := 0, 0
			for _, v := range values {
				if v < got {
					below++
				}
				if v <= got {
					upTo++
				}
			}
			if !slices.Contains(values, got) || upTo*100 < percent*len(values) || below*100 >= percent*len(values) {
				t.Fatalf("p%d of %v is %d", percent, values, got)
			}
		}
	})
}
