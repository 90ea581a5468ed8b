package accesslog

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const (
	// margin is how far a log's clock may be ahead of the one that read it.
	margin = 5 * time.Minute
	// maxNamed bounds the readers that one message names, and maxFailed those of one
	// secret that have a finding of their own.
	maxNamed  = 5
	maxFailed = 20

	fixLog    = "Export the log again, whole, as docs/secrets-and-rotation.md says, and collect again."
	fixReader = "Find out why it reads the secret; take its access away and rotate the secret, or add it to secretReaders in helmproof.yaml."
	fixList   = "List those who may read secrets, such as the operator's account, as secretReaders in helmproof.yaml."
)

type derivation struct {
	*collectors.Derivation
	seen    Seen
	readers []*regexp.Regexp
}

func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := derivation{Derivation: collectors.NewDerivation(in, Name, rules)}
	if err := d.Parse(file, &d.seen); err != nil {
		return nil, err
	}
	if d.seen.At.IsZero() || d.seen.MaxAge <= 0 || len(d.seen.Logs) == 0 {
		return nil, fmt.Errorf("parse %s: it does not say when which logs were read, and how old they may be", file)
	}
	if d.readers, err = parseReaders(d.seen.Readers); err != nil {
		return nil, fmt.Errorf("parse %s: %w", file, err)
	}
	for i := range d.seen.Logs {
		d.log(i)
	}
	asked := false
	for i := range set.Objects {
		for _, key := range secretsOf(&set.Objects[i]) {
			asked = true
			d.secret(&set.Objects[i], key)
		}
	}
	d.Unreadable(RuleReaders, rel.Chart, set.Broken, d.Own(file, ""))
	if !asked && len(set.Broken) == 0 {
		d.Add(RuleReaders, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release names no secret of a secret manager", "", d.Own(file, ""))
	}
	return d.Out, nil
}

// log judges one log: what could not be read of it may be a read by anybody.
func (d *derivation) log(i int) {
	f := &d.seen.Logs[i]
	outcome, message := evidence.OutcomePass, ""
	switch late, stale := d.future(f), d.stale(f); {
	case f.Cut != "":
		outcome, message = evidence.OutcomeNotChecked, "was not read to its end: "+f.Cut
	case f.Malformed > 0:
		outcome, message = evidence.OutcomeNotChecked, fmt.Sprintf("entries that could not be read: %d, the first: %s", f.Malformed, f.FirstBad)
	case f.LeftOut > 0:
		outcome, message = evidence.OutcomeNotChecked, fmt.Sprintf("reads that were left out: %d, since there are more than %d pairs of secrets and readers", f.LeftOut, maxPairs)
	case len(f.Spans) == 0:
		outcome, message = evidence.OutcomeNotChecked, "has no entry"
	case late != "":
		outcome, message = evidence.OutcomeError, "has an entry of "+late+", which is later than the time of reading, "+d.seen.At.Format(time.RFC3339)
	case stale != "":
		outcome, message = evidence.OutcomeNotChecked, "says nothing of now: "+stale
	default:
		message = fmt.Sprintf("was read to its end: %s; reads of secrets: %d", f.text(), f.Reads)
	}
	d.Add(RuleLog, evidence.Target{Kind: "AccessLog", Name: f.Name}, outcome, message, fixLog, d.Own(file, fmt.Sprintf("/logs/%d", i)))
}

func (f *File) text() string {
	var parts []string
	for _, p := range providers {
		if s, ok := f.Spans[p]; ok {
			parts = append(parts, fmt.Sprintf("%s %d entries from %s to %s", p, s.Entries, s.First.Format(time.RFC3339), s.Last.Format(time.RFC3339)))
		}
	}
	return strings.Join(parts, ", ")
}

func (d *derivation) future(f *File) string {
	for _, s := range f.Spans {
		if s.Last.After(d.seen.At.Add(margin)) {
			return s.Last.Format(time.RFC3339)
		}
	}
	return ""
}

// stale says of which provider the newest entry of all logs is in this one, and too old.
func (d *derivation) stale(f *File) string {
	for _, p := range providers {
		s, ok := f.Spans[p]
		if age := d.seen.At.Sub(s.Last).Round(time.Second); ok && age > time.Duration(d.seen.MaxAge) && !d.newer(p, s.Last) {
			return fmt.Sprintf("the newest entry of %s is %s old, %s at most", p, age, time.Duration(d.seen.MaxAge))
		}
	}
	return ""
}

func (d *derivation) newer(provider string, than time.Time) bool {
	for _, f := range d.seen.Logs {
		if s, ok := f.Spans[provider]; ok && s.Last.After(than) {
			return true
		}
	}
	return false
}

// secret judges who read a secret that an object names.
func (d *derivation) secret(o *manifest.Object, key string) {
	what := "secret " + key
	if key == everySecret {
		what = "the secrets that it searches for"
	}
	var known, refused, failures []string
	var at, vain, failed []evidence.Pointer
	read := false
	for i := range d.seen.Reads {
		r := &d.seen.Reads[i]
		if !r.of(key) {
			continue
		}
		pointer := d.Own(file, fmt.Sprintf("/reads/%d", i))
		read = read || r.Count > r.Refused
		switch {
		case allowed(d.readers, r.Principal):
			known, at = append(known, r.text()), append(at, pointer)
		case r.Count == r.Refused:
			refused, vain = append(refused, r.text()), append(vain, pointer)
		default:
			failures, failed = append(failures, r.text()), append(failed, pointer)
		}
	}
	add := func(outcome evidence.Outcome, message, fix string, at []evidence.Pointer) {
		if len(at) == 0 {
			at = []evidence.Pointer{d.Own(file, "")}
		}
		d.Add(RuleReaders, o.Target(""), outcome, message, fix, at[:min(len(at), maxFailed)]...)
	}
	if len(refused) > 0 && len(d.readers) > 0 {
		add(evidence.OutcomeWarn, fmt.Sprintf("%s was asked for in vain by %s, whom secretReaders does not name", what, some(refused)), fixReader, vain)
	}
	switch {
	case !read:
		add(evidence.OutcomeNotChecked, what+" was read by nobody, by the logs, and so not by the operator either: they are not of its secret manager or its time", fixLog, at)
		return
	case len(d.readers) == 0:
		add(evidence.OutcomeNotChecked, fmt.Sprintf("%s was read by %s; who may is not said", what, some(append(failures, refused...))), fixList, append(failed, vain...))
		return
	}
	for i, r := range failures {
		if i == maxFailed {
			add(evidence.OutcomeFail, fmt.Sprintf("%s was read by %d more whom secretReaders does not name", what, len(failures)-i), fixReader, failed[i:])
			break
		}
		add(evidence.OutcomeFail, fmt.Sprintf("%s was read by %s, whom secretReaders does not name", what, r), fixReader, failed[i:i+1])
	}
	if len(failures) == 0 {
		add(evidence.OutcomePass, fmt.Sprintf("%s was read by %s", what, some(known)), "", at)
	}
}

// some joins the first few.
func some(list []string) string {
	if len(list) <= maxNamed {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNamed], ", "), len(list)-maxNamed)
}
