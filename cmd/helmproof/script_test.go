package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdExitCode runs a command and wants exactly that exit code: exitcode 3 helmproof collect …
// Its output can be matched by later stdout and stderr lines.
func cmdExitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exitcode N command [args]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("run %s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d\nstdout:\n%s\nstderr:\n%s", got, want, ts.ReadFile("stdout"), ts.ReadFile("stderr"))
	}
}

// cmdJSON compares a value in the last command's standard output, which must be one JSON
// document and nothing else: json releases.0.verdict.outcome PASS. With one
// argument it only has to be there.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: json path [value]")
	}
	dec := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	dec.UseNumber()
	var v any
	ts.Check(dec.Decode(&v))
	if dec.More() {
		ts.Fatalf("more than one JSON document on standard output")
	}
	found := true
	for _, part := range strings.Split(args[0], ".") {
		switch x := v.(type) {
		case map[string]any:
			v, found = x[part]
		case []any:
			i, err := strconv.Atoi(part)
			if found = err == nil && i < len(x); found {
				v = x[i]
			}
			if part == "len" {
				v, found = len(x), true
			}
		default:
			found = false
		}
		if !found {
			break
		}
	}
	ok := found && (len(args) == 1 || fmt.Sprint(v) == args[1])
	if ok == neg {
		ts.Fatalf("json %s is %v (there: %v), want %v (negated: %v)", args[0], v, found, args[1:], neg)
	}
}

// cmdFlip changes one byte in the middle of each file that matches.
func cmdFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip file")
	}
	name := ts.MkAbs(args[0])
	b, err := os.ReadFile(name)
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(os.Chmod(name, 0o644))
	ts.Check(os.WriteFile(name, b, 0o644))
}

// cmdUnzip prints one file of the one archive that matches: unzip REPO/bundles/*/evidence.zip profile.yaml.
func cmdUnzip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: unzip glob file")
	}
	found, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(found) != 1 {
		ts.Fatalf("%d files match %s, want one", len(found), args[0])
	}
	z, err := zip.OpenReader(found[0])
	ts.Check(err)
	defer z.Close()
	f, err := z.Open(args[1])
	ts.Check(err)
	_, err = io.Copy(ts.Stdout(), f)
	ts.Check(err)
}

// cmdHTTP starts a server that must never be called; its URL goes to $name.
func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: http VARIABLE")
	}
	var calls bytes.Buffer
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { fmt.Fprintln(&calls, r.URL) }))
	ts.Setenv(args[0], srv.URL)
	ts.Defer(func() {
		srv.Close()
		if calls.Len() > 0 {
			ts.Fatalf("the network was used: %s", calls.String())
		}
	})
}
