package gate

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// The statuses of a waiver in a verdict.
const (
	WaiverApplied = "applied"
	WaiverExpired = "expired"
	WaiverUnused  = "unused"
	WaiverRefused = "refused" // by the profile
)

// Matches reports whether the selector picks the finding. An empty field
// matches all, and so does "*"; other fields are path.Match patterns. A
// malformed pattern matches nothing.
func Matches(s evidence.Selector, f evidence.Finding) bool {
	for _, x := range [][2]string{
		{s.Rule, f.Rule}, {s.Kind, f.Target.Kind}, {s.Name, f.Target.Name},
		{s.Namespace, f.Target.Namespace}, {s.Container, f.Target.Container},
	} {
		if x[0] == "" || x[0] == "*" {
			continue
		}
		if ok, err := path.Match(x[0], x[1]); err != nil || !ok {
			return false
		}
	}
	return true
}

// waiverSet remembers what each waiver did.
type waiverSet struct {
	profile *evidence.Profile
	at      time.Time
	any     bool              // all count that have not expired, as in older versions
	bounded *evidence.Catalog // the profile bounds waivers, which name the rules of this catalog; nil: it does not
	catalog *evidence.Catalog // by which the waivers of a chart's author are bounded in any case
	list    []evidence.WaiverResult
}

func newWaiverSet(ws []evidence.Waiver, p *evidence.Profile, at time.Time) *waiverSet {
	s := &waiverSet{profile: p, at: at}
	for _, w := range ws {
		s.list = append(s.list, evidence.WaiverResult{Waiver: w})
	}
	return s
}

// refused says why the profile does not accept the waiver, or nothing.
func (s *waiverSet) refused(w evidence.Waiver) string {
	if s.any {
		return ""
	}
	var b evidence.WaiverBounds
	if s.profile.Waivers != nil {
		b = *s.profile.Waivers
	}
	switch {
	case w.Source == evidence.WaiverOfAnnotation && !b.Annotations:
		return "an annotation of the object itself says so, and the profile does not accept that (waivers.annotations)"
	case w.Source == evidence.WaiverOfChart && !b.Chart:
		return "the chart brings it, and the profile does not accept that (waivers.chart)"
	}
	limit, bounded := time.Duration(b.MaxAge), s.bounded
	if w.Source != "" { // whoever is judged never has a free hand
		bounded = cmp.Or(bounded, s.catalog)
	}
	if bounded != nil {
		limit = cmp.Or(limit, time.Duration(evidence.DefaultWaiverAge))
	}
	if limit > 0 && w.ExpiresAt.After(s.at.Add(limit)) {
		return fmt.Sprintf("ends on %s, and the profile accepts waivers that end within %s", day(w.ExpiresAt), ageText(limit))
	}
	if bounded == nil || b.Wildcards {
		return ""
	}
	t := w.Target
	for _, field := range []string{t.Rule, t.Kind, t.Name, t.Namespace, t.Container} {
		if strings.ContainsAny(field, `*?[\`) {
			return fmt.Sprintf("its target has the wildcard %q, and the profile accepts none: name each object", field)
		}
	}
	control, _ := bounded.Control(w.Control)
	if t.Name == "" && (t.Rule == "" || slices.Contains(control.Rules, t.Rule)) {
		return "its target names no object, and no rule narrower than those of the control: name each object"
	}
	return ""
}

// Accepted returns the waivers that count at the gate at that time: those that have not
// expired, and that the profile's bounds allow.
func Accepted(ws []evidence.Waiver, p *evidence.Profile, c *evidence.Catalog, at time.Time) []evidence.Waiver {
	s := waiverSet{profile: p, at: at, bounded: c}
	return slices.DeleteFunc(slices.Clone(ws), func(w evidence.Waiver) bool { return s.expired(w) || s.refused(w) != "" })
}

func (s *waiverSet) expired(w evidence.Waiver) bool { return !w.ExpiresAt.After(s.at) }

// accept returns the first unexpired waiver of the control that covers the
// finding. Every covering waiver, expired or not, remembers the finding.
func (s *waiverSet) accept(id evidence.ControlID, f evidence.Finding) (evidence.Waiver, bool) {
	var by *evidence.Waiver
	for i := range s.list {
		x := &s.list[i]
		if x.Waiver.Control != id || !Matches(x.Waiver.Target, f) ||
			x.Waiver.Source == evidence.WaiverOfAnnotation && x.Waiver.Target.Namespace != f.Target.Namespace {
			continue
		}
		x.Findings = append(x.Findings, f.ID)
		if by == nil && !s.expired(x.Waiver) && s.refused(x.Waiver) == "" {
			by = &x.Waiver
		}
	}
	if by == nil {
		return evidence.Waiver{}, false
	}
	return *by, true
}

// results says what became of every waiver, in a fixed order.
func (s *waiverSet) results() []evidence.WaiverResult {
	out := slices.Clone(s.list)
	for i := range out {
		x := &out[i]
		slices.Sort(x.Findings)
		x.Findings = slices.Compact(x.Findings)
		n := plural(len(x.Findings), "finding", "findings")
		switch {
		case !slices.ContainsFunc(s.profile.Controls, func(c evidence.ProfileControl) bool { return c.ID == x.Waiver.Control }):
			x.Status, x.Reason = WaiverUnused, fmt.Sprintf("control %s is not in profile %s", x.Waiver.Control, s.profile.Name)
		case s.expired(x.Waiver):
			x.Status, x.Reason = WaiverExpired, fmt.Sprintf("expired on %s, no effect; it would cover %s", day(x.Waiver.ExpiresAt), n)
		case s.refused(x.Waiver) != "":
			x.Status, x.Reason = WaiverRefused, fmt.Sprintf("%s; it would cover %s", s.refused(x.Waiver), n)
		case len(x.Findings) == 0:
			x.Status, x.Reason = WaiverUnused, "no failing or unchecked finding matches its target"
		default:
			x.Status, x.Reason = WaiverApplied, fmt.Sprintf("accepts %s until %s", n, day(x.Waiver.ExpiresAt))
		}
	}
	slices.SortFunc(out, compareWaivers)
	return out
}

func compareWaivers(a, b evidence.WaiverResult) int {
	x, y := a.Waiver, b.Waiver
	return cmp.Or(cmp.Compare(x.Control, y.Control), x.ExpiresAt.Compare(y.ExpiresAt),
		cmp.Compare(x.Target.Rule, y.Target.Rule), cmp.Compare(x.Target.Kind, y.Target.Kind),
		cmp.Compare(x.Target.Namespace, y.Target.Namespace), cmp.Compare(x.Target.Name, y.Target.Name),
		cmp.Compare(x.Target.Container, y.Target.Container),
		cmp.Compare(x.ApprovedBy, y.ApprovedBy), cmp.Compare(x.Reason, y.Reason))
}

func day(t time.Time) string {
	t = t.UTC()
	if t.Equal(t.Truncate(24 * time.Hour)) {
		return t.Format(time.DateOnly)
	}
	return t.Format(time.RFC3339)
}

func waivedReason(ws []waived) string {
	type key struct {
		by    string
		until string
		fail  bool
	}
	n := map[key]int{}
	for _, w := range ws {
		n[key{clip(w.waiver.ApprovedBy), day(w.waiver.ExpiresAt), w.finding.Outcome == evidence.OutcomeFail}]++
	}
	var parts []string
	for k, count := range n {
		what := plural(count, "finding not checked", "findings not checked")
		if k.fail {
			what = plural(count, "failing finding", "failing findings")
		}
		parts = append(parts, fmt.Sprintf("%s, accepted by %s until %s", what, k.by, k.until))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}
