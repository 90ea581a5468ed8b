package images

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
)

// found is one vulnerability of one version of a package, by all scanners that
// report it.
type found struct {
	id        string   // the CVE id where there is one
	ids       []string // all ids, sorted
	packages  []scan.Package
	fixed     []string // versions, sorted
	published time.Time
	severity  evidence.Severity // the highest that a scanner gives; empty: none knows
	source    string            // of the severity
	score     float64           // the highest CVSS base score
	witnesses []witness
	// suppressed are the reasons of reports that do not count it themselves.
	suppressed []string
}

// witness is a scanner's entry.
type witness struct {
	scanner string
	pointer evidence.Pointer
}

// merge makes one of what several reports say of the same vulnerability in the
// same package: it has the same CVE id, or without one the same advisory. Ids of
// vendors' advisories are no help, since one advisory is about many vulnerabilities.
func merge(reports []*sealedReport) []*found {
	byKey := map[string]*found{}
	for _, r := range reports {
		for i := range r.report.Vulnerabilities {
			v := &r.report.Vulnerabilities[i]
			key := leadingID(v) + "\x00" + packageKey(&v.Package)
			f := byKey[key]
			if f == nil {
				f = &found{id: leadingID(v)}
				byKey[key] = f
			}
			f.add(v, r)
		}
	}
	out := make([]*found, 0, len(byKey))
	for _, key := range sortedKeys(byKey) {
		f := byKey[key]
		slices.Sort(f.ids)
		f.ids = slices.Compact(f.ids)
		slices.Sort(f.fixed)
		f.fixed = slices.Compact(f.fixed)
		slices.SortFunc(f.packages, func(a, b scan.Package) int {
			return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Path, b.Path), cmp.Compare(a.PURL, b.PURL))
		})
		f.packages = slices.Compact(f.packages)
		slices.SortStableFunc(f.witnesses, func(a, b witness) int {
			return cmp.Or(cmp.Compare(a.scanner, b.scanner), cmp.Compare(a.pointer.Artifact, b.pointer.Artifact))
		})
		slices.Sort(f.suppressed)
		f.suppressed = slices.Compact(f.suppressed)
		out = append(out, f)
	}
	return out
}

// leadingID is the id that reports of the same vulnerability share.
func leadingID(v *scan.Vulnerability) string {
	if strings.HasPrefix(v.ID, "CVE-") {
		return v.ID
	}
	for _, prefix := range []string{"CVE-", "GHSA-"} {
		only := ""
		for _, a := range v.Aliases {
			if !strings.HasPrefix(a, prefix) {
				continue
			}
			if only != "" {
				return v.ID // several: it is none of them
			}
			only = a
		}
		if only != "" {
			return only
		}
		if strings.HasPrefix(v.ID, prefix) {
			return v.ID
		}
	}
	return v.ID
}

// packageKey is the same for a package as different scanners write it.
func packageKey(p *scan.Package) string {
	name, version := p.Name, p.Version
	if p.Type == "golang" || name == "stdlib" {
		version = strings.TrimPrefix(strings.TrimPrefix(version, "go"), "v")
	}
	if p.Type == "pypi" {
		name = strings.ReplaceAll(strings.ToLower(name), "_", "-")
	}
	return name + "\x00" + version
}

func (f *found) add(v *scan.Vulnerability, r *sealedReport) {
	f.ids = append(append(f.ids, v.ID), v.Aliases...)
	f.packages = append(f.packages, v.Package)
	f.fixed = append(f.fixed, v.Fixed...)
	if !v.PublishedAt.IsZero() && (f.published.IsZero() || v.PublishedAt.Before(f.published)) {
		f.published = v.PublishedAt
	}
	if v.Severity != "" && (f.severity == "" || v.Severity.Rank() < f.severity.Rank() || v.Severity == f.severity && v.SeveritySource != "" && v.SeveritySource < f.source) {
		f.severity, f.source = v.Severity, v.SeveritySource
	}
	for _, c := range v.CVSS {
		f.score = max(f.score, c.Score)
	}
	if v.Suppressed != "" {
		f.suppressed = append(f.suppressed, r.report.Scanner+": "+v.Suppressed)
	}
	pointer := r.pointer
	pointer.Pointer = v.Pointer
	if !slices.ContainsFunc(f.witnesses, func(w witness) bool { return w.pointer.Artifact == pointer.Artifact }) {
		f.witnesses = append(f.witnesses, witness{r.report.Scanner, pointer})
	}
}

// scanners names the witnesses.
func (f *found) scanners() string {
	var out []string
	for _, w := range f.witnesses {
		out = append(out, w.scanner)
	}
	return strings.Join(slices.Compact(out), " and ")
}

// where names the package, with the files that it was found in.
func (f *found) where() string {
	p := f.packages[0]
	s := strings.TrimSpace(p.Name + " " + p.Version)
	if s == "" {
		s = "a package that the report does not name"
	}
	var paths []string
	for _, p := range f.packages {
		if p.Path != "" {
			paths = append(paths, strings.TrimPrefix(p.Path, "/")) // scanners differ in it
		}
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	if n := len(paths); n > 3 {
		paths = append(paths[:3:3], fmt.Sprintf("%d more", n-3))
	}
	if len(paths) > 0 {
		s += " (" + strings.Join(paths, ", ") + ")"
	}
	return s
}
