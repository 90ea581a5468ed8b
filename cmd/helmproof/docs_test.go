package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// TestDocs holds docs/cli, made from the commands' own help, to what is committed.
// `make docs` rewrites it.
func TestDocs(t *testing.T) {
	t.Parallel()
	root := newRoot(stdio{})
	root.DisableAutoGenTag = true
	root.InitDefaultCompletionCmd()
	want := map[string][]byte{}
	var walk func(*cobra.Command)
	walk = func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() && cmd != root || cmd.Name() == "help" {
			return
		}
		var b bytes.Buffer
		if err := doc.GenMarkdown(cmd, &b); err != nil {
			t.Fatal(err)
		}
		want[strings.ReplaceAll(cmd.CommandPath(), " ", "_")+".md"] = b.Bytes()
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
	dir := filepath.Join("..", "..", "docs", "cli")
	if *update {
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, b := range want {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var have, names []string
	for _, e := range entries {
		have = append(have, e.Name())
	}
	for name, b := range want {
		names = append(names, name)
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("docs/cli/%s has drifted from the command's help (%v): run make docs", name, err)
		}
	}
	slices.Sort(have)
	slices.Sort(names)
	if d := cmp.Diff(names, have); d != "" {
		t.Errorf("files of docs/cli (-want +got):\n%s", d)
	}
}

// TestHelp holds that every command says what it does, with an example.
func TestHelp(t *testing.T) {
	t.Parallel()
	for _, cmd := range newRoot(stdio{}).Commands() {
		if cmd.Name() == "version" || cmd.Name() == "help" || cmd.HasSubCommands() {
			continue
		}
		if cmd.Short == "" || cmd.Example == "" {
			t.Errorf("%s: no short help or no example", cmd.Name())
		}
	}
}
