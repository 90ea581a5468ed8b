package spread

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const (
	askAgain = "Let helmproof's account get workloads and list their ReplicaSets, pods and nodes, and collect again."
	moveNode = "Add a topologySpreadConstraint over kubernetes.io/hostname, with DoNotSchedule where it must hold, take away the nodeSelector that leaves one node, and restart the rollout: pods that run are not moved."
	moveZone = "Add a topologySpreadConstraint over topology.kubernetes.io/zone, with DoNotSchedule where it must hold, and restart the rollout: pods that run are not moved."
)

type derivation struct {
	*collectors.Derivation
	seen *Seen
}

// Findings derives the findings from the snapshot.
func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := derivation{collectors.NewDerivation(in, Name, rules), new(Seen)}
	if err := d.Parse(file, d.seen); err != nil {
		return nil, err
	}
	if d.seen.At.IsZero() {
		return nil, fmt.Errorf("parse %s: it does not say when the cluster was asked", file)
	}
	at := map[int]int{}
	for k := range d.seen.Workloads {
		i := d.seen.Workloads[k].Index
		if _, twice := at[i]; twice || i < 0 || i >= len(set.Objects) || !looked(&set.Objects[i]) {
			return nil, fmt.Errorf("parse %s: entry %d is not about a workload of the manifests, each once", file, k)
		}
		at[i] = k
	}
	for i := range set.Objects {
		if o := &set.Objects[i]; looked(o) {
			if k, ok := at[i]; ok {
				d.workload(o, &d.seen.Workloads[k], fmt.Sprintf("/workloads/%d", k))
			} else {
				d.both(o, evidence.OutcomeNotChecked, "the cluster was not asked about it", "Collect again.", "/workloads")
			}
		}
	}
	d.Unreadable(RuleNode, rel.Chart, set.Broken, d.Own(file, ""))
	if len(d.Out) == 0 {
		for _, rule := range rules.Names() {
			d.Add(rule, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release has no Deployment and no StatefulSet", "", d.Own(file, ""))
		}
	}
	return d.Out, nil
}

// both says the same of nodes and of zones.
func (d derivation) both(o *manifest.Object, outcome evidence.Outcome, message, fix, pointer string) {
	for _, rule := range rules.Names() {
		d.Add(rule, o.Target(""), outcome, message, fix, d.Own(file, pointer))
	}
}

func (d derivation) workload(o *manifest.Object, w *Workload, at string) {
	var ready []*Pod
	for i := range w.Pods {
		if p := &w.Pods[i]; p.Ready && !p.Terminating && p.owned(o.GetKind()+" "+o.GetName()) {
			ready = append(ready, p)
		}
	}
	switch {
	case w.Error != "":
		d.both(o, evidence.OutcomeNotChecked, "could not be looked at: "+w.Error, askAgain, at)
		return
	case !w.Found:
		d.both(o, evidence.OutcomeFail, "is not in the cluster", "Install or upgrade the release.", at)
		return
	case w.Replicas == 0:
		d.both(o, evidence.OutcomeNotApplicable, "runs no replica: nothing can lie apart", "", at+"/replicas")
		return
	case w.Replicas == 1:
		d.both(o, evidence.OutcomeNotApplicable, "runs one replica: nothing can lie apart", "", at+"/replicas")
		return
	case w.Outdated:
		d.both(o, evidence.OutcomeNotChecked, "its controller has not looked at its newest generation yet", "Collect again when the rollout has ended.", at)
		return
	case len(ready) < 2:
		d.both(o, evidence.OutcomeNotChecked, fmt.Sprintf("%d of %d replicas are Ready: too few to say where they lie", len(ready), w.Replicas), "Find out why pods are not Ready, and collect again.", at+"/pods")
		return
	case d.seen.NodesError != "":
		d.both(o, evidence.OutcomeError, "the nodes could not be read: "+d.seen.NodesError, askAgain, "/nodesError")
		return
	}
	nodes := map[string]*Node{}
	for i := range d.seen.Nodes {
		nodes[d.seen.Nodes[i].Name] = &d.seen.Nodes[i]
	}
	for _, p := range ready {
		if n := nodes[p.Node]; n != nil && n.Zone != p.Zone {
			d.both(o, evidence.OutcomeError, fmt.Sprintf("pod %s is said to run in zone %q, its node %s in %q", p.Name, p.Zone, p.Node, n.Zone), "Collect again.", at+"/pods")
			return
		}
		if nodes[p.Node] == nil {
			d.both(o, evidence.OutcomeError, fmt.Sprintf("pod %s runs on node %q, which is not among the cluster's nodes", p.Name, p.Node), "Collect again: nodes came or went meanwhile.", at+"/pods")
			return
		}
	}
	d.nodes(o, w, ready, at)
	d.zones(o, w, ready, nodes, at)
}

// nodes judges whether the replicas lie on different nodes.
func (d derivation) nodes(o *manifest.Object, w *Workload, ready []*Pod, at string) {
	on := map[string]int{}
	for _, p := range ready {
		on[p.Node]++
	}
	// Nodes that would take such pods, and those of them that do so now.
	var would, now, selected []string
	for i := range d.seen.Nodes {
		n := &d.seen.Nodes[i]
		if !n.takes(w.Tolerations) {
			continue
		}
		would = append(would, n.Name)
		if n.Ready && !n.Unschedulable {
			now = append(now, n.Name)
			if n.selected(w.NodeSelector) {
				selected = append(selected, n.Name)
			}
		}
	}
	say := func(outcome evidence.Outcome, message, fix string) {
		d.Add(RuleNode, o.Target(""), outcome, message, fix, d.Own(file, at+"/pods"))
	}
	lie := fmt.Sprintf("%d Ready replicas lie on %s", len(ready), counted(on))
	most := slices.Max(slices.Collect(maps.Values(on)))
	switch {
	case len(on) > 1 && most > (len(ready)+1)/2 && len(now) > 1:
		say(evidence.OutcomeWarn, lie+": most of them are lost with one node", moveNode)
	case len(on) > 1:
		say(evidence.OutcomePass, lie, "")
	case len(would) <= 1:
		say(evidence.OutcomeNotApplicable, lie+": no other of the cluster's nodes ("+plural(len(d.seen.Nodes), "node")+") takes its pods, by their taints", "")
	case len(now) <= 1:
		say(evidence.OutcomeNotChecked, lie+"; other nodes would take its pods, but are cordoned or not Ready now", "Collect again when they are back.")
	case len(selected) <= 1:
		say(evidence.OutcomeFail, fmt.Sprintf("%s, and its nodeSelector (%s) leaves no other of %s", lie, labels(w.NodeSelector), plural(len(now), "schedulable node")), moveNode)
	default:
		say(evidence.OutcomeFail, fmt.Sprintf("%s, of %s that its tolerations and nodeSelector allow", lie, plural(len(selected), "schedulable node")), moveNode)
	}
}

// zones judges whether the replicas lie in different zones.
func (d derivation) zones(o *manifest.Object, w *Workload, ready []*Pod, nodes map[string]*Node, at string) {
	say := func(outcome evidence.Outcome, message, fix string) {
		d.Add(RuleZone, o.Target(""), outcome, message, fix, d.Own(file, at+"/pods"))
	}
	zones := map[string]bool{} // that nodes for such pods are in
	labelled := false
	for i := range d.seen.Nodes {
		n := &d.seen.Nodes[i]
		labelled = labelled || n.Zone != ""
		if n.Zone != "" && n.takes(w.Tolerations) {
			zones[n.Zone] = true
		}
	}
	if !labelled {
		say(evidence.OutcomeNotApplicable, "no node has the label "+corev1.LabelTopologyZone+": the cluster has no zones", "")
		return
	}
	in := map[string]int{}
	for _, p := range ready {
		zone := nodes[p.Node].Zone
		if zone == "" {
			say(evidence.OutcomeError, "node "+p.Node+", which runs "+p.Name+", has no label "+corev1.LabelTopologyZone+", and others have", "Label the node, and collect again.")
			return
		}
		in[zone]++
	}
	lie := fmt.Sprintf("%d Ready replicas lie in %s", len(ready), counted(in))
	switch {
	case len(in) > 1:
		say(evidence.OutcomePass, lie, "")
	case len(zones) <= 1:
		say(evidence.OutcomeNotApplicable, lie+": all nodes that take its pods are in one zone", "")
	default:
		say(evidence.OutcomeWarn, fmt.Sprintf("%s; nodes that take its pods are in %s", lie, strings.Join(slices.Sorted(maps.Keys(zones)), ", ")), moveZone)
	}
}

// counted reads "node-a (2), node-b (1)"; after ten it says how many more.
func counted(m map[string]int) string {
	const most = 10
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		if len(out) == most {
			return fmt.Sprintf("%s and %d more", strings.Join(out, ", "), len(m)-most)
		}
		out = append(out, fmt.Sprintf("%s (%d)", k, m[k]))
	}
	return strings.Join(out, ", ")
}

func labels(m map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+m[k])
	}
	return strings.Join(out, ",")
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
