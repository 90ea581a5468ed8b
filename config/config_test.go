package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spf13/pflag"

	"github.com/companyos/helmproof/evidence/gate"
)

// write makes files under a new directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for _, name := range []string{"repo", "key", "profile", "namespace", "release-name", "kube-version", "waivers", "policies", "schemas", "tsa", "color", "output", "verify-max-size"} {
		fs.String(name, "", "")
	}
	fs.StringSlice("trust", nil, "")
	fs.StringSlice("api-versions", nil, "")
	fs.StringSlice("formats", nil, "")
	fs.StringArray("values", nil, "")
	fs.Duration("timeout", 0, "")
	fs.Int("workers", 0, "")
	fs.Bool("not-a-key", false, "")
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return fs
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	none := t.TempDir()
	for _, src := range []Source{{Dir: none, UserDir: none}, {Dir: none, UserDir: none, Flags: flags(t), Env: []string{"HOME=/", "HELMPROOF_REPO="}}} {
		got, err := Load(src)
		if err != nil {
			t.Fatal(err)
		}
		want := &Config{
			Repo: "./evidence-repo", Profile: "chart", Namespace: "default", Formats: []string{"pdf", "md", "html", "json", "sarif", "junit"},
			KubeBenchParallel: 10, KubeBenchNodeTimeout: 5 * time.Minute, KubeBenchTimeout: time.Hour,
			Trivy: "trivy", ScanTimeout: 10 * time.Minute, EpssAbove: "0.1", MaxScanAge: 168 * time.Hour, MaxDatabaseAge: 120 * time.Hour, Platform: []string{"linux/amd64"},
			RotationInterval: 2160 * time.Hour, MaxAccessLogAge: 168 * time.Hour, Timeout: 2 * time.Minute, VerifyMaxFiles: 20_000, VerifyMaxSize: 1024, Color: "auto", Output: "text",
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"helmproof.yaml": `
repo: gs://file/prefix
kubeVersion: 1.30
namespace: from-file
releaseName: from-file
values: [a.yaml, /abs/b.yaml, "https://example.org/c.yaml"]
timeout: 90s
workers: 3
`, "waivers.yaml": "waivers: []\n"})
	file := filepath.Join(dir, "helmproof.yaml")
	c, err := Load(Source{
		Dir: dir, UserDir: dir,
		Env:   []string{"HELMPROOF_NAMESPACE=from-env", "HELMPROOF_RELEASE_NAME=from-env", "HELMPROOF_FORMATS=pdf, sarif", "HELMPROOF_TEST_ANYTHING=1", "HELMPROOF_COSIGN=/bin/cosign"},
		Flags: flags(t, "--release-name=from-flag", "--trust=a.pub,b.pub", "--timeout=1m", "--not-a-key", "--verify-max-size=7"),
	})
	if err != nil {
		t.Fatal(err)
	}
	type row struct{ Value, Source string }
	got := map[string]row{}
	for _, s := range c.Show() {
		got[s.Key] = row{s.Value, s.Source}
	}
	for key, want := range map[string]row{
		"repo":          {"gs://file/prefix", file},
		"kubeVersion":   {"1.30", file},
		"namespace":     {"from-env", "HELMPROOF_NAMESPACE"},
		"releaseName":   {"from-flag", "--release-name"},
		"values":        {dir + "/a.yaml,/abs/b.yaml,https://example.org/c.yaml", file},
		"formats":       {"pdf,sarif", "HELMPROOF_FORMATS"},
		"trust":         {"a.pub,b.pub", "--trust"},
		"timeout":       {"1m", "--timeout"},
		"workers":       {"3", file},
		"waivers":       {filepath.Join(dir, "waivers.yaml"), "default"},
		"verifyMaxSize": {"1024", "default"}, // not a flag
		"color":         {"auto", "default"},
	} {
		if got[key] != want {
			t.Errorf("%s is %+v, want %+v", key, got[key], want)
		}
	}
	if c.Namespace != "from-env" || c.Timeout != time.Minute || c.Workers != 3 || len(c.Formats) != 2 || len(c.Values) != 3 {
		t.Errorf("the configuration is %+v", c)
	}
}

// Roles are a mapping in the file and ROLE=KEY elsewhere; files are relative to the
// configuration's folder there.
func TestRoles(t *testing.T) {
	t.Parallel()
	dir := write(t, map[string]string{"helmproof.yaml": "roles:\n  security: [keys/ada.pub, gcpkms://projects/p]\n  sre: [/keys]\n"})
	for _, tt := range []struct {
		args, env []string
		want      string
	}{
		{want: "security=" + dir + "/keys/ada.pub,security=gcpkms://projects/p,sre=/keys"},
		{env: []string{"HELMPROOF_ROLE_KEY=sre=a.pub, security=b.pub"}, want: "sre=a.pub,security=b.pub"},
		{args: []string{"--role-key=qa=c.pub", "--role-key=qa=d.pub"}, env: []string{"HELMPROOF_ROLE_KEY=sre=a.pub"}, want: "qa=c.pub,qa=d.pub"},
	} {
		fs := flags(t)
		fs.StringArray("role-key", nil, "")
		if err := fs.Parse(tt.args); err != nil {
			t.Fatal(err)
		}
		c, err := Load(Source{File: filepath.Join(dir, "helmproof.yaml"), Flags: fs, Env: tt.env})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(c.Roles, ","); got != tt.want {
			t.Errorf("%v %v: %s, want %s", tt.args, tt.env, got, tt.want)
		}
	}
}

func TestFile(t *testing.T) {
	t.Parallel()
	user := write(t, map[string]string{"helmproof/helmproof.yaml": "namespace: user\nkey: cosign.key\nprofile: own.yaml\n"})
	work := write(t, map[string]string{"helmproof.yaml": "namespace: work\n", "other.yaml": "namespace: other\n"})
	empty := t.TempDir()
	tests := []struct {
		name string
		src  Source
		want string
	}{
		{"working directory", Source{Dir: work, UserDir: user}, "work"},
		{"user's folder", Source{Dir: empty, UserDir: user}, "user"},
		{"variable", Source{Dir: work, UserDir: user, Env: []string{"HELMPROOF_CONFIG=" + work + "/other.yaml"}}, "other"},
		{"named", Source{Dir: work, File: user + "/helmproof/helmproof.yaml", Env: []string{"HELMPROOF_CONFIG=" + work + "/other.yaml"}}, "user"},
		{"none", Source{Dir: empty, UserDir: empty}, "default"},
	}
	for _, tt := range tests {
		c, err := Load(tt.src)
		if err != nil {
			t.Fatalf("%s: %v", tt.name, err)
		}
		if c.Namespace != tt.want {
			t.Errorf("%s: namespace %s, want %s", tt.name, c.Namespace, tt.want)
		}
		if tt.want == "user" && (c.Key != user+"/helmproof/cosign.key" || c.Profile != user+"/helmproof/own.yaml") {
			t.Errorf("%s: paths are not relative to the file: %s, %s", tt.name, c.Key, c.Profile)
		}
	}
	_, err := Load(Source{File: filepath.Join(empty, "gone.yaml")})
	var bad *Error
	if !errors.As(err, &bad) || !strings.HasSuffix(err.Error(), "gone.yaml: there is no such file") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// Each file under testdata/invalid breaks one rule; its first line is the exact message.
func TestInvalidFiles(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/invalid/*.yaml")
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	broken := map[string]bool{}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		first, rest, _ := strings.Cut(string(raw), "\n")
		want, ok := strings.CutPrefix(first, "# ")
		if !ok {
			t.Fatalf("%s: the first line is no message", name)
		}
		dir := write(t, map[string]string{"helmproof.yaml": rest})
		_, err = Load(Source{File: filepath.Join(dir, "helmproof.yaml")})
		var bad *Error
		if !errors.As(err, &bad) {
			t.Errorf("%s: %v (%T), want a *Error", name, err, err)
			continue
		}
		broken[bad.Key] = true
		if got := strings.TrimPrefix(err.Error(), dir+"/"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
	for _, k := range keys() {
		if !broken[k.name] {
			t.Errorf("no file under testdata/invalid breaks %s", k.name)
		}
	}
}

const wantRoleKey = "roles with lists of keys, or ROLE=KEY: a role of lower-case letters, digits and -, and a public key file, a directory, or awskms://…, azurekms://…, gcpkms://…, hashivault://… or openbao://…"

func TestInvalidFlagsAndVariables(t *testing.T) {
	t.Parallel()
	none := t.TempDir()
	tests := []struct {
		args, env []string
		want      string
	}{
		{[]string{"--kube-version=banana"}, nil, `--kube-version: "banana": want a version like 1.37`},
		{nil, []string{"HELMPROOF_KUBE_VERSION=banana"}, `HELMPROOF_KUBE_VERSION: "banana": want a version like 1.37`},
		{[]string{"--workers=-1"}, nil, `--workers: "-1": want a whole number between 0 and 1024`},
		{nil, []string{"HELMPROOF_WORKERS=two"}, `HELMPROOF_WORKERS: "two": want a whole number between 0 and 1024`},
		{[]string{"--timeout=0s"}, nil, `--timeout: "0s": want a duration between 1s and 24h, like 2m`},
		{nil, []string{"HELMPROOF_TIMEOUT=5"}, `HELMPROOF_TIMEOUT: "5": want a duration between 1s and 24h, like 2m`},
		{[]string{"--repo="}, nil, `--repo: empty: want a directory, or a URL with file or gs`},
		{[]string{"--formats=pdf,doc"}, nil, `--formats: "doc": want one or more of pdf, md, html, json, sarif, junit`},
		{nil, []string{"HELMPROOF_FORMATS=pdf,,md"}, `HELMPROOF_FORMATS: empty: want one or more of pdf, md, html, json, sarif, junit`},
		{nil, []string{"HELMPROOF_ROLE_KEY=security"}, `HELMPROOF_ROLE_KEY: "security": want ` + wantRoleKey},
		{nil, []string{"HELMPROOF_ROLE_KEY=security="}, `HELMPROOF_ROLE_KEY: "security=": want ` + wantRoleKey},
		{[]string{"--profile=char"}, nil, `--profile: "char": want chart, cluster, drill, images, live, node-agent, release, starter or a file like ./profile.yaml`},
		{nil, []string{"HELMPROOF_TSA=ftp://user:secret@host/?token=t"}, `HELMPROOF_TSA: "ftp://REDACTED@host/?REDACTED": want an http:// or https:// URL`},
		{nil, []string{"HELMPROOF_REPOS=x"}, `HELMPROOF_REPOS: unknown variable: want HELMPROOF_REPO, or another of those that helmproof config show lists`},
	}
	for _, tt := range tests {
		_, err := Load(Source{Dir: none, UserDir: none, Flags: flags(t, tt.args...), Env: tt.env})
		var bad *Error
		if !errors.As(err, &bad) || err.Error() != tt.want {
			t.Errorf("%v %v:\n got %v\nwant %s", tt.args, tt.env, err, tt.want)
		}
	}
}

func TestShowRedacts(t *testing.T) {
	t.Parallel()
	none := t.TempDir()
	c, err := Load(Source{Dir: none, UserDir: none, Env: []string{
		"HELMPROOF_TSA=https://me:hunter2@tsa.example.org/sign?token=hunter2#hunter2", "HELMPROOF_REPO=gs://key:hunter2@bucket/p?secret=hunter2",
	}})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Show() {
		if strings.Contains(s.Value, "hunter2") {
			t.Errorf("%s shows %s", s.Key, s.Value)
		}
	}
	if !strings.Contains(c.TSA, "me:hunter2@") || !strings.Contains(c.Repo, "secret=hunter2") {
		t.Errorf("what is used was redacted too: %s, %s", c.TSA, c.Repo)
	}
	if got := redact("https://me:hunter2@host/%zz"); got != "https://REDACTED" {
		t.Errorf("a URL that does not parse reads %s", got)
	}
}

func FuzzFile(f *testing.F) {
	f.Add([]byte("repo: gs://b/p\nvalues: [a.yaml]\nworkers: 3\ntimeout: 1m\n"))
	f.Add([]byte("? {a: b}\n: c\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		values, err := parseFile(raw)
		if err != nil {
			return
		}
		for _, k := range keys() {
			v, ok := values[k.name]
			if !ok || k.path != nil {
				continue // what is a path is looked at on the disk
			}
			c := &Config{}
			if k.set(c, v) == nil && !k.check(c.one(k)) {
				t.Fatalf("%s: %v was accepted and reads %q", k.name, v, c.one(k))
			}
		}
	})
}

// one returns the key's value, the first of a list, as text.
func (c *Config) one(k key) string {
	s := k.String(c)
	if k.kind == list {
		s, _, _ = strings.Cut(s, ",")
	}
	return s
}

func BenchmarkLoad(b *testing.B) {
	none := b.TempDir()
	for b.Loop() {
		if _, err := Load(Source{Dir: none, UserDir: none}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCatalog(b *testing.B) {
	for b.Loop() {
		if _, err := gate.ParseCatalog(catalogYAML); err != nil {
			b.Fatal(err)
		}
	}
}
