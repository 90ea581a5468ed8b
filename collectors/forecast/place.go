package forecast

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
)

// volumesOf is the resource by which volumes of a CSI driver are counted.
const volumesOf = "attachable-volumes/"

// shape is a Shape with its selectors parsed.
type shape struct {
	*Shape
	affinity nodeaffinity.RequiredNodeAffinity
	with     []term
	apart    []term
	spread   []labels.Selector
}

// term is a PodAffinityTerm.
type term struct {
	key        string
	pods       labels.Selector
	named      []string        // namespaces
	namespaces labels.Selector // nil: those named, or else the pod's own
}

func newShape(s *Shape) *shape {
	out := &shape{Shape: s}
	a := &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: s.Required}}
	out.affinity = nodeaffinity.NewRequiredNodeAffinity(s.NodeSelector, a)
	for _, t := range s.Affinity {
		out.with = append(out.with, newTerm(t))
	}
	for _, t := range s.AntiAffinity {
		out.apart = append(out.apart, newTerm(t))
	}
	for _, c := range s.Spread {
		out.spread = append(out.spread, selector(c.LabelSelector))
	}
	return out
}

func newTerm(t corev1.PodAffinityTerm) term {
	out := term{key: t.TopologyKey, pods: selector(t.LabelSelector), named: t.Namespaces}
	if t.NamespaceSelector != nil {
		out.namespaces = selector(t.NamespaceSelector)
	}
	return out
}

// selector parses a selector; one that is not there, or that cannot be read,
// selects nothing. (Reading a snapshot marks shapes with such a selector as unknown.)
func selector(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}

// everything is selector for where none, or one that cannot be read, means all.
func everything(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if s == nil || err != nil {
		return labels.Everything()
	}
	return out
}

// selects reports whether the term of a pod in the namespace own is about other.
func (m *model) selects(t term, own string, other *Pod) bool {
	switch {
	case slices.Contains(t.named, other.Namespace):
	case t.namespaces != nil && t.namespaces.Matches(labels.Set(m.namespace[other.Namespace].Labels)):
	case t.namespaces == nil && len(t.named) == 0 && own == other.Namespace:
	default:
		return false
	}
	return t.pods.Matches(labels.Set(other.Labels))
}

// asks is what a pod takes of a node.
func (m *model) asks(p *Pod) map[string]int64 {
	out := maps.Clone(m.s.Shapes[p.Shape].Requests)
	if out == nil {
		out = map[string]int64{}
	}
	out["pods"] = 1
	for _, v := range p.Volumes {
		if v.Driver != "" {
			out[volumesOf+v.Driver]++
		}
	}
	return out
}

// lacks names the resource of which a node has too little left; empty: it fits.
func lacks(free, asks map[string]int64) string {
	if free == nil {
		return ""
	}
	for _, r := range slices.Sorted(maps.Keys(asks)) {
		have, known := free[r]
		if asks[r] > 0 && have < asks[r] && (known || !strings.HasPrefix(r, volumesOf)) {
			return r
		}
	}
	return ""
}

// reaches says why a pod can never run on a node, whatever else runs there;
// empty: it can.
func (d *drain) reaches(p *Pod, at int) string {
	n, s := &d.s.Nodes[at], d.shapes[p.Shape]
	switch {
	case d.nodes[at]:
		return "drained"
	case n.Unschedulable:
		return "cordoned"
	case !n.Ready:
		return "not Ready"
	}
	for _, t := range n.Taints {
		if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(s.Tolerations, t) {
			return "tainted with " + t.Key
		}
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}
	if ok, err := s.affinity.Match(node); err != nil || !ok {
		return "not selected by its node selector or affinity"
	}
	for _, v := range p.Volumes {
		if v.Affinity != nil {
			sel, err := nodeaffinity.NewNodeSelector(v.Affinity)
			if err != nil || !sel.Match(node) {
				return "out of reach of the volume of " + v.Claim
			}
		}
		if v.Driver != "" && !slices.Contains(n.Drivers, v.Driver) {
			return "without the driver " + v.Driver
		}
	}
	for _, c := range s.Spread {
		if n.Labels[c.TopologyKey] == "" {
			return "without the label " + c.TopologyKey
		}
	}
	return ""
}

func tolerates(list []corev1.Toleration, t corev1.Taint) bool {
	return slices.ContainsFunc(list, func(o corev1.Toleration) bool {
		if o.Effect != "" && o.Effect != t.Effect || o.Key != "" && o.Key != t.Key {
			return false
		}
		switch o.Operator {
		case "", corev1.TolerationOpEqual:
			return o.Value == t.Value
		case corev1.TolerationOpExists:
			return true
		}
		return false // those that compare numbers
	})
}

// placing is where the pods are at one moment: those of the snapshot that are not
// moved, and those that were placed since.
type placing struct {
	*drain
	free []map[string]int64
	on   [][]int // pods of each node
}

// bare is the state in which every moved pod is gone and none is placed.
func (d *drain) bare() *placing {
	gone := map[int]bool{}
	for _, i := range d.moved {
		gone[i] = true
	}
	s := &placing{drain: d, free: d.free, on: slices.Clone(d.onNode)}
	for at := range d.nodes {
		s.on[at] = slices.DeleteFunc(slices.Clone(s.on[at]), func(i int) bool { return gone[i] })
	}
	return s
}

// put places a pod.
func (s *placing) put(i, at int) {
	s.free, s.on = slices.Clone(s.free), slices.Clone(s.on)
	if s.free[at] != nil {
		s.free[at] = maps.Clone(s.free[at])
		for r, n := range s.asks(&s.s.Pods[i]) {
			s.free[at][r] -= n
		}
	}
	s.on[at] = append(slices.Clone(s.on[at]), i)
}

// refuses says why a node does not take a pod now, its spread aside.
func (s *placing) refuses(p *Pod, at int, near *nearness) string {
	if why := s.reaches(p, at); why != "" {
		return why
	}
	if r := lacks(s.free[at], s.asks(p)); r != "" {
		return "short of " + r
	}
	if ports := s.shapes[p.Shape].HostPorts; len(ports) > 0 {
		for _, i := range s.on[at] {
			if portsClash(ports, s.s.Shapes[s.s.Pods[i].Shape].HostPorts) {
				return "with a host port that is taken"
			}
		}
	}
	n := &s.s.Nodes[at]
	for _, d := range near.apart {
		if n.Labels[d.key] == d.value {
			return "too near to a pod that it keeps away from, or that keeps away from it"
		}
	}
	for i, t := range s.shapes[p.Shape].with {
		if v := n.Labels[t.key]; v == "" || !near.with[i][v] {
			return tooFar
		}
	}
	return ""
}

const tooFar = "too far from the pods that it goes with"

// nearness is what (anti-)affinity asks of the node of a pod: the domains that it
// must not be in, and, for each term, those that it may be in.
type nearness struct {
	apart []domain
	with  []map[string]bool
}

type domain struct{ key, value string }

func (s *placing) near(p *Pod) *nearness {
	sh := s.shapes[p.Shape]
	out := &nearness{}
	for range sh.with {
		out.with = append(out.with, map[string]bool{})
	}
	seen := map[domain]bool{}
	for at, pods := range s.on {
		apart := func(key string) {
			if d := (domain{key, s.s.Nodes[at].Labels[key]}); d.value != "" && !seen[d] {
				seen[d] = true
				out.apart = append(out.apart, d)
			}
		}
		for _, i := range pods {
			q := &s.s.Pods[i]
			for _, t := range sh.apart {
				if s.selects(t, p.Namespace, q) {
					apart(t.key)
				}
			}
			for _, t := range s.shapes[q.Shape].apart {
				if s.selects(t, q.Namespace, p) {
					apart(t.key)
				}
			}
			if len(sh.with) == 0 || q.Terminating || slices.ContainsFunc(sh.with, func(t term) bool { return !s.selects(t, p.Namespace, q) }) {
				continue
			}
			for j, t := range sh.with {
				out.with[j][s.s.Nodes[at].Labels[t.key]] = true
			}
		}
	}
	return out
}

func portsClash(a, b []HostPort) bool {
	for _, x := range a {
		for _, y := range b {
			all := func(ip string) bool { return ip == "" || ip == "0.0.0.0" || ip == "::" }
			if x.Port == y.Port && x.Protocol == y.Protocol && (x.IP == y.IP || all(x.IP) || all(y.IP)) {
				return true
			}
		}
	}
	return false
}

// domains counts the pods that a constraint of a pod is about, by domain.
func (s *placing) domains(p *Pod, c int) map[string]int {
	sh := s.shapes[p.Shape]
	con, sel := sh.Spread[c], sh.spread[c]
	out := map[string]int{}
	for at := range s.s.Nodes {
		if !s.counts(sh, con, at) {
			continue
		}
		v := s.s.Nodes[at].Labels[con.TopologyKey]
		out[v] += 0
		if sel.Empty() {
			continue // as the scheduler does
		}
		for _, i := range s.on[at] {
			if q := &s.s.Pods[i]; !q.Terminating && q.Namespace == p.Namespace && sel.Matches(labels.Set(q.Labels)) {
				out[v]++
			}
		}
	}
	return out
}

// counts reports whether a constraint counts the pods of a node.
func (d *drain) counts(sh *shape, con corev1.TopologySpreadConstraint, at int) bool {
	n := &d.s.Nodes[at]
	for _, c := range sh.Spread {
		if _, ok := n.Labels[c.TopologyKey]; !ok {
			return false
		}
	}
	if con.NodeAffinityPolicy == nil || *con.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor {
		if ok, err := sh.affinity.Match(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels}}); err != nil || !ok {
			return false
		}
	}
	if con.NodeTaintsPolicy != nil && *con.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor {
		if d.nodes[at] || n.Unschedulable {
			return tolerates(sh.Tolerations, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
		}
		for _, t := range n.Taints {
			if t.Effect != corev1.TaintEffectPreferNoSchedule && !tolerates(sh.Tolerations, t) {
				return false
			}
		}
	}
	return true
}

// lowest is the number of pods that a constraint compares with.
func lowest(con corev1.TopologySpreadConstraint, domains map[string]int) int {
	if con.MinDomains != nil && len(domains) < int(*con.MinDomains) || len(domains) == 0 {
		return 0
	}
	return slices.Min(slices.Collect(maps.Values(domains)))
}

// skewed reports whether a pod would violate a constraint there.
func (s *placing) skewed(p *Pod, at int, counts []map[string]int) bool {
	sh := s.shapes[p.Shape]
	for c, con := range sh.Spread {
		if counts[c][s.s.Nodes[at].Labels[con.TopologyKey]]+self(sh, c, p)-lowest(con, counts[c]) > int(con.MaxSkew) {
			return true
		}
	}
	return false
}

func self(sh *shape, c int, p *Pod) int {
	if sh.spread[c].Matches(labels.Set(p.Labels)) {
		return 1
	}
	return 0
}

func (s *placing) allDomains(p *Pod) []map[string]int {
	var out []map[string]int
	for c := range s.shapes[p.Shape].Spread {
		out = append(out, s.domains(p, c))
	}
	return out
}

// place asks whether each moved pod finds a node again, wherever the others went
// before it.
func (d *drain) place() {
	base := d.bare()
	classes := map[string][]int{} // like pods: the first of them speaks for all
	var order []string
	for _, i := range d.moved {
		p := &d.s.Pods[i]
		if d.doubt[i] || p.OwnerUID == "" {
			continue
		}
		key := fmt.Sprint(p.OwnerUID, " ", p.Shape)
		if len(p.Volumes) > 0 || p.OwnerKind == "StatefulSet" { // whose labels differ
			key = p.Ref()
		}
		if classes[key] == nil {
			order = append(order, key)
		}
		classes[key] = append(classes[key], i)
	}
	var open []int
	for _, key := range order {
		if r := base.class(classes[key]); r.Message != "" {
			d.add(r)
			if r.Outcome == Unknown {
				open = append(open, classes[key]...)
			}
		}
	}
	if len(open) > 0 && d.greedy(base) {
		for i := range d.reasons {
			if d.reasons[i].Message == undecided {
				d.reasons[i].Message += "; a placement that works was found"
			}
		}
	}
}

const undecided = "may find no node, by what the scheduler chooses for the pods before it"

// class asks for the pods of one workload.
func (s *placing) class(pods []int) Reason {
	p := &s.s.Pods[pods[0]]
	sh := s.shapes[p.Shape]
	r := Reason{Outcome: Unplaced, Pod: p.Ref()}
	var fit []int
	near := s.near(p)
	why := map[string]int{}
	for at := range s.s.Nodes {
		if reason := s.refuses(p, at, near); reason != "" {
			why[reason]++
		} else {
			fit = append(fit, at)
		}
	}
	if len(fit) == 0 {
		r.Message = "finds no node: " + tally(why)
		if why[tooFar] > 0 && s.movesAlong(p, sh) {
			r.Outcome, r.Message = Unknown, "goes with pods that are moved themselves"
		}
		return s.scaled(r)
	}
	// The worst case for the spread: the pods of the class are all gone.
	counts := s.allDomains(p)
	rest := slices.DeleteFunc(slices.Clone(fit), func(at int) bool { return s.skewed(p, at, counts) })
	if len(rest) == 0 {
		r.Outcome = Violates
		r.Message = fmt.Sprintf("finds no node that keeps the spread (%s): %d nodes would take it otherwise", s.spreadText(sh, counts), len(fit))
		return s.scaled(r)
	}
	if r = s.tooMany(pods, fit, counts); r.Message != "" {
		return s.scaled(r)
	}
	if s.certain(pods[0], fit, counts) {
		return Reason{}
	}
	return Reason{Outcome: Unknown, Pod: p.Ref(), Message: undecided}
}

// scaled leaves open what a cluster autoscaler may mend by a new node.
func (s *placing) scaled(r Reason) Reason {
	if s.s.Autoscaler != "" && (r.Outcome == Unplaced || r.Outcome == Violates) {
		r.Outcome, r.Message = Unknown, r.Message+"; "+s.s.Autoscaler+" may make one"
	}
	return r
}

// tally is "2 drained, 1 short of cpu".
func tally(why map[string]int) string {
	var list []string
	keys := slices.SortedFunc(maps.Keys(why), func(a, b string) int { return cmp.Or(cmp.Compare(why[b], why[a]), cmp.Compare(a, b)) })
	for _, k := range keys {
		list = append(list, fmt.Sprintf("%d %s", why[k], k))
	}
	return strings.Join(list, ", ")
}

func (s *placing) spreadText(sh *shape, counts []map[string]int) string {
	var list []string
	for c, con := range sh.Spread {
		text := fmt.Sprintf("maxSkew %d over %s", con.MaxSkew, con.TopologyKey)
		if len(counts[c]) <= 10 {
			var at []string
			for _, v := range slices.Sorted(maps.Keys(counts[c])) {
				at = append(at, fmt.Sprintf("%s %d", v, counts[c][v]))
			}
			text += ": " + strings.Join(at, ", ")
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

// movesAlong reports whether the pods that p must go with are among those that
// are moved, itself included.
func (s *placing) movesAlong(p *Pod, sh *shape) bool {
	return slices.ContainsFunc(s.moved, func(i int) bool {
		return slices.ContainsFunc(sh.with, func(t term) bool { return s.selects(t, p.Namespace, &s.s.Pods[i]) })
	})
}

// tooMany counts: the like pods are more than all nodes together can take.
func (s *placing) tooMany(pods, fit []int, counts []map[string]int) Reason {
	p := &s.s.Pods[pods[0]]
	sh := s.shapes[p.Shape]
	asks := s.asks(p)
	room := 0
	for _, at := range fit {
		slots := len(pods)
		if s.free[at] != nil {
			for r, n := range asks {
				if have, known := s.free[at][r]; n > 0 && known {
					slots = min(slots, int(have/n))
				}
			}
		}
		if len(sh.HostPorts) > 0 {
			slots = min(slots, 1)
		}
		room += slots
	}
	if room < len(pods) {
		return Reason{Outcome: Unplaced, Pod: p.Ref(), Message: fmt.Sprintf("is one of %d that move, and the nodes have room for %d such pods", len(pods), room)}
	}
	for c, con := range sh.Spread {
		domains := map[string]bool{}
		for _, at := range fit {
			domains[s.s.Nodes[at].Labels[con.TopologyKey]] = true
		}
		low := lowest(con, counts[c])
		stuck := con.MinDomains != nil && len(counts[c]) < int(*con.MinDomains)
		for v, n := range counts[c] {
			stuck = stuck || n == low && !domains[v]
		}
		if !stuck || self(sh, c, p) == 0 {
			continue
		}
		room := 0
		for v := range domains {
			room += max(0, int(con.MaxSkew)+low-counts[c][v])
		}
		if room < len(pods) {
			return Reason{Outcome: Violates, Pod: p.Ref(), Message: fmt.Sprintf("is one of %d that move, and the spread (%s) leaves room for %d", len(pods), s.spreadText(sh, counts), room)}
		}
	}
	return Reason{}
}

// certain reports whether pod i finds a node wherever the other moved and waiting
// pods went. These may fill nodes, but no more of them than what they ask for is
// enough for. fit are the nodes that take it while all others are away.
func (s *placing) certain(i int, fit []int, counts []map[string]int) bool {
	p := &s.s.Pods[i]
	sh := s.shapes[p.Shape]
	others := slices.DeleteFunc(slices.Concat(s.moved, s.rivals), func(o int) bool { return o == i })
	if s.sure(p, fit, others, counts, -1) {
		return true
	}
	// A domain that has the fewest pods always takes one more.
	for c, con := range sh.Spread {
		if con.MinDomains != nil && len(counts[c]) < int(*con.MinDomains) {
			continue
		}
		more := s.matching(p, sh, c, others)
		most := math.MaxInt
		for _, n := range counts[c] {
			most = min(most, n+more)
		}
		ok := true
		for v, n := range counts[c] {
			if n > most {
				continue // never the lowest
			}
			there := slices.DeleteFunc(slices.Clone(fit), func(at int) bool { return s.s.Nodes[at].Labels[con.TopologyKey] != v })
			ok = ok && s.sure(p, there, others, counts, c)
		}
		if ok {
			return true
		}
	}
	return false
}

// matching is how many of the others a constraint of the pod counts.
func (s *placing) matching(p *Pod, sh *shape, c int, others []int) int {
	n := 0
	for _, o := range others {
		if q := &s.s.Pods[o]; q.Namespace == p.Namespace && !sh.spread[c].Empty() && sh.spread[c].Matches(labels.Set(q.Labels)) {
			n++
		}
	}
	return n
}

// sure reports whether the others cannot fill all of the nodes for the pod. skip is
// the constraint that the nodes are known to keep.
func (s *placing) sure(p *Pod, nodes, others []int, counts []map[string]int, skip int) bool {
	sh := s.shapes[p.Shape]
	for c, con := range sh.Spread {
		if c == skip {
			continue
		}
		low := lowest(con, counts[c])
		nodes = slices.DeleteFunc(slices.Clone(nodes), func(at int) bool {
			return counts[c][s.s.Nodes[at].Labels[con.TopologyKey]]+self(sh, c, p)-low > int(con.MaxSkew)
		})
	}
	if len(nodes) == 0 {
		return false
	}
	// Filled one by one: by resources and ports.
	filled := 0
	guests := slices.DeleteFunc(slices.Clone(others), func(o int) bool {
		return !slices.ContainsFunc(nodes, func(at int) bool { return s.reaches(&s.s.Pods[o], at) == "" })
	})
	asks := s.asks(p)
	for r, n := range asks {
		if n <= 0 {
			continue
		}
		var has int64
		for _, o := range guests {
			has += s.asks(&s.s.Pods[o])[r]
		}
		var costs []int64
		for _, at := range nodes {
			if have, known := s.free[at][r]; known {
				costs = append(costs, have-n+1)
			}
		}
		filled += affords(costs, has)
	}
	for _, o := range guests {
		if portsClash(sh.HostPorts, s.s.Shapes[s.s.Pods[o].Shape].HostPorts) {
			filled++
		}
	}
	filled = min(filled, len(guests)) // each of them is on one node
	// Filled a domain at a time: by the spread and by anti-affinity.
	for c, con := range sh.Spread {
		if c == skip {
			continue
		}
		low := lowest(con, counts[c])
		var costs []int64
		sizes := s.sizes(nodes, con.TopologyKey)
		for v := range sizes {
			costs = append(costs, int64(int(con.MaxSkew)+low-self(sh, c, p)-counts[c][v]+1))
		}
		filled += largest(sizes, affords(costs, int64(s.matching(p, sh, c, others))))
	}
	for _, o := range others {
		q := &s.s.Pods[o]
		for _, t := range sh.apart {
			if s.selects(t, p.Namespace, q) {
				filled += largest(s.sizes(nodes, t.key), 1)
			}
		}
		for _, t := range s.shapes[q.Shape].apart {
			if s.selects(t, q.Namespace, p) {
				filled += largest(s.sizes(nodes, t.key), 1)
			}
		}
	}
	return filled < len(nodes)
}

// affords is how many of the costs a sum pays for, at most.
func affords(costs []int64, sum int64) int {
	slices.Sort(costs)
	for i, c := range costs {
		if sum -= max(c, 1); sum < 0 {
			return i
		}
	}
	return len(costs)
}

// sizes counts nodes by domain. Nodes without the label are in none.
func (s *placing) sizes(nodes []int, key string) map[string]int {
	out := map[string]int{}
	for _, at := range nodes {
		if v := s.s.Nodes[at].Labels[key]; v != "" {
			out[v]++
		}
	}
	return out
}

// largest is the size of the n largest domains together.
func largest(sizes map[string]int, n int) int {
	list := slices.Sorted(maps.Values(sizes))
	sum := 0
	for i := len(list) - 1; i >= 0 && n > 0; i, n = i-1, n-1 {
		sum += list[i]
	}
	return sum
}

// greedy looks for one placement of all moved pods, the largest first, each on the
// fullest node that takes it, and where that fails on the emptiest.
func (d *drain) greedy(base *placing) bool {
	order := slices.Clone(d.moved)
	size := func(i int) int64 { r := d.s.Shapes[d.s.Pods[i].Shape].Requests; return r["cpu"]<<20 + r["memory"]>>20 }
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(size(b), size(a)) })
	for _, sign := range []int64{1, -1} {
		state := &placing{drain: d, free: base.free, on: base.on}
		if !slices.ContainsFunc(order, func(i int) bool {
			p := &d.s.Pods[i]
			best, left := -1, int64(0)
			counts, near := state.allDomains(p), state.near(p)
			for at := range d.s.Nodes {
				if state.refuses(p, at, near) != "" || state.skewed(p, at, counts) {
					continue
				}
				if l := sign * state.free[at]["cpu"]; best < 0 || l < left {
					best, left = at, l
				}
			}
			if best >= 0 {
				state.put(i, best)
			}
			return best < 0
		}) {
			return true
		}
	}
	return false
}
