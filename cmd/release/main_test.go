package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/release"
)

// TestSource: a release is of a commit, with its time, and of nothing beside it.
func TestSource(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("SOURCE_DATE_EPOCH", "")
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	for _, args := range [][]string{{"init", "-q"}, {"-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "-q", "--allow-empty", "-m", "x", "--date", "1700000000 +0200"}} {
		cmd := exec.CommandContext(t.Context(), "git", args...)
		cmd.Env = append(os.Environ(), "GIT_COMMITTER_DATE=1700000000 +0200")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %v: %v %s", args, err, out)
		}
	}
	r := new(release.Release)
	if err := source(t.Context(), r, false); err != nil || r.When.Unix() != 1700000000 || len(r.Commit) != 40 {
		t.Errorf("%+v %v", r, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1800000000")
	if err := source(t.Context(), r, false); err != nil || r.When.Unix() != 1800000000 {
		t.Errorf("%+v %v", r, err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "today")
	if err := source(t.Context(), r, false); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("SOURCE_DATE_EPOCH=today: %v", err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if err := os.WriteFile("new.go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := source(t.Context(), r, false); err == nil || !strings.Contains(err.Error(), "not committed") || !strings.Contains(err.Error(), "new.go") {
		t.Errorf("a file that no commit has: %v", err)
	}
	if err := source(t.Context(), r, true); err != nil {
		t.Error(err)
	}
}

func TestRunRefuses(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"unexpected argument": {"-version", "v1.2.3", "x"},
		"want one of":         {"-version", "v1.2.3", "-platforms", "linux/amd64 plan9/386"},
		"not defined":         {"--nonsense"},
	} {
		if err := run(t.Context(), args); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
