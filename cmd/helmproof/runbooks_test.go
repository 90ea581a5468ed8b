package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestRunbooks: each alert has a runbook, and each runbook an alert. It says what it
// means, how to look, how to mend and when to wake someone, by commands that exist.
func TestRunbooks(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../templates/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rules struct {
		Groups []struct{ Rules []struct{ Alert string } }
	}
	if err := yaml.Unmarshal(raw, &rules); err != nil {
		t.Fatal(err)
	}
	var alerts, books []string
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if r.Alert != "" {
				alerts = append(alerts, r.Alert)
			}
		}
	}
	files, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		books = append(books, strings.TrimSuffix(filepath.Base(file), ".md"))
	}
	slices.Sort(alerts)
	slices.Sort(books)
	if d := cmp.Diff(slices.Compact(alerts), books); d != "" || len(alerts) < 20 {
		t.Errorf("alerts and runbooks (-alert +runbook):\n%s", d)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range runbookProblems(strings.TrimSuffix(filepath.Base(file), ".md"), string(text), slices.Compact(alerts)) {
			t.Errorf("%s: %s", filepath.Base(file), p)
		}
	}
}

var (
	runbookParts = []string{"What it means", "How to look", "How to mend", "When to wake someone"}
	headings     = regexp.MustCompile(`(?m)^#+ (.*)\n`)
	namedAlerts  = regexp.MustCompile(`\bHelmproof[A-Z]\w+`)
)

// runbookProblems says what is wrong with the runbook of an alert.
func runbookProblems(alert, text string, alerts []string) []string {
	var out []string
	var have []string
	for _, m := range headings.FindAllStringSubmatch(text, -1) {
		have = append(have, m[1])
	}
	if want := append([]string{alert}, runbookParts...); !slices.Equal(have, want) {
		out = append(out, fmt.Sprintf("has the headings %q, want %q", have, want))
	}
	for i, part := range headings.Split(text, -1) {
		if i > 1 && len(strings.Fields(part)) < 5 {
			out = append(out, fmt.Sprintf("says nothing under %q", have[i-1]))
		}
		if i == 3 || i == 4 {
			if !strings.Contains(part, "```sh\n") {
				out = append(out, fmt.Sprintf("has no command under %q", have[i-1]))
			}
		}
	}
	for _, name := range namedAlerts.FindAllString(text, -1) {
		if !slices.Contains(alerts, name) {
			out = append(out, "speaks of "+name+", which there is not")
		}
	}
	for _, m := range block.FindAllStringSubmatch(text, -1) {
		if m[2] != "sh" {
			out = append(out, "has a block of "+m[2])
		}
		for line := range strings.Lines(m[3]) {
			if err := commandExists(line); err != nil {
				out = append(out, err.Error())
			}
		}
	}
	return out
}

// kubectlVerbs and helmVerbs are the commands that runbooks use of these programs.
var (
	kubectlVerbs = []string{"annotate", "auth", "delete", "describe", "edit", "get", "label", "logs", "patch", "port-forward", "rollout", "top", "wait"}
	helmVerbs    = []string{"get", "history", "rollback", "status"}
)

// commandExists says why a line of a runbook cannot be a command: one of helmproof is
// held to its commands, flags and arguments, of others there are few.
func commandExists(line string) error {
	words := strings.Fields(line)
	if len(words) == 0 {
		return errors.New("an empty line among commands")
	}
	verb := func(verbs []string) error {
		args := words[1:]
		for len(args) > 1 && args[0] == "-n" {
			args = args[2:]
		}
		if len(args) == 0 || !slices.Contains(verbs, args[0]) {
			return fmt.Errorf("%q is no command that is known", strings.TrimSpace(line))
		}
		return nil
	}
	switch words[0] {
	case "helmproof":
		root := newRoot(stdio{})
		cmd, rest, err := root.Find(words[1:])
		if err == nil && (cmd == root || !cmd.Runnable()) {
			err = errors.New("unknown command")
		}
		if err == nil {
			err = cmd.ParseFlags(rest)
		}
		if err == nil {
			err = cmd.ValidateArgs(cmd.Flags().Args())
		}
		if err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
		return nil
	case "kubectl":
		return verb(kubectlVerbs)
	case "helm":
		return verb(helmVerbs)
	case "curl":
		return nil
	}
	return fmt.Errorf("%q is no command that is known", strings.TrimSpace(line))
}

// TestRunbookProblems: what TestRunbooks would not let through.
func TestRunbookProblems(t *testing.T) {
	t.Parallel()
	const good = "# A\n\n## What it means\n\nOne two three four five.\n\n## How to look\n\nLook at it with care:\n\n```sh\nhelmproof list\n```\n\n## How to mend\n\nMend it with some care:\n\n```sh\nkubectl -n n get pods\n```\n\n## When to wake someone\n\nNobody needs to wake up.\n"
	for name, c := range map[string]struct{ old, new, want string }{
		"as it is":      {"", "", ""},
		"a part less":   {"## How to mend", "## How", "has the headings"},
		"empty":         {"One two three four five.", "", `says nothing under "What it means"`},
		"no command":    {"```sh\nhelmproof list\n```", "and so on", `no command under "How to look"`},
		"other alert":   {"Look", "HelmproofNone. Look", "HelmproofNone, which there is not"},
		"other command": {"helmproof list", "helmproof lisst", "unknown command"},
		"other flag":    {"helmproof list", "helmproof list --releases", "unknown flag"},
		"arguments":     {"helmproof list", "helmproof list x", "want no arguments"},
		"kubectl":       {"get pods", "got pods", "no command that is known"},
		"other program": {"helmproof list", "rm -rf x", "no command that is known"},
		"flag's value":  {"helmproof list", "helmproof gate --max-age 5", "max-age"},
		"empty line":    {"helmproof list", "\nhelmproof list", "an empty line"},
	} {
		got := strings.Join(runbookProblems("A", strings.Replace(good, c.old, c.new, 1), nil), "; ")
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
