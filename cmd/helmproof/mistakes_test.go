package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// packed is a packed chart.
func packed(t *testing.T) string {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, f := range [][2]string{{"web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n"}, {"web/values.yaml", strings.Repeat("# a comment\n", 400)}} {
		if err := w.WriteHeader(&tar.Header{Name: f[0], Mode: 0o600, Size: int64(len(f[1])), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(f[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// mistakes are what people type, give or have; each with the exit code, what is said to
// be wrong, and what is said to try next. DIR is a folder with the files of TestMistakes.
var mistakes = []struct {
	args string // split at spaces; '' is an empty argument
	code int
	says string // what is wrong
	next string // what to try; empty where what is wrong says it
}{
	// Commands and flags.
	{"chek DIR/web", exitUsage, `unknown command "chek" (did you mean helmproof check?)`, "see helmproof --help"},
	{"lst --repo x", exitUsage, `unknown command "lst" (did you mean helmproof list?)`, "see helmproof --help"},
	{"frobnicate", exitUsage, `unknown command "frobnicate"; see helmproof --help`, ""},
	{"DIR/web", exitUsage, `unknown command "DIR/web"`, "to judge what is there: helmproof check DIR/web"},
	{"config shwo", exitUsage, `unknown command "shwo" (did you mean helmproof config show?)`, "see helmproof config --help"},
	{"db updaet", exitUsage, `unknown command "updaet" (did you mean helmproof db update?)`, ""},
	{"completion bsh", exitUsage, `unknown command "bsh" (did you mean helmproof completion bash?)`, ""},
	{"help gaet", exitUsage, `unknown command "gaet" (did you mean helmproof gate?)`, ""},
	{"help config shwo", exitUsage, `unknown command "shwo" (did you mean helmproof config show?)`, ""},
	{"drill restor", exitUsage, `no experiment "restor"`, "want one of pod-kill, eviction"},
	{"check --profil chart", exitUsage, "unknown flag: --profil (did you mean --profile?)", "see helmproof check --help"},
	{"check --outptu json", exitUsage, "unknown flag: --outptu (did you mean --output?)", ""},
	{"list --values x", exitUsage, "unknown flag: --values (it is one of helmproof check, collect, forecast, gate, harden)", "see helmproof list --help"},
	{"check -x DIR/web", exitUsage, "unknown shorthand flag: 'x' in -x", "see helmproof check --help"},
	{"check --timeout banana DIR/web", exitUsage, `invalid argument "banana" for "--timeout" flag`, "see helmproof check --help"},
	{"check -q -v DIR/web", exitUsage, "-q prints one line and -v all that there is", "give one of them"},
	{"diff one", exitUsage, "diff: want two bundles: ids, folders or evidence.zip files, got 1 argument", "see helmproof diff --help"},
	{"list extra", exitUsage, "list: want no arguments, got 1 argument;", "see helmproof list --help"},
	{"gate DIR/web DIR/other", exitUsage, "gate: decides on one chart, got 2 arguments", "see helmproof gate --help"},
	{"gate", exitUsage, "gate: say what to decide on", "CHART, --manifests FILE or --release NAME"},
	{"check", exitUsage, "nothing to judge", "give a CHART (directory, .tgz or oci:// reference)"},
	{"check DIR/web --profile ''", exitUsage, "--profile is empty", "leave it out, or say what is meant"},

	// Values of flags.
	{"check DIR/web -o yaml", exitUsage, `--output: "yaml": want text or json`, ""},
	{"check DIR/web --format pfd", exitUsage, `--format "pfd": want pdf, md, html, json, sarif, junit`, ""},
	{"check DIR/web --profile nope", exitUsage, `--profile: "nope": want chart, cluster`, "or a file like ./profile.yaml"},
	{"check DIR/web --waivers DIR/none.yaml", exitUsage, `--waivers: "DIR/none.yaml"`, "want a file that is there"},
	{"check DIR/web --kube-version banana", exitUsage, `--kube-version: "banana"`, "want a version like 1.37"},
	{"check DIR/web -n Bad_NS", exitUsage, `--namespace: "Bad_NS"`, "lower-case letters, digits and -"},
	{"check DIR/web --workers -1", exitUsage, `--workers: "-1"`, "want a whole number between 0 and 1024"},
	{"gate DIR/web --max-age -5h", exitUsage, "--max-age -5h0m0s", "such as 24h"},
	{"gate DIR/web --at noon", exitUsage, `--at "noon"`, "want a time like 2026-11-23T12:00:00Z"},
	{"gate --image nginx", exitUsage, "--image: ", "sha256:"},
	{"controls SEC1", exitUsage, `control "SEC1" is not in the catalog (did you mean SEC-1?)`, "see helmproof controls"},
	{"check DIR/web --config DIR/none.yaml", exitUsage, "DIR/none.yaml: there is no such file", ""},
	{"check DIR/web --config DIR/profil.yaml", exitUsage, "DIR/profil.yaml: profil: unknown key", "want profile"},

	// Charts and manifests.
	{"check DIR/nowhere", exitUsage, "load DIR/nowhere: no such file or directory", "give a chart directory, a .tgz, oci://…, repo/name"},
	{"check DIR/nothere/*", exitUsage, `pattern "DIR/nothere/*" matches no chart`, ""},
	{"check DIR/clone", exitUsage, "load DIR/clone: no Chart.yaml; charts below: DIR/clone/charts/api, DIR/clone/charts/web", "give one of them"},
	{"check DIR/empty", exitUsage, "load DIR/empty: no Chart.yaml", "give the folder that holds Chart.yaml; for rendered YAML use --manifests"},
	{"check DIR/cut.tgz", exitUsage, "load DIR/cut.tgz: the archive is cut short: it ends after 120 bytes", "fetch or package it again"},
	{"check DIR/head.tgz", exitUsage, "load DIR/head.tgz: the archive is cut short: it ends after 4 bytes", "fetch or package it again"},
	{"check DIR/web.zip", exitUsage, "load DIR/web.zip: a zip archive, and no packed chart (.tgz)", "give a chart packed by helm package"},
	{"check DIR/nothing.tgz", exitUsage, "load DIR/nothing.tgz: not a packed chart: the file is empty", ""},
	{"check DIR/notes.txt", exitUsage, "load DIR/notes.txt: not a packed chart: gzip: invalid header", "for rendered YAML use --manifests"},
	{"check DIR/nil", exitUsage, "render DIR/nil: templates/a.yaml:2: nil pointer evaluating", "give it with --set or -f"},
	{"check DIR/open", exitUsage, "render DIR/open: templates/a.yaml:", "unclosed action"},
	{"check DIR/fails", exitUsage, "render DIR/fails: templates/a.yaml:1: the chart refuses: say a host", "give other values with --set NAME=VALUE or -f FILE"},
	{"check DIR/web --set x", exitUsage, `values DIR/web: failed parsing --set data: key "x" has no value`, "check -f, --set"},
	{"check DIR/web -f DIR/none.yaml", exitUsage, "values DIR/web: open DIR/none.yaml: no such file or directory", "check -f, --set"},
	{"check DIR/web --set imgae.tag=1 -q", exitVerdict, "warning: DIR/web: the value imgae is set, but neither in the chart's values.yaml nor named by its templates", "did you mean image?"},
	{"check --manifests DIR/none.yaml", exitUsage, "DIR/none.yaml", "no such file"},

	// Repositories, keys and bundles.
	{"list --repo DIR/nowhere", exitUsage, "there is no repository at DIR/nowhere", "the first helmproof collect makes it; name another one with --repo"},
	{"verify --repo DIR/nowhere --trust DIR/team.pub", exitUsage, "there is no repository at DIR/nowhere", "the first helmproof collect makes it; name another one with --repo"},
	{"verify latest --repo DIR/nowhere --trust DIR/team.pub", exitUsage, "there is no repository at DIR/nowhere", "the first helmproof collect makes it; name another one with --repo"},
	{"show latest --repo DIR/nowhere --trust DIR/team.pub", exitUsage, "there is no repository at DIR/nowhere", "the first helmproof collect makes it; name another one with --repo"},
	{"list --repo DIR/notes.txt", exitUsage, "DIR/notes.txt is no repository, but a file", "name a directory or gs://bucket/prefix with --repo"},
	{"collect DIR/nil --repo DIR/notes.txt", exitUsage, "DIR/notes.txt is no repository, but a file", "name a directory or gs://bucket/prefix with --repo"},
	{"gate DIR/nil --repo DIR/notes.txt", exitUsage, "DIR/notes.txt is no repository, but a file", "name a directory or gs://bucket/prefix with --repo"},
	{"collect DIR/nil --repo DIR/taken --key DIR/team.key", exitIntegrity, "repository DIR/taken: ", "bundles: this is not helmproof's: not a directory"},
	{"collect DIR/web --repo s3://x/y", exitUsage, `--repo: "s3://x/y"`, "want a directory, or a URL with file or gs"},
	{"collect DIR/web --repo DIR/new --key DIR/none.key", exitUsage, "signing key DIR/none.key: open DIR/none.key: no such file or directory", ""},
	{"collect DIR/web --repo DIR/new --key DIR/team.pub", exitUsage, "signing key DIR/team.pub: this is a public key", "sign with the private key, and give this one to --trust"},
	{"verify zz --repo DIR/nowhere --trust DIR/team.pub", exitUsage, `bundle id: "zz"`, "want at least 4 hexadecimal digits, or latest"},
	{"verify DIR/notes.txt --repo DIR/nowhere --trust DIR/team.pub", exitUsage, "DIR/notes.txt: not a bundle's evidence", "give its evidence.zip, or its folder"},
	{"verify DIR/bundle --repo DIR/nowhere --trust DIR/team.pub -q", exitIntegrity, "evidence.zip: it is no whole zip: its end is missing after 30 bytes", "fetch it again"},
	{"report latest --trust DIR/team.pub --repo DIR/nowhere -o md", exitUsage, "-o names a file, and md is a format", "say --format md, or -o ./md"},
	{"keygen DIR/team", exitUsage, "is there already: a key is never replaced", "give another name"},
}

// TestMistakes holds what is said of a mistake: the exit code, what is wrong and what to
// try next; and that -o json says the same as JSON.
func TestMistakes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	chart := "apiVersion: v2\nname: web\nversion: 1.0.0\n"
	whole := packed(t)
	for name, text := range map[string]string{
		"web/Chart.yaml": chart, "web/values.yaml": "image:\n  tag: x\n", "web/templates/a.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Values.image.tag }}\n",
		"nil/Chart.yaml": chart, "nil/templates/a.yaml": "a: b\nx: {{ .Values.a.b }}\n",
		"open/Chart.yaml": chart, "open/templates/a.yaml": "x: {{ .Values.a \n",
		"fails/Chart.yaml": chart, "fails/templates/a.yaml": "{{ fail \"say a host\" }}\n",
		"clone/charts/web/Chart.yaml": chart, "clone/charts/api/Chart.yaml": chart, "clone/charts/api/charts/sub/Chart.yaml": chart, "clone/.git/x/Chart.yaml": chart,
		"empty/README.md": "x\n", "notes.txt": "hello\n", "nothing.tgz": "", "cut.tgz": whole[:120], "head.tgz": whole[:4], "web.zip": "PK\x03\x04 and more",
		"bundle/evidence.zip": "PK\x03\x04" + strings.Repeat("x", 26), "taken/bundles": "x\n", "profil.yaml": "profil: chart\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := makeKey(filepath.Join(dir, "team.key"), "", nil); err != nil {
		t.Fatal(err)
	}
	if len(mistakes) < 50 {
		t.Errorf("only %d mistakes", len(mistakes))
	}
	for _, m := range mistakes {
		t.Run(m.args, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(strings.ReplaceAll(m.args, "DIR", dir))
			for i := range args {
				args[i] = strings.ReplaceAll(args[i], "''", "")
			}
			var out, errs bytes.Buffer
			code := run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs})
			said := strings.ReplaceAll(errs.String()+out.String(), dir, "DIR")
			if code != m.code || !strings.Contains(said, m.says) || !strings.Contains(said, m.next) {
				t.Errorf("exit %d, want %d; want %q and %q in\n%s", code, m.code, m.says, m.next, said)
			}
		})
	}
}

// An error is one JSON document under -o json, whether it was met before or after the
// configuration was read; what has a document of its own keeps it.
func TestErrorsAsJSON(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tt := range []struct {
		args []string
		code int
		text string
	}{
		{[]string{"gate", "-o", "json"}, exitUsage, "say what to decide on"},
		{[]string{"gate", "a", "b", "--output=json"}, exitUsage, "decides on one chart"},
		{[]string{"gate", dir, "--repo", dir, "-o", "json"}, exitUsage, "no Chart.yaml"},
		{[]string{"verify", "zz", "-o", "json", "--repo", dir, "--trust", dir + "/none.pub"}, exitUsage, "none.pub"},
		{[]string{"verify", "--sginature", "x", "-o", "json"}, exitUsage, "did you mean --signature?"},
		{[]string{"list", "-o", "json", "--repo", dir + "/none"}, exitUsage, "there is no repository"},
		{[]string{"show", "zz", "-ojson", "--repo", dir, "--trust", dir + "/none.pub"}, exitUsage, "none.pub"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), tt.args, stdio{in: strings.NewReader(""), out: &out, err: &errs})
		var got errorJSON
		dec := json.NewDecoder(&out)
		dec.DisallowUnknownFields()
		if err := dec.Decode(&got); err != nil || dec.More() || code != tt.code || got.ExitCode != code || !strings.Contains(got.Error, tt.text) || !strings.Contains(errs.String(), tt.text) {
			t.Errorf("%v: exit %d, %v, %+v, %s, want %d and %q", tt.args, code, err, got, errs.String(), tt.code, tt.text)
		}
	}
}
