package autoscaling

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const (
	// maxTurns is how often an autoscaler may change direction within the window.
	maxTurns = 4
	// longAtMaximum is how long an autoscaler may want more than its maximum.
	longAtMaximum = 15 * time.Minute
	// Requests within this factor of the recommendation, up or down, are near it.
	tolerance = 2.0
)

var rules = collectors.Rules{
	RuleThrash: evidence.SeverityLow, RuleConditions: evidence.SeverityLow, RuleSaturation: evidence.SeverityLow,
	RuleBudget: evidence.SeverityLow, RuleRecommendation: evidence.SeverityLow,
}

type derivation struct{ *collectors.Derivation }

func (d derivation) add(rule string, t evidence.Target, outcome evidence.Outcome, message, fix, pointer string) {
	d.Add(rule, t, outcome, message, fix, d.Own(file, pointer))
}

const askAgain = "Let helmproof's account get autoscalers, disruption budgets, workloads and events, and collect again."

func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := derivation{collectors.NewDerivation(in, Name, rules)}
	var seen Seen
	if err := d.Parse(file, &seen); err != nil {
		return nil, err
	}
	at := map[int]string{}
	// known says whether an entry is there to judge, and about which object.
	known := func(e Entry, kind, pointer, rule string) (*manifest.Object, bool, error) {
		if e.Index < 0 || e.Index >= len(set.Objects) || kindOf(&set.Objects[e.Index]) != kind {
			return nil, false, fmt.Errorf("parse %s: %s is not about such an object of the manifests", file, pointer)
		}
		o := &set.Objects[e.Index]
		at[e.Index] = pointer
		switch {
		case e.Error != "":
			d.add(rule, o.Target(""), evidence.OutcomeNotChecked, "could not be looked at: "+e.Error, askAgain, pointer)
			return o, false, nil
		case !e.Found:
			d.add(rule, o.Target(""), evidence.OutcomeFail, "is not in the cluster", "Install or upgrade the release.", pointer)
			return o, false, nil
		}
		return o, true, nil
	}
	if seen.At.IsZero() {
		return nil, fmt.Errorf("parse %s: it does not say when the cluster was asked", file)
	}
	for i := range seen.HPAs {
		p := fmt.Sprintf("/hpas/%d", i)
		o, ok, err := known(seen.HPAs[i].Entry, "hpa", p, RuleThrash)
		if err != nil {
			return nil, err
		}
		if ok {
			d.hpa(o.Target(""), &seen.HPAs[i], seen.At, p)
		}
	}
	for i := range seen.VPAs {
		p := fmt.Sprintf("/vpas/%d", i)
		o, ok, err := known(seen.VPAs[i].Entry, "vpa", p, RuleRecommendation)
		if err != nil {
			return nil, err
		}
		if ok {
			d.vpa(o.Target(""), &seen.VPAs[i], p)
		}
	}
	for i := range seen.Budgets {
		p := fmt.Sprintf("/budgets/%d", i)
		o, ok, err := known(seen.Budgets[i].Entry, "pdb", p, RuleBudget)
		if err != nil {
			return nil, err
		}
		if ok {
			d.budget(o.Target(""), &seen.Budgets[i], p)
		}
	}
	d.rest(rel, set, at)
	return d.Out, nil
}

// rest says what was not asked, cannot be read, or does not apply.
func (d derivation) rest(rel *evidence.Release, set *manifest.ObjectSet, asked map[int]string) {
	of := map[string]string{"hpa": RuleThrash, "vpa": RuleRecommendation, "pdb": RuleBudget}
	for i := range set.Objects {
		if kind := kindOf(&set.Objects[i]); kind != "" && asked[i] == "" {
			d.add(of[kind], set.Objects[i].Target(""), evidence.OutcomeNotChecked, "the cluster was not asked about it", "Collect again.", "")
		}
	}
	chart := evidence.Target{Kind: "Chart", Name: rel.Chart}
	for _, rule := range []string{RuleThrash, RuleRecommendation} {
		d.Unreadable(rule, rel.Chart, set.Broken, d.Own(file, ""))
		same := func(f evidence.Finding) bool { return slices.Equal(d.Controls(f.Rule), d.Controls(rule)) }
		if !slices.ContainsFunc(d.Out, same) {
			d.add(rule, chart, evidence.OutcomeNotApplicable, map[string]string{
				RuleThrash: "the release has no HorizontalPodAutoscaler and no PodDisruptionBudget", RuleRecommendation: "the release has no VerticalPodAutoscaler"}[rule], "", "")
		}
	}
}

func (d derivation) hpa(t evidence.Target, h *HPA, now time.Time, at string) {
	condition := func(name string) *Condition {
		if i := slices.IndexFunc(h.Conditions, func(c Condition) bool { return c.Type == name }); i >= 0 {
			return &h.Conditions[i]
		}
		return nil
	}
	// Without these two the autoscaler does not work at all.
	for _, name := range []string{"AbleToScale", "ScalingActive"} {
		switch c := condition(name); {
		case c == nil:
			d.add(RuleConditions, t, evidence.OutcomeNotChecked, "has no condition "+name+": no controller has looked at it yet", "Collect again when the controller manager has.", at)
		case c.Status != "True":
			d.add(RuleConditions, t, evidence.OutcomeFail, fmt.Sprintf("does not scale: %s is %s: %s: %s", name, c.Status, c.Reason, c.Message), "Mend what the condition names: the metrics, the target or the selector.", at)
		default:
			d.add(RuleConditions, t, evidence.OutcomePass, name+": "+c.Reason, "", at)
		}
	}
	switch c := condition("ScalingLimited"); {
	case c != nil && c.Status == "True" && c.Reason == "TooManyReplicas" && now.Sub(c.Since.Time) >= longAtMaximum:
		d.add(RuleSaturation, t, evidence.OutcomeFail, fmt.Sprintf("wants more than its maximum of %d replicas since %s", h.Max, now.Sub(c.Since.Time).Round(time.Second)), "Raise maxReplicas, or the capacity of a replica.", at)
	case c != nil && c.Status == "True" && c.Reason == "TooManyReplicas":
		d.add(RuleSaturation, t, evidence.OutcomeWarn, fmt.Sprintf("wants more than its maximum of %d replicas", h.Max), "Watch whether it stays there; then raise maxReplicas.", at)
	case c == nil:
		d.add(RuleSaturation, t, evidence.OutcomeNotChecked, "has no condition ScalingLimited", "Collect again when the controller manager has looked at it.", at)
	default:
		d.add(RuleSaturation, t, evidence.OutcomePass, fmt.Sprintf("%d replicas, between %d and %d", h.Current, h.Min, h.Max), "", at)
	}
	if h.EventsError != "" {
		d.add(RuleThrash, t, evidence.OutcomeNotChecked, "its events could not be read: "+h.EventsError, askAgain, at)
		return
	}
	turns, err := turnsOf(h.Rescales)
	switch {
	case err != nil:
		d.add(RuleThrash, t, evidence.OutcomeError, err.Error(), "Collect again.", at+"/rescales")
	case turns > maxTurns:
		d.add(RuleThrash, t, evidence.OutcomeFail, fmt.Sprintf("changed direction %d times within %s (%d rescales)", turns, window, len(h.Rescales)), "Lengthen the stabilization window, or move the target away from the usual load.", at+"/rescales")
	default:
		d.add(RuleThrash, t, evidence.OutcomePass, fmt.Sprintf("changed direction %d times within %s (%d rescales)", turns, window, len(h.Rescales)), "", at)
	}
}

var newSize = regexp.MustCompile(`^New size: ([0-9]+)`)

// turnsOf counts changes of direction. Kubernetes folds like events into one with
// a count: an event that was counted n times had others between, so that each
// repetition is a turn there and back. n rescales have n-2 turns at most.
func turnsOf(list []Rescale) (int, error) {
	turns, direction, last, all := 0, 0, -1, 0
	for _, r := range list {
		m := newSize.FindStringSubmatch(r.Message)
		if m == nil {
			return 0, fmt.Errorf("a rescale says %q, without a size", r.Message)
		}
		size, err := strconv.Atoi(m[1])
		if err != nil {
			return 0, fmt.Errorf("a rescale says %q: %w", r.Message, err)
		}
		count := max(int(r.Count), 1)
		all += count
		turns += (count - 1) * 2
		if last >= 0 && size != last {
			now := 1
			if size < last {
				now = -1
			}
			if direction != 0 && now != direction {
				turns++
			}
			direction = now
		}
		last = size
	}
	return min(turns, max(all-2, 0)), nil
}

func (d derivation) vpa(t evidence.Target, v *VPA, at string) {
	switch {
	case len(v.Recommendations) == 0:
		d.add(RuleRecommendation, t, evidence.OutcomeNotChecked, "recommends nothing yet", "Give the recommender a day of usage, and collect again.", at)
		return
	case v.RequestsError != "":
		d.add(RuleRecommendation, t, evidence.OutcomeNotChecked, "the requests of "+v.Target+" could not be read: "+v.RequestsError, askAgain, at)
		return
	}
	for i, r := range v.Recommendations {
		where := fmt.Sprintf("%s/recommendations/%d", at, i)
		target := t
		target.Container = r.Container
		requests, ok := v.Requests[r.Container]
		if !ok {
			d.add(RuleRecommendation, target, evidence.OutcomeWarn, "recommends for a container that "+v.Target+" does not have", "Remove the recommendation's container policy, or wait until the recommender forgets it.", where)
			continue
		}
		if len(r.Target) == 0 {
			d.add(RuleRecommendation, target, evidence.OutcomeNotChecked, "recommends nothing for the container", "Give the recommender a day of usage, and collect again.", where)
		}
		for _, res := range slices.Sorted(maps.Keys(r.Target)) {
			outcome, message := near(res, requests[res], r.Target[res])
			d.add(RuleRecommendation, target, outcome, message, fmt.Sprintf("Set resources.requests.%s to %s.", res, r.Target[res]), where+"/target/"+res)
		}
	}
	d.unrecommended(t, v, at)
}

// unrecommended are the containers that nothing is said about.
func (d derivation) unrecommended(t evidence.Target, v *VPA, at string) {
	for _, name := range slices.Sorted(maps.Keys(v.Requests)) {
		if !slices.ContainsFunc(v.Recommendations, func(r Recommendation) bool { return r.Container == name }) {
			t.Container = name
			d.add(RuleRecommendation, t, evidence.OutcomeNotChecked, "recommends nothing for the container", "Let the autoscaler watch the container, or give it a day of usage.", at)
		}
	}
}

// near compares a request with its recommendation.
func near(res, request, recommended string) (evidence.Outcome, string) {
	want, err := resource.ParseQuantity(recommended)
	if err != nil {
		return evidence.OutcomeError, fmt.Sprintf("the recommendation of %s, %q, is no quantity", res, recommended)
	}
	if request == "" {
		return evidence.OutcomeFail, fmt.Sprintf("requests no %s; %s is recommended", res, recommended)
	}
	have, err := resource.ParseQuantity(request)
	if err != nil {
		return evidence.OutcomeError, fmt.Sprintf("the request of %s, %q, is no quantity", res, request)
	}
	message := fmt.Sprintf("requests %s of %s; %s is recommended", request, res, recommended)
	h, w := have.AsApproximateFloat64(), want.AsApproximateFloat64()
	if w <= 0 || h > w*tolerance || h*tolerance < w {
		return evidence.OutcomeFail, message
	}
	return evidence.OutcomePass, message
}

func (d derivation) budget(t evidence.Target, b *Budget, at string) {
	about := fmt.Sprintf("%d of %d pods healthy, %d needed, %d disruptions allowed", b.Current, b.Expected, b.Desired, b.Allowed)
	switch {
	case b.Expected == 0:
		d.add(RuleBudget, t, evidence.OutcomeWarn, "selects no pods", "Make spec.selector match the workload's pods.", at)
	case b.Current < b.Desired:
		d.add(RuleBudget, t, evidence.OutcomeFail, about+": pods are missing, and no node that runs one can be drained", "Find out why pods are not Ready.", at)
	case b.Allowed < 1:
		d.add(RuleBudget, t, evidence.OutcomeFail, about+": no node that runs one can be drained", "Run more replicas than the budget needs, or loosen it.", at)
	default:
		d.add(RuleBudget, t, evidence.OutcomePass, about, "", at)
	}
}
