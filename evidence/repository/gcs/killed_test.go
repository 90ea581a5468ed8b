//go:build cloud

package gcs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/api/option"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/gcs"
)

// childURL tells the test's own program to store a bundle in the fake at that URL.
const childURL = "HELMPROOF_TEST_CHILD_URL"

func TestMain(m *testing.M) {
	if to := os.Getenv(childURL); to != "" {
		if err := storeOne(to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func storeOne(to string) error {
	u, err := url.Parse(to)
	if err != nil {
		return err
	}
	s, err := gcs.Open(context.Background(), "evidence", "", option.WithHTTPClient(&http.Client{Transport: redirect{u}}))
	if err != nil {
		return err
	}
	p, files := bundleOf("payments")
	return errors.Join(repository.New(s).Put(context.Background(), p, files), s.Close())
}

// bundleOf is a bundle of a chart.
func bundleOf(chart string) (repository.Pointer, map[string][]byte) {
	zip := []byte("evidence of " + chart)
	p := repository.Pointer{
		Bundle: evidence.DigestOf(zip), Scope: evidence.ScopeRelease, Chart: chart, Release: chart, Namespace: "default",
		Profile: "chart", Outcome: evidence.VerdictPass, EvaluatedAt: time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC),
	}
	pdf := []byte("pdf")
	if chart == "payments" {
		pdf = make([]byte, 16<<20+1) // uploaded in two parts
	}
	return p, map[string][]byte{
		"evidence.zip": zip, "evidence.sigstore.json": []byte("signature"), "reports.sigstore.json": []byte("names"), "verdict.vsa.sigstore.json": []byte("summary"),
		"report.html": []byte("html"), "report.pdf": pdf,
	}
}

// killer sits before the fake, and kills the child at its nth request: before it is
// served or, served, before it is answered.
type killer struct {
	http.Handler
	child  chan *exec.Cmd // holds the child while it runs
	served bool

	mu   sync.Mutex
	left int
}

func (k *killer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	k.mu.Lock()
	defer k.mu.Unlock() // one request after the other: what a dead child had sent is not served
	k.left--
	switch {
	case k.left > 0:
		k.Handler.ServeHTTP(w, r)
		return
	case k.left == 0:
		if k.served {
			k.Handler.ServeHTTP(httptest.NewRecorder(), r)
		}
		cmd := <-k.child
		_ = cmd.Process.Kill() // that it died of it is held by whoever started it
		k.child <- cmd
	}
	panic(http.ErrAbortHandler)
}

// run stores a bundle in another process, which dies at that request unless it has
// finished before, and says whether it has.
func run(t *testing.T, h http.Handler, request int, served bool) (finished bool) {
	t.Helper()
	k := &killer{Handler: h, child: make(chan *exec.Cmd, 1), served: served, left: request}
	srv := httptest.NewServer(k)
	defer srv.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childURL+"="+srv.URL)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k.child <- cmd
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL) {
		t.Fatalf("%v, want it killed: %s", err, stderr.String())
	}
	return err == nil
}

// A process that is killed at any request leaves the bucket as it was to readers, or
// with one more bundle that is whole; the next one finishes what it began.
func TestKilled(t *testing.T) {
	t.Parallel()
	for _, served := range []bool{false, true} {
		t.Run(fmt.Sprintf("request served %v", served), func(t *testing.T) {
			t.Parallel()
			seen := map[string]int{}
			for request := 1; ; request++ {
				h := fake(t)
				r := repository.New(openAt(t, h, ""))
				other, otherFiles := bundleOf("other")
				mine, files := bundleOf("payments")
				if err := r.Put(t.Context(), other, otherFiles); err != nil {
					t.Fatal(err)
				}
				finished := run(t, h, request, served)
				seen[state(t, r, mine, files)]++
				wantThere(t, r, other, otherFiles)

				if !run(t, h, 1000, false) {
					t.Fatalf("killed at request %d: the next run did not finish", request)
				}
				if got := state(t, r, mine, files); got != "listed" {
					t.Errorf("killed at request %d, after the next run the bundle is %s", request, got)
				}
				wantThere(t, r, other, otherFiles)
				if finished {
					break
				}
			}
			// 6 files and the pointer, one file in two requests or more.
			if (seen["absent"] == 0) != served || seen["unfinished"] < 6 || seen["there"] != 1 || seen["listed"] == 0 {
				t.Errorf("not every boundary was met")
			}
			t.Logf("after the kills the bundle was %v", seen)
		})
	}
}

// state says how a bundle is seen: absent, unfinished, there or listed, the latter
// two only if it is whole.
func state(t *testing.T, r *repository.Repository, p repository.Pointer, files map[string][]byte) string {
	t.Helper()
	list, err1 := r.List(t.Context(), repository.Filter{})
	ids, err2 := r.Bundles(t.Context())
	unfinished, err3 := r.Unfinished(t.Context())
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	switch {
	case slices.Contains(list, p):
		wantThere(t, r, p, files)
		return "listed"
	case slices.Contains(ids, p.Bundle):
		wantThere(t, r, p, files)
		return "there"
	case slices.Contains(unfinished, p.Bundle):
		return "unfinished"
	}
	return "absent"
}

func wantThere(t *testing.T, r *repository.Repository, p repository.Pointer, files map[string][]byte) {
	t.Helper()
	ids, err := r.Bundles(t.Context())
	if err != nil || !slices.Contains(ids, p.Bundle) {
		t.Fatalf("bundles %v, %v", ids, err)
	}
	got, err := r.Get(t.Context(), p.Bundle)
	if err != nil || !maps.EqualFunc(got, files, bytes.Equal) {
		t.Fatalf("bundle of %s: %d of %d files, %v", p.Chart, len(got), len(files), err)
	}
}
