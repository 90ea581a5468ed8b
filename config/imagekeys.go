package config

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

var platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)

// podTemplatePattern is the outline of what manifest.ParsePodTemplate reads.
var podTemplatePattern = regexp.MustCompile(`^[a-z0-9.-]+/[A-Z][A-Za-z0-9]*:[^:= ]+(=(Deployment|StatefulSet|DaemonSet|Job|Pod))?$`)

// imageKeys are those of the collector of images.
func imageKeys() []key {
	return []key{
		{name: "registryAllow", kind: list, value: []string{}, field: func(c *Config) any { return &c.RegistryAllow },
			doc:  "Registries and repositories that images may come from (IMG-5): ghcr.io/team, *.example.com.",
			want: "registries or starts of repositories, such as ghcr.io/team", check: isText},
		{name: "scan", kind: list, value: []string{}, field: func(c *Config) any { return &c.Scan },
			doc:  "Scanners that scan the images (IMG-2, IMG-3): osv, which is embedded, trivy, which has to be installed, and trivy-job, which runs in the cluster.",
			want: "one or more of osv, trivy, trivy-job", check: oneOf("osv", "trivy", "trivy-job")},
		{name: "db", kind: text, value: "", shown: "helmproof/osv in the user's cache folder", field: func(c *Config) any { return &c.DB },
			doc:  "Folder of the embedded scanner's vulnerability database (helmproof db update).",
			want: "a directory", check: orEmpty(isPlainPath), path: isPlainPath},
		{name: "trivy", kind: text, value: "trivy", field: func(c *Config) any { return &c.Trivy },
			doc:  "Trivy's program: a path, or a name in PATH.",
			want: "a program", check: isText, path: func(s string) bool { return strings.Contains(s, "/") }},
		{name: "trivyImage", kind: text, value: "", field: func(c *Config) any { return &c.TrivyImage },
			doc:  "Trivy's image for trivy-job, by digest.",
			want: "an image by digest: registry/name@sha256:…", check: orEmpty(pinnedPattern.MatchString)},
		{name: "scanTimeout", kind: duration, value: 10 * time.Minute, field: func(c *Config) any { return &c.ScanTimeout },
			doc:  "Time limit of scanning one image.",
			want: "a duration between 1s and 24h, like 10m", check: durationBetween(time.Second, 24*time.Hour)},
		{name: "scanCache", kind: text, value: "", shown: "helmproof/scans in the user's cache folder", field: func(c *Config) any { return &c.ScanCache },
			doc:  "Folder that keeps scans, so that an image is not scanned again while scanner and database are the same.",
			want: "a directory", check: orEmpty(isPlainPath), path: isPlainPath},
		{name: "scanReport", kind: list, value: []string{}, field: func(c *Config) any { return &c.ScanReport },
			doc:  "Scan reports of images (IMG-2, IMG-3): files, directories of them, or sha256:…=FILE for one that does not name its image.",
			want: "files or directories, or sha256:…=FILE", check: isText, path: isReportPath},
		{name: "scannerVersion", kind: text, value: "", field: func(c *Config) any { return &c.ScannerVersion },
			doc:  "Output of `trivy version --format json`, which says how old the database of Trivy's reports was.",
			want: "a file that is there", check: orEmpty(isFile), path: isPlainPath},
		{name: "vex", kind: list, value: []string{}, field: func(c *Config) any { return &c.Vex },
			doc:  "OpenVEX documents: vulnerabilities that do no harm in an image, by its digest.",
			want: "files that are there", check: isFile, path: isPlainPath},
		{name: "kev", kind: text, value: "", field: func(c *Config) any { return &c.Kev },
			doc:  "CISA's list of known exploited vulnerabilities (.json or .csv): these are critical, and nothing but VEX excuses them.",
			want: "a file that is there", check: orEmpty(isFile), path: isPlainPath},
		{name: "epss", kind: text, value: "", field: func(c *Config) any { return &c.Epss },
			doc:  "FIRST's EPSS scores (.csv or .csv.gz), for epssAbove.",
			want: "a file that is there", check: orEmpty(isFile), path: isPlainPath},
		{name: "epssAbove", kind: text, value: "0.1", field: func(c *Config) any { return &c.EpssAbove },
			doc:  "Probability of exploitation from which on a vulnerability is high at least, and nothing but VEX excuses it.",
			want: "a probability from 0 to 1, like 0.1", check: isProbability},
		{name: "fixableOnly", kind: boolean, value: false, field: func(c *Config) any { return &c.FixableOnly },
			doc:  "Only warn of vulnerabilities for which no fixed version is known.",
			want: "true or false", check: oneOf("true", "false")},
		{name: "grace", kind: duration, value: time.Duration(0), field: func(c *Config) any { return &c.Grace },
			doc:  "Only warn of vulnerabilities that were published this short time ago.",
			want: "a duration up to 8760h, like 336h", check: durationBetween(0, 8760*time.Hour)},
		{name: "maxScanAge", kind: duration, value: 168 * time.Hour, field: func(c *Config) any { return &c.MaxScanAge },
			doc:  "How old a scan of an image may be.",
			want: "a duration between 1m and 8760h, like 168h", check: durationBetween(time.Minute, 8760*time.Hour)},
		{name: "maxDatabaseAge", kind: duration, value: 120 * time.Hour, field: func(c *Config) any { return &c.MaxDatabaseAge },
			doc:  "How old the vulnerability database of a scan may be.",
			want: "a duration between 1m and 8760h, like 120h", check: durationBetween(time.Minute, 8760*time.Hour)},
		{name: "platform", kind: list, value: []string{"linux/amd64"}, field: func(c *Config) any { return &c.Platform },
			doc:  "Platforms that the release runs on: each has to be scanned.",
			want: "platforms like linux/amd64", check: platformPattern.MatchString},
		{name: "imageField", kind: list, value: []string{}, field: func(c *Config) any { return &c.ImageField },
			doc:  "Further fields of custom resources that name images, as GROUP/KIND:PATH; a path that ends in ! leads to a pod template.",
			want: "fields like example.com/Engine:spec.image", check: isText, fileOnly: true},
		{name: "podTemplates", kind: list, value: []string{}, field: func(c *Config) any { return &c.PodTemplates },
			doc:  "Further pod templates of custom resources, as GROUP/KIND:PATH, or GROUP/KIND:PATH=Job to be judged as another built-in kind than Deployment: [pod-templates.md](pod-templates.md) has those that are known.",
			want: "paths like example.com/Engine:spec.template, or example.com/Batch:spec.template=Job", check: podTemplatePattern.MatchString, fileOnly: true},
		{name: "resolve", kind: boolean, value: false, field: func(c *Config) any { return &c.Resolve },
			doc:  "Ask the registries what tags and digests name (IMG-6): moved tags, platforms of an index, attached SBOMs.",
			want: "true or false", check: oneOf("true", "false")},
		{name: "signaturePolicy", kind: list, value: []string{}, field: func(c *Config) any { return &c.SignaturePolicy },
			doc:  "ClusterImagePolicies by which image signatures are verified (IMG-4).",
			want: "files", check: isText, path: isPlainPath},
		{name: "trustedRoot", kind: text, value: "", field: func(c *Config) any { return &c.TrustedRoot },
			doc:  "Sigstore trusted root, for keyless signatures and transparency logs.",
			want: "a file", check: orEmpty(isPlainPath), path: isPlainPath},
		{name: "evidenceLists", kind: list, value: []string{}, field: func(c *Config) any { return &c.EvidenceLists },
			doc:  "What gate takes from the evidence instead of its own: scans (the scan policy), vex (OpenVEX documents), signatures (signature policies), secrets (rotationInterval, secretReaders, maxAccessLogAge).",
			want: "one or more of scans, vex, signatures, secrets", check: oneOf("scans", "vex", "signatures", "secrets")},
	}
}

// isReportPath tells a path from a digest with one.
func isReportPath(s string) bool { return isPlainPath(s) && !strings.HasPrefix(s, "sha256:") }

func isProbability(s string) bool {
	p, err := strconv.ParseFloat(s, 64)
	return err == nil && p >= 0 && p <= 1
}
