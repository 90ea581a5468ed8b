package workload

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// replicas decides AVL-4.
func (r *release) replicas() {
	for _, p := range r.pods {
		if k := p.kind(); k != "Deployment" && k != "StatefulSet" {
			continue
		}
		n, said, by := r.floor(p)
		said = p.Where(said)
		switch {
		case n < 0:
			r.add(RuleReplicas, p.o, "", evidence.OutcomeNotChecked, said, uncountedFix(by), by)
		case n < 2:
			f := r.add(RuleReplicas, p.o, "", evidence.OutcomeFail, "fewer than 2 replicas: "+said, "Set "+p.ReplicasAt+" to 2 or more, or "+keeps(by)+" of its autoscaler.", by)
			// A singleton: one replica by its own count. None at all, or an autoscaler that may go
			// down to one, is none.
			if n == 1 && by == p.o {
				f.Declared = p.o.Declared("AVL-4")
			}
		default:
			r.add(RuleReplicas, p.o, "", evidence.OutcomePass, said, "", by)
		}
	}
}

// keeps is what the minimum of an autoscaler is called.
func keeps(o *manifest.Object) string {
	switch o.GetKind() {
	case "ScaledObject":
		return "minReplicaCount"
	case "HTTPScaledObject":
		return "replicas.min"
	}
	return "minReplicas"
}

// uncountedFix says what to do where the number of pods is not known.
func uncountedFix(by *manifest.Object) string {
	if a := by.Autoscaler(); a != nil && a.Unknown != "" {
		return "Scale it by a HorizontalPodAutoscaler or KEDA, or waive it where the bounds are known."
	}
	return "Set it to a whole number."
}

// budgetsSelect decides AVL-1.
func (r *release) budgetsSelect() {
	for _, p := range r.pods {
		if !p.replicated() || p.err != nil {
			continue
		}
		var mine, ever []*manifest.Object
		var missing absent
		for _, b := range r.budgets {
			if !p.selectedBy(b.ns, b.selector) {
				continue
			}
			if b.o.NeverMade() == "" {
				ever = append(ever, b.o)
			}
			if !missing.is(b.o, p.o) {
				mine = append(mine, b.o)
			}
		}
		n, said, by := r.floor(p)
		switch {
		case n < 0:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeNotChecked, said, uncountedFix(by), by)
		case len(ever) > 1:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeFail, fmt.Sprintf("%d PodDisruptionBudgets select its pods (%s): the eviction API refuses such pods", len(ever), names(ever)),
				"Let exactly one PodDisruptionBudget select the pods.", ever...)
		case n < 2:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeNotApplicable, replicasOf(n)+": a disruption budget could only block drains", "")
		case len(mine) == 0:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomeFail, "no PodDisruptionBudget selects its pods"+missing.said(),
				"Add a PodDisruptionBudget whose selector matches the pod template's labels, with maxUnavailable: 1, and that is no hook.", missing.objects...)
		default:
			r.add(RulePDBSelects, p.o, "", evidence.OutcomePass, "PodDisruptionBudget "+mine[0].GetName()+" selects its pods", "", mine...)
		}
	}
}

// budgetsAllow decides AVL-2 for each budget: with all pods that it selects
// healthy it must allow a disruption, and of no workload all pods at once. Where a
// workload scales from zero, so it must with the first pods above zero.
func (r *release) budgetsAllow() {
	for _, b := range r.budgets {
		r.allows(b)
	}
}

func (r *release) allows(b budget) {
	const rule = RulePDBAllows
	if why := b.o.NeverMade(); why != "" {
		r.add(rule, b.o, "", evidence.OutcomeNotApplicable, why, "")
		return
	}
	var also []*manifest.Object
	var uncounted counted
	var least, up tally
	scales := false // some scale from zero
	var missing absent
	for _, p := range r.pods {
		if !p.selectedBy(b.ns, b.selector) {
			continue
		}
		also = append(also, p.o)
		missing.is(b.o, p.o)
		n, said, by := r.floor(p)
		switch {
		case p.kind() == "Pod" && p.o.GetKind() != "PodTemplate":
			least.bare(p.name)
			up.bare(p.name)
			continue
		case !p.replicated():
			uncounted.add(p.name, "")
			continue
		case n < 0:
			r.add(rule, b.o, "", evidence.OutcomeNotChecked, p.name+": "+said, uncountedFix(by), p.o, by)
			return
		}
		least.add(p.name, n, replicasOf(n))
		if first := r.floorOf(p).up; n == 0 && first > 0 {
			up.add(p.name, first, replicasOf(first)+" when it is not scaled to zero")
			scales = true
		} else {
			up.add(p.name, n, replicasOf(n))
		}
	}
	unreadable := slices.ContainsFunc(r.pods, func(p pod) bool { return p.err != nil && !p.NoImages && p.ns == b.ns })
	count := least
	allowed, err := disruptionsAllowed(b.spec.MinAvailable, b.spec.MaxUnavailable, count.healthy, count.scaled)
	if scales && err == nil && (count.healthy == 0 || allowed > 0 && !count.all(allowed)) {
		count = up
		allowed, err = disruptionsAllowed(b.spec.MinAvailable, b.spec.MaxUnavailable, count.healthy, count.scaled)
	}
	about := "with " + count.selected.String()
	switch {
	case err != nil:
		r.add(rule, b.o, "", evidence.OutcomeError, err.Error(), "Set exactly one of minAvailable and maxUnavailable, to a number or to a percentage up to 100%.", also...)
	case unreadable:
		r.add(rule, b.o, "", evidence.OutcomeNotChecked, "a pod template of its namespace cannot be read: perhaps it selects that one too", "Correct the pod template so that Kubernetes can read it.", also...)
	case len(also) == 0:
		r.add(rule, b.o, "", evidence.OutcomeWarn, "selects no pod of the release", "Make spec.selector match the labels of the pods that it is meant for, or remove it.")
	case uncounted.n > 0 && !absoluteMin(b):
		// The disruption controller fails safe: it sets disruptionsAllowed to 0.
		r.add(rule, b.o, "", evidence.OutcomeFail, uncounted.String()+" has no scale: the disruption controller cannot count its pods, and allows no disruption of any that it selects",
			"Narrow spec.selector to the replicated workload, or set minAvailable to a number.", also...)
	case count.selected.n == 0:
		r.add(rule, b.o, "", evidence.OutcomeNotChecked, "selects only "+uncounted.String()+", whose number of pods the manifests do not say",
			"Remove it: a drain does not evict pods of a DaemonSet, and a Job's pods come and go.", also...)
	case count.healthy == 0:
		r.add(rule, b.o, "", evidence.OutcomeNotApplicable, about+" there is nothing to disrupt", "", also...)
	case b.spec.MinAvailable == nil && b.spec.MaxUnavailable == nil:
		r.add(rule, b.o, "", evidence.OutcomeFail, "neither minAvailable nor maxUnavailable is set: it allows no disruption of what it selects, no node that runs one can be drained",
			"Set maxUnavailable: 1, or minAvailable below the number of replicas.", also...)
	case allowed < 1:
		r.add(rule, b.o, "", evidence.OutcomeFail, about+" it allows no disruption: no node that runs one can be drained",
			"Set maxUnavailable: 1, or minAvailable below the number of replicas.", also...)
	case count.all(allowed):
		r.add(rule, b.o, "", evidence.OutcomeFail, fmt.Sprintf("%s it allows %d at once: all pods of a workload", about, allowed),
			"Set maxUnavailable below the number of replicas, or minAvailable to 1 or more; give each workload a budget of its own.", also...)
	case len(missing.objects) > 0:
		r.add(rule, b.o, "", evidence.OutcomeNotApplicable, "it is not there while what it selects runs"+missing.said(), "", also...)
	default:
		r.add(rule, b.o, "", evidence.OutcomePass, fmt.Sprintf("%s it allows %d at once", about, allowed), "", also...)
	}
}

// tally is what a budget selects, with one number of pods for each workload.
type tally struct {
	selected          counted
	healthy, scaled   int
	smallestOfSeveral int // pods of a workload that has more than one
}

func (t *tally) bare(name string) {
	t.healthy++
	t.selected.add(name, "")
}

func (t *tally) add(name string, n int, about string) {
	t.healthy, t.scaled = t.healthy+n, t.scaled+n
	t.selected.add(name, about)
	if n > 1 && (t.smallestOfSeveral == 0 || n < t.smallestOfSeveral) {
		t.smallestOfSeveral = n
	}
}

// all reports whether so many disruptions may be all pods of a workload.
func (t *tally) all(allowed int) bool {
	return t.smallestOfSeveral > 0 && allowed >= t.smallestOfSeveral
}

// counted are names for a message: many budgets can select many workloads each.
type counted struct {
	first []string // at most maxNamed
	n     int
}

func (c *counted) add(name, about string) {
	if c.n++; len(c.first) >= maxNamed {
		return
	}
	if about != "" {
		name += " (" + about + ")"
	}
	c.first = append(c.first, name)
}

func (c *counted) String() string { return listed(c.first, c.n) }

// absoluteMin is the one form of a budget that needs no scale: it counts pods.
func absoluteMin(b budget) bool {
	return b.spec.MinAvailable != nil && b.spec.MinAvailable.Type == intstr.Int
}

func replicasOf(n int) string {
	if n == 1 {
		return "one replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

// disruptionsAllowed is how many healthy pods may be disrupted, computed as the
// disruption controller does (kubernetes pkg/controller/disruption): healthy are
// all pods selected, scaled those whose controller has a scale. Percentages are
// of scaled, and round up.
func disruptionsAllowed(minAvailable, maxUnavailable *intstr.IntOrString, healthy, scaled int) (int, error) {
	switch {
	case minAvailable != nil && maxUnavailable != nil:
		return 0, errors.New("both minAvailable and maxUnavailable are set")
	case minAvailable != nil:
		expected := scaled
		if minAvailable.Type == intstr.Int {
			expected = healthy
		}
		v, err := resolve("minAvailable", minAvailable, expected)
		if err != nil || expected == 0 {
			return 0, err
		}
		return max(0, healthy-v), nil
	case maxUnavailable != nil:
		v, err := resolve("maxUnavailable", maxUnavailable, scaled)
		if err != nil || scaled == 0 {
			return 0, err
		}
		return healthy - max(0, scaled-v), nil
	}
	return 0, nil // the API server takes it, and the disruption controller expects no pods then
}

// resolve turns a number or percentage of n into pods, and refuses what the API
// server's validation refuses.
func resolve(field string, v *intstr.IntOrString, n int) (int, error) {
	if v.Type == intstr.String {
		digits, ok := strings.CutSuffix(v.StrVal, "%")
		if percent, err := strconv.ParseUint(digits, 10, 16); !ok || err != nil || percent > 100 || strings.HasPrefix(digits, "+") {
			return 0, fmt.Errorf("%s %q is not a percentage from 0%% to 100%%", field, v.StrVal)
		}
	}
	got, err := intstr.GetScaledValueFromIntOrPercent(v, n, true)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", field, err)
	}
	if got < 0 {
		return 0, fmt.Errorf("%s %d is negative", field, got)
	}
	return got, nil
}

// autoscalerConflicts decides ASC-4.
func (r *release) autoscalerConflicts() {
	const fix = "Set the VPA's updateMode to Off, or let it control other resources than the HPA scales on."
	for _, h := range r.hpas {
		if !r.targets(h.ns, h.target, func(p pod) bool { return refersTo(h.ns, h.target, p) }) {
			r.add(RuleConflict, h.o, "", evidence.OutcomeWarn, fmt.Sprintf("scales %s, which is not in the release", target(h.target)),
				"Make spec.scaleTargetRef name a workload of the release by apiVersion, kind and name.")
		}
	}
	for _, x := range r.vpas {
		if !r.targets(x.ns, x.target, x.watches) {
			r.add(RuleConflict, x.o, "", evidence.OutcomeWarn, fmt.Sprintf("watches %s, which is not in the release", target(x.target)),
				"Make spec.targetRef name a workload of the release by apiVersion, kind and name.")
		}
	}
	for _, p := range r.pods {
		hs := r.scalersOf(p)
		var vs []vpa
		for _, x := range r.vpas {
			if x.watches(p) {
				vs = append(vs, x)
			}
		}
		if len(hs)+len(vs) == 0 {
			continue
		}
		var also []*manifest.Object
		for _, h := range hs {
			also = append(also, h.o)
		}
		for _, x := range vs {
			also = append(also, x.o)
		}
		if rivals := rivals(hs); len(rivals) > 1 {
			what := fmt.Sprintf("%d HorizontalPodAutoscalers scale it", len(rivals))
			if slices.ContainsFunc(rivals, func(s scaler) bool { return s.keda }) {
				what = rivals[0].name() + " and " + rivals[1].name() + " scale it, and KEDA makes a HorizontalPodAutoscaler of its own"
			}
			r.add(RuleConflict, p.o, "", evidence.OutcomeFail, what+": they undo each other", "Keep one autoscaler per workload.", also...)
			continue
		}
		conflict := ""
		for _, h := range hs {
			for _, x := range vs {
				for _, res := range x.resources {
					if x.mode != "Off" && slices.Contains(h.resources, res) {
						conflict = fmt.Sprintf("%s scales on %s, and VerticalPodAutoscaler %s (updateMode %s) changes its request", h.name(), res, x.o.GetName(), x.mode)
					}
				}
			}
		}
		if conflict != "" {
			r.add(RuleConflict, p.o, "", evidence.OutcomeFail, conflict, fix, also...)
			continue
		}
		if i := slices.IndexFunc(hs, func(h scaler) bool { return h.unknown != "" }); i >= 0 && len(hs)+len(vs) > 1 {
			r.add(RuleConflict, p.o, "", evidence.OutcomeNotChecked, hs[i].unknown+", nor on what", "Keep one autoscaler per workload.", also...)
			continue
		}
		r.add(RuleConflict, p.o, "", evidence.OutcomePass, "its autoscalers do not work on one metric", "", also...)
	}
}

// rivals are the autoscalers of one workload that work at once: a
// HorizontalPodAutoscaler that a ScaledObject takes over does not.
func rivals(all []scaler) []scaler {
	return slices.DeleteFunc(slices.Clone(all), func(s scaler) bool {
		return s.unknown != "" || !s.keda && slices.ContainsFunc(all, func(x scaler) bool { return x.takesOver != "" && x.takesOver == s.o.GetName() })
	})
}

// targets reports whether an autoscaler with that target works on a workload of the release.
func (r *release) targets(ns string, ref autoscalingv2.CrossVersionObjectReference, works func(pod) bool) bool {
	if r.named == nil {
		r.named = map[workloadName][]pod{}
		for _, p := range r.pods {
			at := workloadName{p.ns, p.o.GetKind(), p.o.GetName()}
			r.named[at] = append(r.named[at], p)
		}
	}
	return slices.ContainsFunc(r.named[workloadName{ns, ref.Kind, ref.Name}], works)
}

// target names what an autoscaler refers to.
func target(ref autoscalingv2.CrossVersionObjectReference) string {
	return strings.TrimSpace(ref.APIVersion + " " + ref.Kind + " " + ref.Name)
}
