package config

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/companyos/helmproof/internal/keyref"
)

// kind is the type of a key's value.
type kind string

const (
	text     kind = "text"
	list     kind = "list of text"
	number   kind = "whole number"
	duration kind = "duration"
	boolean  kind = "true or false"
	// mapping is a mapping of lists in helmproof.yaml, and a list of NAME=VALUE elsewhere.
	mapping kind = "mapping of lists of text"
)

// place says that a text is a path, which in a configuration file is relative
// to that file.
type place func(string) bool

// key is one configuration key: the only place that knows its flag, its
// default and what it may hold. The documentation is generated from it.
type key struct {
	name  string // in helmproof.yaml
	kind  kind
	value any    // the default, of the kind's type
	shown string // the default in the documentation, where value does not say it
	doc   string // the same text as the field's comment in Config
	want  string // what is allowed, to be read after "want"
	check func(string) bool
	path  place
	// fileOnly keys have no flag: nobody changes them from run to run.
	fileOnly bool
	// flagName is the flag where the key's own name makes a poor one.
	flagName string
	field    func(*Config) any // pointer to the field
}

// flag is the command line's name of the key: kube-version.
func (k key) flag() string {
	if k.flagName != "" {
		return k.flagName
	}
	var b strings.Builder
	for _, r := range k.name {
		if unicode.IsUpper(r) {
			b.WriteByte('-')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// env is the environment variable of the key: HELMPROOF_KUBE_VERSION.
func (k key) env() string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(k.flag(), "-", "_"))
}

const envPrefix = "HELMPROOF_"

// Formats returns the names of the report formats.
func Formats() []string { return []string{"pdf", "md", "html", "json", "sarif", "junit"} }

// PrintedFormats are the formats that are printed: those of reports, and workflow
// commands of GitHub Actions, which are no report.
func PrintedFormats() []string { return append(Formats(), "github") }

var (
	labelPattern        = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)
	releasePattern      = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)
	kubeVersionPattern  = regexp.MustCompile(`^v?1\.[0-9]{1,3}(\.[0-9]{1,3})?([-+][0-9A-Za-z.+-]+)?$`)
	apiVersionPattern   = regexp.MustCompile(`^([a-z0-9.-]+/)?v[0-9]+((alpha|beta)[0-9]+)?(/[A-Z][A-Za-z0-9]*)?$`)
	pinnedPattern       = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/-]*@sha256:[0-9a-f]{64}$`)
	benchmarkPattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{0,62}$`)
	repositoryIDPattern = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`) // as repository.CheckID has it
	repoSchemes         = []string{"file", "gs"}
)

// keys lists every key in the order in which documentation and Show have them.
func keys() []key {
	return slices.Concat(mainKeys(), imageKeys())
}

func mainKeys() []key {
	return []key{
		{name: "repo", kind: text, value: "./evidence-repo", field: func(c *Config) any { return &c.Repo },
			doc:  "Evidence repository: a directory, file:///path, or a bucket with a prefix (gs://bucket/prefix).",
			want: "a directory, or a URL with file or gs", check: isRepo, path: isPlainPath},
		{name: "repositoryId", kind: text, value: "", shown: "that which the first `collect` gave it, remembered on the machine", field: func(c *Config) any { return &c.RepositoryId },
			doc:  "Id of the repository: bundles are sealed for it, and gate takes no others.",
			want: "letters, digits, \".\", \"_\" and \"-\", at most 128", check: orEmpty(repositoryIDPattern.MatchString)},
		{name: "key", kind: text, value: "", shown: "a key of your own, made at the first `collect`", field: func(c *Config) any { return &c.Key },
			doc:  "Signing key: a PEM file (cosign or plain), or a key in a key management service, as cosign writes it.",
			want: "a file, or " + keyref.Want, check: isKey, path: isPlainPath},
		{name: "trust", kind: list, value: []string{}, shown: "your own keys", field: func(c *Config) any { return &c.Trust },
			doc:  "Public keys that verification accepts: PEM files, directories of *.pub, or keys in key management services.",
			want: "public key files or directories, or " + keyref.Want, check: isKey, path: isPlainPath},
		{name: "roles", flagName: "role-key", kind: mapping, value: []string{}, field: func(c *Config) any { return &c.Roles },
			doc:  "Public keys that speak for a role when something is reviewed: PEM files, directories of *.pub, or keys in key management services, by role; and identities that sign without a key of their own: files that end in .identity.yaml (docs/readiness.md). As a flag and in the environment: ROLE=KEY.",
			want: "roles with lists of keys, or ROLE=KEY: a role of lower-case letters, digits and -, and a public key file, a directory, or " + keyref.Want, check: isRoleKey, path: isPlainPath},
		{name: "profile", kind: text, value: "chart", field: func(c *Config) any { return &c.Profile },
			doc:  "Control profile to judge by: a built-in name, or a file (with a slash, or ending in .yaml, .yml or .json).",
			want: wantProfile(), check: isProfile, path: isProfileFile},
		{name: "namespace", kind: text, value: "default", field: func(c *Config) any { return &c.Namespace },
			doc:  "Namespace that the release is meant for.",
			want: "a namespace's name: lower-case letters, digits and -, at most 63", check: labelPattern.MatchString},
		{name: "releaseName", kind: text, value: "", shown: "the chart's name", field: func(c *Config) any { return &c.ReleaseName },
			doc:  "Release name to render with.",
			want: "a release name: lower-case letters, digits, - and ., at most 53", check: isReleaseName},
		{name: "kubeVersion", kind: text, value: "", shown: "the newest version with embedded schemas", field: func(c *Config) any { return &c.KubeVersion },
			doc:  "Kubernetes version to render for and to validate against.",
			want: "a version like 1.37", check: orEmpty(kubeVersionPattern.MatchString)},
		{name: "apiVersions", kind: list, value: []string{}, field: func(c *Config) any { return &c.APIVersions },
			doc:  "Further API versions that charts may ask for with .Capabilities.APIVersions.",
			want: "API versions like monitoring.coreos.com/v1 or policy/v1/PodDisruptionBudget", check: apiVersionPattern.MatchString},
		{name: "values", kind: list, value: []string{}, field: func(c *Config) any { return &c.Values },
			doc:  "Values files for every chart, later ones over earlier ones.",
			want: "values files", check: isText, path: isPlainPath},
		{name: "waivers", kind: text, value: "", shown: "`./waivers.yaml`, if it is there", field: func(c *Config) any { return &c.Waivers },
			doc:  "File of waivers: findings that somebody accepts until a date.",
			want: "a file that is there", check: orEmpty(isFile), path: isPlainPath},
		{name: "policies", kind: text, value: "", field: func(c *Config) any { return &c.Policies },
			doc:  "Directory of your own ValidatingAdmissionPolicies.",
			want: "a directory that is there", check: orEmpty(isDir), path: isPlainPath},
		{name: "schemas", kind: text, value: "", field: func(c *Config) any { return &c.Schemas },
			doc:  "Directory of OpenAPI schemas for Kubernetes versions that are not embedded.",
			want: "a directory that is there", check: orEmpty(isDir), path: isPlainPath},
		{name: "formats", kind: list, value: Formats(), field: func(c *Config) any { return &c.Formats },
			doc:  "Reports to store with each bundle.",
			want: "one or more of " + strings.Join(Formats(), ", "), check: oneOf(Formats()...)},
		{name: "timeout", kind: duration, value: 2 * time.Minute, field: func(c *Config) any { return &c.Timeout },
			doc:  "Time limit of rendering a chart, of looking for secrets in it, of each collector, and of deriving its findings: four times that at most for a chart, and what it takes to write.",
			want: "a duration between 1s and 24h, like 2m", check: durationBetween(time.Second, 24*time.Hour)},
		{name: "workers", kind: number, value: 0, shown: "0: one per processor, and one that is loaded meanwhile", field: func(c *Config) any { return &c.Workers },
			doc:  "Charts judged at once.",
			want: "a whole number between 0 and 1024", check: numberBetween(0, 1024)},
		{name: "kubeBenchImage", kind: text, value: "", field: func(c *Config) any { return &c.KubeBenchImage },
			doc:  "kube-bench's image for collect --cluster, by digest.",
			want: "an image by digest: registry/name@sha256:…", check: orEmpty(pinnedPattern.MatchString)},
		{name: "benchmark", kind: text, value: "", shown: "that of the platform and version", field: func(c *Config) any { return &c.Benchmark },
			doc:  "CIS benchmark for every node, such as cis-1.12, instead of the one for the platform and version.",
			want: "a benchmark of kube-bench: lower-case letters, digits, - and .", check: orEmpty(benchmarkPattern.MatchString)},
		{name: "kubeBenchParallel", kind: number, value: 10, field: func(c *Config) any { return &c.KubeBenchParallel },
			doc:  "Nodes on which kube-bench runs at once.",
			want: "a whole number between 1 and 200", check: numberBetween(1, 200)},
		{name: "kubeBenchNodeTimeout", kind: duration, value: 5 * time.Minute, field: func(c *Config) any { return &c.KubeBenchNodeTimeout },
			doc:  "Time limit of kube-bench on one node.",
			want: "a duration between 1s and 1h, like 5m", check: durationBetween(time.Second, time.Hour)},
		{name: "kubeBenchTimeout", kind: duration, value: time.Hour, field: func(c *Config) any { return &c.KubeBenchTimeout },
			doc:  "Time limit of kube-bench on all nodes together.",
			want: "a duration between 1s and 24h, like 1h", check: durationBetween(time.Second, 24*time.Hour)},
		{name: "rotationInterval", fileOnly: true, kind: duration, value: 90 * 24 * time.Hour, field: func(c *Config) any { return &c.RotationInterval },
			doc:  "How old the last change of a Secret that an ExternalSecret makes may be (SCR-4).",
			want: "a duration between 24h and 87600h, like 2160h", check: durationBetween(24*time.Hour, 87600*time.Hour)},
		{name: "accessLog", kind: list, value: []string{}, field: func(c *Config) any { return &c.AccessLog },
			doc:  "Access logs of the secret manager, exported to files (SCR-5): audit logs of Google Cloud, CloudTrail or Vault, as JSON, also packed by gzip.",
			want: "files that are there", check: isFile, path: isPlainPath},
		{name: "secretReaders", fileOnly: true, kind: list, value: []string{}, field: func(c *Config) any { return &c.SecretReaders },
			doc:  "Principals that may read secrets (SCR-5), as the access logs name them; * stands for any characters but /, : and @.",
			want: "names of principals, with at most four * and more than those", check: isReader},
		{name: "maxAccessLogAge", fileOnly: true, kind: duration, value: 168 * time.Hour, field: func(c *Config) any { return &c.MaxAccessLogAge },
			doc:  "How old the newest entry of a secret manager's access logs may be (SCR-5).",
			want: "a duration between 1h and 8760h, like 168h", check: durationBetween(time.Hour, 8760*time.Hour)},
		{name: "tsa", kind: text, value: "", field: func(c *Config) any { return &c.TSA },
			doc:  "RFC 3161 timestamp authority; without one nothing proves when a bundle was sealed.",
			want: "an http:// or https:// URL", check: orEmpty(isHTTP)},
		{name: "verifyMaxFiles", fileOnly: true, kind: number, value: 20_000, field: func(c *Config) any { return &c.VerifyMaxFiles },
			doc:  "Most files that an evidence bundle may hold to be read.",
			want: "a whole number between 1 and 1000000", check: numberBetween(1, 1_000_000)},
		{name: "verifyMaxSize", fileOnly: true, kind: number, value: 1024, field: func(c *Config) any { return &c.VerifyMaxSize },
			doc:  "Most that an evidence bundle may hold unpacked to be read, in MiB.",
			want: "a whole number between 1 and 65536", check: numberBetween(1, 65536)},
		{name: "color", kind: text, value: "auto", field: func(c *Config) any { return &c.Color },
			doc:  "Colour in the terminal: auto, always or never.",
			want: "auto, always or never", check: oneOf("auto", "always", "never")},
		{name: "output", kind: text, value: "text", field: func(c *Config) any { return &c.Output },
			doc:  "What commands print: text, or one JSON object.",
			want: "text or json", check: oneOf("text", "json")},
	}
}

// isReader is the outline of what accesslog.ParseReader reads.
func isReader(s string) bool {
	return isText(s) && len(s) <= 256 && strings.Trim(s, "*") != "" && strings.Count(s, "*") <= 4
}

func isText(s string) bool { return s != "" && !strings.ContainsRune(s, 0) }

// isPlainPath tells a path from a URL.
func isPlainPath(s string) bool { return s != "" && !strings.Contains(s, "://") }

func hasScheme(schemes []string) func(string) bool {
	return func(s string) bool {
		u, err := url.Parse(s)
		return err == nil && slices.Contains(schemes, u.Scheme) && (u.Host != "" || u.Path != "")
	}
}

func isRepo(s string) bool {
	return isText(s) && (isPlainPath(s) || hasScheme(repoSchemes)(s))
}

func isKey(s string) bool {
	return s == "" || isText(s) && (isPlainPath(s) || keyref.Is(s))
}

// isRoleKey holds that a text is a role, = and a key.
func isRoleKey(s string) bool {
	role, k, ok := strings.Cut(s, "=")
	return ok && labelPattern.MatchString(role) && k != "" && isKey(k)
}

func isProfile(s string) bool {
	return isProfileFile(s) || slices.Contains(Profiles(), s)
}

func isReleaseName(s string) bool {
	return s == "" || len(s) <= 53 && releasePattern.MatchString(s)
}

func isHTTP(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func isFile(s string) bool {
	info, err := os.Stat(filepath.Clean(s))
	return err == nil && !info.IsDir()
}

func isDir(s string) bool {
	info, err := os.Stat(filepath.Clean(s))
	return err == nil && info.IsDir()
}

func orEmpty(f func(string) bool) func(string) bool {
	return func(s string) bool { return s == "" || f(s) }
}

func oneOf(allowed ...string) func(string) bool {
	return func(s string) bool { return slices.Contains(allowed, s) }
}

func numberBetween(low, high int) func(string) bool {
	return func(s string) bool {
		n, err := strconv.Atoi(s)
		return err == nil && n >= low && n <= high
	}
}

func durationBetween(low, high time.Duration) func(string) bool {
	return func(s string) bool {
		d, err := time.ParseDuration(s)
		return err == nil && d >= low && d <= high
	}
}

// set checks raw (a text, a list of text or an int) and stores it in c. The
// error says what is wrong with the value, but not where it came from.
func (k key) set(c *Config, raw any) *Error {
	items, isList := raw.([]string)
	if !isList {
		items = []string{fmt.Sprint(raw)}
	}
	seen := map[string]bool{}
	for _, s := range items {
		switch ok := k.check(s); {
		case s == "" && (!ok || isList):
			return &Error{Problem: "empty", Allowed: k.want}
		case !ok:
			return &Error{Value: s, Allowed: k.want}
		case seen[s]:
			return &Error{Value: s, Problem: "is given twice"}
		}
		seen[s] = true
	}
	switch f := k.field(c).(type) {
	case *[]string:
		*f = slices.Clone(items)
	case *string:
		*f = items[0]
	case *int:
		*f, _ = strconv.Atoi(items[0]) // check accepted it
	case *bool:
		*f = items[0] == "true"
	case *time.Duration:
		*f, _ = time.ParseDuration(items[0]) // check accepted it
	default:
		panic(fmt.Sprintf("config key %s: field of type %T", k.name, f))
	}
	return nil
}
