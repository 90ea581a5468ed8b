package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// notRun has the commands of helmproof that are not run as the guides have them, as a
// pattern of the shell over the arguments, with the reason. What no pattern has is run,
// and has to succeed. Commands of either kind have to exist with their flags.
var notRun = []struct {
	pattern, why string
	ahead        bool // no guide has such a command yet
}{
	{"*--cluster*|*--release\\ *|*--all-releases*|*--context\\ *|drill*", "asks a cluster: test/e2e", false},
	{"*--profile\\ release*", "is about evidence of a cluster: test/e2e", false},
	{"*--signature-policy\\ *", "asks a registry: signatures.txtar", false},
	{"*audit.json*", "reads a store's log: accesslog.txtar", false},
	{"db\\ *", "is about what a download brings: scans.txtar", false},
	{"harden", "is fed by helm: harden.txtar", false},
	{"*oci://*|attach*|*--scan\\ *|*--resolve*", "asks a registry: TestPublishing, attach_test.go, images.txtar", true},
	{"*gs://*|*--key\\ *kms://*", "asks a service: kms.txtar, gcs.txtar", true},
	{"watch*|readiness*|attest*", "goes on, or is about a release that went through all of it: internal/watch, readiness.txtar", false},
}

// elsewhere has the guides whose commands are run by a test of their own.
var elsewhere = map[string]string{
	"docs/publishing.md": "TestPublishing",
}

// tools are the other programs of the guides: those that are run as they are, which
// stay in the folder, and those that are only asked for.
var (
	ownTools = strings.Fields("git cp mkdir mv rm cat sed tee date grep")
	tools    = strings.Fields("aws cosign crane curl docker gcloud go gsutil helm kubectl make vault promtool jq openssl sha256sum sleep tar xargs")
)

// takenForGranted are the charts and values that the guides speak of and do not show.
var takenForGranted = map[string]string{
	"charts/payments": "charts/service",
	"charts/api":      "charts/service",
	"charts/web":      "charts/service",
	"charts/argo-cd":  "cmd/helmproof/testdata/argo-cd",
	"prod.yaml":       "test/platform/testdata/after.yaml",
	"values.yaml":     "test/platform/testdata/after.yaml",
	"VALUES.yaml":     "test/platform/testdata/after.yaml",
	"orders.yaml":     "test/platform/testdata/after.yaml",
}

// placeholders are what runbooks leave to the reader.
var placeholders = strings.NewReplacer("CHART_DIR", "charts/payments", "NAMESPACE", "shop", "controls CONTROL", "controls SEC-4", " CONTEXT", " prod")

// received is what somebody sent: a bundle, whole and in parts, and the signer's public
// half. It is made for guides that verify it.
const received = `%[1]s keygen team
%[1]s collect charts/service --key team.key --repo theirs
cp -r theirs/bundles/* download
cp -r download last-year
cp -r download this-year
cp download/evidence.zip download/evidence.sigstore.json .
mkdir ../signatures
cp download/evidence.sigstore.json ../signatures
`

var (
	fence      = regexp.MustCompile("(?ms)^([ \t]*)```([a-z]*)\n(.*?)^[ \t]*```$")
	bare       = regexp.MustCompile(`^\s*(helmproof|helm|kubectl) `)
	endsWith   = regexp.MustCompile(`^(.*\S)\s+# exit code (\d)$`)
	put        = regexp.MustCompile("(?ms)^<!-- put: (\\S+) -->\n```[a-z]+\n(.*?)^```$") // a file that the commands want
	transcript = regexp.MustCompile(`(?m)^[ \t]*\$ (helmproof .*)$`)
	skipFlag   = regexp.MustCompile(`^--?[a-zA-Z]`)
)

// shellBlocks are a guide's blocks of commands: those that are said to be, and those
// without a language that begin with a command.
func shellBlocks(guide string) []string {
	var out []string
	for _, m := range fence.FindAllStringSubmatch(guide, -1) {
		switch indent, lang, body := m[1], m[2], m[3]; {
		case lang == "sh", lang == "bash", lang == "shell", lang == "console", lang == "" && bare.MatchString(body):
			out = append(out, strings.TrimPrefix(strings.ReplaceAll("\n"+body, "\n"+indent, "\n"), "\n"))
		}
	}
	return out
}

// script has the blocks' commands, where any that fails ends it. A line that ends with
// "# exit code N" has to end so.
func script(blocks []string) string {
	var b strings.Builder
	b.WriteString("set -e\n")
	for _, block := range blocks {
		for line := range strings.Lines(block) {
			line = strings.TrimSuffix(line, "\n")
			if m := endsWith.FindStringSubmatch(line); m != nil {
				line = fmt.Sprintf("rc=0; %s || rc=$?; if [ $rc != %s ]; then echo \"exit code $rc\" >&2; exit 1; fi", m[1], m[2])
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// wrapper is a program that notes how it was called. As helmproof it also does what
// was asked for, unless a pattern of notRun has it.
func wrapper(log, real string) string {
	var b strings.Builder
	b.WriteString("#!/bin/sh\nname=${0##*/}\ncase \"$name $1 $2\" in 'go run ./cmd/helmproof') name=helmproof; shift 2;; esac\n")
	b.WriteString("case $name in\nhelmproof)\ncase \"$*\" in\n")
	for i, n := range notRun {
		fmt.Fprintf(&b, "%s) how=%d;;\n", n.pattern, i)
	}
	b.WriteString("*) how=run;;\nesac;;\n*) how=tool;;\nesac\n")
	fmt.Fprintf(&b, "{ printf '%%s\\037' \"$how\" \"$name\" \"$@\"; printf '\\036'; } >>'%s'\n", log)
	fmt.Fprintf(&b, "if [ $how = run ]; then exec '%s' \"$@\"; fi\n", real)
	return b.String()
}

// call is one command that a guide gave, with how it was dealt with: run, tool, or the
// number of the pattern in notRun.
type call struct {
	how  string
	args []string
}

// follow runs a guide's commands, in order, in a folder of their own, which has the
// files that the guide shows for them.
func follow(t *testing.T, guide string) ([]call, error) {
	t.Helper()
	real, err := exec.LookPath("helmproof") // testscript.Main puts it on PATH
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "clone")
	bin, log := filepath.Join(dir, "bin"), filepath.Join(dir, "calls")
	for _, from := range []string{"charts/service", "charts/platform", "charts/hardened", "templates", "test/charts/weak", "test/platform/testdata", "docs/training"} {
		err = errors.Join(err, os.CopyFS(filepath.Join(dir, from), os.DirFS(filepath.Join(top, from))))
	}
	for name, from := range takenForGranted {
		if strings.HasPrefix(name, "charts/") {
			err = errors.Join(err, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(top, from))))
			continue
		}
		raw, e := os.ReadFile(filepath.Join(top, from))
		err = errors.Join(err, e, os.WriteFile(filepath.Join(dir, name), raw, 0o600))
	}
	for _, m := range put.FindAllStringSubmatch(guide, -1) {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, m[1]), []byte(m[2]), 0o600))
	}
	err = errors.Join(err, os.Mkdir(bin, 0o700), os.WriteFile(log, nil, 0o600), os.WriteFile(filepath.Join(bin, "helmproof"), []byte(wrapper(log, real)), 0o700))
	for _, tool := range tools {
		err = errors.Join(err, os.Symlink("helmproof", filepath.Join(bin, tool)))
	}
	for _, tool := range ownTools {
		path, e := exec.LookPath(tool)
		if e == nil {
			e = os.Symlink(path, filepath.Join(bin, tool))
		}
		err = errors.Join(err, e)
	}
	if err != nil {
		t.Fatal(err)
	}
	commands := placeholders.Replace(script(shellBlocks(guide)))
	if strings.Contains(commands, "verify evidence.zip") {
		commands = "set -e\n" + fmt.Sprintf(received, real) + commands
	}
	sh := exec.CommandContext(t.Context(), "/bin/sh", "-c", commands)
	sh.Dir = dir
	sh.Env = []string{"HOME=" + dir, "XDG_CONFIG_HOME=" + filepath.Join(dir, "home"), "COSIGN_PASSWORD=", "PATH=" + bin}
	out, failed := sh.CombinedOutput()
	if failed != nil {
		failed = fmt.Errorf("%w: %s", failed, out[max(0, len(out)-2000):])
	}
	raw, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var calls []call
	for rec := range strings.SplitSeq(strings.TrimSuffix(string(raw), "\036"), "\036") {
		if fields := strings.Split(strings.TrimSuffix(rec, "\037"), "\037"); len(fields) > 1 {
			calls = append(calls, call{fields[0], fields[1:]})
		}
	}
	return calls, failed
}

// known says which part of a call of helmproof does not exist: the command, a flag, or
// the number of arguments.
func known(args []string) error {
	root := newRoot(stdio{})
	root.InitDefaultCompletionCmd()
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd == root && len(rest) > 0 {
		return fmt.Errorf("unknown command %q", rest[0])
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	return cmd.ValidateArgs(cmd.Flags().Args())
}

// TestGuides follows the guides: every command of every block is run with the built
// program in a folder that has the project's charts, or is in notRun, and exists with
// its flags; a program that is not known fails. A guide is found by its place.
func TestGuides(t *testing.T) {
	t.Parallel()
	var guides []string
	for _, glob := range []string{"README.md", "CONTRIBUTING.md", "docs/*.md", "docs/runbooks/*.md", "charts/*/README.md"} {
		found, err := filepath.Glob(filepath.Join(top, glob))
		if err != nil {
			t.Fatal(err)
		}
		guides = append(guides, found...)
	}
	var mu sync.Mutex
	hows := map[string]int{}
	t.Run("guides", func(t *testing.T) {
		for _, file := range guides {
			name, err := filepath.Rel(top, file)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			guide := string(raw)
			if len(shellBlocks(guide)) == 0 || elsewhere[name] != "" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				calls, err := follow(t, guide)
				if err != nil {
					t.Errorf("a command fails as it stands there: %v", err)
				}
				for _, c := range calls {
					mu.Lock()
					hows[c.how]++
					mu.Unlock()
					if c.args[0] != "helmproof" {
						continue
					}
					if err := known(c.args[1:]); err != nil {
						t.Errorf("%q: %v", c.args, err)
					}
				}
			})
		}
	})
	for i, n := range notRun {
		if hows[strconv.Itoa(i)] == 0 && !n.ahead {
			t.Errorf("no guide has a command like %s: take it out of notRun", n.pattern)
		}
	}
	if hows["run"] < 15 || hows["tool"] < 20 {
		t.Errorf("commands by how they were followed: %v", hows)
	}
}

// TestGuidesCode holds what the text between the blocks names (`helmproof COMMAND --flag`),
// and what is shown with its output after a prompt.
func TestGuidesCode(t *testing.T) {
	t.Parallel()
	root := newRoot(stdio{})
	root.InitDefaultCompletionCmd()
	n := 0
	for _, file := range markdown(t) {
		if file == "CHANGELOG.md" || strings.HasPrefix(file, "docs/adr/") {
			continue // they tell what was
		}
		raw, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			t.Fatal(err)
		}
		codes := readPage(raw).code
		for _, m := range transcript.FindAllStringSubmatch(string(raw), -1) {
			codes = append(codes, m[1])
		}
		for _, code := range codes {
			words := strings.Fields(code)
			if len(words) < 2 || words[0] != "helmproof" {
				continue
			}
			n++
			if err := named(root, words[1:]); err != nil {
				t.Errorf("%s: `%s`: %v", file, code, err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d commands were found", n)
	}
}

// named says which command or flag of a text does not exist. Arguments may be missing.
func named(root *cobra.Command, words []string) error {
	if strings.ToUpper(words[0]) == words[0] {
		return nil // COMMAND, as a placeholder
	}
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if cmd == root && len(rest) > 0 && !skipFlag.MatchString(rest[0]) {
		return fmt.Errorf("unknown command %q", rest[0])
	}
	for _, w := range rest {
		if w == "--" || w == "|" || strings.HasPrefix(w, ">") || strings.HasSuffix(w, "…") {
			break
		}
		name, _, _ := strings.Cut(strings.TrimLeft(w, "-"), "=")
		name = strings.TrimRight(name, ",.;)…")
		var f *pflag.Flag
		switch {
		case !skipFlag.MatchString(w) || name == "help":
			continue
		case strings.HasPrefix(w, "--"):
			if f = cmd.Flags().Lookup(name); f == nil {
				f = cmd.InheritedFlags().Lookup(name)
			}
		default:
			if f = cmd.Flags().ShorthandLookup(name[:1]); f == nil {
				f = cmd.InheritedFlags().ShorthandLookup(name[:1])
			}
		}
		if f == nil {
			return fmt.Errorf("%s has no flag %s", cmd.CommandPath(), w)
		}
	}
	return nil
}

// TestTraining holds that the training has each exercise, in order, first as one that
// fails and then as one that its solution solves. TestGuides follows it.
func TestTraining(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(top, "docs/training.md"))
	if err != nil {
		t.Fatal(err)
	}
	profiles, err := filepath.Glob(filepath.Join(top, "docs/training/*.yaml"))
	if err != nil || len(profiles) < 8 {
		t.Fatalf("%d exercises: %v", len(profiles), err)
	}
	rest := strings.Join(shellBlocks(string(raw)), "")
	for n := range profiles {
		check := fmt.Sprintf("helmproof check shop --profile docs/training/%d.yaml", n+1)
		for _, line := range []string{check + "   # exit code 3\n", fmt.Sprintf("git apply --directory=shop docs/training/solutions/%d.patch\n", n+1), check + "\n"} {
			var found bool
			if _, rest, found = strings.Cut(rest, line); !found {
				t.Fatalf("exercise %d has no %q at its place", n+1, line)
			}
		}
	}
}

// TestGuidesRefuse holds that each kind of wrong command in a guide is found.
func TestGuidesRefuse(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, guide, want string }{
		{"command", "```sh\nhelmproof proof charts/service\n```\n", `unknown command "proof"`},
		{"flag", "```sh\nhelmproof drill restore --soon\n```\n", "unknown flag: --soon"},
		{"arguments", "```sh\nhelmproof drill restore x --context c\n```\n", `unknown command "x"`},
		{"program", "```console\nhelmprove check\n```\n", "helmprove"},
		{"verdict", "```sh\nhelmproof check test/charts/weak\n```\n", "exit status 3"},
		{"other code", "```sh\nhelmproof version   # exit code 3\n```\n", "exit code 0"},
		{"no file", "1. so\n\n   ```sh\n   helmproof check charts/nowhere\n   ```\n", "charts/nowhere"},
		{"no language", "```\nhelmproof check charts/nowhere\n```\n", "charts/nowhere"},
		{"none", "```yaml\nhelmproof: x\n```\n\n```sh\nhelmproof version\nhelmproof check test/charts/weak # exit code 3\n```\n", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls, err := follow(t, tt.guide)
			for _, c := range calls {
				if c.args[0] == "helmproof" {
					err = errors.Join(err, known(c.args[1:]))
				}
			}
			if got := fmt.Sprint(err); tt.want == "" && err != nil || !strings.Contains(got, tt.want) && tt.want != "" {
				t.Errorf("%s, want %q", got, tt.want)
			}
		})
	}
	words := strings.Fields
	root := newRoot(stdio{})
	for text, want := range map[string]string{
		"collect CHART --manifests FILE": "",
		"check --nothing":                "helmproof check has no flag --nothing",
		"proof":                          `unknown command "proof"`,
	} {
		if err := named(root, words(text)); want == "" && err != nil || want != "" && (err == nil || err.Error() != want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
