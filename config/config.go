// Package config reads the configuration, strictly: flags over HELMPROOF_*
// environment variables over helmproof.yaml over defaults. It also holds the
// control catalog and the built-in profiles.
package config

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"
)

// Config is the whole configuration; Load has checked every value. Paths that
// came from a configuration file are relative to that file's directory there,
// and to the working directory here.
type Config struct {
	// Evidence repository: a directory, file:///path, or a bucket with a prefix (gs://bucket/prefix).
	Repo string
	// Id of the repository: bundles are sealed for it, and gate takes no others.
	RepositoryId string //nolint:revive,staticcheck // named as its key
	// Signing key: a PEM file (cosign or plain), or a key in a key management service, as cosign writes it.
	Key string
	// Public keys that verification accepts: PEM files, directories of *.pub, or keys in key management services.
	Trust []string
	// Public keys that speak for a role when something is reviewed: PEM files, directories of *.pub, or keys in key management services, by role; and identities that sign without a key of their own: files that end in .identity.yaml (docs/readiness.md). As a flag and in the environment: ROLE=KEY.
	Roles []string
	// Control profile to judge by: a built-in name, or a file (with a slash, or ending in .yaml, .yml or .json).
	Profile string
	// Namespace that the release is meant for.
	Namespace string
	// Release name to render with.
	ReleaseName string
	// Kubernetes version to render for and to validate against.
	KubeVersion string
	// Further API versions that charts may ask for with .Capabilities.APIVersions.
	APIVersions []string
	// Values files for every chart, later ones over earlier ones.
	Values []string
	// File of waivers: findings that somebody accepts until a date.
	Waivers string
	// Directory of your own ValidatingAdmissionPolicies.
	Policies string
	// Directory of OpenAPI schemas for Kubernetes versions that are not embedded.
	Schemas string
	// Reports to store with each bundle.
	Formats []string
	// Time limit of rendering a chart, of looking for secrets in it, of each collector, and of deriving its findings: four times that at most for a chart, and what it takes to write.
	Timeout time.Duration
	// Charts judged at once.
	Workers int
	// kube-bench's image for collect --cluster, by digest.
	KubeBenchImage string
	// CIS benchmark for every node, such as cis-1.12, instead of the one for the platform and version.
	Benchmark string
	// Nodes on which kube-bench runs at once.
	KubeBenchParallel int
	// Time limit of kube-bench on one node.
	KubeBenchNodeTimeout time.Duration
	// Time limit of kube-bench on all nodes together.
	KubeBenchTimeout time.Duration
	// Registries and repositories that images may come from (IMG-5): ghcr.io/team, *.example.com.
	RegistryAllow []string
	// Scanners that scan the images (IMG-2, IMG-3): osv, which is embedded, trivy, which has to be installed, and trivy-job, which runs in the cluster.
	Scan []string
	// Folder of the embedded scanner's vulnerability database (helmproof db update).
	DB string
	// Trivy's program: a path, or a name in PATH.
	Trivy string
	// Trivy's image for trivy-job, by digest.
	TrivyImage string
	// Time limit of scanning one image.
	ScanTimeout time.Duration
	// Folder that keeps scans, so that an image is not scanned again while scanner and database are the same.
	ScanCache string
	// Scan reports of images (IMG-2, IMG-3): files, directories of them, or sha256:…=FILE for one that does not name its image.
	ScanReport []string
	// Output of `trivy version --format json`, which says how old the database of Trivy's reports was.
	ScannerVersion string
	// OpenVEX documents: vulnerabilities that do no harm in an image, by its digest.
	Vex []string
	// CISA's list of known exploited vulnerabilities (.json or .csv): these are critical, and nothing but VEX excuses them.
	Kev string
	// FIRST's EPSS scores (.csv or .csv.gz), for epssAbove.
	Epss string
	// Probability of exploitation from which on a vulnerability is high at least, and nothing but VEX excuses it.
	EpssAbove string
	// Only warn of vulnerabilities for which no fixed version is known.
	FixableOnly bool
	// Only warn of vulnerabilities that were published this short time ago.
	Grace time.Duration
	// How old a scan of an image may be.
	MaxScanAge time.Duration
	// How old the vulnerability database of a scan may be.
	MaxDatabaseAge time.Duration
	// Platforms that the release runs on: each has to be scanned.
	Platform []string
	// Further fields of custom resources that name images, as GROUP/KIND:PATH; a path that ends in ! leads to a pod template.
	ImageField []string
	// Further pod templates of custom resources, as GROUP/KIND:PATH, or GROUP/KIND:PATH=Job to be judged as another built-in kind than Deployment: [pod-templates.md](pod-templates.md) has those that are known.
	PodTemplates []string
	// Ask the registries what tags and digests name (IMG-6): moved tags, platforms of an index, attached SBOMs.
	Resolve bool
	// ClusterImagePolicies by which image signatures are verified (IMG-4).
	SignaturePolicy []string
	// Sigstore trusted root, for keyless signatures and transparency logs.
	TrustedRoot string
	// What gate takes from the evidence instead of its own: scans (the scan policy), vex (OpenVEX documents), signatures (signature policies), secrets (rotationInterval, secretReaders, maxAccessLogAge).
	EvidenceLists []string
	// How old the last change of a Secret that an ExternalSecret makes may be (SCR-4).
	RotationInterval time.Duration
	// Access logs of the secret manager, exported to files (SCR-5): audit logs of Google Cloud, CloudTrail or Vault, as JSON, also packed by gzip.
	AccessLog []string
	// Principals that may read secrets (SCR-5), as the access logs name them; * stands for any characters but /, : and @.
	SecretReaders []string
	// How old the newest entry of a secret manager's access logs may be (SCR-5).
	MaxAccessLogAge time.Duration
	// RFC 3161 timestamp authority; without one nothing proves when a bundle was sealed.
	TSA string
	// Most files that an evidence bundle may hold to be read.
	VerifyMaxFiles int
	// Most that an evidence bundle may hold unpacked to be read, in MiB.
	VerifyMaxSize int
	// Colour in the terminal: auto, always or never.
	Color string
	// What commands print: text, or one JSON object.
	Output string

	settings []Setting
}

// Setting is one key as it stands, and where it came from.
type Setting struct {
	Key    string `json:"key"`
	Value  string `json:"value"`  // passwords and tokens in URLs are redacted
	Source string `json:"source"` // "--repo", "HELMPROOF_REPO", the file's name, or "default"
}

// Source says where Load looks.
type Source struct {
	// Flags that were parsed. A flag that has a key's name (kube-version for
	// kubeVersion) and was set counts; all others are left alone.
	Flags *pflag.FlagSet
	// File is the configuration file; it must be there. If empty,
	// HELMPROOF_CONFIG names it, else it is helmproof.yaml in Dir, else
	// helmproof/helmproof.yaml in UserDir, else there is none.
	File string
	// Env is the environment ("KEY=value"); empty values count as unset.
	Env []string
	// Dir is where helmproof.yaml and waivers.yaml are looked for; if empty, the
	// working directory.
	Dir string
	// UserDir is the user's configuration folder; if empty, os.UserConfigDir.
	UserDir string
}

// Load reads and checks the configuration. Errors are of type *Error, except
// for files that cannot be read.
func Load(src Source) (*Config, error) {
	env, err := readEnv(src.Env)
	if err != nil {
		return nil, err
	}
	file, err := findFile(src, env[configVariable])
	if err != nil {
		return nil, err
	}
	inFile, err := readFile(file)
	if err != nil {
		return nil, err
	}

	v := viper.New()
	// viper lowers the keys of the map that it is given, hence the copies.
	if err := v.MergeConfigMap(maps.Clone(inFile)); err != nil {
		return nil, err
	}
	inEnv := map[string]any{}
	all := keys()
	for _, k := range all {
		v.SetDefault(k.name, k.value)
		if raw, ok := env[k.env()]; ok {
			inEnv[k.name] = k.split(raw)
		}
		if f := lookup(src.Flags, k); f != nil {
			if err := v.BindPFlag(k.name, f); err != nil {
				return nil, err
			}
		}
	}
	// The environment lies over the file in viper's layer for configuration
	// files, since its own layer for variables reads the process's environment.
	if err := v.MergeConfigMap(maps.Clone(inEnv)); err != nil {
		return nil, err
	}
	v.SetDefault("waivers", defaultWaivers(src.Dir))

	c := &Config{}
	for _, k := range all {
		set := Setting{Key: k.name, Source: "default"}
		where, origin := k.name, ""
		switch f := lookup(src.Flags, k); {
		case f != nil:
			where = "--" + k.flag()
			set.Source = where
		case inEnv[k.name] != nil:
			where = k.env()
			set.Source = where
		case inFile[k.name] != nil:
			set.Source, origin = file, file
		}
		if bad := k.set(c, v.Get(k.name)); bad != nil {
			bad.File, bad.Key = origin, where
			return nil, bad
		}
		set.Value = k.String(c)
		c.settings = append(c.settings, set)
	}
	return c, nil
}

// Show returns every key with its value and where that came from.
func (c *Config) Show() []Setting { return slices.Clone(c.settings) }

// lookup returns the key's flag if it is there and was set.
func lookup(flags *pflag.FlagSet, k key) *pflag.Flag {
	if flags == nil || k.fileOnly {
		return nil
	}
	if f := flags.Lookup(k.flag()); f != nil && f.Changed {
		return f
	}
	return nil
}

func findFile(src Source, fromEnv string) (string, error) {
	if src.File != "" {
		return src.File, nil
	}
	if fromEnv != "" {
		return fromEnv, nil
	}
	candidates := []string{filepath.Join(src.Dir, "helmproof.yaml")}
	user := src.UserDir
	if user == "" {
		if d, err := os.UserConfigDir(); err == nil { // without a home there is no such file
			user = d
		}
	}
	if user != "" {
		candidates = append(candidates, filepath.Join(user, "helmproof", "helmproof.yaml"))
	}
	for _, name := range candidates {
		_, err := os.Stat(name)
		switch {
		case err == nil:
			return name, nil
		case !errors.Is(err, fs.ErrNotExist):
			return "", err
		}
	}
	return "", nil
}

func defaultWaivers(dir string) string {
	name := filepath.Join(dir, "waivers.yaml")
	if isFile(name) {
		return name
	}
	return ""
}

// String is the key's value as it is shown.
func (k key) String(c *Config) string {
	switch f := k.field(c).(type) {
	case *[]string:
		shown := make([]string, len(*f))
		for i, s := range *f {
			shown[i] = redact(s)
		}
		return strings.Join(shown, ",")
	case *string:
		return redact(*f)
	case *time.Duration:
		return shortDuration(*f)
	default:
		return plain(f)
	}
}
