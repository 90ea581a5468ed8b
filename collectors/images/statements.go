package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// Statement is what one scanner says of an image: the predicate of an in-toto
// statement about it.
type Statement struct {
	Image  string
	Digest evidence.Digest // that the image is pinned by
	// Predicate is of type https://in-toto.io/attestation/vulns/v0.2.
	Predicate []byte
}

// The members of the predicate (https://github.com/in-toto/attestation, spec/predicates/vulns_02.md).
type vulnsPredicate struct {
	Scanner  vulnsScanner  `json:"scanner"`
	Metadata vulnsMetadata `json:"metadata"`
}

type vulnsScanner struct {
	URI     string        `json:"uri"`
	Version string        `json:"version,omitempty"`
	DB      vulnsDB       `json:"db"`
	Result  []vulnsResult `json:"result"`
}

type vulnsDB struct {
	URI        string     `json:"uri,omitempty"`
	LastUpdate *time.Time `json:"lastUpdate,omitempty"`
}

type vulnsResult struct {
	ID          string              `json:"id"`
	Severity    []vulnsSeverity     `json:"severity"`
	Annotations []map[string]string `json:"annotations,omitempty"`
}

type vulnsSeverity struct {
	Method string `json:"method"`
	Score  string `json:"score"`
}

type vulnsMetadata struct {
	ScanStartedOn  *time.Time `json:"scanStartedOn,omitempty"`
	ScanFinishedOn *time.Time `json:"scanFinishedOn,omitempty"`
	// Report is the digest of the sealed report.
	Annotations []map[string]string `json:"annotations,omitempty"`
}

var scannerURIs = map[string]string{
	"trivy": "pkg:github/aquasecurity/trivy", "grype": "pkg:github/anchore/grype", "osv-scanner": "pkg:github/google/osv-scanner", "osv-scalibr": "pkg:github/google/osv-scalibr",
}

// Statements makes statements of the sealed scan reports: for each image that is
// pinned by digest, one for each scanner that says something of it, its newest.
func Statements(in *collectors.Sealed) ([]Statement, error) {
	if !slices.Contains(in.Names(), folder+policyFile) {
		return nil, nil // images were not looked at
	}
	j, err := newJudge(in)
	if err != nil {
		return nil, err
	}
	reports, err := j.reports()
	if err != nil {
		return nil, err
	}
	var out []Statement
	for _, image := range j.images {
		p, err := parseImage(image)
		if err != nil || p.digest == "" {
			continue
		}
		parts, digests, why, _ := j.parts(image)
		if why != "" {
			continue
		}
		var used []*sealedReport
		for i := range parts {
			used = append(used, j.scanPart(j.image(image), &parts[i], len(parts), digests, reports)...)
		}
		slices.SortFunc(used, func(a, b *sealedReport) int {
			return strings.Compare(a.report.Scanner+a.pointer.Artifact, b.report.Scanner+b.pointer.Artifact)
		})
		for _, r := range slices.Compact(used) {
			raw, err := json.Marshal(predicateOf(r))
			if err != nil {
				return nil, fmt.Errorf("statement about %s: %w", image, err)
			}
			out = append(out, Statement{image, p.digest, raw})
		}
	}
	return out, nil
}

func predicateOf(r *sealedReport) vulnsPredicate {
	x := r.report
	uri := scannerURIs[x.Scanner]
	if uri == "" {
		uri = "pkg:generic/" + x.Scanner
	}
	when := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		t = t.UTC()
		return &t
	}
	p := vulnsPredicate{
		Scanner:  vulnsScanner{URI: uri, Version: x.Version, DB: vulnsDB{LastUpdate: when(x.DatabaseBuiltAt)}, Result: []vulnsResult{}},
		Metadata: vulnsMetadata{ScanStartedOn: when(x.ScannedAt), ScanFinishedOn: when(x.ScannedAt), Annotations: []map[string]string{{"report": string(r.pointer.Digest)}}},
	}
	for i := range x.Vulnerabilities {
		v := &x.Vulnerabilities[i]
		res := vulnsResult{ID: v.ID, Severity: []vulnsSeverity{}}
		word, method := strings.ToUpper(string(v.Severity)), v.SeveritySource
		if word == "" {
			word = "UNKNOWN"
		}
		if method == "" {
			method = x.Scanner
		}
		res.Severity = append(res.Severity, vulnsSeverity{method, word})
		for _, c := range v.CVSS {
			if c.Vector != "" {
				res.Severity = append(res.Severity, vulnsSeverity{"CVSS by " + c.Source, fmt.Sprintf("%.1f %s", c.Score, c.Vector)})
			}
		}
		res.Annotations = append(res.Annotations, map[string]string{"package": strings.TrimSpace(v.Package.Name + " " + v.Package.Version)})
		if len(v.Fixed) > 0 {
			res.Annotations = append(res.Annotations, map[string]string{"fixed": strings.Join(v.Fixed, ", ")})
		}
		p.Scanner.Result = append(p.Scanner.Result, res)
	}
	return p
}
