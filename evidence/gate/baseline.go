package gate

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/strictyaml"
)

// baselineNever are the controls whose findings no baseline knows, whatever their
// severity: a secret that leaked has to be changed, however long it was there.
var baselineNever = []evidence.ControlID{"SCR-1"}

// knowable reports whether a baseline may know the finding for the control: never what
// is critical, what a collector could not do, or a secret.
func knowable(id evidence.ControlID, f evidence.Finding) bool {
	return (f.Outcome == evidence.OutcomeFail || f.Outcome == evidence.OutcomeNotChecked) &&
		f.Severity.Validate() == nil && f.Severity != evidence.SeverityCritical && !slices.Contains(baselineNever, id)
}

// What changes from one version of a chart to the next is a tag or a digest, and a
// number by itself: a size, a port, a line, a place in a list. A name that has digits
// says what is wrong (net.ipv4.ip_forward, batch/v1beta1), and stays.
var (
	tags    = regexp.MustCompile(`[:@]\S*[0-9]\S*`)
	numbers = regexp.MustCompile(`(^|[^\pL\pN_./-])v?[0-9]+(?:\.[0-9]+)*(?:[A-Za-z]{1,2}|%)?($|[^\pL\pN_/-])`)
)

// steady is a message without what changes.
func steady(message string) string {
	message = tags.ReplaceAllString(message, ":#")
	for again := ""; again != message; { // two numbers may share what parts them
		again, message = message, numbers.ReplaceAllString(message, "$1#$2")
	}
	return strings.Join(strings.Fields(message), " ")
}

// fingerprint is the finding for a control as a baseline knows it, once. namespace is
// the release's.
func fingerprint(id evidence.ControlID, f evidence.Finding, namespace string) evidence.KnownFailure {
	t := f.Target
	k := evidence.KnownFailure{
		Control: id, Rule: f.Rule, Outcome: f.Outcome, Severity: f.Severity, Kind: t.Kind, Name: t.Name, Namespace: t.Namespace, Container: t.Container,
		Detail: steady(f.Message), Count: 1,
	}
	if k.Namespace == namespace {
		k.Namespace = ""
	}
	if k.Name == "" || k.Kind == "" || k.Kind == "Chart" {
		k.File = t.File
	}
	return k
}

// about is the fingerprint without what is compared by more than equality.
func about(k evidence.KnownFailure) evidence.KnownFailure {
	k.Severity, k.Count = "", 0
	return k
}

// NewBaseline is what fails or could not be checked of a release, for the profile's
// controls. What no baseline may know is left out.
func NewBaseline(r *evidence.Release, p *evidence.Profile, findings []evidence.Finding, at time.Time) evidence.BaselineRelease {
	out := evidence.BaselineRelease{Chart: r.Chart, Release: r.ReleaseName, At: at.UTC().Truncate(time.Second), Known: []evidence.KnownFailure{}}
	place := map[evidence.KnownFailure]int{}
	byControl := groupFindings(findings)
	for _, pc := range p.Controls {
		for _, f := range byControl[pc.ID] {
			if !knowable(pc.ID, f) {
				continue
			}
			k := fingerprint(pc.ID, f, r.Namespace)
			i, ok := place[about(k)]
			if !ok {
				place[about(k)] = len(out.Known)
				out.Known = append(out.Known, k)
				continue
			}
			out.Known[i].Count++
			if k.Severity.Rank() < out.Known[i].Severity.Rank() {
				out.Known[i].Severity = k.Severity
			}
		}
	}
	slices.SortFunc(out.Known, compareKnown)
	return out
}

func compareKnown(a, b evidence.KnownFailure) int {
	return cmp.Or(cmp.Compare(a.Control, b.Control), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace),
		cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container, b.Container), cmp.Compare(a.File, b.File), cmp.Compare(a.Outcome, b.Outcome), cmp.Compare(a.Detail, b.Detail))
}

// Shrink is what of the baseline is still there, as now says, which the verdict v was
// judged with: it never has more, nor anything worse. What is known of a control that
// could not be checked stays.
func Shrink(was, now evidence.BaselineRelease, v evidence.Verdict) evidence.BaselineRelease {
	unchecked := map[evidence.ControlID]bool{}
	for _, r := range v.Results {
		unchecked[r.Control] = r.Outcome == evidence.ControlIncomplete
	}
	left := map[evidence.KnownFailure]evidence.KnownFailure{}
	for _, k := range now.Known {
		left[about(k)] = k
	}
	out := was
	out.Known = []evidence.KnownFailure{}
	for _, k := range was.Known {
		n, ok := left[about(k)]
		if !ok {
			if unchecked[k.Control] {
				out.Known = append(out.Known, k)
			}
			continue
		}
		k.Count = min(k.Count, n.Count)
		if n.Severity.Rank() > k.Severity.Rank() {
			k.Severity = n.Severity
		}
		out.Known = append(out.Known, k)
	}
	return out
}

// NewFailures are the ids of findings that fail in b and not in a: neither a line that
// moved nor another tag makes one, but one more of the same does, and a worse one.
func NewFailures(a, b []evidence.Finding, namespaceA, namespaceB string) []string {
	was := map[evidence.KnownFailure][]evidence.Severity{}
	for _, f := range a {
		if f.Outcome == evidence.OutcomeFail {
			k := about(fingerprint("", f, namespaceA))
			was[k] = append(was[k], f.Severity)
		}
	}
	var out []string
	for _, f := range b {
		if f.Outcome != evidence.OutcomeFail {
			continue
		}
		k := about(fingerprint("", f, namespaceB))
		// The mildest that is at least as bad is the one that it was.
		best := -1
		for i, s := range was[k] {
			if s.AtLeast(f.Severity) && (best < 0 || was[k][best].AtLeast(s)) {
				best = i
			}
		}
		if best < 0 {
			out = append(out, f.ID)
			continue
		}
		was[k] = slices.Delete(was[k], best, best+1)
	}
	return out
}

// ParseBaseline reads a baseline, strictly.
func ParseBaseline(data []byte) (*evidence.Baseline, error) {
	b := new(evidence.Baseline)
	if err := strictyaml.Unmarshal(data, MaxBaselineBytes, b); err != nil {
		return nil, fmt.Errorf("parse baseline: %w", err)
	}
	if b.Version != evidence.BaselineVersion {
		return nil, fmt.Errorf("parse baseline: %w", invalid("version", fmt.Sprint(b.Version), fmt.Sprintf("want %d", evidence.BaselineVersion)))
	}
	seen := map[[2]string]bool{}
	for i, r := range b.Releases {
		at := fmt.Sprintf("releases[%d]", i)
		key := [2]string{r.Chart, r.Release}
		switch {
		case r.Chart == "":
			return nil, fmt.Errorf("parse baseline: %w", missing(at+".chart"))
		case seen[key]:
			return nil, fmt.Errorf("parse baseline: %w", invalid(at+".chart", r.Chart, "this release is named twice"))
		case r.At.IsZero():
			return nil, fmt.Errorf("parse baseline: %w", missing(at+".at"))
		}
		seen[key] = true
		for j, k := range r.Known {
			if err := checkKnown(fmt.Sprintf("%s.known[%d]", at, j), k); err != nil {
				return nil, fmt.Errorf("parse baseline: %w", err)
			}
		}
	}
	return b, nil
}

// MaxBaselineBytes is the largest baseline that is read.
const MaxBaselineBytes = 16 << 20

func checkKnown(at string, k evidence.KnownFailure) error {
	switch {
	case !controlPattern.MatchString(string(k.Control)):
		return invalid(at+".control", string(k.Control), "want a control id like SEC-1")
	case k.Rule == "":
		return missing(at + ".rule")
	case k.Severity.Validate() != nil:
		return invalid(at+".severity", string(k.Severity), severities)
	case k.Count < 1:
		return invalid(at+".count", fmt.Sprint(k.Count), "want how many findings are known, 1 or more")
	case k.Outcome != evidence.OutcomeFail && k.Outcome != evidence.OutcomeNotChecked:
		return invalid(at+".outcome", string(k.Outcome), "want fail or not-checked")
	case !knowable(k.Control, evidence.Finding{Outcome: k.Outcome, Severity: k.Severity}):
		return invalid(at, "", "no baseline may know what is critical, nor a finding of "+string(baselineNever[0])+": mend it, or waive it")
	}
	return nil
}

// knownSet remembers which of a baseline's failures were found.
type knownSet struct {
	at        time.Time
	namespace string
	left      map[evidence.KnownFailure]evidence.KnownFailure
	known     map[knownFinding]bool
}

// knownFinding is a finding that was accepted for a control.
type knownFinding struct {
	control evidence.ControlID
	id      string
}

// newKnownSet is nil without a baseline.
func newKnownSet(b *evidence.BaselineRelease, namespace string) *knownSet {
	if b == nil {
		return nil
	}
	s := &knownSet{at: b.At, namespace: namespace, left: map[evidence.KnownFailure]evidence.KnownFailure{}, known: map[knownFinding]bool{}}
	for _, k := range b.Known {
		key := about(k)
		if was, ok := s.left[key]; ok {
			k.Count += was.Count
		}
		s.left[key] = k
	}
	return s
}

// accept reports whether the baseline knows the finding for the control: as many of the
// same, none of them worse than it was.
func (s *knownSet) accept(id evidence.ControlID, f evidence.Finding) bool {
	if s == nil || !knowable(id, f) {
		return false
	}
	found := knownFinding{id, f.ID}
	if s.known[found] {
		return true // judged once more
	}
	key := about(fingerprint(id, f, s.namespace))
	k, ok := s.left[key]
	if !ok || k.Count == 0 || f.Severity.Rank() < k.Severity.Rank() {
		return false
	}
	k.Count--
	s.left[key] = k
	s.known[found] = true
	return true
}

// gone is how many of the baseline's failures were not found, of the controls that
// were judged.
func (s *knownSet) gone(judged []evidence.ControlResult) (n int) {
	for _, k := range s.left {
		if indexOf(judged, k.Control) >= 0 {
			n += k.Count
		}
	}
	return n
}

// setBaseline says in the verdict what baselines make of it: results are the controls
// with what they know left out.
func setBaseline(v *evidence.Verdict, results []evidence.ControlResult, allowed bool, sets ...*knownSet) {
	b := &evidence.BaselineResult{Allowed: allowed}
	known, fresh := map[string]bool{}, map[string]bool{}
	for _, s := range sets {
		b.Gone += s.gone(results)
		if b.At.Before(s.at) {
			b.At = s.at
		}
		for k := range s.known {
			known[k.id] = true
		}
	}
	b.Known = len(known)
	for _, r := range results {
		if r.Required && (r.Outcome == evidence.ControlFail || r.Outcome == evidence.ControlIncomplete) {
			for _, id := range r.Findings {
				fresh[id] = true
			}
		}
		if r.Counts.Known > 0 && r.Outcome == evidence.ControlWaived {
			b.Controls = append(b.Controls, r.Control)
		}
	}
	b.New = len(fresh)
	b.Outcome, b.Reason = conclude(results)
	v.Baseline = b
	text := fmt.Sprintf("with the baseline of %s", day(b.At))
	if !allowed {
		text += fmt.Sprintf(", which the profile does not take, it would be %s", b.Outcome)
	}
	v.Reason += fmt.Sprintf("; %s: %d known, %d new, %d gone", text, b.Known, b.New, b.Gone)
}
