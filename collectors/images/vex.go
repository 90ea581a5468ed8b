package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/openvex/go-vex/pkg/vex"
	"github.com/package-url/packageurl-go"

	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/evidence"
)

// maxVEX bounds an OpenVEX document, in bytes.
const maxVEX = 16 << 20

const vexContext = "https://openvex.dev/ns"

// vexDoc is an OpenVEX document (https://github.com/openvex/spec).
type vexDoc struct {
	fileRecord
	doc *vex.VEX
}

func parseVEX(raw []byte) (*vex.VEX, error) {
	doc, err := vex.Parse(raw)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(doc.Context, vexContext) {
		return nil, fmt.Errorf("@context %.60q: want an OpenVEX document, %s/v0.2.0", doc.Context, vexContext)
	}
	if doc.Author == "" {
		return nil, errors.New("no author: who says so has to be known")
	}
	for i := range doc.Statements {
		s := &doc.Statements[i]
		if err := s.Validate(); err != nil {
			return nil, fmt.Errorf("statement %d: %w", i+1, err)
		}
		if s.Vulnerability.Name == "" && s.Vulnerability.ID == "" {
			return nil, fmt.Errorf("statement %d: no vulnerability", i+1)
		}
		if len(s.Products) == 0 {
			return nil, fmt.Errorf("statement %d: no products: an image is named by its digest, such as pkg:oci/api@sha256:…", i+1)
		}
	}
	return doc, nil
}

// exempt is what a VEX statement says of a vulnerability.
type exempt struct {
	status  vex.Status
	text    string
	pointer evidence.Pointer
}

// statement returns the newest statement about the vulnerability in that package
// of the image with one of the digests, or nil. Of statements of the same time
// the one counts that excuses less.
func (j *judge) statement(docs []vexDoc, digests []evidence.Digest, f *found) *exempt {
	var best *exempt
	var at time.Time
	for _, d := range docs {
		for i := range d.doc.Statements {
			s := &d.doc.Statements[i]
			if !slices.ContainsFunc(f.ids, func(id string) bool { return s.Vulnerability.Matches(id) }) {
				continue
			}
			if !slices.ContainsFunc(s.Products, func(p vex.Product) bool { return aboutImage(&p, digests) && aboutPackage(&p, f.packages) }) {
				continue
			}
			when := statementTime(d.doc, s)
			if best != nil && (when.Before(at) || when.Equal(at) && excuses(s.Status)) {
				continue
			}
			text := string(s.Justification)
			if text == "" {
				text = s.ImpactStatement
			}
			best, at = &exempt{status: s.Status, text: strings.TrimSpace(fmt.Sprintf("%s (%s, by %s)", s.Status, orNone(text), d.doc.Author)),
				pointer: j.Pointer(d.Artifact, fmt.Sprintf("/statements/%d", i), "")}, when
		}
	}
	return best
}

func orNone(s string) string {
	if s == "" {
		return "no justification"
	}
	return s
}

func excuses(s vex.Status) bool { return s == vex.StatusNotAffected || s == vex.StatusFixed }

func statementTime(doc *vex.VEX, s *vex.Statement) time.Time {
	for _, t := range []*time.Time{s.LastUpdated, s.Timestamp, doc.LastUpdated, doc.Timestamp} {
		if t != nil {
			return *t
		}
	}
	return time.Time{}
}

// aboutImage reports whether the product is the image, by digest: its name alone
// says nothing.
func aboutImage(p *vex.Product, digests []evidence.Digest) bool {
	if h, ok := p.Hashes[vex.SHA256]; ok {
		return slices.Contains(digests, evidence.Digest("sha256:"+strings.ToLower(string(h))))
	}
	for _, id := range []string{p.ID, p.Identifiers[vex.PURL]} {
		d := ""
		if purl, err := packageurl.FromString(id); err == nil && purl.Type == packageurl.TypeOCI {
			d = purl.Version
		} else if err != nil {
			_, d, _ = strings.Cut(id, "@") // registry/name@sha256:…
		}
		if slices.Contains(digests, evidence.Digest(d)) {
			return true
		}
	}
	return false
}

// aboutPackage reports whether the product names no packages, or one of these.
func aboutPackage(p *vex.Product, packages []scan.Package) bool {
	if len(p.Subcomponents) == 0 {
		return true
	}
	for i := range p.Subcomponents {
		for _, pkg := range packages {
			if pkg.PURL != "" && p.Subcomponents[i].Matches(pkg.PURL) {
				return true
			}
		}
	}
	return false
}
