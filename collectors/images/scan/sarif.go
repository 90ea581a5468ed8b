package scan

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// sarifDoc is SARIF 2.1.0 as Trivy and Grype write it. It says neither how old
// the database was nor, mostly, when the scan was made.
type sarifDoc struct {
	out  Report
	runs int
}

type sarifRule struct {
	ID               string `json:"id"`
	HelpURI          string `json:"helpUri"`
	ShortDescription struct {
		Text string `json:"text"`
	} `json:"shortDescription"`
	Properties struct {
		SecuritySeverity json.RawMessage `json:"security-severity"`
		PURLs            []string        `json:"purls"`
		Tags             []string        `json:"tags"`
	} `json:"properties"`
}

type sarifResult struct {
	RuleID  string `json:"ruleId"`
	Message struct {
		Text string `json:"text"`
	} `json:"message"`
	Suppressions []struct {
		Kind          string `json:"kind"`
		Status        string `json:"status"`
		Justification string `json:"justification"`
	} `json:"suppressions"`
	pointer string
}

func (d *sarifDoc) member(r *reader, name string) error {
	switch name {
	case "version":
		var v string
		if err := r.value(&v); err != nil {
			return err
		}
		if v != "2.1.0" {
			return fmt.Errorf("version %q: 2.1.0 is read", clip(v))
		}
		return nil
	case "runs":
		return r.array(func(int) error { return d.run(r) })
	}
	return r.skip()
}

func (d *sarifDoc) run(r *reader) error {
	d.runs++
	rules := map[string]*sarifRule{}
	var results []sarifResult
	err := r.object(func(name string) error {
		switch name {
		case "tool":
			return d.tool(r, rules)
		case "properties":
			return d.properties(r)
		case "invocations":
			return r.array(func(int) error {
				var i struct {
					EndTimeUTC          *time.Time `json:"endTimeUtc"`
					ExecutionSuccessful *bool      `json:"executionSuccessful"`
				}
				if err := r.value(&i); err != nil {
					return err
				}
				if i.EndTimeUTC != nil {
					d.out.ScannedAt = *i.EndTimeUTC
				}
				if i.ExecutionSuccessful != nil && !*i.ExecutionSuccessful {
					d.out.Gaps = append(d.out.Gaps, "the scan says that it did not succeed")
				}
				return nil
			})
		case "results":
			return r.array(func(int) error {
				var x sarifResult
				if err := r.value(&x); err != nil {
					return err
				}
				if len(results) == r.lim.MaxVulnerabilities {
					return fmt.Errorf("more than the %d vulnerabilities that are read of a report", r.lim.MaxVulnerabilities)
				}
				x.pointer, x.Message.Text = r.pointer(), clip(x.Message.Text)
				results = append(results, x)
				return nil
			})
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	for i := range results {
		if err := d.result(r, &results[i], rules[results[i].RuleID]); err != nil {
			return err
		}
	}
	return nil
}

func (d *sarifDoc) tool(r *reader, rules map[string]*sarifRule) error {
	return r.object(func(name string) error {
		if name != "driver" {
			return r.skip()
		}
		return r.object(func(name string) error {
			switch name {
			case "name":
				var s string
				if err := r.value(&s); err != nil {
					return err
				}
				if s = clip(strings.ToLower(s)); d.out.Scanner != "" && d.out.Scanner != s {
					return fmt.Errorf("runs of several tools (%s, %s) in one report", d.out.Scanner, s)
				}
				d.out.Scanner = s
			case "version":
				if err := r.value(&d.out.Version); err != nil {
					return err
				}
				d.out.Version = clip(d.out.Version)
			case "rules":
				return r.array(func(int) error {
					x := new(sarifRule)
					if err := r.value(x); err != nil {
						return err
					}
					if len(rules) == r.lim.MaxVulnerabilities {
						return fmt.Errorf("more than the %d rules that are read of a report", r.lim.MaxVulnerabilities)
					}
					rules[x.ID] = x
					return nil
				})
			default:
				return r.skip()
			}
			return nil
		})
	})
}

// properties are what Trivy says of the image.
func (d *sarifDoc) properties(r *reader) error {
	var p struct {
		ImageName   string   `json:"imageName"`
		ImageID     string   `json:"imageID"`
		RepoDigests []string `json:"repoDigests"`
	}
	if err := r.value(&p); err != nil {
		return err
	}
	var digests []evidence.Digest
	for _, s := range p.RepoDigests {
		digests = addDigest(digests, s)
	}
	id := digestIn(p.ImageID)
	if d.runs > 1 && (id != d.out.Image.ID || !slices.Equal(digests, d.out.Image.Digests)) {
		return errors.New("runs about several images in one report")
	}
	d.out.Image = Image{Name: clip(p.ImageName), ID: id, Digests: digests}
	return nil
}

var (
	sarifID    = regexp.MustCompile(`^(CVE-\d+-\d+|GHSA(?:-[0-9a-z]{4}){3}|[A-Z]+-\d+-\d+)`)
	sarifTrivy = regexp.MustCompile(`(?m)^(Package|Installed Version|Fixed Version|Severity): (.*)$`)
	sarifGrype = regexp.MustCompile(`^An? (\w+) vulnerability in (\S+) package: (\S+), version (\S+) was found`)
	sarifOlder = regexp.MustCompile(`reports (\S+) at version (\S+)\s+which (?:is a vulnerable|would result in a vulnerable) \((\S+)\) package`)
)

func (d *sarifDoc) result(r *reader, x *sarifResult, rule *sarifRule) error {
	if rule == nil {
		rule = &sarifRule{}
	}
	if tags := rule.Properties.Tags; slices.Contains(tags, "misconfiguration") || slices.Contains(tags, "secret") || slices.Contains(tags, "license") {
		return nil
	}
	v := Vulnerability{ID: x.RuleID, Title: rule.ShortDescription.Text, URL: rule.HelpURI, Pointer: x.pointer}
	if id := sarifID.FindString(x.RuleID); id != "" {
		v.ID = id // Grype appends the package's name
	}
	if len(rule.Properties.PURLs) == 1 {
		v.Package.PURL = rule.Properties.PURLs[0]
		v.Package.Type = purlType(v.Package.PURL)
	}
	for _, m := range sarifTrivy.FindAllStringSubmatch(x.Message.Text, -1) {
		switch value := strings.TrimSpace(m[2]); m[1] {
		case "Package":
			v.Package.Name = value
		case "Installed Version":
			v.Package.Version = value
		case "Fixed Version":
			for _, f := range strings.Split(value, ",") {
				v.Fixed = append(v.Fixed, strings.TrimSpace(f))
			}
		case "Severity":
			v.Severity = severityWord(value)
		}
	}
	if m := sarifGrype.FindStringSubmatch(x.Message.Text); m != nil {
		v.Severity, v.Package.Name, v.Package.Version = severityWord(m[1]), m[3], m[4]
		if v.Package.Type == "" {
			v.Package.Type = grypeTypes[m[2]]
		}
	} else if m := sarifOlder.FindStringSubmatch(x.Message.Text); m != nil {
		v.Package.Name, v.Package.Version = m[1], m[2]
		if v.Package.Type == "" {
			v.Package.Type = grypeTypes[m[3]]
		}
	}
	if score, err := strconv.ParseFloat(strings.Trim(string(rule.Properties.SecuritySeverity), `"`), 64); err == nil && v.Severity == "" {
		v.Severity = severityScore(score)
	}
	if len(x.Suppressions) > 0 {
		s := x.Suppressions[0]
		v.Suppressed = strings.Join(strings.Fields("suppressed "+s.Kind+" "+s.Status+" "+s.Justification), " ")
	}
	var err error
	d.out.Vulnerabilities, err = r.keep(d.out.Vulnerabilities, v)
	return err
}

func (d *sarifDoc) report() (*Report, error) {
	d.out.Format = SARIF
	switch {
	case d.runs == 0:
		return nil, errors.New("no runs")
	case d.out.Scanner == "":
		return nil, errors.New("no name of the tool (tool.driver.name)")
	case len(d.out.Vulnerabilities) == 0:
		d.out.Gaps = append(d.out.Gaps, "SARIF without a vulnerability does not say whether any was looked for")
	}
	return &d.out, nil
}
