package images

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
)

// skew is how far in the future a time may be, for clocks that differ.
const skew = 10 * time.Minute

// sealedReport is a parsed report with where it is sealed.
type sealedReport struct {
	report   *scan.Report
	declared evidence.Digest
	pointer  evidence.Pointer
	version  string // pointer to what says how old the database is; empty: the report itself
}

func (r *sealedReport) String() string {
	return strings.TrimSpace(r.report.Scanner + " " + r.report.Version)
}

// lists are what vulnerabilities of all images are judged by.
type lists struct {
	vex  []vexDoc
	kev  map[string]kevEntry
	epss map[string]float64
}

// scans holds what scanners report of each image to the policy.
func (j *judge) scans() error {
	reports, err := j.reports()
	if err != nil {
		return err
	}
	l, err := j.lists()
	if err != nil {
		return err
	}
	for _, u := range j.uses {
		if u.Problem != "" {
			j.scanFinding(u.object.Target(u.Container), evidence.OutcomeNotChecked, u.Problem, "Correct the manifest.")
		}
	}
	for _, b := range j.broken {
		j.scanFinding(evidence.Target{File: b.File, Line: b.Line}, evidence.OutcomeNotChecked, "images unknown, for it is no Kubernetes object: see CHT-3", "Correct the manifest.")
	}
	for _, image := range j.images {
		j.scan(image, reports, l)
	}
	if len(j.uses)+len(j.broken) == 0 {
		j.scanFinding(j.chart(), evidence.OutcomeNotApplicable, "the release runs no images", "")
		return nil
	}
	j.listAges()
	return nil
}

// scanFinding is about the scan as such: it decides both controls.
func (j *judge) scanFinding(t evidence.Target, o evidence.Outcome, message, remediation string, at ...evidence.Pointer) {
	j.add(RuleScanned, rules[RuleScanned], t, o, message, remediation, at...)
	j.add(RuleScanFresh, rules[RuleScanFresh], t, o, message, remediation, at...)
}

func (j *judge) add(rule string, severity evidence.Severity, t evidence.Target, o evidence.Outcome, message, remediation string, at ...evidence.Pointer) {
	if !j.judges(rule) {
		return
	}
	j.Out = append(j.Out, evidence.Finding{Rule: rule, Target: t, Outcome: o, Severity: severity,
		Message: message, Remediation: remediation, Evidence: at})
}

// reports parses the sealed reports.
func (j *judge) reports() ([]*sealedReport, error) {
	var out []*sealedReport
	for _, rec := range j.rec.Reports {
		raw, err := j.Read(rec.Artifact)
		if err != nil {
			return nil, err
		}
		r, err := scan.Read(bytes.NewReader(raw), scan.DefaultLimits())
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rec.Artifact, err)
		}
		s := &sealedReport{report: r, declared: rec.Declared, pointer: j.Pointer(rec.Artifact, "", "")}
		if rec.Version != "" && r.DatabaseBuiltAt.IsZero() && r.Scanner == string(scan.Trivy) {
			raw, err := j.Read(rec.Version)
			if err != nil {
				return nil, err
			}
			version, built, err := scan.ReadTrivyVersion(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", rec.Version, err)
			}
			// Another version of the scanner says nothing about this one's database.
			if r.Version == "" || version == "" || r.Version == version {
				r.DatabaseBuiltAt, s.version = built, rec.Version
			}
		}
		out = append(out, s)
	}
	return out, nil
}

func (j *judge) lists() (*lists, error) {
	l := &lists{}
	for _, rec := range j.rec.VEX {
		raw, err := j.Read(rec.Artifact)
		if err != nil {
			return nil, err
		}
		doc, err := parseVEX(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", rec.Artifact, err)
		}
		l.vex = append(l.vex, vexDoc{rec, doc})
	}
	for _, x := range []struct {
		rec *listRecord
		to  any
	}{{j.rec.KEV, &l.kev}, {j.rec.EPSS, &l.epss}} {
		if x.rec == nil {
			continue
		}
		raw, err := j.Read(x.rec.Artifact)
		if err != nil {
			return nil, err
		}
		if err := json.Unmarshal(raw, x.to); err != nil {
			return nil, fmt.Errorf("%s: %w", x.rec.Artifact, err)
		}
	}
	return l, nil
}

// listAges holds the lists to the age of databases: by an old one, a
// vulnerability that is exploited since would be excused.
func (j *judge) listAges() {
	for what, rec := range map[string]*listRecord{"KEV list": j.rec.KEV, "EPSS list": j.rec.EPSS} {
		if rec == nil {
			continue
		}
		t, at := evidence.Target{Kind: "File", Name: rec.Name}, j.Own(recordFile, "")
		if why := j.tooOld(rec.Date, j.policy.MaxDatabaseAge); why != "" {
			j.add(RuleDatabaseFresh, rules[RuleDatabaseFresh], t, evidence.OutcomeNotChecked, what+" "+why, "Fetch the list again.", at)
		} else {
			j.add(RuleDatabaseFresh, rules[RuleDatabaseFresh], t, evidence.OutcomePass, what+" of "+day(rec.Date), "", at)
		}
	}
}

// tooOld says why something of that time is not fresh; empty: it is.
func (j *judge) tooOld(at time.Time, limit evidence.Duration) string {
	switch age := j.policy.At.Sub(at); {
	case at.IsZero():
		return "does not say when it was made"
	case age < -skew:
		return fmt.Sprintf("is of the future (%s)", at.UTC().Format(time.RFC3339))
	case age > time.Duration(limit):
		return fmt.Sprintf("is of %s, older than the %s that are allowed", day(at), hours(limit))
	}
	return ""
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// hours writes 168h as 7 days.
func hours(d evidence.Duration) string {
	h := time.Duration(d).Hours()
	if h >= 48 && h == float64(int(h)) && int(h)%24 == 0 {
		return fmt.Sprintf("%d days", int(h)/24)
	}
	return strings.TrimSuffix(strings.TrimSuffix(time.Duration(d).String(), "0s"), "0m")
}

// part is what is scanned of an image: one platform of it.
type part struct {
	platform string            // empty: not known, and the only one
	digests  []evidence.Digest // a report that names one of these is about it
	pinned   evidence.Digest   // a report that names this one only is about it if its platform fits
	single   bool              // pinned is the image itself, not an index
}

// parts lists what has to be scanned of an image; why says why that is not known.
func (j *judge) parts(image string) (out []part, all []evidence.Digest, why, remedy string) {
	p, err := parseImage(image)
	if err != nil {
		return nil, nil, err.Error(), "Correct the image's name."
	}
	v := j.view(image, p)
	if v.problem != "" {
		return nil, nil, v.problem, "Collect again when the registry can be read, or without --resolve."
	}
	if v.digest == "" {
		return nil, nil, "no digest: a report is about a digest, and which one the tag will name is not known", "Write the image as name@sha256:… or name:tag@sha256:…"
	}
	all = []evidence.Digest{v.digest}
	if v.known && !v.index {
		for platform, pi := range v.platforms {
			out = append(out, part{platform, []evidence.Digest{pi.digest, pi.config}, v.digest, true})
			all = append(all, pi.config)
		}
		return out, all, "", ""
	}
	for _, platform := range j.policy.Platforms {
		pt := part{platform: platform, pinned: v.digest}
		if v.known {
			pi, ok := v.of(platform)
			if !ok && hasPlatform(v.listed, platform) {
				return nil, nil, fmt.Sprintf("the registry was not asked for its image for %s", platform), "Collect with --platform " + platform + "."
			}
			if !ok {
				return nil, nil, fmt.Sprintf("the index has no image for %s", platform), "Build the image for this platform, or name those that the release runs on with --platform."
			}
			if pi.problem != "" {
				return nil, nil, pi.problem, "Collect again when the registry can be read, or without --resolve."
			}
			pt.digests = []evidence.Digest{pi.digest, pi.config}
			all = append(all, pt.digests...)
		}
		out = append(out, pt)
	}
	return out, all, "", ""
}

// about reports whether the report is about that part of the image; otherwise
// why says what stands against a report that names the image.
func (p *part) about(r *sealedReport, platforms int) (ok bool, why string) {
	names := slices.Concat(r.report.Image.Digests, []evidence.Digest{r.report.Image.ID, r.declared})
	names = slices.DeleteFunc(names, func(d evidence.Digest) bool { return d == "" })
	if slices.ContainsFunc(p.digests, func(d evidence.Digest) bool { return slices.Contains(names, d) }) {
		return true, ""
	}
	if !slices.Contains(names, p.pinned) {
		return false, ""
	}
	switch of := r.report.Image.Platform; {
	case p.single || of != "" && samePlatform(of, p.platform) || of == "" && platforms == 1:
		return true, ""
	case of == "":
		return false, fmt.Sprintf("the report of %s does not say which platform it is about", r)
	default:
		return false, fmt.Sprintf("the report of %s is about %s", r, of)
	}
}

// scan judges one image.
func (j *judge) scan(image string, reports []*sealedReport, l *lists) {
	t := j.image(image)
	parts, digests, why, remedy := j.parts(image)
	if why != "" {
		j.scanFinding(t, evidence.OutcomeNotChecked, why, remedy, j.Own(recordFile, ""))
		return
	}
	var used []*sealedReport
	for i := range parts {
		used = append(used, j.scanPart(t, &parts[i], len(parts), digests, reports)...)
	}
	slices.SortFunc(used, func(a, b *sealedReport) int { return strings.Compare(a.pointer.Artifact, b.pointer.Artifact) })
	used = slices.Compact(used)
	for _, f := range merge(used) {
		j.vulnerability(t, f, digests, l)
	}
}

// scanPart says whether a part of the image was scanned, by whom and when, and
// returns the reports that count for it: the newest of each scanner.
func (j *judge) scanPart(t evidence.Target, p *part, parts int, digests []evidence.Digest, reports []*sealedReport) []*sealedReport {
	newest := map[string]*sealedReport{}
	var against []string
	for _, r := range reports {
		ok, why := p.about(r, parts)
		if why != "" {
			against = append(against, why)
		}
		if !ok {
			continue
		}
		if have := newest[r.report.Scanner]; have == nil || r.report.ScannedAt.After(have.report.ScannedAt) ||
			r.report.ScannedAt.Equal(have.report.ScannedAt) && len(r.report.Vulnerabilities) > len(have.report.Vulnerabilities) {
			newest[r.report.Scanner] = r
		}
	}
	for _, f := range j.rec.Failures {
		if slices.Contains(digests, f.Digest) && (f.Platform == "" || p.platform == "" || samePlatform(f.Platform, p.platform)) {
			against = append(against, fmt.Sprintf("the scan by %s failed: %s", f.Scanner, f.Error))
		}
	}
	of := ""
	if parts > 1 {
		of = " for " + p.platform
	}
	used := slices.Collect(maps.Values(newest))
	slices.SortFunc(used, func(a, b *sealedReport) int { return strings.Compare(a.report.Scanner, b.report.Scanner) })
	if len(used) == 0 {
		message, remedy := "no scan report names its digest"+of, "Scan the image by its digest, and give the report with --scan-report, or scan it with --scan."
		if !j.rec.Asked {
			message = "not scanned"
		}
		if len(against) > 0 {
			message += ": " + strings.Join(slices.Compact(against), "; ")
		}
		j.scanFinding(t, evidence.OutcomeNotChecked, message, remedy, j.Own(recordFile, ""))
		return nil
	}
	var good, scans, databases, stale []string
	for _, r := range used {
		scanned, database := j.tooOld(r.report.ScannedAt, j.policy.MaxScanAge), j.tooOld(r.report.DatabaseBuiltAt, j.policy.MaxDatabaseAge)
		if scanned == "" && database == "" {
			scans = append(scans, fmt.Sprintf("%s on %s", r, day(r.report.ScannedAt)))
			databases = append(databases, fmt.Sprintf("database of %s of %s", r, day(r.report.DatabaseBuiltAt)))
		}
		if scanned != "" {
			stale = append(stale, fmt.Sprintf("the report of %s %s", r, scanned))
		}
		if database != "" {
			stale = append(stale, fmt.Sprintf("the database of %s %s", r, strings.Replace(database, "does not say when it was made", "has no date in the report", 1)))
		}
		switch {
		case scanned != "" || database != "":
		case len(r.report.Gaps) > 0:
			against = append(against, fmt.Sprintf("%s: %s", r, strings.Join(r.report.Gaps, ", ")))
		default:
			good = append(good, fmt.Sprintf("%s: %s", r, total(r.report)))
		}
	}
	var at []evidence.Pointer
	for _, r := range used {
		at = append(at, r.pointer)
		if r.version != "" {
			at = append(at, j.Pointer(r.version, "", ""))
		}
	}
	const again = "Update the database and scan again."
	state := func(rule string, list []string, what string) {
		if len(list) > 0 {
			j.add(rule, rules[rule], t, evidence.OutcomePass, "scanned"+of+" by "+strings.Join(list, " and by "), "", at...)
			return
		}
		j.add(rule, rules[rule], t, evidence.OutcomeNotChecked, what+of+": "+strings.Join(stale, "; "), again, at...)
	}
	state(RuleScanFresh, scans, "no fresh scan")
	if len(databases) > 0 {
		j.add(RuleDatabaseFresh, rules[RuleDatabaseFresh], t, evidence.OutcomePass, strings.Join(databases, ", ")+of, "", at...)
	} else {
		state(RuleDatabaseFresh, nil, "no fresh database")
	}
	if len(good) > 0 {
		j.add(RuleScanned, rules[RuleScanned], t, evidence.OutcomePass, "scanned"+of+" by "+strings.Join(good, " and by "), "", at...)
	} else {
		j.add(RuleScanned, rules[RuleScanned], t, evidence.OutcomeNotChecked,
			"no scan"+of+" that counts: "+strings.Join(slices.Concat(stale, against), "; "), again, at...)
	}
	return used
}

// total counts a report's vulnerabilities in words.
func total(r *scan.Report) string {
	if len(r.Vulnerabilities) == 0 {
		return "no vulnerabilities"
	}
	n := map[evidence.Severity]int{}
	for i := range r.Vulnerabilities {
		n[r.Vulnerabilities[i].Severity]++
	}
	var parts []string
	for _, s := range []evidence.Severity{evidence.SeverityCritical, evidence.SeverityHigh, evidence.SeverityMedium, evidence.SeverityLow, evidence.SeverityInfo, ""} {
		word := string(s)
		if s == "" {
			word = "unknown"
		}
		if n[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n[s], word))
		}
	}
	return fmt.Sprintf("%d reported (%s)", len(r.Vulnerabilities), strings.Join(parts, ", "))
}

// vulnerability decides one vulnerability.
func (j *judge) vulnerability(t evidence.Target, f *found, digests []evidence.Digest, l *lists) {
	severity, notes := f.severity, []string{}
	if severity == "" {
		severity = rules[RuleVulnerability+"*"]
		notes = append(notes, "no scanner knows its severity: it counts as high")
	}
	exploited := false
	for _, id := range f.ids {
		if e, ok := l.kev[id]; ok {
			exploited, severity = true, evidence.SeverityCritical
			notes = append(notes, "known to be exploited, listed since "+e.DateAdded)
		}
		if p, ok := l.epss[id]; ok && j.policy.EPSSAbove > 0 && p >= j.policy.EPSSAbove {
			exploited = true
			if evidence.SeverityHigh.Rank() < severity.Rank() {
				severity = evidence.SeverityHigh
			}
			notes = append(notes, fmt.Sprintf("likely to be exploited: EPSS at or above %g", j.policy.EPSSAbove))
		}
	}
	at := make([]evidence.Pointer, 0, len(f.witnesses)+1)
	for _, w := range f.witnesses {
		at = append(at, w.pointer)
	}
	outcome := evidence.OutcomeFail
	ex := j.statement(l.vex, digests, f)
	grace := f.published.Add(time.Duration(j.policy.Grace))
	switch {
	case ex != nil && excuses(ex.status):
		outcome = evidence.OutcomeNotApplicable
		notes = append(notes, "VEX: "+ex.text)
	case exploited:
	case j.policy.FixableOnly && len(f.fixed) == 0:
		outcome = evidence.OutcomeWarn
		notes = append(notes, "no version is known that fixes it")
	case j.policy.Grace > 0 && !f.published.IsZero() && j.policy.At.Before(grace):
		outcome = evidence.OutcomeWarn
		notes = append(notes, fmt.Sprintf("published on %s: it has to be fixed by %s", f.published.UTC().Format(time.DateOnly), grace.UTC().Format(time.DateOnly)))
	}
	if ex != nil {
		at = append(at, ex.pointer)
		if !excuses(ex.status) {
			notes = append(notes, "VEX: "+ex.text)
		}
	}
	for _, s := range f.suppressed {
		notes = append(notes, "suppressed by its report, which excuses nothing ("+s+")")
	}
	j.add(RuleVulnerability+ruleID(f.id), severity, t, outcome, f.message(notes), f.remediation(), at...)
}

func (f *found) message(notes []string) string {
	var b strings.Builder
	b.WriteString(f.id)
	var how []string
	if f.severity != "" {
		s := string(f.severity)
		if f.source != "" {
			s += " by " + f.source
		}
		how = append(how, s)
	}
	if f.score > 0 {
		how = append(how, fmt.Sprintf("CVSS %.1f", f.score))
	}
	if len(how) > 0 {
		fmt.Fprintf(&b, " (%s)", strings.Join(how, ", "))
	}
	fmt.Fprintf(&b, ": %s", f.where())
	if len(f.fixed) > 0 {
		fmt.Fprintf(&b, ", fixed in %s", strings.Join(f.fixed, ", "))
	}
	fmt.Fprintf(&b, "; found by %s", f.scanners())
	for _, n := range notes {
		b.WriteString("; " + n)
	}
	return b.String()
}

func (f *found) remediation() string {
	name := f.packages[0].Name
	if name == "" {
		name = "the package"
	}
	if len(f.fixed) > 0 {
		return fmt.Sprintf("Build the image with %s %s, or a later version.", name, strings.Join(f.fixed, " or "))
	}
	return fmt.Sprintf("No version fixes it: build the image without %s, or say by OpenVEX (--vex) why it does no harm.", name)
}

// ruleID makes a part of a rule's name of an id from outside.
func ruleID(id string) string {
	if len(id) > 64 {
		id = id[:64]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '.', r == ':':
			return r
		}
		return '_'
	}, id)
}
