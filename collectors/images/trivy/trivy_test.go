package trivy

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/collectors/images/scan"
)

// program makes a Trivy of a shell script, which gets the arguments of the real one.
func program(t *testing.T, script string, timeout time.Duration) *Program {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "trivy")
	if err := os.WriteFile(file, []byte("#!/bin/sh\ncd "+dir+"\necho \"$@\" >> calls\n"+script), 0o700); err != nil { //nolint:gosec // a program of this test
		t.Fatal(err)
	}
	p, err := New(Options{Command: file, Timeout: timeout, PlainHTTP: true})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

const versions = `case "$1" in version) echo '{"Version":"0.65.0","VulnerabilityDB":{"UpdatedAt":"2026-11-22T06:00:00Z"}}'; exit 0;; esac
case "$*" in *--download-db-only*) exit 0;; esac
`

func TestProgram(t *testing.T) {
	t.Parallel()
	p := program(t, versions+"echo \"{\\\"image\\\": \\\"$*\\\"}\"\necho a warning >&2\n", time.Minute)
	first, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := p.State(t.Context()); err != nil || again != first {
		t.Errorf("%s, %v", again, err)
	}
	var got []string
	err = p.Scan(t.Context(), []scan.Target{{Reference: "a@sha256:1", Platform: "linux/amd64"}, {Reference: "b@sha256:2", Platform: "linux/arm64"}}, func(i int, r scan.Result) {
		if r.Err != nil || len(r.Version) == 0 {
			t.Errorf("%d: %+v", i, r)
		}
		got = append(got, string(r.Raw))
	})
	if err != nil || len(got) != 2 {
		t.Fatal(got, err)
	}
	const want = "image --quiet --format json --scanners vuln --image-src remote --skip-db-update --skip-version-check --platform linux/arm64 --insecure -- b@sha256:2"
	if !strings.Contains(got[1], want) {
		t.Errorf("%s, want %s", got[1], want)
	}
}

func TestProgramFails(t *testing.T) {
	t.Parallel()
	target := []scan.Target{{Reference: "a@sha256:1", Platform: "linux/amd64"}}
	for title, tt := range map[string]struct {
		script string
		limit  time.Duration
		want   string
	}{
		"fails":   {"echo one >&2; echo 'FATAL  unable to find the image' >&2; exit 1", time.Minute, "exit status 1: FATAL unable to find the image"},
		"hangs":   {"exec sleep 60", 200 * time.Millisecond, "no result within 200ms"},
		"endless": {"exec cat /dev/zero", time.Minute, "printed more than the 134217728 bytes"},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			var got error
			if err := program(t, tt.script, tt.limit).Scan(t.Context(), target, func(_ int, r scan.Result) { got = r.Err }); err != nil {
				t.Fatal(err)
			}
			if got == nil || !strings.Contains(got.Error(), tt.want) {
				t.Errorf("%v, want %q", got, tt.want)
			}
		})
	}
	t.Run("interrupted", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("interrupted")
		cancel(why)
		if err := program(t, "exec sleep 60", time.Minute).Scan(ctx, target, func(int, scan.Result) {}); !errors.Is(err, why) {
			t.Error(err)
		}
	})
	t.Run("no database", func(t *testing.T) {
		t.Parallel()
		p := program(t, `case "$1" in version) echo '{"Version":"0.65.0"}'; exit 0;; esac; echo 'no network' >&2; exit 1`, time.Minute)
		if _, err := p.State(t.Context()); err == nil || !strings.Contains(err.Error(), "names no vulnerability database") || !strings.Contains(err.Error(), "no network") {
			t.Error(err)
		}
	})
	t.Run("not there", func(t *testing.T) {
		t.Parallel()
		if _, err := New(Options{Command: filepath.Join(t.TempDir(), "trivy")}); err == nil || !strings.Contains(err.Error(), "install it") {
			t.Error(err)
		}
	})
}
