// Package forecast says of each node and each zone that runs pods of a release what
// a drain would come to, without touching the cluster: from a sealed snapshot of
// pods, disruption budgets, placement rules and room. It leans to caution: it says
// that a node drains only where that follows whatever the scheduler chooses.
package forecast

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "forecast"

// The rules.
const (
	RuleNode = "forecast/node"
	RuleZone = "forecast/zone"
)

var rules = collectors.Rules{RuleNode: evidence.SeverityMedium, RuleZone: evidence.SeverityMedium}

const file = "snapshot.json"

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// Collect takes a snapshot.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return collectors.ErrNoCluster
	}
	s, err := Take(ctx, in.Cluster, in.Now())
	if err != nil {
		return err
	}
	return collectors.WriteJSON(out, file, s)
}

// Entry is the forecast for one node or one zone.
type Entry struct {
	Kind string `json:"kind"` // Node or Zone
	Name string `json:"name"`
	Zone string `json:"zone,omitempty"` // of the node
	// Own is how many pods of the release run there.
	Own int `json:"own"`
	Forecast
}

// The kinds of entries.
const (
	KindNode = "Node"
	KindZone = "Zone"
)

// Forecast says what a drain would come to of each node and each zone that runs
// one of the pods, which are indexes.
func (s *Snapshot) Forecast(pods []int) []Entry {
	m := newModel(s)
	own, zones := map[string]int{}, map[string]int{}
	for _, i := range pods {
		if at, ok := m.node[s.Pods[i].Node]; ok {
			own[s.Pods[i].Node]++
			if z := s.Nodes[at].Zone(); z != "" {
				zones[z]++
			}
		}
	}
	var out []Entry
	for _, name := range slices.Sorted(maps.Keys(own)) {
		out = append(out, Entry{KindNode, name, s.Nodes[m.node[name]].Zone(), own[name], m.drain([]string{name})})
	}
	for _, zone := range slices.Sorted(maps.Keys(zones)) {
		out = append(out, Entry{KindZone, zone, "", zones[zone], m.drain(s.Zone(zone))})
	}
	return out
}

// Zone lists the nodes of a zone.
func (s *Snapshot) Zone(zone string) []string {
	var out []string
	for i := range s.Nodes {
		if s.Nodes[i].Zone() == zone {
			out = append(out, s.Nodes[i].Name)
		}
	}
	return out
}

// Of are the pods, by index, of the workloads among objects; namespace is that of
// objects without one. missing are workloads that should have pods and have none.
func (s *Snapshot) Of(set *manifest.ObjectSet, namespace string) (pods []int, missing []*manifest.Object) {
	type key struct{ namespace, top string }
	wanted := map[key]int{}
	var asked []*manifest.Object
	for i := range set.Objects {
		switch o := &set.Objects[i]; o.GetKind() {
		case "Deployment", "StatefulSet", "ReplicaSet", "DaemonSet", "Pod":
			if o.IsWorkload() {
				wanted[key{cmp.Or(o.GetNamespace(), namespace), o.GetKind() + "/" + o.GetName()}] = len(asked)
				asked = append(asked, o)
			}
		}
	}
	tops := map[string]string{} // by UID
	for i := range s.Workloads {
		tops[s.Workloads[i].UID] = s.Workloads[i].Top
	}
	found := map[int]bool{}
	for i := range s.Pods {
		p := &s.Pods[i]
		top := tops[p.OwnerUID]
		if p.OwnerUID == "" {
			top = "Pod/" + p.Name
		}
		if at, ok := wanted[key{p.Namespace, top}]; ok {
			found[at] = true
			pods = append(pods, i)
		}
	}
	for at, o := range asked {
		if !found[at] && o.GetKind() != "DaemonSet" && !scaledDown(o) && len(o.Hooks()) == 0 {
			missing = append(missing, o)
		}
	}
	return pods, missing
}

func scaledDown(o *manifest.Object) bool {
	n, ok := replicasOf(o)
	return ok && n == 0
}

// check refuses a snapshot that does not hold together, or that is larger than one
// that was ever read.
func (s *Snapshot) check() error {
	if s.At.IsZero() {
		return errors.New("it does not say when the cluster was asked")
	}
	if len(s.Pods) > maxPods || len(s.Budgets) > maxPods || len(s.Nodes) > maxRead || len(s.Workloads) > 2*maxRead {
		return errors.New("it is too large")
	}
	for i := range s.Pods {
		if n := s.Pods[i].Shape; n < 0 || n >= len(s.Shapes) {
			return fmt.Errorf("pod %d has no shape", i)
		}
	}
	const most = 1 << 50 // of which thousands can be added
	within := func(list map[string]int64) bool {
		for _, n := range list {
			if n < 0 || n > most {
				return false
			}
		}
		return true
	}
	for i := range s.Nodes {
		if !within(s.Nodes[i].Allocatable) {
			return fmt.Errorf("node %d has resources that cannot be", i)
		}
	}
	for i := range s.Shapes {
		if !within(s.Shapes[i].Requests) {
			return fmt.Errorf("shape %d has requests that cannot be", i)
		}
	}
	return nil
}

func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := collectors.NewDerivation(in, Name, rules)
	var s Snapshot
	if err := d.Parse(file, &s); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	at := d.Own(file, "")
	d.Unreadable(RuleNode, rel.Chart, set.Broken, at)
	d.Unreadable(RuleZone, rel.Chart, set.Broken, at)
	pods, missing := s.Of(set, rel.Namespace)
	for _, o := range missing {
		d.Add(RuleNode, o.Target(""), evidence.OutcomeNotChecked, "has no pod in the cluster: nothing can be said of a drain", "Collect again when its pods run.", at)
	}
	for _, i := range pods {
		if p := &s.Pods[i]; p.Node == "" {
			d.Add(RuleNode, evidence.Target{APIVersion: "v1", Kind: "Pod", Namespace: p.Namespace, Name: p.Name}, evidence.OutcomeNotChecked, "is on no node yet", "Collect again when it runs.", d.Own(file, fmt.Sprintf("/pods/%d", i)))
		}
	}
	for _, e := range s.Forecast(pods) {
		rule, target := RuleNode, evidence.Target{APIVersion: "v1", Kind: "Node", Name: e.Name}
		if e.Kind == KindZone {
			rule, target = RuleZone, evidence.Target{Kind: "Zone", Name: e.Name}
		}
		d.Add(rule, target, outcomeOf(e.Outcome), message(&e), fix(e.Outcome), at)
	}
	for rule, what := range map[string]string{RuleNode: "the release runs no pods", RuleZone: "no pod of the release runs in a known zone"} {
		if !slices.ContainsFunc(d.Out, func(f evidence.Finding) bool { return f.Rule == rule }) {
			d.Add(rule, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, what, "", at)
		}
	}
	return evidence.NormalizeFindings(d.Out), nil
}

func outcomeOf(o Outcome) evidence.Outcome {
	switch o {
	case Drains:
		return evidence.OutcomePass
	case Blocks, Unplaced, Violates:
		return evidence.OutcomeFail
	}
	return evidence.OutcomeNotChecked
}

func message(e *Entry) string {
	text := fmt.Sprintf("%s: %d pods would be evicted", e.Outcome, e.Pods)
	if len(e.Nodes) > 1 {
		text += fmt.Sprintf(" from %d nodes", len(e.Nodes))
	}
	if why := e.Why(); why != "" {
		text += "; " + why
	}
	if len(e.Notes) > 0 {
		text += "; " + strings.Join(e.Notes[:min(len(e.Notes), 3)], "; ")
	}
	return text
}

func fix(o Outcome) string {
	switch o {
	case Blocks:
		return "Run more replicas than the budget needs, let one budget alone select each pod, and give every pod a controller."
	case Unplaced:
		return "Make room: more or larger nodes, smaller requests, or looser selectors and affinities."
	case Violates:
		return "Let the spread be ScheduleAnyway, raise maxSkew, or set nodeTaintsPolicy: Honor so that cordoned nodes do not count."
	}
	return "Settle what is named, and collect again; what the model cannot know is shown by a drill (RSL-2)."
}
