package scan

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// cyclonedxDoc is CycloneDX JSON, 1.4 to 1.7, with vulnerabilities.
type cyclonedxDoc struct {
	out      Report
	spec     string
	scanned  bool // there is a list of vulnerabilities
	packages map[string]Package
	// affected are the references of Vulnerabilities, by index: components may
	// follow the vulnerabilities that refer to them.
	affected []string
}

func (d *cyclonedxDoc) member(r *reader, name string) error {
	switch name {
	case "bomFormat":
		var s string
		if err := r.value(&s); err != nil {
			return err
		}
		if s != "CycloneDX" {
			return fmt.Errorf("bomFormat %q: want CycloneDX", clip(s))
		}
		return nil
	case "specVersion":
		return r.value(&d.spec)
	case "metadata":
		return d.metadata(r)
	case "components":
		return r.array(func(int) error { return d.component(r) })
	case "vulnerabilities":
		d.scanned = true
		return r.array(func(int) error { return d.vulnerability(r) })
	}
	return r.skip()
}

type cyclonedxTool struct {
	Name    string `json:"name"`
	Version string `json:"version"`
}

func (d *cyclonedxDoc) metadata(r *reader) error {
	var m struct {
		Timestamp *time.Time      `json:"timestamp"`
		Tools     json.RawMessage `json:"tools"`
		Component struct {
			Type    string `json:"type"`
			Name    string `json:"name"`
			Version string `json:"version"`
			PURL    string `json:"purl"`
			BOMRef  string `json:"bom-ref"`
			Hashes  []struct {
				Alg     string `json:"alg"`
				Content string `json:"content"`
			} `json:"hashes"`
			Properties []struct {
				Name  string `json:"name"`
				Value string `json:"value"`
			} `json:"properties"`
		} `json:"component"`
	}
	if err := r.value(&m); err != nil {
		return err
	}
	if m.Timestamp != nil {
		d.out.ScannedAt = *m.Timestamp
	}
	if err := d.tools(m.Tools); err != nil {
		return err
	}
	c, i := &m.Component, &d.out.Image
	if c.Type != "" && c.Type != "container" {
		return fmt.Errorf("/metadata/component/type: %q: want a container", clip(c.Type))
	}
	i.Name = clip(c.Name)
	if purl, err := url.PathUnescape(c.PURL); err == nil && strings.HasPrefix(purl, "pkg:oci/") {
		base, query, _ := strings.Cut(purl, "?")
		i.Digests = addDigest(i.Digests, base)
		if q, err := url.ParseQuery(query); err == nil && q.Get("arch") != "" {
			i.Platform = platform("linux", q.Get("arch"), "")
		}
	}
	i.Digests = addDigest(i.Digests, c.Version)
	for _, h := range c.Hashes {
		if h.Alg == "SHA-256" {
			i.Digests = addDigest(i.Digests, "sha256:"+strings.ToLower(h.Content))
		}
	}
	for _, p := range c.Properties {
		switch {
		case strings.HasSuffix(p.Name, ":RepoDigest"), strings.HasSuffix(p.Name, ":manifestDigest"), strings.HasSuffix(p.Name, ":repoDigest"):
			i.Digests = addDigest(i.Digests, p.Value)
		case strings.HasSuffix(p.Name, ":ImageID"), strings.HasSuffix(p.Name, ":imageID"):
			i.ID = digestIn(p.Value)
		}
	}
	return nil
}

// tools is a list before version 1.5, and an object with components from then on.
func (d *cyclonedxDoc) tools(raw json.RawMessage) error {
	var list []cyclonedxTool
	if len(raw) > 0 && raw[0] == '{' {
		var o struct {
			Components []cyclonedxTool `json:"components"`
		}
		if err := json.Unmarshal(raw, &o); err != nil {
			return fmt.Errorf("/metadata/tools: %w", err)
		}
		list = o.Components
	} else if len(raw) > 0 {
		if err := json.Unmarshal(raw, &list); err != nil {
			return fmt.Errorf("/metadata/tools: %w", err)
		}
	}
	for _, t := range list {
		if t.Name != "" {
			d.out.Scanner, d.out.Version = clip(strings.ToLower(t.Name)), clip(t.Version)
			return nil
		}
	}
	return nil
}

// component keeps what a vulnerability may refer to; components may hold others.
func (d *cyclonedxDoc) component(r *reader) error {
	var c struct{ Ref, Group, Name, Version, PURL string }
	err := r.object(func(name string) error {
		switch name {
		case "bom-ref":
			return r.value(&c.Ref)
		case "group":
			return r.value(&c.Group)
		case "name":
			return r.value(&c.Name)
		case "version":
			return r.value(&c.Version)
		case "purl":
			return r.value(&c.PURL)
		case "components":
			return r.array(func(int) error { return d.component(r) })
		}
		return r.skip()
	})
	if err != nil {
		return err
	}
	if len(d.packages) == r.lim.MaxPackages {
		return fmt.Errorf("more than the %d components that are read of a document", r.lim.MaxPackages)
	}
	name := c.Name
	if c.Group != "" {
		sep := "/"
		if purlType(c.PURL) == "maven" {
			sep = ":"
		}
		name = c.Group + sep + c.Name
	}
	p := Package{Type: purlType(c.PURL), Name: clip(name), Version: clip(c.Version), PURL: clip(c.PURL)}
	for _, ref := range []string{c.Ref, c.PURL} {
		if ref != "" {
			d.packages[clip(ref)] = p
		}
	}
	return nil
}

var cyclonedxFix = regexp.MustCompile(`(?i)\b(?:upgrade|update) \S+ to (?:version )?(\S+(?:, *\S+)*)`)

func (d *cyclonedxDoc) vulnerability(r *reader) error {
	var x struct {
		ID     string `json:"id"`
		Source struct {
			Name string `json:"name"`
			URL  string `json:"url"`
		} `json:"source"`
		References []struct {
			ID string `json:"id"`
		} `json:"references"`
		Ratings []struct {
			Source struct {
				Name string `json:"name"`
			} `json:"source"`
			Score    float64 `json:"score"`
			Severity string  `json:"severity"`
			Vector   string  `json:"vector"`
		} `json:"ratings"`
		Description    string     `json:"description"`
		Recommendation string     `json:"recommendation"`
		Published      *time.Time `json:"published"`
		Affects        []struct {
			Ref string `json:"ref"`
		} `json:"affects"`
		Analysis struct {
			State         string `json:"state"`
			Justification string `json:"justification"`
			Detail        string `json:"detail"`
		} `json:"analysis"`
	}
	if err := r.value(&x); err != nil {
		return err
	}
	v := Vulnerability{ID: x.ID, Title: x.Description, URL: x.Source.URL, Pointer: r.pointer()}
	for _, ref := range x.References {
		v.Aliases = append(v.Aliases, ref.ID)
	}
	for _, t := range x.Ratings {
		vector := t.Vector
		if strings.HasPrefix(vector, "AV:") && strings.Contains(vector, "/PR:") {
			vector = "CVSS:3.1/" + vector // some tools leave the version to the method
		}
		if t.Score > 0 || vector != "" {
			v.CVSS = append(v.CVSS, CVSS{clip(t.Source.Name), clip(vector), t.Score})
		}
		s := severityWord(t.Severity)
		own := strings.EqualFold(t.Source.Name, x.Source.Name) && s != ""
		if own || s != "" && (v.Severity == "" || s.Rank() < v.Severity.Rank()) && !strings.EqualFold(v.SeveritySource, x.Source.Name) {
			v.Severity, v.SeveritySource = s, t.Source.Name
		}
	}
	if v.Severity == "" {
		v.Severity, v.SeveritySource = severityOf(v.CVSS)
	}
	if m := cyclonedxFix.FindStringSubmatch(x.Recommendation); m != nil {
		for _, f := range strings.Split(m[1], ",") {
			v.Fixed = append(v.Fixed, strings.TrimRight(strings.TrimSpace(f), ".;"))
		}
	}
	if x.Published != nil {
		v.PublishedAt = *x.Published
	}
	switch x.Analysis.State {
	case "not_affected", "false_positive", "resolved", "resolved_with_pedigree":
		v.Suppressed = strings.Join(strings.Fields(x.Analysis.State+" "+x.Analysis.Justification+" "+x.Analysis.Detail), " ")
	}
	refs := make([]string, 0, len(x.Affects))
	for _, a := range x.Affects {
		refs = append(refs, a.Ref)
	}
	if len(refs) == 0 {
		refs = []string{""} // it counts, whatever it is about
	}
	for _, ref := range refs {
		one := v
		one.Aliases, one.Fixed, one.CVSS = slices.Clone(v.Aliases), slices.Clone(v.Fixed), slices.Clone(v.CVSS)
		var err error
		if d.out.Vulnerabilities, err = r.keep(d.out.Vulnerabilities, one); err != nil {
			return err
		}
		d.affected = append(d.affected, clip(ref))
	}
	return nil
}

func (d *cyclonedxDoc) report() (*Report, error) {
	d.out.Format = CycloneDX
	switch {
	case !slices.Contains([]string{"1.4", "1.5", "1.6", "1.7"}, d.spec):
		return nil, fmt.Errorf("specVersion %q: 1.4 to 1.7 are read", clip(d.spec))
	case !d.scanned:
		return nil, errors.New("no vulnerabilities member: it lists what the image holds, and is no scan")
	case len(d.out.Vulnerabilities) == 0:
		d.out.Gaps = append(d.out.Gaps, "CycloneDX without a vulnerability does not say whether any was looked for")
	}
	d.out.Scanner = cmp.Or(d.out.Scanner, "unknown")
	for i, ref := range d.affected {
		p, ok := d.packages[ref]
		if !ok && strings.HasPrefix(ref, "pkg:") {
			p = Package{Type: purlType(ref), PURL: ref}
		} else if !ok {
			p = Package{Name: ref}
		}
		d.out.Vulnerabilities[i].Package = p
	}
	if len(d.out.Image.Digests) > 0 && d.out.Image.ID != "" {
		d.out.Image.Digests = slices.DeleteFunc(d.out.Image.Digests, func(x evidence.Digest) bool { return x == d.out.Image.ID })
	}
	return &d.out, nil
}
