//go:build cloud

package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	"github.com/rogpeppe/go-internal/testscript"
)

// hasCloud is the condition [cloud] of scripts: cloud services are in this build.
const hasCloud = true

// cmdGCS starts a fake Google Cloud Storage with the bucket "evidence"; commands
// reach it through STORAGE_EMULATOR_HOST. Every seventh request is cut off
// before it is answered, as on a bad line.
func cmdGCS(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: gcs")
	}
	fake, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, Writer: io.Discard})
	ts.Check(err)
	fake.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "evidence"})
	var n, cut atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1)%7 == 0 {
			cut.Add(1)
			panic(http.ErrAbortHandler)
		}
		fake.HTTPHandler().ServeHTTP(w, r)
	}))
	ts.Setenv("STORAGE_EMULATOR_HOST", strings.TrimPrefix(srv.URL, "http://"))
	ts.Defer(func() {
		srv.Close()
		fake.Stop()
		if cut.Load() == 0 {
			ts.Fatalf("no connection was cut in %d requests: the script tests less than it says", n.Load())
		}
	})
}
