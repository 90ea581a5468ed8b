package gate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Evidence is one verified bundle that may bear on a composed verdict. The
// caller has verified it; nothing here can.
type Evidence struct {
	Bundle   evidence.Digest
	Scope    evidence.Scope
	Release  evidence.Release
	Findings []evidence.Finding
	Runs     []evidence.CollectorRun
	// Replayed is what this version's rules derive from the same artifacts, where
	// another version's sealed them; nil: the same rules did. Each control counts by
	// the worse of both.
	Replayed *Replayed
	Rules    int               // the version of the rules that sealed it
	Catalog  *evidence.Catalog // that it was sealed with: sealed findings say nothing of controls that it lacks
	// Verdict is the bundle's own. Only its waivers count here: its thresholds
	// are those of another profile, and its waivers may have expired since.
	Verdict evidence.Verdict
	// Baseline is what the evidence was collected with; nil: with none.
	Baseline    *evidence.BaselineRelease
	EvaluatedAt time.Time // when the bundle was judged; a timestamp where there is one
}

// ComposeInput is all that a composed verdict depends on.
type ComposeInput struct {
	Profile       *evidence.Profile
	ProfileDigest evidence.Digest
	Catalog       *evidence.Catalog
	CatalogDigest evidence.Digest
	// Evidence about one release, its cluster and its drills, in any order.
	Evidence []Evidence
	// Cluster is the fingerprint of the cluster that is asked about. If empty,
	// it is the one that the release's evidence names.
	Cluster string
	At      time.Time
	// AnyWaiver takes every waiver of the evidence, whatever the profile says of
	// waivers: composed verdicts of older versions did.
	AnyWaiver bool
}

// Compose judges every control of the profile by the newest evidence about it.
//
// The newest bundle of scope release says which release is judged: other
// release and drill bundles count only if they are about the same chart,
// release name, namespace and rendered manifests. Bundles of scope cluster
// count only if they are about the release's cluster. Of those that count, a
// control takes the newest in which its collector ran. It is judged anew, by
// this profile's thresholds and with the bundle's waivers as they stand at At.
// Evidence that is missing, older than the control's maximum age, or dated
// after At makes the control incomplete.
func Compose(in ComposeInput) evidence.Verdict {
	v := evidence.Verdict{
		ProfileDigest: in.ProfileDigest, CatalogDigest: in.CatalogDigest, EvaluatedAt: in.At.UTC(),
		Results: []evidence.ControlResult{},
	}
	if in.Profile == nil || in.Catalog == nil {
		v.Outcome, v.Reason = evidence.VerdictIncomplete, "no profile and catalog to judge by"
		return v
	}
	v.Profile = in.Profile.Name
	c := newComposer(in, in.Profile.Baseline)
	v.Results = append(v.Results, c.results()...)
	v.Waivers = c.waiverResults()
	v.Outcome, v.Reason = conclude(v.Results)
	if slices.ContainsFunc(c.usable, func(e *candidate) bool { return e.Baseline != nil }) {
		results := v.Results
		if !in.Profile.Baseline {
			c = newComposer(in, true)
			results = c.results()
		}
		var sets []*knownSet
		for _, e := range c.usable {
			if e.known != nil && len(e.used) > 0 {
				sets = append(sets, e.known)
			}
		}
		if len(sets) > 0 {
			setBaseline(&v, results, in.Profile.Baseline, sets...)
		}
	}
	return v
}

// results judges every control of the profile.
func (c *composer) results() (out []evidence.ControlResult) {
	for _, pc := range inCatalogOrder(c.in.Profile, c.in.Catalog) {
		out = append(out, c.control(pc))
	}
	return out
}

// candidate is a bundle that is about the right subject.
type candidate struct {
	Evidence
	findings map[evidence.ControlID][]evidence.Finding
	replayed map[evidence.ControlID][]evidence.Finding
	rules    *evidence.RuleControls // of the catalog that it was sealed with
	waivers  *waiverSet
	known    *knownSet // what its baseline knows; nil: nothing is accepted by one
	// used are the controls that this bundle decided.
	used map[evidence.ControlID]bool
}

type composer struct {
	in       ComposeInput
	rules    *evidence.RuleControls
	usable   []*candidate      // newest first
	excluded map[string]int    // why bundles do not count → how many
	future   map[string]string // bundle → its date
}

// newComposer sorts the evidence; baselines says that what theirs know is accepted.
func newComposer(in ComposeInput, baselines bool) *composer {
	c := &composer{in: in, rules: evidence.NewRuleControls(in.Catalog), excluded: map[string]int{}, future: map[string]string{}}
	sorted := slices.Clone(in.Evidence)
	slices.SortStableFunc(sorted, func(a, b Evidence) int {
		return cmp.Or(b.EvaluatedAt.Compare(a.EvaluatedAt), cmp.Compare(a.Bundle, b.Bundle))
	})
	seen := map[evidence.Digest]bool{}
	var dated []Evidence
	for _, e := range sorted {
		if seen[e.Bundle] {
			continue
		}
		seen[e.Bundle] = true
		if e.EvaluatedAt.After(in.At) {
			c.future[string(e.Bundle)] = e.EvaluatedAt.UTC().Format(time.RFC3339)
			continue
		}
		dated = append(dated, e)
	}
	wrong := wrongSubject(dated, in.Cluster)
	for _, e := range dated {
		if why := wrong(e); why != "" {
			c.excluded[why]++
			continue
		}
		var ws []evidence.Waiver
		for _, w := range e.Verdict.Waivers {
			ws = append(ws, w.Waiver)
		}
		x := &candidate{
			Evidence: e, findings: groupFindings(e.Findings), waivers: newWaiverSet(ws, in.Profile, in.At),
			used: map[evidence.ControlID]bool{},
		}
		if baselines {
			x.known = newKnownSet(e.Baseline, e.Release.Namespace)
		}
		if x.waivers.any = in.AnyWaiver; !in.AnyWaiver {
			x.waivers.bounded = in.Catalog
		}
		if e.Replayed != nil {
			x.replayed, x.rules = groupFindings(e.Replayed.Findings), evidence.NewRuleControls(e.Catalog)
		}
		c.usable = append(c.usable, x)
	}
	return c
}

// wrongSubject returns a function that says why a bundle is about something
// else, or nothing. Evidence is newest first.
func wrongSubject(newestFirst []Evidence, cluster string) func(Evidence) string {
	var subject *evidence.Release
	clusters := map[string]bool{} // of the subject's own evidence
	clusterScope := map[string]bool{}
	for i, e := range newestFirst {
		if e.Scope == evidence.ScopeRelease && subject == nil {
			subject = &newestFirst[i].Release
		}
	}
	for _, e := range newestFirst {
		if e.Release.Cluster == "" {
			continue
		}
		if e.Scope == evidence.ScopeCluster {
			clusterScope[e.Release.Cluster] = true
		} else if subject != nil && sameRelease(*subject, e.Release) {
			clusters[e.Release.Cluster] = true
		}
	}
	ambiguous := false
	if cluster == "" {
		known := clusters
		if subject == nil { // a question about a cluster alone
			known = clusterScope
		}
		ambiguous = len(known) > 1
		if len(known) == 1 {
			cluster = slices.Collect(maps.Keys(known))[0]
		}
	}
	return func(e Evidence) string {
		switch e.Scope {
		case evidence.ScopeCluster:
		case evidence.ScopeRelease, evidence.ScopeDrill:
			if subject == nil {
				return "no evidence of scope release says which release is meant (helmproof collect --release NAME makes it)"
			}
			if !sameRelease(*subject, e.Release) {
				return "about another chart, release, namespace or rendering"
			}
			if e.Release.Cluster == "" && e.Scope == evidence.ScopeDrill {
				return "a drill that names no cluster"
			}
			if e.Release.Cluster == "" {
				return "" // what the chart alone shows holds on every cluster
			}
		default:
			return fmt.Sprintf("of scope %q, which is no evidence", e.Scope)
		}
		switch {
		case ambiguous:
			return "evidence is about several clusters and none was named"
		case cluster == "":
			return "the release's evidence names no cluster to match"
		case e.Release.Cluster != cluster:
			return "about another cluster"
		}
		return ""
	}
}

func sameRelease(a, b evidence.Release) bool {
	return a.SameManifests(&b) && a.Chart == b.Chart && a.ReleaseName == b.ReleaseName && a.Namespace == b.Namespace
}

func (c *composer) control(pc evidence.ProfileControl) evidence.ControlResult {
	incomplete := func(reason string) evidence.ControlResult {
		return evidence.ControlResult{Control: pc.ID, Required: !pc.Optional, Outcome: evidence.ControlIncomplete, Reason: reason}
	}
	control, ok := c.in.Catalog.Control(pc.ID)
	if !ok {
		return incomplete(fmt.Sprintf("control %s is not in the catalog", pc.ID))
	}
	maxAge := time.Duration(cmp.Or(pc.MaxAge, c.in.Profile.MaxAge))
	if maxAge <= 0 {
		return incomplete("the profile sets no maximum age for evidence")
	}
	if len(control.Needs) > 0 {
		return c.needed(pc, control, maxAge)
	}
	// A collector may run for several scopes and decide other controls in each:
	// admission looks at the release's namespace, and at the cluster's policies.
	// Bundles of the scopes that have findings about the control count, those in
	// which the collector failed among them.
	scopes := map[evidence.Scope]bool{}
	for _, e := range c.usable {
		if e.about(pc.ID) {
			scopes[e.Scope] = true
		}
	}
	i := slices.IndexFunc(c.usable, func(e *candidate) bool {
		return e.about(pc.ID) || (len(scopes) == 0 || scopes[e.Scope]) &&
			slices.ContainsFunc(e.Runs, func(r evidence.CollectorRun) bool { return r.Collector == control.Collector })
	})
	if i < 0 {
		return incomplete("no evidence from collector " + control.Collector + c.whyNot())
	}
	return c.by(c.usable[i], pc, maxAge, "", nil)
}

// by judges a control by one bundle, or those of its findings that are of a family
// of rules.
func (c *composer) by(e *candidate, pc evidence.ProfileControl, maxAge time.Duration, name string, of func(evidence.Finding) bool) evidence.ControlResult {
	ref := evidence.BundleRef{Bundle: e.Bundle, Scope: e.Scope, EvaluatedAt: e.EvaluatedAt.UTC()}
	var r evidence.ControlResult
	if age := c.in.At.Sub(e.EvaluatedAt); age > maxAge {
		r = evidence.ControlResult{Control: pc.ID, Required: !pc.Optional, Outcome: evidence.ControlIncomplete}
		if name != "" {
			name += ": "
		}
		r.Reason = fmt.Sprintf("%sevidence is %s old, the limit is %s", name, ageText(age), ageText(maxAge))
	} else {
		e.used[pc.ID] = true
		r = e.judge(pc, c, of)
	}
	r.Evidence = []evidence.BundleRef{ref}
	return r
}

// needed judges a control whose evidence comes from several bundles: for each family
// of its rules the newest decides, and the control is the worst of them. A family
// that it needs and that nobody collected makes it incomplete; of the others those
// count that were, as long as they are new enough.
func (c *composer) needed(pc evidence.ProfileControl, control evidence.Control, maxAge time.Duration) evidence.ControlResult {
	out := evidence.ControlResult{Control: pc.ID, Required: !pc.Optional, Outcome: evidence.ControlNotApplicable}
	var reasons, missing []string
	add := func(r evidence.ControlResult) {
		if r.Outcome.Rank() < out.Outcome.Rank() || out.Outcome == evidence.ControlNotApplicable && r.Outcome == evidence.ControlPass {
			out.Outcome = r.Outcome
			reasons = nil
		}
		if r.Outcome == out.Outcome && !slices.Contains(reasons, r.Reason) {
			reasons = append(reasons, r.Reason)
		}
		out.Counts = out.Counts.Plus(r.Counts)
		out.Findings = append(out.Findings, r.Findings...)
		for _, ref := range r.Evidence {
			if !slices.Contains(out.Evidence, ref) {
				out.Evidence = append(out.Evidence, ref)
			}
		}
	}
	families := slices.Clone(control.Needs)
	for _, rule := range control.Rules {
		if !slices.Contains(families, rule) {
			families = append(families, rule)
		}
	}
	matches := func(rule string, f evidence.Finding) bool {
		prefix, open := strings.CutSuffix(rule, "*")
		return f.Rule == rule || open && strings.HasPrefix(f.Rule, prefix)
	}
	for i, rule := range families {
		name, _ := strings.CutSuffix(rule, "*")
		of := func(f evidence.Finding) bool { return matches(rule, f) }
		need := i < len(control.Needs)
		if !need {
			// Nobody has to repeat what was not asked for and showed nothing, or is too old:
			// the newest that showed something counts.
			for _, e := range c.usable {
				if !e.has(pc.ID, of) || c.in.At.Sub(e.EvaluatedAt) > maxAge || e.judge(pc, c, of).Outcome == evidence.ControlIncomplete {
					continue
				}
				add(c.by(e, pc, maxAge, name, of))
				break
			}
			continue
		}
		at := slices.IndexFunc(c.usable, func(e *candidate) bool { return e.has(pc.ID, of) || e.silent(pc.ID, control.Collector) })
		switch {
		case at >= 0 && c.usable[at].has(pc.ID, of):
			add(c.by(c.usable[at], pc, maxAge, name, of))
		case at >= 0: // its collector failed: which family it was about does not show
			add(c.by(c.usable[at], pc, maxAge, "", nil))
		default:
			missing = append(missing, name)
		}
	}
	// What own policies say of the control can only be against it.
	other := func(f evidence.Finding) bool {
		return !slices.ContainsFunc(families, func(rule string) bool { return matches(rule, f) })
	}
	if at := slices.IndexFunc(c.usable, func(e *candidate) bool { return e.has(pc.ID, other) }); at >= 0 {
		add(c.by(c.usable[at], pc, maxAge, "", other))
	}
	if len(missing) > 0 {
		add(evidence.ControlResult{Outcome: evidence.ControlIncomplete, Reason: "no evidence of " + strings.Join(missing, ", ") + c.whyNot()})
	}
	slices.Sort(out.Findings)
	out.Findings = slices.Compact(out.Findings)
	out.Reason = strings.Join(reasons, "; ")
	return out
}

// has reports whether the bundle has findings about the control of a family of rules.
func (e *candidate) has(id evidence.ControlID, of func(evidence.Finding) bool) bool {
	return slices.ContainsFunc(e.findings[id], of) || slices.ContainsFunc(e.replayed[id], of)
}

// silent reports whether the bundle was to judge the control, and its collector
// gave no finding at all about it.
func (e *candidate) silent(id evidence.ControlID, collector string) bool {
	return !e.about(id) &&
		slices.ContainsFunc(e.Runs, func(r evidence.CollectorRun) bool { return r.Collector == collector }) &&
		slices.ContainsFunc(e.Verdict.Results, func(r evidence.ControlResult) bool { return r.Control == id })
}

// about reports whether the bundle has anything to say of the control.
func (e *candidate) about(id evidence.ControlID) bool {
	return len(e.findings[id]) > 0 || len(e.replayed[id]) > 0
}

// judge is one control by the bundle's sealed findings (of: those that count; nil: all) and, where other rules made
// those, by what this version's rules derive: the worse of both. What the evidence
// was sealed without, or cannot answer by now, is incomplete and never a pass.
func (e *candidate) judge(pc evidence.ProfileControl, c *composer, of func(evidence.Finding) bool) evidence.ControlResult {
	only := func(all []evidence.Finding) []evidence.Finding {
		if of == nil {
			return all
		}
		return slices.DeleteFunc(slices.Clone(all), func(f evidence.Finding) bool { return !of(f) })
	}
	s := subject{pc: pc, profile: c.in.Profile, catalog: c.in.Catalog, rules: c.rules, findings: only(e.findings[pc.ID]), runs: e.Runs, waivers: e.waivers, known: e.known}
	if e.Replayed == nil {
		return judge(s)
	}
	now := s
	now.findings, now.runs = only(e.replayed[pc.ID]), e.Replayed.Runs
	r := judge(now)
	if _, known := e.Catalog.Control(pc.ID); !known {
		return r // a newer control, which only this version's rules can judge
	}
	s.catalog, s.rules = e.Catalog, e.rules // which name the rules as those findings do
	sealed := judge(s)
	switch {
	case sealed.Outcome.Rank() < r.Outcome.Rank():
		sealed.Reason += fmt.Sprintf("; so sealed by rules %d, which count where they are stricter", e.Rules)
		return sealed
	case r.Outcome.Rank() < sealed.Outcome.Rank():
		r.Reason += fmt.Sprintf("; sealed as %s by rules %d, which are not these", sealed.Outcome, e.Rules)
	}
	return r
}

// whyNot says which bundles were given and do not count.
func (c *composer) whyNot() string {
	var parts []string
	for _, why := range slices.Sorted(maps.Keys(c.excluded)) {
		parts = append(parts, fmt.Sprintf("%s left out: %s", plural(c.excluded[why], "bundle", "bundles"), why))
	}
	if len(c.future) > 0 {
		first := slices.Min(slices.Collect(maps.Values(c.future)))
		parts = append(parts, fmt.Sprintf("%s left out: dated in the future (%s)", plural(len(c.future), "bundle", "bundles"), first))
	}
	if len(parts) == 0 {
		return ""
	}
	return "; " + strings.Join(parts, "; ")
}

// waiverResults shows every waiver of every bundle that decided something,
// each waiver once: as it did in the bundle that decided its control.
func (c *composer) waiverResults() []evidence.WaiverResult {
	merged := map[evidence.Waiver]evidence.WaiverResult{}
	for _, e := range c.usable {
		if len(e.used) == 0 {
			continue
		}
		for _, r := range e.waivers.results() {
			r.Waiver.ExpiresAt = r.Waiver.ExpiresAt.UTC()
			if _, ok := merged[r.Waiver]; !ok || e.used[r.Waiver.Control] {
				merged[r.Waiver] = r
			}
		}
	}
	return slices.SortedFunc(maps.Values(merged), compareWaivers)
}

// ageText is a duration in whole seconds, without zero parts: "36h", "1h30m".
func ageText(d time.Duration) string {
	s := d.Truncate(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
