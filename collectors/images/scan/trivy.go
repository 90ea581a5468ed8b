package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// trivyDoc is Trivy's JSON (github.com/aquasecurity/trivy, pkg/types/report.go),
// schema version 2.
type trivyDoc struct {
	out          Report
	schema       int
	artifactType string
	os           struct {
		Family string `json:"Family"`
		Name   string `json:"Name"`
		EOSL   bool   `json:"EOSL"`
	}
	classes map[string]bool
}

func (d *trivyDoc) member(r *reader, name string) error {
	switch name {
	case "SchemaVersion":
		return r.value(&d.schema)
	case "CreatedAt":
		return r.value(&d.out.ScannedAt)
	case "ArtifactName":
		return r.value(&d.out.Image.Name)
	case "ArtifactType":
		return r.value(&d.artifactType)
	case "Trivy":
		var t struct {
			Version string `json:"Version"`
		}
		err := r.value(&t)
		d.out.Version = clip(t.Version)
		return err
	case "Metadata":
		return d.metadata(r)
	case "Results":
		d.classes = map[string]bool{}
		return r.array(func(int) error { return d.result(r) })
	}
	return r.skip()
}

func (d *trivyDoc) metadata(r *reader) error {
	var m struct {
		OS          json.RawMessage `json:"OS"`
		ImageID     string          `json:"ImageID"`
		RepoDigests []string        `json:"RepoDigests"`
		ImageConfig struct {
			Architecture string `json:"architecture"`
			Variant      string `json:"variant"`
			OS           string `json:"os"`
		} `json:"ImageConfig"`
	}
	if err := r.value(&m); err != nil {
		return err
	}
	if len(m.OS) > 0 {
		if err := json.Unmarshal(m.OS, &d.os); err != nil {
			return fmt.Errorf("/Metadata/OS: %w", err)
		}
	}
	d.out.Image.ID = digestIn(m.ImageID)
	for _, s := range m.RepoDigests {
		d.out.Image.Digests = addDigest(d.out.Image.Digests, s)
	}
	d.out.Image.Platform = platform(m.ImageConfig.OS, m.ImageConfig.Architecture, m.ImageConfig.Variant)
	return nil
}

// result reads an element of Results: the findings about one target in the image.
func (d *trivyDoc) result(r *reader) error {
	var target, class, kind string
	from := len(d.out.Vulnerabilities)
	err := r.object(func(name string) error {
		switch name {
		case "Target":
			return r.value(&target)
		case "Class":
			return r.value(&class)
		case "Type":
			return r.value(&kind)
		case "Vulnerabilities":
			return r.array(func(int) error { return d.vulnerability(r, "") })
		case "ExperimentalModifiedFindings":
			return r.array(func(int) error { return d.modified(r) })
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	d.classes[class] = true
	for i := from; i < len(d.out.Vulnerabilities); i++ {
		p := &d.out.Vulnerabilities[i].Package
		if p.Type == "" {
			p.Type = trivyTypes[kind]
		}
		if p.Path == "" && class == "lang-pkgs" {
			p.Path = clip(target)
		}
	}
	return nil
}

// trivyTypes are the package URL types of result types that have no PURL.
var trivyTypes = map[string]string{
	"debian": "deb", "ubuntu": "deb", "alpine": "apk", "wolfi": "apk", "chainguard": "apk",
	"redhat": "rpm", "centos": "rpm", "rocky": "rpm", "alma": "rpm", "amazon": "rpm", "oracle": "rpm", "fedora": "rpm", "photon": "rpm",
	"npm": "npm", "yarn": "npm", "pnpm": "npm", "node-pkg": "npm", "gobinary": "golang", "gomod": "golang",
	"pip": "pypi", "pipenv": "pypi", "poetry": "pypi", "python-pkg": "pypi", "jar": "maven", "pom": "maven", "gradle": "maven",
	"bundler": "gem", "gemspec": "gem", "cargo": "cargo", "rustbinary": "cargo", "composer": "composer", "nuget": "nuget", "dotnet-core": "nuget",
}

type trivyVulnerability struct {
	VulnerabilityID string   `json:"VulnerabilityID"`
	VendorIDs       []string `json:"VendorIDs"`
	PkgName         string   `json:"PkgName"`
	PkgPath         string   `json:"PkgPath"`
	PkgIdentifier   struct {
		PURL string `json:"PURL"`
	} `json:"PkgIdentifier"`
	InstalledVersion string `json:"InstalledVersion"`
	FixedVersion     string `json:"FixedVersion"`
	Status           string `json:"Status"`
	Layer            struct {
		Digest string `json:"Digest"`
		DiffID string `json:"DiffID"`
	} `json:"Layer"`
	SeveritySource string               `json:"SeveritySource"`
	PrimaryURL     string               `json:"PrimaryURL"`
	Title          string               `json:"Title"`
	Severity       string               `json:"Severity"`
	CVSS           map[string]trivyCVSS `json:"CVSS"`
	PublishedDate  *time.Time           `json:"PublishedDate"`
}

type trivyCVSS struct {
	V2Vector  string  `json:"V2Vector"`
	V3Vector  string  `json:"V3Vector"`
	V40Vector string  `json:"V40Vector"`
	V2Score   float64 `json:"V2Score"`
	V3Score   float64 `json:"V3Score"`
	V40Score  float64 `json:"V40Score"`
}

func (d *trivyDoc) vulnerability(r *reader, suppressed string) error {
	var t trivyVulnerability
	if err := r.value(&t); err != nil {
		return err
	}
	return d.keep(r, &t, r.pointer(), suppressed)
}

func (d *trivyDoc) keep(r *reader, t *trivyVulnerability, pointer, suppressed string) error {
	v := Vulnerability{
		ID: t.VulnerabilityID, Aliases: t.VendorIDs, Status: t.Status, Severity: severityWord(t.Severity), SeveritySource: t.SeveritySource,
		Package: Package{Type: purlType(t.PkgIdentifier.PURL), Name: t.PkgName, Version: t.InstalledVersion, Path: t.PkgPath, PURL: t.PkgIdentifier.PURL},
		Layer:   t.Layer.Digest, Title: t.Title, URL: t.PrimaryURL, Pointer: pointer, Suppressed: suppressed,
	}
	if v.Layer == "" {
		v.Layer = t.Layer.DiffID
	}
	for _, f := range strings.Split(t.FixedVersion, ",") {
		v.Fixed = append(v.Fixed, strings.TrimSpace(f))
	}
	if t.PublishedDate != nil {
		v.PublishedAt = *t.PublishedDate
	}
	for source, c := range t.CVSS {
		switch {
		case c.V3Vector != "" || c.V3Score > 0:
			v.CVSS = append(v.CVSS, CVSS{source, c.V3Vector, c.V3Score})
		case c.V40Vector != "" || c.V40Score > 0:
			v.CVSS = append(v.CVSS, CVSS{source, c.V40Vector, c.V40Score})
		case c.V2Vector != "":
			v.CVSS = append(v.CVSS, CVSS{source, c.V2Vector, c.V2Score})
		}
	}
	if v.Severity == "" {
		v.Severity, v.SeveritySource = severityOf(v.CVSS)
	}
	var err error
	d.out.Vulnerabilities, err = r.keep(d.out.Vulnerabilities, v)
	return err
}

// severityOf is the highest rating of base scores, with its source. Scores of
// version 2 are rated otherwise and left out.
func severityOf(list []CVSS) (evidence.Severity, string) {
	best, source := 0.0, ""
	for _, c := range list {
		if strings.HasPrefix(c.Vector, "CVSS:") && (c.Score > best || c.Score == best && c.Source < source) {
			best, source = c.Score, c.Source
		}
	}
	return severityScore(best), source
}

// modified reads what Trivy left out of its findings by --show-suppressed.
func (d *trivyDoc) modified(r *reader) error {
	var m struct {
		Type      string          `json:"Type"`
		Status    string          `json:"Status"`
		Statement string          `json:"Statement"`
		Source    string          `json:"Source"`
		Finding   json.RawMessage `json:"Finding"`
	}
	if err := r.value(&m); err != nil || m.Type != "vulnerability" {
		return err
	}
	pointer := r.pointer()
	var t trivyVulnerability
	if err := json.Unmarshal(m.Finding, &t); err != nil {
		return fmt.Errorf("%s/Finding: %w", pointer, err)
	}
	return d.keep(r, &t, pointer, strings.TrimSpace(strings.Join([]string{m.Status, m.Statement, m.Source}, " ")))
}

func (d *trivyDoc) report() (*Report, error) {
	d.out.Format, d.out.Scanner = Trivy, string(Trivy)
	d.out.Image.Name = clip(d.out.Image.Name)
	switch {
	case d.schema == 0:
		return nil, errors.New("no SchemaVersion")
	case d.schema != 2:
		return nil, fmt.Errorf("schema version %d: version 2 is read", d.schema)
	case d.artifactType != "container_image":
		return nil, fmt.Errorf("a report about %q: want one about a container_image (trivy image)", clip(d.artifactType))
	}
	if d.os.EOSL {
		d.out.Gaps = append(d.out.Gaps, fmt.Sprintf("%s %s gets no security fixes any more, and vulnerabilities of its packages are not published", clip(d.os.Family), clip(d.os.Name)))
	}
	switch {
	case d.os.Family != "" && d.os.Family != "none" && !d.classes["os-pkgs"]:
		d.out.Gaps = append(d.out.Gaps, fmt.Sprintf("the packages of %s were not looked at", clip(d.os.Family)))
	case !d.classes["os-pkgs"] && !d.classes["lang-pkgs"]:
		d.out.Gaps = append(d.out.Gaps, "no package was looked at for vulnerabilities")
	}
	return &d.out, nil
}

// ReadTrivyVersion reads the output of `trivy version --format json`: its version,
// and when the vulnerability database was built.
func ReadTrivyVersion(raw []byte) (version string, dbBuilt time.Time, err error) {
	var v struct {
		Version         string `json:"Version"`
		VulnerabilityDB *struct {
			UpdatedAt time.Time `json:"UpdatedAt"`
		} `json:"VulnerabilityDB"`
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return "", time.Time{}, fmt.Errorf("not the output of trivy version --format json: %w", err)
	}
	if v.VulnerabilityDB == nil || v.VulnerabilityDB.UpdatedAt.IsZero() {
		return "", time.Time{}, errors.New("trivy version names no vulnerability database: run trivy image --download-db-only first")
	}
	return v.Version, v.VulnerabilityDB.UpdatedAt, nil
}
