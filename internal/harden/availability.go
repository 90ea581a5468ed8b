package harden

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/companyos/helmproof/evidence"
)

// spread adds soft constraints over zones and nodes where the chart has said
// nothing about where its pods lie.
func (r *release) spread(x *object) {
	spec := &x.tpl.Spec
	switch {
	case spec.TopologySpreadConstraints != nil:
		return
	case spec.Affinity != nil && spec.Affinity.PodAntiAffinity != nil:
		r.keep(x, RuleSpread, "", "its podAntiAffinity spreads it on purpose", "")
		return
	}
	m, _, err := x.selector()
	if err != nil {
		r.keep(x, RuleSpread, "", err.Error(), "")
		return
	}
	var list []any
	for _, key := range []string{"topology.kubernetes.io/zone", "kubernetes.io/hostname"} {
		list = append(list, map[string]any{"maxSkew": int64(1), "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": m})
	}
	r.add(x, RuleSpread, "", list, "spec", "topologySpreadConstraints")
}

// wantBudget decides whether the workload gets a PodDisruptionBudget: none may
// select its pods yet, and its selector must take no other pods, for the
// eviction API refuses pods that two budgets select.
func (r *release) wantBudget(x *object) {
	for _, b := range r.budgets {
		if together(b.ns, x.GetNamespace()) && b.selector.Matches(labels.Set(x.tpl.Labels)) {
			return
		}
	}
	if r.blind {
		r.keep(x, RuleBudget, "", "a document of the release could not be read: it may be a PodDisruptionBudget", "")
		return
	}
	m, sel, err := x.selector()
	if err != nil {
		r.keep(x, RuleBudget, "", err.Error(), "")
		return
	}
	for _, other := range r.candidates(m) {
		if other != x && other.pod != nil && together(other.GetNamespace(), x.GetNamespace()) && sel.Matches(labels.Set(other.tpl.Labels)) {
			r.keep(x, RuleBudget, "", "its selector also selects the pods of "+other.Target("").Object(), "")
			return
		}
	}
	x.budgets = true
}

// candidates are the objects whose pods a selector may select: those with its
// rarest label, or all where it has none.
func (r *release) candidates(selector map[string]any) []*object {
	if r.byLabel == nil {
		r.byLabel = map[[2]string][]*object{}
		for _, o := range r.objects {
			if o.pod == nil {
				continue
			}
			for k, v := range o.tpl.Labels {
				r.byLabel[[2]string{k, v}] = append(r.byLabel[[2]string{k, v}], o)
			}
		}
	}
	found := r.objects
	match, _ := selector["matchLabels"].(map[string]any)
	for k, v := range match {
		text, _ := v.(string)
		if list := r.byLabel[[2]string{k, text}]; len(list) < len(found) {
			found = list
		}
	}
	return found
}

// probes adds the probes that are missing, as connections to the first TCP port.
func (r *release) probes(x *object) {
	if !r.opts.probes("HLT-1", "HLT-2", "HLT-3") || !x.longRunning() || len(x.Hooks()) > 0 {
		return
	}
	for i, c := range x.tpl.Spec.Containers {
		r.probesOf(x, "containers", i, c)
	}
	for i, c := range x.tpl.Spec.InitContainers {
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways { // a native sidecar
			r.probesOf(x, "initContainers", i, c)
		}
	}
}

// probesOf adds those of one container of the list.
func (r *release) probesOf(x *object, list string, i int, c corev1.Container) {
	port := int64(0)
	for _, p := range c.Ports {
		if p.Protocol == "" || p.Protocol == corev1.ProtocolTCP {
			port = int64(p.ContainerPort)
			break
		}
	}
	if c.ReadinessProbe != nil && c.LivenessProbe != nil && c.StartupProbe != nil {
		return
	}
	if port == 0 {
		r.keep(x, RuleProbes, c.Name, "it declares no TCP port to probe", "")
		return
	}
	for _, p := range []struct {
		name             string
		control          evidence.ControlID
		there            *corev1.Probe
		period, failures int64
	}{
		// Readiness gives up after 10 s, liveness after 120 s: a restart comes last.
		{"livenessProbe", "HLT-2", c.LivenessProbe, 20, 6},
		{"readinessProbe", "HLT-1", c.ReadinessProbe, 5, 2},
		{"startupProbe", "HLT-3", c.StartupProbe, 10, 30},
	} {
		if p.there == nil && r.opts.probes(p.control) {
			r.add(x, RuleProbes, c.Name, map[string]any{"tcpSocket": map[string]any{"port": port}, "periodSeconds": p.period, "failureThreshold": p.failures},
				"spec", list, i, p.name)
		}
	}
}
