package load

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/manifest"
)

var rules = collectors.Rules{
	RuleRate: evidence.SeverityMedium, RuleErrors: evidence.SeverityMedium, RuleLatency: evidence.SeverityMedium,
	RuleThrottled: evidence.SeverityMedium, RuleOOM: evidence.SeverityMedium, RuleRestarts: evidence.SeverityMedium,
	RuleHeadroom: evidence.SeverityMedium, RuleBaseline: evidence.SeverityMedium,
}

const (
	// Requests may be this many times what is used, and more where they are small all
	// the same.
	maxOver     = 4
	smallCPU    = 100       // thousandths of a processor
	smallMemory = 128 << 20 // bytes
)

type derivation struct {
	*collectors.Derivation
	f   *loadrecord.Figures
	set *manifest.ObjectSet
	all evidence.Target // the release
}

const again = "Repeat the drill."

func (*collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	f, err := loadrecord.Read(in, Name)
	if err != nil {
		return nil, err
	}
	d := derivation{collectors.NewDerivation(in, Name, rules), f, set, evidence.Target{Kind: "Chart", Name: rel.Chart, Namespace: rel.Namespace}}
	if f.Refused != "" {
		d.nothing(evidence.OutcomeNotChecked, "the drill was refused: "+f.Refused, "Mend what the preflight names, and repeat the drill.")
		return d.Out, nil
	}
	if why := untold(f); why != "" && len(f.Problems) == 0 {
		d.Add(RuleRate, d.all, evidence.OutcomeNotChecked, why, again, d.Own("plan.json", ""))
		d.Add(RuleBaseline, d.all, evidence.OutcomeNotChecked, why, again, d.Own("plan.json", ""))
	}
	if len(f.Problems) > 0 {
		d.nothing(evidence.OutcomeError, strings.Join(f.Problems, "; "), again)
	}
	sound := len(f.Problems) == 0 && len(f.Weak) == 0 && f.Aborted == ""
	d.requests(sound)
	d.containers(sound)
	return d.Out, nil
}

const (
	// minHold is the shortest hold of which kubelets, which look every 10 to 15 seconds,
	// can say something.
	minHold = 20 * time.Second
	// minObjective is the least share of good requests that is worth being called one.
	minObjective = 0.9
)

// untold says why a load of this plan shows nothing, however well it went.
func untold(f *loadrecord.Figures) string {
	u, err := url.Parse(f.Run.Address)
	ip, _ := netip.ParseAddr(cmp.Or(u, &url.URL{}).Hostname())
	switch {
	case err != nil || ip.Unmap().IsLoopback():
		return "the load was sent to " + f.Run.Address + ", which is no Service of the release"
	case f.Run.Hold < minHold:
		return fmt.Sprintf("the load was held for %s: kubelets look every 10 to 15 seconds, hold it for %s or more", f.Run.Hold, minHold)
	case f.Plan.SLO.Objective < minObjective:
		return fmt.Sprintf("an objective of %g lets more than one request in ten fail", f.Plan.SLO.Objective)
	}
	return ""
}

// nothing says that nothing can be concluded, of each control.
func (d derivation) nothing(outcome evidence.Outcome, why, fix string) {
	d.Add(RuleRate, d.all, outcome, why, fix, d.Own(runFile(d.f), ""))
	d.Add(RuleBaseline, d.all, outcome, why, fix, d.Own(runFile(d.f), ""))
}

// runFile is where findings about the whole point.
func runFile(f *loadrecord.Figures) string {
	if f.Refused != "" || f.Run.Rate == 0 {
		return "end.json"
	}
	return loadrecord.RunFile
}

const budgetSpent = "error budget exhausted"

func (d derivation) requests(sound bool) {
	f := d.f
	at := d.Own(runFile(f), "")
	if strings.HasPrefix(f.Aborted, budgetSpent) {
		d.Add(RuleErrors, d.all, evidence.OutcomeFail, "the drill was aborted under load: "+f.Aborted, "Raise the limits or replicas, or mend what fails under load, and repeat the drill.", at)
	}
	switch {
	case len(f.Problems) > 0:
		return // it was said already
	case len(f.Weak) > 0:
		d.Add(RuleRate, d.all, evidence.OutcomeError, fmt.Sprintf("%g requests a second%s were not sustained by the generator: %s", f.Run.Rate, f.Run.Called(), strings.Join(f.Weak, "; ")),
			"Run helmproof where it has more processors and is nearer to the cluster, or lower the rate, and repeat the drill.", at)
		return
	case f.Aborted != "":
		d.Add(RuleRate, d.all, evidence.OutcomeError, "the drill was aborted: "+f.Aborted, again, at)
	default:
		d.Add(RuleRate, d.all, evidence.OutcomePass, fmt.Sprintf("%g requests a second%s were sent for %s: %d requests, %d of them more than %s late", f.Run.Rate, f.Run.Called(), f.Run.Hold, f.Due, f.Late, loadcount.MaxLate), "", at)
	}
	bad := f.Bad() + f.Slow
	share, allowed := float64(bad)/float64(max(f.Due, 1)), 1-f.Plan.SLO.Objective
	message := fmt.Sprintf("%d of %d requests failed (%.3f %%, %.3f %% may)%s", bad, f.Due, share*100, allowed*100, d.reasons())
	switch {
	case share > allowed*(1+1e-9):
		d.Add(RuleErrors, d.all, evidence.OutcomeFail, message, "Raise the limits or replicas, or mend what fails under load, and repeat the drill.", at)
	case sound:
		d.Add(RuleErrors, d.all, evidence.OutcomePass, message, "", at)
	}
	if sound {
		d.latency(at)
	}
}

func (d derivation) reasons() string {
	var parts []string
	for _, o := range slices.Sorted(maps.Keys(d.f.Failed)) {
		parts = append(parts, fmt.Sprintf("%d %s", d.f.Failed[o], o))
	}
	if d.f.Slow > 0 {
		parts = append(parts, fmt.Sprintf("%d slower than %s", d.f.Slow, time.Duration(d.f.Plan.SLO.Latency)))
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

func (d derivation) latency(at evidence.Pointer) {
	f, limit := d.f, time.Duration(d.f.Plan.Load.P99)
	const fix = "Find what is slow under load, raise the limits or replicas, and repeat the drill."
	say := func(t *time.Duration) string {
		if t == nil {
			return "more than one in a hundred requests failed, and a failed one is slower than any"
		}
		return fmt.Sprintf("the 99th percentile is %s, counted from when a request was due; the objective is %s", t.Round(10*time.Microsecond), limit)
	}
	switch {
	case limit == 0:
		d.Add(RuleLatency, d.all, evidence.OutcomeNotApplicable, "the plan sets no latency objective (load.p99)", "", at)
	case f.P99 != nil && *f.P99 <= limit:
		d.Add(RuleLatency, d.all, evidence.OutcomePass, say(f.P99), "", at)
	case f.Served99 != nil && *f.Served99 <= limit:
		// From when they were sent they were in time: the delay is the generator's own.
		d.Add(RuleLatency, d.all, evidence.OutcomeError, say(f.P99)+fmt.Sprintf(", and counted from when it was sent it is %s: the generator was late", f.Served99.Round(10*time.Microsecond)), "Run helmproof where it has more processors, and repeat the drill.", at)
	default:
		d.Add(RuleLatency, d.all, evidence.OutcomeFail, say(f.P99), fix, at)
	}
}

func (d derivation) containers(sound bool) {
	f := d.f
	at := d.Own(loadrecord.UsageFile, "")
	if len(f.Problems) > 0 && len(f.Containers) == 0 {
		return
	}
	if len(f.Containers) == 0 {
		for _, rule := range []string{RuleThrottled, RuleOOM, RuleRestarts, RuleHeadroom, RuleBaseline} {
			d.Add(rule, d.all, evidence.OutcomeNotChecked, "no container of a Deployment or StatefulSet of the release was seen"+d.unseen(), "Let helmproof's account list pods, and repeat the drill.", at)
		}
	}
	d.unseenOnes(at)
	for i := range f.Containers {
		c := container{derivation: d, ContainerFigures: &f.Containers[i], target: d.target(&f.Containers[i]), at: at, sound: sound}
		c.throttled()
		c.oom()
		c.ends()
		c.headroom()
		c.baseline()
	}
}

// unseenOnes are the containers of the manifests that no pod was seen with.
func (d derivation) unseenOnes(at evidence.Pointer) {
	if len(d.f.Containers) == 0 {
		return // it was said of all
	}
	for i := range d.set.Objects {
		o := &d.set.Objects[i]
		if k := o.GetKind(); (k != "Deployment" && k != "StatefulSet") || len(o.Hooks()) > 0 {
			continue
		}
		template, ok, err := o.PodTemplate()
		if err != nil || !ok {
			continue
		}
		for _, c := range template.Spec.Containers {
			ns, load := cmp.Or(o.GetNamespace(), d.all.Namespace), o.GetKind()+"/"+o.GetName()
			if slices.ContainsFunc(d.f.Containers, func(x loadrecord.ContainerFigures) bool {
				return x.Namespace == ns && x.Workload == load && x.Container == c.Name
			}) {
				continue
			}
			for _, rule := range []string{RuleRestarts, RuleBaseline} {
				d.Add(rule, o.Target(c.Name), evidence.OutcomeNotChecked, "no pod of it was seen"+d.unseen(), "Repeat the drill while its pods run.", at)
			}
		}
	}
}

func (d derivation) unseen() string {
	if len(d.f.Unseen) == 0 {
		return ""
	}
	return ": " + strings.Join(d.f.Unseen, "; ")
}

func (d derivation) target(c *loadrecord.ContainerFigures) evidence.Target {
	kind, name, _ := strings.Cut(c.Workload, "/")
	for i := range d.set.Objects {
		o := &d.set.Objects[i]
		if o.GetKind() == kind && o.GetName() == name && cmp.Or(o.GetNamespace(), d.all.Namespace) == c.Namespace {
			return o.Target(c.Container)
		}
	}
	return evidence.Target{APIVersion: "apps/v1", Kind: kind, Name: name, Namespace: c.Namespace, Container: c.Container}
}

// container derives the findings about one container. What went wrong counts whatever
// else is amiss, unless the generator was at its limits: it may have sent in bursts what
// nobody has asked for. That all is well counts only of a load that was what it should be.
type container struct {
	derivation
	*loadrecord.ContainerFigures
	target evidence.Target
	at     evidence.Pointer
	sound  bool
}

func (c *container) fail(rule, message, fix string) {
	if len(c.f.Weak) > 0 {
		c.unsound(rule, message)
		return
	}
	c.Add(rule, c.target, evidence.OutcomeFail, message, fix, c.at)
}

func (c *container) unsound(rule, message string) {
	c.Add(rule, c.target, evidence.OutcomeNotChecked, "the load was not what it should be, and nothing is concluded from what was seen: "+message, again, c.at)
}

func (c *container) well(rule, message string) {
	if !c.sound {
		c.unsound(rule, message)
		return
	}
	c.Add(rule, c.target, evidence.OutcomePass, message, "", c.at)
}

func (c *container) unknown(rule, message string) {
	c.Add(rule, c.target, evidence.OutcomeNotChecked, message+c.unseen(), "Let helmproof's account get nodes/proxy, hold the load for a minute or more, and repeat the drill.", c.at)
}

// advice is what to ask for, with its reasons.
func (c *container) advice() string {
	s := c.Suggested
	var parts []string
	for _, a := range []struct{ what, text string }{
		{"requests.cpu", milli(s.Request.CPU)}, {"limits.cpu", milli(s.Limit.CPU)},
		{"requests.memory", bytesText(s.Request.Memory)}, {"limits.memory", bytesText(s.Limit.Memory)},
	} {
		if a.text != "" {
			parts = append(parts, a.what+" "+a.text)
		}
	}
	if len(parts) == 0 {
		return "Repeat the drill with the container's use measured."
	}
	return "Set " + strings.Join(parts, ", ") + " (" + strings.Join(s.Why, "; ") + "), and repeat the drill."
}

func milli(n int64) string {
	if n == 0 {
		return ""
	}
	return loadrecord.Milli(n)
}

func bytesText(n int64) string {
	if n == 0 {
		return ""
	}
	return loadrecord.Bytes(n)
}

func (c *container) throttled() {
	share := fmt.Sprintf("its CPU limit of %s was reached in %.1f %% of %.0f periods (%.0f %% may)", milli(c.Limit.CPU), c.Share()*100, c.Periods, loadrecord.MaxThrottled*100)
	switch {
	case c.Limit.CPU == 0:
		c.Add(RuleThrottled, c.target, evidence.OutcomeNotApplicable, "it has no CPU limit", "", c.at)
	case c.Share() > loadrecord.MaxThrottled:
		c.fail(RuleThrottled, share, c.advice())
	case len(c.Unwatched) > 0 || c.Periods == 0 && c.Measured == 0:
		c.unknown(RuleThrottled, "how often its CPU limit was reached was not counted for half of the hold in "+cmp.Or(strings.Join(c.Unwatched, ", "), "any pod"))
	default:
		c.well(RuleThrottled, share)
	}
}

func (c *container) oom() {
	if c.OOMKilled > 0 {
		c.fail(RuleOOM, fmt.Sprintf("OOMKilled %d times under load: it reached its memory limit of %s", c.OOMKilled, cmp.Or(bytesText(c.Limit.Memory), "none, so that its node had no more")), c.advice())
		return
	}
	c.well(RuleOOM, "nothing of it was killed for want of memory")
}

func (c *container) ends() {
	var parts []string
	if c.Restarts > 0 {
		parts = append(parts, fmt.Sprintf("restarted %d times under load", c.Restarts))
	}
	if len(c.Ends) > 0 {
		parts = append(parts, "ended: "+strings.Join(c.Ends, ", "))
	}
	if len(c.Gone) > 0 {
		parts = append(parts, "its pods went away under load: "+strings.Join(c.Gone, ", "))
	}
	if len(parts) > 0 {
		c.fail(RuleRestarts, strings.Join(parts, "; "), "Find why it ended (kubectl logs --previous, kubectl describe pod), and repeat the drill.")
		return
	}
	c.well(RuleRestarts, "it ran without a restart")
}

func (c *container) headroom() {
	free := c.f.Plan.Load.Headroom
	var said, over []string
	for _, r := range []struct {
		what        string
		peak, limit int64
		text        func(int64) string
	}{{"CPU", c.Peak.CPU, c.Limit.CPU, loadrecord.Milli}, {"memory", c.Peak.Memory, c.Limit.Memory, loadrecord.Bytes}} {
		if r.limit == 0 {
			continue
		}
		text := fmt.Sprintf("%s %s of %s (%.0f %%)", r.what, r.text(r.peak), r.text(r.limit), 100*float64(r.peak)/float64(r.limit))
		said = append(said, text)
		if float64(r.peak) > float64(r.limit)*(1-free) {
			over = append(over, text)
		}
	}
	switch {
	case len(said) == 0:
		c.Add(RuleHeadroom, c.target, evidence.OutcomeNotApplicable, "it has no limits", "", c.at)
	case len(over) > 0:
		c.fail(RuleHeadroom, fmt.Sprintf("less than %.0f %% of its limits is left at the peak: %s", free*100, strings.Join(over, ", ")), c.advice())
	case c.Measured == 0 || len(c.Unmeasured) > 0:
		c.unknown(RuleHeadroom, "its use was not measured for half of the hold in "+cmp.Or(strings.Join(c.Unmeasured, ", "), "any pod"))
	default:
		c.well(RuleHeadroom, fmt.Sprintf("%.0f %% of its limits is left at the peak: %s", free*100, strings.Join(said, ", ")))
	}
}

// baseline holds requests to what was used under the stated load. The bundle is bound
// to the release's manifests, and so to its images: what was measured is newer than
// they are.
func (c *container) baseline() {
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	measured := c.Measured > 0 && len(c.Unmeasured) == 0
	if c.OOMKilled > 0 {
		add("it needs more memory than its limit of %s", bytesText(c.Limit.Memory))
	}
	if c.Limit.CPU > 0 && c.Share() > loadrecord.MaxThrottled {
		add("it needs more than its CPU limit of %s", milli(c.Limit.CPU))
	}
	if measured {
		for _, r := range []struct {
			what                  string
			request, used, little int64
			text                  func(int64) string
		}{
			{"CPU", c.Request.CPU, c.Steady, smallCPU, loadrecord.Milli},
			{"memory", c.Request.Memory, c.Peak.Memory, smallMemory, loadrecord.Bytes},
		} {
			switch {
			case r.request == 0:
				add("it requests no %s, and uses %s", r.what, r.text(r.used))
			case r.used > r.request:
				add("it requests %s of %s, and uses %s", r.text(r.request), r.what, r.text(r.used))
			case c.sound && r.request > r.little && float64(r.request) > maxOver*math.Max(float64(r.used), 1):
				add("it requests %s of %s, more than %d times the %s that it uses", r.text(r.request), r.what, maxOver, r.text(r.used))
			}
		}
	}
	switch {
	case len(wrong) > 0:
		c.fail(RuleBaseline, strings.Join(wrong, "; "), c.advice())
	case !measured:
		c.unknown(RuleBaseline, "its use was not measured for half of the hold in "+cmp.Or(strings.Join(c.Unmeasured, ", "), "any pod"))
	default:
		c.well(RuleBaseline, fmt.Sprintf("it requests CPU %s and memory %s, and uses %s (95th percentile) and %s (most)",
			loadrecord.Milli(c.Request.CPU), loadrecord.Bytes(c.Request.Memory), loadrecord.Milli(c.Steady), loadrecord.Bytes(c.Peak.Memory)))
	}
}
