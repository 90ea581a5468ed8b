package rollback

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// The rules.
const (
	RuleDetected  = "rollback/detected"      // Helm said in time that the upgrade failed
	RuleManifests = "rollback/manifests"     // what was deployed before is deployed again
	RuleHealthy   = "rollback/healthy"       // and runs, in time
	RuleBudget    = "rollback/within-budget" // all the while requests were answered
	RuleHooks     = "rollback/hooks"         // hooks of upgrades and rollbacks ran to their end
)

var rules = collectors.Rules{
	RuleDetected: evidence.SeverityHigh, RuleManifests: evidence.SeverityHigh, RuleHealthy: evidence.SeverityHigh,
	RuleBudget: evidence.SeverityHigh, RuleHooks: evidence.SeverityMedium,
}

const (
	again       = "Repeat the drill once the cause is gone."
	fixDetect   = "Upgrade with --wait and a timeout, and give Deployments a progressDeadlineSeconds below it."
	fixHealthy  = "See why the previous revision does not come up again: what it needs and the release does not hold (Secrets, ConfigMaps, images, volumes) may be gone."
	fixManifest = "Compare helm get manifest of both revisions; what somebody changed by hand, or another controller owns, Helm does not take back."
	fixHooks    = "Let the hook succeed also for the revision that is rolled back to, and make it repeatable."
	fixBudget   = "Keep old pods until new ones are ready: maxUnavailable 0, more than one replica, and not the strategy Recreate."
	fixRestore  = "Put it back by hand: helm rollback, and helmproof drill restore."
)

// Findings derives the findings from what the drill sealed.
func (c *collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rec, err := drill.ReadRecord(in, Name)
	if err != nil {
		return nil, err
	}
	if rec.Plan.Experiment != drill.Rollback || rec.Plan.Rollback == nil {
		return nil, fmt.Errorf("experiment %q is another collector's", rec.Plan.Experiment)
	}
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	j := &judge{Derivation: collectors.NewDerivation(in, Name, rules), rec: rec, f: rec.Figures(), rel: rel,
		target: evidence.Target{Kind: "Release", Name: rel.ReleaseName, Namespace: rel.Namespace}}
	if check := rec.Refused(); check != nil {
		i := slices.IndexFunc(rec.Checks, func(x drill.Check) bool { return !x.OK })
		j.all(evidence.OutcomeNotChecked, "the drill did not begin: "+check.Name+": "+check.Reason,
			"Put right what the preflight refused, and repeat the drill.", j.Own(drill.PreflightFile, fmt.Sprintf("/%d", i)))
		return j.Out, nil
	}
	if err := j.Parse(file, &j.seen); err != nil {
		return nil, err
	}
	if left := rec.End.NotRestored; len(left) > 0 {
		j.Add(RuleHealthy, j.target, evidence.OutcomeFail, "not put back: "+strings.Join(left, "; "), fixRestore, j.Own(drill.EndFile, "/notRestored"))
	}
	if j.seen.Upgrade == nil || j.seen.Change == nil {
		j.all(evidence.OutcomeError, "the release was not upgraded: "+j.why(), again, j.Own(drill.EndFile, ""))
		return j.Out, nil
	}
	j.detected()
	j.manifests()
	j.healthy()
	j.budget()
	j.hooks()
	return j.Out, nil
}

type judge struct {
	*collectors.Derivation
	rec    *drill.Record
	f      drill.Figures
	rel    *evidence.Release
	seen   Seen
	target evidence.Target
}

// all says the same of every rule.
func (j *judge) all(outcome evidence.Outcome, message, fix string, at evidence.Pointer) {
	for _, rule := range rules.Names() {
		j.Add(rule, j.target, outcome, message, fix, at)
	}
}

// why says why the drill ended early, or what could not be measured.
func (j *judge) why() string {
	switch {
	case j.f.Aborted != "":
		return "aborted: " + j.f.Aborted
	case len(j.f.Problems) > 0:
		return "not measured: " + j.f.Problems[0]
	}
	return "the record does not say why"
}

// cut adds that an aborted drill answers nothing about a rule.
func (j *judge) cut(rule string) bool {
	if j.f.Aborted == "" {
		return false
	}
	j.Add(rule, j.target, evidence.OutcomeError, "aborted: "+j.f.Aborted, again, j.Own(drill.EndFile, "/aborted"))
	return true
}

// workload is the one that was changed.
func (j *judge) workload() evidence.Target {
	c := j.seen.Change
	return evidence.Target{APIVersion: "apps/v1", Kind: c.Kind, Namespace: c.Namespace, Name: c.Name, Container: c.Container}
}

func (j *judge) detected() {
	op, plan, t, at := j.seen.Upgrade, j.rec.Plan.Rollback, j.workload(), j.Own(file, "/upgrade")
	limit := time.Duration(plan.Detect)
	what := "an upgrade with " + j.seen.Change.What
	broken := slices.IndexFunc(j.seen.Pods, func(p PodSeen) bool { return !p.Ready })
	switch {
	case op.Error == "":
		j.Add(RuleDetected, t, evidence.OutcomeFail, what+": Helm called it done", fixDetect+" See that the Deployment is not paused.", at)
	case j.cut(RuleDetected):
	case j.seen.PodsError != "":
		j.Add(RuleDetected, t, evidence.OutcomeError, "whether the fault came to its pods is not known: "+j.seen.PodsError, again, j.Own(file, "/podsError"))
	case broken < 0:
		j.Add(RuleDetected, t, evidence.OutcomeError, what+" failed, but for another reason, before any pod of it showed the fault: "+op.Error,
			"Make the release such that it can be upgraded to itself, and repeat the drill.", at)
	case op.Took > limit:
		j.Add(RuleDetected, t, evidence.OutcomeFail, fmt.Sprintf("%s: Helm said only after %s that it failed, %s is allowed", what, short(op.Took), limit), fixDetect, at)
	default:
		message := fmt.Sprintf("%s: Helm said after %s (of %s) that it failed; %s", what, short(op.Took), limit, j.symptoms(j.seen.Pods[broken]))
		j.Add(RuleDetected, t, evidence.OutcomePass, message, "", at)
	}
}

// symptoms say when the cluster showed the fault.
func (j *judge) symptoms(p PodSeen) string {
	reason := p.Reason
	if reason == "" {
		reason = "never Ready"
	}
	text := "pod " + p.Name + " was " + reason
	if at, ok := j.firstSign(p); ok {
		text += fmt.Sprintf(", seen after %s", short(at))
	}
	live := j.seen.Live[1]
	switch {
	case live.Exceeded != nil:
		text += "; the Deployment said ProgressDeadlineExceeded"
	case live.Deadline > 0 && time.Duration(live.Deadline)*time.Second > time.Duration(j.rec.Plan.Rollback.Detect):
		text += fmt.Sprintf("; the Deployment itself would have said so after its progressDeadlineSeconds, %d", live.Deadline)
	}
	return text
}

// firstSign finds when the watch first showed the pod's reason, from the beginning
// of the upgrade.
func (j *judge) firstSign(p PodSeen) (time.Duration, bool) {
	if p.Reason == "" {
		return 0, false
	}
	began := j.seen.Upgrade.Began.Sub(j.rec.End.Began)
	for i := range j.rec.Events {
		e := &j.rec.Events[i]
		if e.Pod != nil && e.At >= began && e.Pod.Reason != "" && strings.HasSuffix(e.Pod.Name, "/"+p.Name) {
			return e.At - began, true
		}
	}
	return 0, false
}

func (j *judge) manifests() {
	op, at := j.seen.Rollback, j.Own(file, "/after")
	add := func(outcome evidence.Outcome, message, fix string) {
		j.Add(RuleManifests, j.target, outcome, message, fix, at)
	}
	switch {
	case op == nil:
		if !j.cut(RuleManifests) {
			add(evidence.OutcomeError, "nothing was rolled back: "+j.why(), again)
		}
		return
	case len(j.seen.After) == 0 || len(j.seen.Before) == 0 || j.seen.Manifests == "" || j.seen.ManifestsError != "":
		add(evidence.OutcomeError, "what is deployed afterwards could not be read: "+j.seen.ManifestsError, again)
		return
	}
	newest, was := j.seen.After[len(j.seen.After)-1], j.seen.Before[len(j.seen.Before)-1]
	live := j.seen.Live[2]
	switch {
	case op.Error != "":
		add(evidence.OutcomeFail, fmt.Sprintf("the rollback to revision %d failed: %s", j.seen.From, op.Error), fixHealthy)
	case newest.Status != "deployed" || newest.RollbackTo != j.seen.From:
		add(evidence.OutcomeFail, fmt.Sprintf("the newest revision, %d, is %s, and not the rollback to %d", newest.Revision, newest.Status, j.seen.From), fixManifest)
	case newest.Digest != was.Digest || j.seen.Manifests != j.rel.ManifestsDigest:
		add(evidence.OutcomeFail, fmt.Sprintf("revision %d applies other manifests than revision %d: %s, before %s", newest.Revision, j.seen.From, j.seen.Manifests, j.rel.ManifestsDigest), fixManifest)
	case live.Error != "" || j.seen.Live[0].Error != "" || live.Template == "" || j.seen.Live[0].Template == "":
		add(evidence.OutcomeError, "the live workload could not be read: "+live.Error+j.seen.Live[0].Error, again)
	case live.Marked || live.Template != j.seen.Live[0].Template:
		add(evidence.OutcomeFail, fmt.Sprintf("Helm's manifest is that of before, the live %s is not: the rollback left something of the upgrade in it", j.seen.Change.Workload()), fixManifest)
	case !j.told():
		add(evidence.OutcomeFail, "Helm's history does not show the failed upgrade between both revisions", fixManifest)
	default:
		add(evidence.OutcomePass, fmt.Sprintf("revision %d, rolled back to %d after %d failed, applies the same manifests (%s), and the live %s is as before. %s",
			newest.Revision, j.seen.From, newest.Revision-1, j.seen.Manifests, j.seen.Change.Workload(), j.limits()), "")
	}
}

// told reports whether the history has one more revision that failed, and then the rollback.
func (j *judge) told() bool {
	n := len(j.seen.After)
	return n >= 2 && j.seen.After[n-2].Drill && j.seen.After[n-2].Status == "failed" && j.seen.After[n-2].Revision == j.seen.From+1
}

// limits say what a rollback that worked does not prove.
func (j *judge) limits() string {
	text := "Not proven: that data goes back as well (migrations, queues, formats)"
	if n := len(j.seen.Claims); n > 0 {
		text += fmt.Sprintf("; volumes keep what the new version wrote (%s)", some(j.seen.Claims))
	}
	if n := len(j.seen.CRDs); n > 0 {
		text += fmt.Sprintf("; Helm rolls back no CRDs (%s)", some(j.seen.CRDs))
	}
	return text
}

func some(names []string) string {
	if n := len(names); n > 5 {
		return strings.Join(names[:5], ", ") + fmt.Sprintf(" and %d more", n-5)
	}
	return strings.Join(names, ", ")
}

func (j *judge) healthy() {
	op, limit, at := j.seen.Rollback, time.Duration(j.rec.Plan.Rollback.Back), j.Own(file, "/rollback")
	add := func(outcome evidence.Outcome, message, fix string) {
		j.Add(RuleHealthy, j.target, outcome, message, fix, at)
	}
	switch {
	case op != nil && op.Error != "" && j.failedHook(j.seen.Rollback) == "":
		add(evidence.OutcomeFail, fmt.Sprintf("hopeless: revision %d does not come up again either: %s", j.seen.From, op.Error), fixHealthy)
	case op != nil && op.Error != "":
		add(evidence.OutcomeFail, fmt.Sprintf("the rollback to revision %d stopped at %s: %s", j.seen.From, j.failedHook(j.seen.Rollback), op.Error), fixHooks)
	case j.cut(RuleHealthy):
	case op == nil:
		add(evidence.OutcomeError, "nothing was rolled back: "+j.why(), again)
	case op.Took > limit:
		add(evidence.OutcomeFail, fmt.Sprintf("the rollback took %s, %s is allowed", short(op.Took), limit), fixHealthy)
	case len(j.f.Problems) > 0:
		add(evidence.OutcomeError, j.why(), again)
	case j.f.Recover == nil:
		add(evidence.OutcomeFail, fmt.Sprintf("Helm called the rollback done after %s, but not all was ready and answering within %s more", short(op.Took), time.Duration(j.rec.Plan.Phases.Recover)), fixHealthy)
	case j.late() > 0:
		add(evidence.OutcomeFail, fmt.Sprintf("Helm called the rollback done after %s, and all was ready and answering only %s later, %s is allowed", short(op.Took), short(j.late()), time.Duration(j.rec.Plan.Phases.Recover)), fixHealthy)
	default:
		add(evidence.OutcomePass, fmt.Sprintf("rolled back and ready after %s (of %s); all answers %s after the upgrade began", short(op.Took), limit, short(*j.f.Recover)), "")
	}
}

// late is how long after the rollback all was ready and answering again, where that is
// longer than the plan allows; else 0.
func (j *judge) late() time.Duration {
	fault, ok := j.f.Phase(drill.MarkFault)
	if !ok || j.f.RecoveredAt == nil {
		return 0
	}
	if late := *j.f.RecoveredAt - fault.To; late > time.Duration(j.rec.Plan.Phases.Recover) {
		return late
	}
	return 0
}

func (j *judge) budget() {
	at := j.Own(drill.TimelineFile, "")
	switch {
	case j.f.Budget.Over():
		j.Add(RuleBudget, j.target, evidence.OutcomeFail, j.f.Conclusion, fixBudget, at)
	case j.cut(RuleBudget):
	case len(j.f.Problems) > 0:
		j.Add(RuleBudget, j.target, evidence.OutcomeError, j.why(), again, j.Own(drill.EndFile, ""))
	case len(j.f.Probes) == 0:
		j.Add(RuleBudget, j.target, evidence.OutcomeError, "nobody sent requests", again, at)
	case j.rec.Plan.Weak() != "":
		j.Add(RuleBudget, j.target, evidence.OutcomeNotChecked, j.f.Conclusion+"; but "+j.rec.Plan.Weak(), "Probe a Service of the release at its cluster address, and hold the drill to a service level (--objective, --window, --budget-share).", j.Own(drill.PlanFile, ""))
	default:
		j.Add(RuleBudget, j.target, evidence.OutcomePass, j.f.Conclusion, "", at)
	}
}

// stage is an operation with the events of its hooks.
type stage struct {
	name     string
	op       *Operation
	revision int
	events   []string
	skipped  bool // the operation failed before its last hooks were due
}

func (j *judge) stages() []stage {
	return []stage{
		{"upgrade", j.seen.Upgrade, j.seen.From + 1, []string{"pre-upgrade", "post-upgrade"}, true},
		{"rollback", j.seen.Rollback, j.seen.From + 2, []string{"pre-rollback", "post-rollback"}, false},
	}
}

// ran returns a revision's hook as it ran in an operation. Hooks of a rollback come
// from the revision before with what they did then.
func ran(h helmop.Hook, op *Operation) bool {
	return op != nil && h.Started != nil && !h.Started.Before(op.Began)
}

// failedHook names the hook at which an operation ended; empty: it was none.
func (j *judge) failedHook(op *Operation) string {
	if op == nil || op.Error == "" {
		return ""
	}
	for _, s := range j.stages() {
		if s.op != op {
			continue
		}
		for _, h := range j.hooksOf(s) {
			if ran(h, op) && h.Phase != "Succeeded" {
				return "hook " + h.Kind + "/" + h.Name
			}
		}
	}
	return ""
}

// hooksOf are the hooks of an operation, as its revision has them.
func (j *judge) hooksOf(s stage) []helmop.Hook {
	var out []helmop.Hook
	for _, r := range j.seen.After {
		if r.Revision != s.revision {
			continue
		}
		for _, h := range r.Hooks {
			if slices.ContainsFunc(s.events, h.On) {
				out = append(out, h)
			}
		}
	}
	return out
}

func (j *judge) hooks() {
	at := j.Own(file, "/after")
	if len(j.seen.After) == 0 || len(j.seen.Before) == 0 {
		j.Add(RuleHooks, j.target, evidence.OutcomeError, "Helm's history could not be read: "+j.seen.ManifestsError, again, at)
		return
	}
	stages := j.stages()
	all := slices.Concat(stages[0].events, stages[1].events)
	var declared []helmop.Hook
	for _, h := range j.seen.Before[len(j.seen.Before)-1].Hooks {
		if slices.ContainsFunc(all, h.On) {
			declared = append(declared, h)
		}
	}
	if len(declared) == 0 {
		j.Add(RuleHooks, j.target, evidence.OutcomeNotApplicable, "no hook runs at an upgrade or a rollback", "", at)
		return
	}
	var good, bad, not []string
	for _, s := range stages {
		for _, h := range j.hooksOf(s) {
			name := fmt.Sprintf("%s/%s in the %s", h.Kind, h.Name, s.name)
			switch {
			case ran(h, s.op) && h.Phase == "Succeeded":
				good = append(good, name)
			case ran(h, s.op):
				bad = append(bad, name)
			case s.skipped && !h.On("pre-upgrade"):
				not = append(not, h.Kind+"/"+h.Name+" (post-upgrade: the upgrade failed before)")
			default:
				bad = append(bad, name+" (not run)")
			}
		}
	}
	message := strings.Join(slices.DeleteFunc([]string{list("failed", bad), list("succeeded", good), list("not run", not)}, func(s string) bool { return s == "" }), "; ")
	switch {
	case len(bad) > 0 && j.seen.Rollback == nil && j.f.Aborted != "":
		j.cut(RuleHooks)
	case len(bad) > 0:
		j.Add(RuleHooks, j.target, evidence.OutcomeFail, message+j.errors(), fixHooks, at)
	case len(good)+len(not) == 0:
		j.Add(RuleHooks, j.target, evidence.OutcomeError, "the history does not hold the drill's revisions, with their hooks", again, at)
	default:
		j.Add(RuleHooks, j.target, evidence.OutcomePass, message+". What hooks changed elsewhere, such as a schema, no rollback takes back", "", at)
	}
}

// errors are Helm's words for what failed at a hook.
func (j *judge) errors() string {
	for _, op := range []*Operation{j.seen.Upgrade, j.seen.Rollback} {
		if j.failedHook(op) != "" {
			return ": " + op.Error
		}
	}
	return ""
}

func list(what string, names []string) string {
	if len(names) == 0 {
		return ""
	}
	return what + ": " + strings.Join(names, ", ")
}

// short writes a time to a tenth of a second.
func short(d time.Duration) string { return d.Round(100 * time.Millisecond).String() }
