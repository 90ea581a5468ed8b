package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	gocvss20 "github.com/pandatix/go-cvss/20"
	gocvss30 "github.com/pandatix/go-cvss/30"
	gocvss31 "github.com/pandatix/go-cvss/31"
	gocvss40 "github.com/pandatix/go-cvss/40"
)

// osvDoc is the JSON of osv-scanner, and that of the embedded scanner, which
// says besides what was scanned, when and with which database.
type osvDoc struct {
	out     Report
	results bool
}

func (d *osvDoc) member(r *reader, name string) error {
	switch name {
	case "results":
		d.results = true
		return r.array(func(int) error { return d.result(r) })
	case "scanner":
		var s struct {
			Name    string `json:"name"`
			Version string `json:"version"`
		}
		err := r.value(&s)
		d.out.Scanner, d.out.Version = clip(strings.ToLower(s.Name)), clip(s.Version)
		return err
	case "scannedAt":
		return r.value(&d.out.ScannedAt)
	case "database":
		var db struct {
			BuiltAt *time.Time `json:"builtAt"`
		}
		err := r.value(&db)
		if db.BuiltAt != nil {
			d.out.DatabaseBuiltAt = *db.BuiltAt
		}
		return err
	case "image":
		var i struct {
			Reference string   `json:"reference"`
			Digests   []string `json:"digests"`
			ID        string   `json:"id"`
			Platform  string   `json:"platform"`
		}
		if err := r.value(&i); err != nil {
			return err
		}
		d.out.Image.Name, d.out.Image.ID, d.out.Image.Platform = clip(i.Reference), digestIn(i.ID), clip(i.Platform)
		for _, s := range i.Digests {
			d.out.Image.Digests = addDigest(d.out.Image.Digests, s)
		}
		return nil
	case "gaps":
		return r.array(func(int) error {
			var s string
			err := r.value(&s)
			if len(d.out.Gaps) < 100 {
				d.out.Gaps = append(d.out.Gaps, clip(s))
			}
			return err
		})
	}
	return r.skip()
}

// osvRecord is what is used of a record (https://ossf.github.io/osv-schema/).
type osvRecord struct {
	ID        string        `json:"id"`
	Published *time.Time    `json:"published"`
	Withdrawn *time.Time    `json:"withdrawn"`
	Aliases   []string      `json:"aliases"`
	Upstream  []string      `json:"upstream"`
	Summary   string        `json:"summary"`
	Severity  []osvSeverity `json:"severity"`
	Affected  []struct {
		Package struct {
			Ecosystem string `json:"ecosystem"`
			Name      string `json:"name"`
		} `json:"package"`
		Severity []osvSeverity `json:"severity"`
		Ranges   []struct {
			Type   string `json:"type"`
			Events []struct {
				Fixed string `json:"fixed"`
			} `json:"events"`
		} `json:"ranges"`
		EcosystemSpecific osvSpecific `json:"ecosystem_specific"`
	} `json:"affected"`
	DatabaseSpecific osvSpecific `json:"database_specific"`
}

type osvSeverity struct {
	Type  string `json:"type"`
	Score string `json:"score"`
}

// osvSpecific is free-form; its severity is a word where it is one.
type osvSpecific struct{ severity string }

func (s *osvSpecific) UnmarshalJSON(raw []byte) error {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) == nil {
		_ = json.Unmarshal(m["severity"], &s.severity) // another type is no word
	}
	return nil
}

type osvPackage struct {
	Package struct {
		Name      string `json:"name"`
		OSName    string `json:"os_package_name"`
		Version   string `json:"version"`
		Ecosystem string `json:"ecosystem"`
		PURL      string `json:"purl"`
		Path      string `json:"path"`
		Layer     string `json:"layer"`
	} `json:"package"`
	Groups []struct {
		IDs         []string `json:"ids"`
		Aliases     []string `json:"aliases"`
		MaxSeverity string   `json:"max_severity"`
	} `json:"groups"`
	Vulnerabilities []osvRecord `json:"vulnerabilities"`
}

func (d *osvDoc) result(r *reader) error {
	var path string
	from := len(d.out.Vulnerabilities)
	err := r.object(func(name string) error {
		switch name {
		case "source":
			var s struct {
				Path string `json:"path"`
			}
			err := r.value(&s)
			path = clip(s.Path)
			return err
		case "packages":
			return r.array(func(int) error { return d.pkg(r) })
		}
		return r.skip()
	})
	for i := from; i < len(d.out.Vulnerabilities); i++ {
		if p := &d.out.Vulnerabilities[i].Package; p.Path == "" {
			p.Path = path
		}
	}
	return err
}

// pkg reads a package; each group of records is one vulnerability.
func (d *osvDoc) pkg(r *reader) error {
	var p osvPackage
	if err := r.value(&p); err != nil {
		return err
	}
	pointer := r.pointer()
	records := map[string]*osvRecord{}
	for i := range p.Vulnerabilities {
		records[p.Vulnerabilities[i].ID] = &p.Vulnerabilities[i]
	}
	grouped := map[string]bool{}
	for _, g := range p.Groups {
		for _, id := range g.IDs {
			grouped[id] = true
		}
		if err := d.group(r, &p, g.IDs, g.Aliases, g.MaxSeverity, records, pointer); err != nil {
			return err
		}
	}
	for i := range p.Vulnerabilities {
		if id := p.Vulnerabilities[i].ID; !grouped[id] {
			grouped[id] = true
			if err := d.group(r, &p, []string{id}, nil, "", records, pointer); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *osvDoc) group(r *reader, p *osvPackage, ids, aliases []string, maxSeverity string, records map[string]*osvRecord, pointer string) error {
	if len(ids) == 0 {
		return fmt.Errorf("%s: a group without ids", pointer)
	}
	v := Vulnerability{ID: ids[0], Aliases: append(slices.Clone(ids), aliases...), Pointer: pointer, URL: "https://osv.dev/" + ids[0], Layer: p.Package.Layer,
		Package: Package{Type: purlType(p.Package.PURL), Name: p.Package.Name, Version: p.Package.Version, PURL: p.Package.PURL, Path: p.Package.Path}}
	if p.Package.OSName != "" {
		v.Package.Name = p.Package.OSName
	}
	if v.Package.Type == "" {
		eco, _, _ := strings.Cut(p.Package.Ecosystem, ":")
		v.Package.Type = osvTypes[eco]
	}
	word := ""
	for _, id := range ids {
		x := records[id]
		if x == nil {
			continue
		}
		v.Aliases = append(append(v.Aliases, x.Aliases...), x.Upstream...)
		if v.Title == "" {
			v.Title = x.Summary
		}
		if x.Published != nil && (v.PublishedAt.IsZero() || x.Published.Before(v.PublishedAt)) {
			v.PublishedAt = *x.Published
		}
		severities := x.Severity
		for i := range x.Affected {
			a := &x.Affected[i]
			if a.Package.Name != p.Package.Name || !sameEcosystem(a.Package.Ecosystem, p.Package.Ecosystem) {
				continue
			}
			severities = append(severities, a.Severity...)
			if word == "" {
				word = a.EcosystemSpecific.severity
			}
			for _, rng := range a.Ranges {
				if rng.Type == "GIT" {
					continue
				}
				for _, e := range rng.Events {
					v.Fixed = append(v.Fixed, e.Fixed)
				}
			}
		}
		for _, s := range severities {
			if score, ok := baseScore(s.Score); ok {
				v.CVSS = append(v.CVSS, CVSS{"osv", clip(s.Score), score})
			} else if severityWord(s.Score) != "" && word == "" {
				word = s.Score // Ubuntu writes its priority there
			}
		}
		if word == "" {
			word = x.DatabaseSpecific.severity
		}
	}
	if v.Severity, v.SeveritySource = severityOf(v.CVSS); v.Severity == "" {
		if score, err := strconv.ParseFloat(maxSeverity, 64); err == nil {
			v.Severity, v.SeveritySource = severityScore(score), "osv"
		}
	}
	if v.Severity == "" {
		if v.Severity, v.SeveritySource = severityWord(word), "osv"; v.Severity == "" {
			v.SeveritySource = ""
		}
	}
	var err error
	d.out.Vulnerabilities, err = r.keep(d.out.Vulnerabilities, v)
	return err
}

// sameEcosystem compares ecosystems; one without a release is about all releases.
func sameEcosystem(a, b string) bool {
	if a == b {
		return true
	}
	baseA, relA, _ := strings.Cut(a, ":")
	baseB, relB, _ := strings.Cut(b, ":")
	return baseA == baseB && (relA == "" || relB == "")
}

var osvTypes = map[string]string{
	"Debian": "deb", "Ubuntu": "deb", "Alpine": "apk", "Wolfi": "apk", "Chainguard": "apk", "Red Hat": "rpm", "Rocky Linux": "rpm", "AlmaLinux": "rpm",
	"npm": "npm", "Go": "golang", "PyPI": "pypi", "Maven": "maven", "RubyGems": "gem", "crates.io": "cargo", "Packagist": "composer", "NuGet": "nuget",
}

// baseScore computes the base score of a CVSS vector.
func baseScore(vector string) (float64, bool) {
	switch {
	case strings.HasPrefix(vector, "CVSS:3.1/"):
		if v, err := gocvss31.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	case strings.HasPrefix(vector, "CVSS:3.0/"):
		if v, err := gocvss30.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	case strings.HasPrefix(vector, "CVSS:4.0/"):
		if v, err := gocvss40.ParseVector(vector); err == nil {
			return v.Score(), true
		}
	case strings.HasPrefix(vector, "AV:"):
		if v, err := gocvss20.ParseVector(vector); err == nil {
			return v.BaseScore(), true
		}
	}
	return 0, false
}

func (d *osvDoc) report() (*Report, error) {
	d.out.Format = OSV
	if !d.results {
		return nil, errors.New("no results")
	}
	if d.out.Scanner == "" {
		d.out.Scanner = "osv-scanner"
	}
	return &d.out, nil
}
