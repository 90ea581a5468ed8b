package chaos

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// What rules of an experiment are about, after its name: "chaos/pod-kill/recovery".
const (
	aboutAll          = "" // the experiment did what it should, and the error budget held
	aboutAvailability = "/availability"
	aboutDisruption   = "/disruption-budget"
	aboutRecovery     = "/recovery"
	aboutRestored     = "/restored"
)

// experiments are those of this collector.
var experiments = []drill.Experiment{drill.PodKill, drill.Eviction, drill.NodeDrain, drill.ZoneDrain, drill.RollingRestart, drill.ContainerKill}

// rules are five for each experiment.
var rules = func() collectors.Rules {
	out := collectors.Rules{}
	for _, e := range experiments {
		rule := ruleOf(e)
		out[rule], out[rule+aboutAvailability], out[rule+aboutDisruption] = evidence.SeverityHigh, evidence.SeverityHigh, evidence.SeverityHigh
		out[rule+aboutRecovery], out[rule+aboutRestored] = evidence.SeverityMedium, evidence.SeverityHigh
	}
	return out
}()

func ruleOf(e drill.Experiment) string { return Name + "/" + string(e) }

// Findings derives the findings of the one experiment that was done.
func (c *collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rec, err := drill.ReadRecord(in, Name)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(experiments, rec.Plan.Experiment) {
		return nil, fmt.Errorf("experiment %s is another collector's", rec.Plan.Experiment)
	}
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	j := &judge{
		Derivation: collectors.NewDerivation(in, Name, rules), rec: rec, f: rec.Figures(), rule: ruleOf(rec.Plan.Experiment),
		all: evidence.Target{Kind: "Chart", Name: rel.Chart},
	}
	j.load()
	if check := rec.Refused(); check != nil {
		j.refused(check)
		return j.Out, nil
	}
	j.restored()
	if len(j.f.Problems) > 0 {
		j.unmeasured()
		return j.Out, nil
	}
	j.experiment()
	if err := j.others(in, rel.Namespace); err != nil {
		return nil, err
	}
	j.availability()
	j.disruption()
	j.recovery()
	return j.Out, nil
}

// workload is one that the experiment was done to.
type workload struct {
	name   string // namespace/Kind/name
	target evidence.Target
	want   int32 // pods, before the fault
}

// judge derives the findings of one record.
type judge struct {
	*collectors.Derivation
	rec  *drill.Record
	f    drill.Figures
	rule string
	all  evidence.Target // what findings of the drill as a whole are about

	loads  []*workload
	owners map[string]string // of pods, by UID: namespace/Kind/name
	names  map[string]string // of pods, by UID
}

// load gathers the workloads and whose pods are whose.
func (j *judge) load() {
	j.owners, j.names = map[string]string{}, map[string]string{}
	for i := range j.rec.Events {
		e := &j.rec.Events[i]
		if p := e.Pod; p != nil {
			ns, _, _ := strings.Cut(p.Name, "/")
			j.owners[p.UID], j.names[p.UID] = ns+"/"+p.Owner, p.Name
		}
		w := e.Workload
		if w == nil || slices.ContainsFunc(j.loads, func(l *workload) bool { return l.name == w.Name }) {
			continue
		}
		ns, kind, _ := strings.Cut(w.Name, "/")
		left := j.rec.Plan.Target.Workload != "" && j.rec.Plan.Target.Workload != kind
		kind, name, _ := strings.Cut(kind, "/")
		t := evidence.Target{APIVersion: "apps/v1", Kind: kind, Name: name, Namespace: ns}
		if !left {
			j.loads = append(j.loads, &workload{name: w.Name, want: w.Want, target: t})
		}
	}
	if len(j.loads) == 1 {
		j.all = j.loads[0].target
	} else if kind, name, ok := strings.Cut(j.rec.Plan.Target.Workload, "/"); ok && len(j.loads) == 0 {
		j.all = evidence.Target{APIVersion: "apps/v1", Kind: kind, Name: name}
	}
}

func (j *judge) timeline() evidence.Pointer { return j.Own(drill.TimelineFile, "") }

func (j *judge) add(about string, t evidence.Target, outcome evidence.Outcome, message, fix string, at ...evidence.Pointer) {
	j.Add(j.rule+about, t, outcome, message, fix, at...)
}

const again = "Repeat the drill once the cause is gone."

// refused says that the drill did not begin. A budget that lets nothing go is the
// release's fault, all else is no answer.
func (j *judge) refused(c *drill.Check) {
	i := slices.IndexFunc(j.rec.Checks, func(x drill.Check) bool { return !x.OK })
	at := j.Own(drill.PreflightFile, fmt.Sprintf("/%d", i))
	message := "the drill did not begin: " + c.Name + ": " + c.Reason
	outcome, fix := evidence.OutcomeNotChecked, "Put right what the preflight refused, and repeat the drill."
	switch c.Name {
	case checkBudget:
		outcome, fix = evidence.OutcomeFail, fixBlocked
	case checkForecast:
		outcome, fix = evidence.OutcomeFail, fixForecast
	}
	j.add(aboutAll, j.all, outcome, message, fix, at)
	for _, about := range []string{aboutAvailability, aboutDisruption, aboutRecovery} {
		j.add(about, j.all, evidence.OutcomeNotChecked, message, fix, at)
	}
	if left := j.rec.End.NotRestored; len(left) > 0 {
		j.add(aboutRestored, j.all, evidence.OutcomeFail, "not put back: "+strings.Join(left, "; "), fixRestore, j.Own(drill.EndFile, "/notRestored"))
		return
	}
	j.add(aboutRestored, j.all, evidence.OutcomeNotApplicable, "nothing was touched", "", at)
}

// unmeasured says that the record answers nothing.
func (j *judge) unmeasured() {
	p := j.f.Problems
	message := "not measured: " + p[0]
	if j.f.Aborted != "" { // what is missing follows from that
		message = "aborted, and not measured: " + j.f.Aborted
	} else if n := len(p) - 1; n > 0 {
		message += fmt.Sprintf("; and %d more", n)
	}
	for _, about := range []string{aboutAll, aboutAvailability, aboutDisruption, aboutRecovery} {
		j.add(about, j.all, evidence.OutcomeError, message, "See that the prober and the watches have what they need (processor time, network, the API server), and repeat the drill.", j.Own(drill.EndFile, ""))
	}
}

// aborted says of what a drill that was aborted left open.
func (j *judge) aborted(about string, t evidence.Target) bool {
	if j.f.Aborted == "" {
		return false
	}
	j.add(about, t, evidence.OutcomeError, "aborted: "+j.f.Aborted, again, j.Own(drill.EndFile, "/aborted"))
	return true
}

// restored judges whether all is as it was before the drill.
func (j *judge) restored() {
	end := j.Own(drill.EndFile, "")
	if left := j.rec.End.NotRestored; len(left) > 0 {
		j.add(aboutRestored, j.all, evidence.OutcomeFail, "not put back: "+strings.Join(left, "; "), fixRestore, j.Own(drill.EndFile, "/notRestored"))
		return
	}
	if j.rec.End.Length == 0 {
		j.add(aboutRestored, j.all, evidence.OutcomeError, "how the drill ended is not known", fixRestore, end)
		return
	}
	cordoned := map[string]bool{}
	for i := range j.rec.Events {
		switch e := &j.rec.Events[i]; {
		case e.Action != nil && e.Action.Verb == "cordon" && (e.Action.OK() || e.Action.Code == 0):
			cordoned[strings.TrimPrefix(e.Action.Object, "Node ")] = true
		case e.Action != nil && e.Action.Verb == "uncordon" && e.Action.OK():
			delete(cordoned, strings.TrimPrefix(e.Action.Object, "Node "))
		}
	}
	for _, what := range j.rec.End.Restored {
		delete(cordoned, strings.TrimPrefix(what, "uncordoned "))
	}
	if len(cordoned) > 0 {
		for _, node := range slices.Sorted(maps.Keys(cordoned)) {
			j.add(aboutRestored, evidence.Target{APIVersion: "v1", Kind: "Node", Name: node}, evidence.OutcomeFail, "it was cordoned by the drill, and nothing says that it was uncordoned", fixRestore, j.timeline())
		}
		return
	}
	message := "nothing had to be put back"
	if done := j.rec.End.Restored; len(done) > 0 {
		message = "put back: " + strings.Join(done, "; ")
	}
	j.add(aboutRestored, j.all, evidence.OutcomePass, message, "", end)
}

// tried is what came of the actions on one pod.
type tried struct {
	name    string
	owner   string
	done    bool
	refused int    // by a budget
	budget  string // that refused
	failure string // the last other answer
}

// attempts gathers the actions of a verb by pod, in the order of the first.
func (j *judge) attempts(verb string) []*tried {
	by := map[string]*tried{}
	var out []*tried
	for i := range j.rec.Events {
		a := j.rec.Events[i].Action
		if a == nil || a.Verb != verb {
			continue
		}
		id := cmp.Or(a.UID, a.Object)
		t := by[id]
		if t == nil {
			_, name, _ := strings.Cut(a.Object, " ")
			t = &tried{name: name, owner: j.owners[a.UID]}
			by[id] = t
			out = append(out, t)
		}
		switch {
		case a.OK(), a.Code == http.StatusNotFound && verb == verbEvict: // it was gone already, as a drain wants it
			t.done = true
		case a.Code == http.StatusTooManyRequests && verb == verbEvict:
			ns, _, _ := strings.Cut(t.name, "/")
			t.refused, t.budget = t.refused+1, cmp.Or(a.Budget, "a PodDisruptionBudget")
			if a.Budget != "" {
				t.budget = "PodDisruptionBudget " + ns + "/" + strings.TrimPrefix(a.Budget, ns+"/")
			}
		default:
			t.failure = cmp.Or(a.Error, fmt.Sprintf("status %d", a.Code))
		}
	}
	return out
}

// experiment judges whether the experiment did what it should, and the budget held.
func (j *judge) experiment() {
	if j.f.Budget.Over() {
		message := j.f.Conclusion
		_, fix := j.likely()
		for _, t := range j.targets() {
			j.add(aboutAll, t, evidence.OutcomeFail, message, fix, j.timeline())
		}
		return
	}
	if j.aborted(aboutAll, j.all) {
		return
	}
	switch j.rec.Plan.Experiment {
	case drill.PodKill:
		j.pods(verbDelete, "deleted")
	case drill.Eviction:
		j.pods(verbEvict, "evicted")
	case drill.NodeDrain, drill.ZoneDrain:
		j.drain()
	case drill.RollingRestart:
		j.restart()
	case drill.ContainerKill:
		j.kill()
	}
}

// targets are the workloads; where there are none, what the drill was about.
func (j *judge) targets() []evidence.Target {
	var out []evidence.Target
	for _, l := range j.loads {
		out = append(out, l.target)
	}
	if len(out) == 0 {
		out = append(out, j.all)
	}
	return out
}

// others says of the release's workloads that the drill was not about that it shows
// nothing of them. A drain is about what is on its nodes.
func (j *judge) others(in *collectors.Sealed, namespace string) error {
	if e := j.rec.Plan.Experiment; e == drill.NodeDrain || e == drill.ZoneDrain {
		return nil
	}
	seen := map[string]bool{}
	for _, l := range j.loads {
		seen[l.name] = true
	}
	say := func(t evidence.Target, why string) {
		if name := t.Namespace + "/" + t.Kind + "/" + t.Name; !seen[name] {
			seen[name] = true
			j.add(aboutAll, t, evidence.OutcomeNotChecked, why, "Repeat the drill without --workload.", j.timeline())
		}
	}
	for i := range j.rec.Events {
		if w := j.rec.Events[i].Workload; w != nil {
			ns, kind, _ := strings.Cut(w.Name, "/")
			kind, name, _ := strings.Cut(kind, "/")
			say(evidence.Target{APIVersion: "apps/v1", Kind: kind, Name: name, Namespace: ns}, "the drill was about "+j.rec.Plan.Target.Workload+" alone")
		}
	}
	set, err := in.Objects()
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		if k := o.GetKind(); (k != "Deployment" && k != "StatefulSet") || len(o.Hooks()) > 0 {
			continue
		}
		t := o.Target("")
		t.Namespace = cmp.Or(t.Namespace, namespace)
		say(t, "the drill did not see it")
	}
	return nil
}

// ofLoad are the attempts on a workload's pods.
func ofLoad(all []*tried, l *workload) []*tried {
	return slices.DeleteFunc(slices.Clone(all), func(t *tried) bool { return t.owner != l.name })
}

// verdict sums attempts up: the outcome, and what is wrong.
func verdict(all []*tried) (outcome evidence.Outcome, message, fix string) {
	var blocked, failed []string
	for _, t := range all {
		switch {
		case t.done:
		case t.failure != "":
			failed = append(failed, t.name+": "+t.failure)
		default:
			blocked = append(blocked, fmt.Sprintf("%s refused the eviction of %s until the end, %d times", t.budget, t.name, t.refused))
		}
	}
	switch {
	case len(failed) > 0:
		return evidence.OutcomeError, strings.Join(failed, "; "), again
	case len(blocked) > 0:
		return evidence.OutcomeFail, strings.Join(blocked, "; "), fixBlocked
	}
	return evidence.OutcomePass, "", ""
}

// pods judges experiments that do something to pods that were chosen.
func (j *judge) pods(verb, done string) {
	all := j.attempts(verb)
	for _, l := range j.loads {
		mine := ofLoad(all, l)
		outcome, message, fix := verdict(mine)
		switch {
		case len(mine) == 0:
			outcome, message, fix = evidence.OutcomeError, "no pod of it was "+done, again
		case outcome == evidence.OutcomePass && len(mine) < j.rec.Plan.Target.Hits(int(l.want)):
			outcome, message, fix = evidence.OutcomeError, fmt.Sprintf("%d of its pods were %s, and %d are planned", len(mine), done, j.rec.Plan.Target.Hits(int(l.want))), again
		case outcome == evidence.OutcomePass:
			message = fmt.Sprintf("%d of %d pods %s: %s", len(mine), l.want, done, j.f.Conclusion)
		case outcome == evidence.OutcomeFail:
			fix = j.stuck(fix)
		}
		j.add(aboutAll, l.target, outcome, message, fix, j.timeline())
	}
}

// drain judges the drain of nodes: all pods that do not stay have to go.
func (j *judge) drain() {
	all := j.attempts(verbEvict)
	nodes := j.attempts("cordon")
	for _, n := range nodes {
		if !n.done {
			j.add(aboutAll, evidence.Target{APIVersion: "v1", Kind: "Node", Name: n.name}, evidence.OutcomeError, "it could not be cordoned: "+n.failure, again, j.timeline())
			return
		}
	}
	touched := 0
	for _, l := range j.loads {
		mine := ofLoad(all, l)
		touched += len(mine)
		outcome, message, fix := verdict(mine)
		switch {
		case len(mine) == 0:
			outcome, message = evidence.OutcomeNotApplicable, "no pod of it was on the nodes that were drained"
		case outcome == evidence.OutcomePass && len(j.cameBack(l)) > 0:
			outcome, message, fix = evidence.OutcomeFail, strings.Join(j.cameBack(l), "; "), "Let the pods not tolerate "+corev1.TaintNodeUnschedulable+": a drained node has to become empty."
		case outcome == evidence.OutcomePass:
			message = fmt.Sprintf("%d nodes drained, %d of its %d pods evicted: %s", len(nodes), len(mine), l.want, j.f.Conclusion)
		case outcome == evidence.OutcomeFail:
			fix = j.stuck(fix)
		}
		j.add(aboutAll, l.target, outcome, message, fix, j.timeline())
	}
	others := slices.DeleteFunc(slices.Clone(all), func(t *tried) bool {
		return slices.ContainsFunc(j.loads, func(l *workload) bool { return l.name == t.owner })
	})
	if outcome, message, fix := verdict(others); outcome != evidence.OutcomePass {
		j.add(aboutAll, j.all, outcome, "the drain did not get to its end: "+message, fix, j.timeline())
	}
	if touched == 0 || len(nodes) == 0 {
		j.add(aboutAll, j.all, evidence.OutcomeError, fmt.Sprintf("%d nodes were drained, and none of the release's pods was on them", len(nodes)), "Name a node that runs pods of the release.", j.timeline())
	}
}

// cameBack says which pods of a workload were put on a node while it was drained.
func (j *judge) cameBack(l *workload) []string {
	cordoned, before := map[string]bool{}, map[string]bool{}
	var out []string
	for i := range j.rec.Events {
		switch e := &j.rec.Events[i]; {
		case e.Action != nil && e.Action.Verb == "cordon" && e.Action.OK():
			cordoned[strings.TrimPrefix(e.Action.Object, "Node ")] = true
		case e.Action != nil && e.Action.Verb == "uncordon":
			delete(cordoned, strings.TrimPrefix(e.Action.Object, "Node "))
		case e.Pod != nil && e.Pod.Node != "" && !before[e.Pod.UID]:
			before[e.Pod.UID] = true
			if cordoned[e.Pod.Node] && j.owners[e.Pod.UID] == l.name {
				out = append(out, e.Pod.Name+" was put on "+e.Pod.Node+" again, which was drained")
			}
		}
	}
	return out
}

// restart judges a rolling restart: it has to get to its end.
func (j *judge) restart() {
	all := j.attempts(verbRestart)
	for _, l := range j.loads {
		i := slices.IndexFunc(all, func(t *tried) bool { return t.name == l.target.Namespace+"/"+l.target.Name })
		switch {
		case i < 0:
			j.add(aboutAll, l.target, evidence.OutcomeError, "it was not restarted", again, j.timeline())
		case !all[i].done:
			j.add(aboutAll, l.target, evidence.OutcomeError, "it could not be restarted: "+all[i].failure, again, j.timeline())
		default:
			if old := j.oldPods(l); len(old) > 0 {
				j.add(aboutAll, l.target, evidence.OutcomeFail, fmt.Sprintf("the rollout did not get to its end: %s still runs", strings.Join(old, ", ")), j.stuck("Let the new pods become ready in time: readiness probe, resources, maxSurge and maxUnavailable."), j.timeline())
				continue
			}
			j.add(aboutAll, l.target, evidence.OutcomePass, fmt.Sprintf("%d pods replaced: %s", l.want, j.f.Conclusion), "", j.timeline())
		}
	}
}

// oldPods are pods of a workload from before the fault that are still there at the end.
func (j *judge) oldPods(l *workload) []string {
	fault, _ := j.f.Phase(drill.MarkFault)
	old := map[string]bool{}
	for i := range j.rec.Events {
		e := &j.rec.Events[i]
		if e.Pod == nil || j.owners[e.Pod.UID] != l.name {
			continue
		}
		if e.At < fault.From {
			old[e.Pod.UID] = true
		}
		if e.Pod.Gone || e.Pod.Deleting {
			delete(old, e.Pod.UID)
		}
	}
	var out []string
	for uid := range old {
		out = append(out, j.names[uid])
	}
	slices.Sort(out)
	return out
}

// kill judges the killing of containers: the kubelet has to have restarted them.
func (j *judge) kill() {
	all := j.attempts(verbKill)
	fault, _ := j.f.Phase(drill.MarkFault)
	before, restarted := map[string]int32{}, map[string]bool{} // by pod's name
	for i := range j.rec.Events {
		if e := &j.rec.Events[i]; e.Pod != nil && e.At < fault.From {
			before[e.Pod.Name] = e.Pod.Restarts
		} else if e.Pod != nil && e.Pod.Restarts > before[e.Pod.Name] {
			restarted[e.Pod.Name] = true
		}
	}
	for _, l := range j.loads {
		mine := ofLoad(all, l)
		n := 0
		failure := "no container of it was tried"
		for _, t := range mine {
			if restarted[t.name] {
				n++
			} else {
				failure = cmp.Or(t.failure, "the kubelet restarted nothing")
			}
		}
		if len(mine) == 0 || n < len(mine) {
			j.add(aboutAll, l.target, evidence.OutcomeNotChecked, fmt.Sprintf("not possible here: %d of %d containers ended: %s", n, len(mine), failure),
				"Images without the program kill give no way to end a container from outside: use pod-kill.", j.timeline())
			continue
		}
		j.add(aboutAll, l.target, evidence.OutcomePass, fmt.Sprintf("%d of %d pods had a container killed: %s", n, l.want, j.f.Conclusion), "", j.timeline())
	}
}

// availability judges each probe by the error budget.
func (j *judge) availability() {
	b := j.f.Budget
	for _, p := range j.f.Probes {
		at := j.Own(drill.ProbeFile(p.Name), "")
		spent := drill.BudgetFigures{Allowed: b.Allowed, Spent: float64(p.Failed) / p.Rate}
		message := fmt.Sprintf("probe %s: %.3f %% of %d requests good, %s, longest downtime %s, p99 %s before, %s during, %s after",
			p.Name, 100*p.Availability, p.Due, spent, short(p.Longest), p99(p.Before), p99(p.During), p99(p.After))
		if p.Failed > 0 {
			message += "; failed: " + outcomes(p.Outcomes)
		}
		if spent.Over() {
			why, fix := j.likely()
			j.add(aboutAvailability, j.all, evidence.OutcomeFail, message+why, fix, at, j.timeline())
			continue
		}
		if j.aborted(aboutAvailability, j.all) {
			continue
		}
		if why, _ := j.likely(); p.Failed > 0 {
			message += why
		}
		if why := j.rec.Plan.Weak(); why != "" {
			j.add(aboutAvailability, j.all, evidence.OutcomeNotChecked, message+"; but "+why, fixWeak, j.Own(drill.PlanFile, ""), at)
			continue
		}
		j.add(aboutAvailability, j.all, evidence.OutcomePass, message, "", at)
	}
	if j.rec.Plan.Prometheus != nil {
		outcome := evidence.OutcomePass
		if b.Over() {
			outcome = evidence.OutcomeFail
		}
		_, fix := j.likely()
		j.add(aboutAvailability, j.all, outcome, "by the query and the probes together: "+b.String(), fix, j.timeline())
	}
}

func p99(l drill.Latency) string {
	if l.Good == 0 {
		return "none good"
	}
	return short(l.P99)
}

// short writes a time with three digits or so.
func short(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// outcomes lists what failed requests had, most frequent first: "reset 3, 503 1".
func outcomes(m map[string]int) string {
	names := slices.SortedFunc(maps.Keys(m), func(a, b string) int { return cmp.Or(cmp.Compare(m[b], m[a]), cmp.Compare(a, b)) })
	for i, n := range names {
		names[i] = fmt.Sprintf("%s %d", n, m[n])
	}
	return strings.Join(names, ", ")
}

// disruption judges each workload's PodDisruptionBudgets, and those of others whose
// pods were hit.
func (j *judge) disruption() {
	guarded := j.rec.Guarded()
	ours := map[string]bool{}
	for _, l := range j.loads {
		var mine []string
		for _, b := range slices.Sorted(maps.Keys(guarded)) {
			if slices.Contains(guarded[b], l.name) {
				mine = append(mine, b)
				ours[b] = true
			}
		}
		if len(mine) == 0 {
			j.add(aboutDisruption, l.target, evidence.OutcomeNotApplicable, "no PodDisruptionBudget selects its pods", "", j.timeline())
			continue
		}
		j.violations(l.target, mine)
	}
	for _, b := range slices.Sorted(maps.Keys(guarded)) {
		hit := slices.ContainsFunc(j.f.Violations, func(v drill.Violation) bool { return v.Budget == b })
		if ns, name, ok := strings.Cut(b, "/"); ok && hit && !ours[b] {
			j.violations(evidence.Target{APIVersion: "policy/v1", Kind: "PodDisruptionBudget", Namespace: ns, Name: name}, []string{b})
		}
	}
}

// violations judges budgets for one target.
func (j *judge) violations(t evidence.Target, budgets []string) {
	own := map[string]bool{}
	for _, verb := range []string{verbDelete, verbKill} {
		for _, a := range j.attempts(verb) {
			own[a.name] = a.done
		}
	}
	var texts []string
	byDrill, lost := 0, 0
	for _, v := range j.f.Violations {
		if !slices.Contains(budgets, v.Budget) {
			continue
		}
		for _, p := range v.Pods {
			if lost++; own[p] {
				byDrill++
			}
		}
		if len(v.Pods) > 0 {
			texts = append(texts, fmt.Sprintf("%s: %d healthy of %d desired from %.1f to %.1f s, without %s", v.Budget, v.Lowest, v.Desired, v.From.Seconds(), v.To.Seconds(), some(v.Pods)))
		}
	}
	switch {
	case lost > 0 && byDrill == lost:
		j.add(aboutDisruption, t, evidence.OutcomeFail, fmt.Sprintf("overrun: the drill's own deletes took %d pods beyond the budget: %s", lost, strings.Join(texts, "; ")),
			"A delete asks no budget, as the failure of a machine does not: run more replicas than the budget desires, or kill fewer at once.", j.timeline())
	case lost > 0:
		j.add(aboutDisruption, t, evidence.OutcomeFail, fmt.Sprintf("violated by %d pods: %s", lost, strings.Join(texts, "; ")),
			"See what took the pods: a replacement that was ready too briefly, an update with maxUnavailable beyond the budget, or a delete that asks no budget.", j.timeline())
	case j.aborted(aboutDisruption, t):
	default:
		message := strings.Join(budgets, ", ") + ": never fewer pods healthy than desired by the loss of one"
		if j.f.Refused > 0 {
			message += fmt.Sprintf("; %d evictions refused", j.f.Refused)
		}
		j.add(aboutDisruption, t, evidence.OutcomePass, message, "", j.timeline())
	}
}

// some lists at most five names.
func some(names []string) string {
	if n := len(names); n > 5 {
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", n-5)
	}
	return strings.Join(names, ", ")
}

// recovery judges how long it took until all was ready and answered again.
func (j *judge) recovery() {
	limit := time.Duration(j.rec.Plan.Phases.Recover)
	if j.f.Recover == nil {
		if j.aborted(aboutRecovery, j.all) {
			return
		}
		if !slices.ContainsFunc(j.f.Marks, func(m drill.Mark) bool { return !m.Bad }) {
			j.add(aboutRecovery, j.all, evidence.OutcomeNotChecked, "nothing was disturbed", again, j.timeline())
			return
		}
		j.add(aboutRecovery, j.all, evidence.OutcomeFail, fmt.Sprintf("not all ready and answering within %s%s", limit, j.waiting()), j.stuck(fixRecovery), j.timeline())
		return
	}
	fault, _ := j.f.Phase(drill.MarkFault)
	message := fmt.Sprintf("ready and answering again %s after the first action", short(*j.f.Recover)) + j.slowest()
	if late := *j.f.RecoveredAt - fault.To; late > limit {
		j.add(aboutRecovery, j.all, evidence.OutcomeFail, message+fmt.Sprintf("; %s after the last, at most %s is allowed", short(late), limit), j.stuck(fixRecovery), j.timeline())
		return
	}
	j.add(aboutRecovery, j.all, evidence.OutcomePass, message, "", j.timeline())
}
