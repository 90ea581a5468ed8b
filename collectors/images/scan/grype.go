package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// grypeDoc is Grype's JSON (github.com/anchore/grype, grype/presenter/models).
type grypeDoc struct {
	out        Report
	sourceType string
	matches    bool
}

func (d *grypeDoc) member(r *reader, name string) error {
	switch name {
	case "matches":
		d.matches = true
		return r.array(func(int) error { return d.match(r) })
	case "ignoredMatches":
		return r.array(func(int) error { return d.match(r) })
	case "source":
		return d.source(r)
	case "descriptor":
		return d.descriptor(r)
	case "alertsByPackage":
		return d.alerts(r)
	}
	return r.skip()
}

func (d *grypeDoc) source(r *reader) error {
	var s struct {
		Type   string          `json:"type"`
		Target json.RawMessage `json:"target"`
	}
	if err := r.value(&s); err != nil {
		return err
	}
	d.sourceType = s.Type
	if s.Type != "image" {
		return nil // refused at the end
	}
	var t struct {
		UserInput      string   `json:"userInput"`
		ImageID        string   `json:"imageID"`
		ManifestDigest string   `json:"manifestDigest"`
		RepoDigests    []string `json:"repoDigests"`
		Architecture   string   `json:"architecture"`
		OS             string   `json:"os"`
		Variant        string   `json:"variant"`
	}
	if err := json.Unmarshal(s.Target, &t); err != nil {
		return fmt.Errorf("/source/target: %w", err)
	}
	i := &d.out.Image
	i.Name, i.ID, i.Platform = clip(t.UserInput), digestIn(t.ImageID), platform(t.OS, t.Architecture, t.Variant)
	for _, s := range append(t.RepoDigests, t.ManifestDigest) {
		i.Digests = addDigest(i.Digests, s)
	}
	return nil
}

func (d *grypeDoc) descriptor(r *reader) error {
	var x struct {
		Name      string     `json:"name"`
		Version   string     `json:"version"`
		Timestamp *time.Time `json:"timestamp"`
		DB        struct {
			Built  *time.Time `json:"built"` // before version 0.88
			Status struct {
				Built *time.Time `json:"built"`
				Valid *bool      `json:"valid"`
			} `json:"status"`
			Valid *bool `json:"valid"`
		} `json:"db"`
	}
	if err := r.value(&x); err != nil {
		return err
	}
	if x.Name != "" && x.Name != string(Grype) {
		return fmt.Errorf("/descriptor/name: %q: want %s", clip(x.Name), Grype)
	}
	d.out.Version = clip(x.Version)
	if x.Timestamp != nil {
		d.out.ScannedAt = *x.Timestamp
	}
	for _, t := range []*time.Time{x.DB.Built, x.DB.Status.Built} {
		if t != nil {
			d.out.DatabaseBuiltAt = *t
		}
	}
	for _, ok := range []*bool{x.DB.Valid, x.DB.Status.Valid} {
		if ok != nil && !*ok {
			d.out.Gaps = append(d.out.Gaps, "the vulnerability database was not valid")
		}
	}
	return nil
}

// alerts reads what Grype itself says that it may have missed.
func (d *grypeDoc) alerts(r *reader) error {
	return r.array(func(int) error {
		var p struct {
			Alerts []struct {
				Type    string `json:"type"`
				Message string `json:"message"`
			} `json:"alerts"`
		}
		if err := r.value(&p); err != nil {
			return err
		}
		for _, a := range p.Alerts {
			text := clip(a.Message)
			if text == "" {
				text = clip(a.Type)
			}
			if len(d.out.Gaps) < 100 {
				d.out.Gaps = append(d.out.Gaps, text)
			}
		}
		return nil
	})
}

type grypeVulnerability struct {
	ID          string `json:"id"`
	DataSource  string `json:"dataSource"`
	Namespace   string `json:"namespace"`
	Severity    string `json:"severity"`
	Description string `json:"description"`
	CVSS        []struct {
		Source  string `json:"source"`
		Vector  string `json:"vector"`
		Metrics struct {
			BaseScore float64 `json:"baseScore"`
		} `json:"metrics"`
	} `json:"cvss"`
	Fix struct {
		Versions []string `json:"versions"`
		State    string   `json:"state"`
	} `json:"fix"`
}

func (v *grypeVulnerability) scores() []CVSS {
	var out []CVSS
	for _, c := range v.CVSS {
		source := c.Source
		if source == "" {
			source = v.Namespace
		}
		out = append(out, CVSS{clip(source), clip(c.Vector), c.Metrics.BaseScore})
	}
	return out
}

// match reads an element of matches, or of ignoredMatches.
func (d *grypeDoc) match(r *reader) error {
	var m struct {
		Vulnerability          grypeVulnerability   `json:"vulnerability"`
		RelatedVulnerabilities []grypeVulnerability `json:"relatedVulnerabilities"`
		Artifact               struct {
			Name      string `json:"name"`
			Version   string `json:"version"`
			Type      string `json:"type"`
			PURL      string `json:"purl"`
			Locations []struct {
				Path    string `json:"path"`
				LayerID string `json:"layerID"`
			} `json:"locations"`
		} `json:"artifact"`
		AppliedIgnoreRules []struct {
			Reason    string `json:"reason"`
			VexStatus string `json:"vex-status"`
			FixState  string `json:"fix-state"`
		} `json:"appliedIgnoreRules"`
	}
	if err := r.value(&m); err != nil {
		return err
	}
	v := Vulnerability{
		ID: m.Vulnerability.ID, Fixed: m.Vulnerability.Fix.Versions, Status: m.Vulnerability.Fix.State,
		Severity: severityWord(m.Vulnerability.Severity), SeveritySource: m.Vulnerability.Namespace, CVSS: m.Vulnerability.scores(),
		Package: Package{Type: purlType(m.Artifact.PURL), Name: m.Artifact.Name, Version: m.Artifact.Version, PURL: m.Artifact.PURL},
		Title:   m.Vulnerability.Description, URL: m.Vulnerability.DataSource, Pointer: r.pointer(),
	}
	if v.Package.Type == "" {
		v.Package.Type = grypeTypes[m.Artifact.Type]
	}
	if len(m.Artifact.Locations) > 0 {
		v.Package.Path, v.Layer = m.Artifact.Locations[0].Path, m.Artifact.Locations[0].LayerID
	}
	for i := range m.RelatedVulnerabilities {
		v.Aliases = append(v.Aliases, m.RelatedVulnerabilities[i].ID)
		v.CVSS = append(v.CVSS, m.RelatedVulnerabilities[i].scores()...)
	}
	if v.Severity == "" {
		v.Severity, v.SeveritySource = severityOf(v.CVSS)
	}
	if len(m.AppliedIgnoreRules) > 0 {
		rule := m.AppliedIgnoreRules[0]
		v.Suppressed = strings.Join(strings.Fields("ignored "+rule.VexStatus+" "+rule.Reason), " ")
		if rule.FixState != "" {
			v.Suppressed += " (fix state " + rule.FixState + ")"
		}
	}
	var err error
	d.out.Vulnerabilities, err = r.keep(d.out.Vulnerabilities, v)
	return err
}

// grypeTypes are the package URL types of packages that have no PURL.
var grypeTypes = map[string]string{
	"deb": "deb", "apk": "apk", "rpm": "rpm", "npm": "npm", "go-module": "golang", "python": "pypi", "java-archive": "maven",
	"gem": "gem", "rust-crate": "cargo", "php-composer": "composer", "dotnet": "nuget",
}

func (d *grypeDoc) report() (*Report, error) {
	d.out.Format, d.out.Scanner = Grype, string(Grype)
	switch {
	case !d.matches:
		return nil, errors.New("no matches")
	case d.sourceType == "":
		return nil, errors.New("no source: what was scanned is not known")
	case d.sourceType != "image":
		return nil, fmt.Errorf("a report about a source of type %q: want one about an image", clip(d.sourceType))
	}
	return &d.out, nil
}
