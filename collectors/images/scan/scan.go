// Package scan reads what vulnerability scanners report about images into one
// normal form: Trivy JSON, Grype JSON, SARIF, CycloneDX with vulnerabilities, and
// the JSON of osv-scanner.
package scan

import (
	"errors"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// ErrFormat says that something is no scan report of a format that is read.
var ErrFormat = errors.New("no scan report")

// Format is a format of reports.
type Format string

// The formats that are read.
const (
	Trivy     Format = "trivy"     // Trivy's JSON, schema version 2
	Grype     Format = "grype"     // Grype's JSON
	SARIF     Format = "sarif"     // SARIF 2.1.0, as Trivy and Grype write it
	CycloneDX Format = "cyclonedx" // CycloneDX JSON 1.4 to 1.7 with vulnerabilities
	OSV       Format = "osv"       // JSON of osv-scanner
)

// Report is one scanner's report about one image, in the normal form. Nothing
// in it is trusted to be harmless text.
type Report struct {
	Format  Format
	Scanner string // "trivy", "grype", as the report says in lower case; never empty
	Version string // of the scanner; empty where the report does not say
	// ScannedAt is when the scan was made; zero where the report does not say.
	ScannedAt time.Time
	// DatabaseBuiltAt is when the vulnerability database was built; zero where the
	// report does not say.
	DatabaseBuiltAt time.Time
	Image           Image
	// Vulnerabilities are sorted by ID, package name, version, path and layer.
	Vulnerabilities []Vulnerability
	// Gaps say why the scan may have missed something, in the scanner's words: an
	// operating system past its end of life, a distribution that is not known.
	Gaps []string
}

// Image is what a report says it is about.
type Image struct {
	Name string // as the scanner was given it; never matched by
	// Digests are those of manifests and indexes that the report names, sorted.
	Digests  []evidence.Digest
	ID       evidence.Digest // of the image's configuration; empty: not said
	Platform string          // "linux/amd64", "linux/arm64/v8"; empty: not said
}

// Vulnerability is one vulnerability of one package.
type Vulnerability struct {
	ID      string   // "CVE-2024-1234", "GHSA-…", as the scanner leads with
	Aliases []string // other ids of the same, sorted, without ID
	Package Package
	// Fixed are the versions that fix it; empty: none is known.
	Fixed []string
	// Status is the scanner's own word about a fix or the lack of one: "fixed",
	// "affected", "wont-fix", "not-fixed", "unknown"; may be empty.
	Status string
	// Severity is empty where the scanner does not know it.
	Severity       evidence.Severity
	SeveritySource string // "nvd", "debian"; empty: not said
	CVSS           []CVSS // sorted
	PublishedAt    time.Time
	Layer          string // digest or diff id of the layer that holds the package; empty: not said
	Title          string // a line; may be empty
	URL            string
	// Pointer is the JSON pointer of the entry in the report.
	Pointer string
	// Suppressed says why the report itself does not count it (an embedded VEX
	// analysis); empty: it counts. Who judges decides what that is worth.
	Suppressed string
}

// Package is an installed package.
type Package struct {
	Type    string // of its package URL: "deb", "apk", "npm", "golang"; empty: not known
	Name    string // with its namespace, as the ecosystem writes it: "@babel/core", "golang.org/x/net"
	Version string
	Path    string // of the file in the image that names it; empty: not said
	PURL    string // empty: not said
}

// CVSS is one base score.
type CVSS struct {
	Source string // "nvd", "redhat"
	Vector string // "CVSS:3.1/AV:N/…"; version 2 vectors have no prefix
	Score  float64
}
