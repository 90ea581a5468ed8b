//go:build cloud

package gcs_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fsouza/fake-gcs-server/fakestorage"
	"google.golang.org/api/option"

	"github.com/companyos/helmproof/evidence/repository"
	"github.com/companyos/helmproof/evidence/repository/gcs"
	"github.com/companyos/helmproof/evidence/repository/repositorytest"
)

// fake starts a fake GCS with one bucket. Like one whose objects are held or under
// retention it takes no delete and no overwrite: asking for one fails the test.
func fake(t *testing.T) http.Handler {
	t.Helper()
	s, err := fakestorage.NewServerWithOptions(fakestorage.Options{NoListener: true, PublicHost: "storage.googleapis.com", Writer: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	s.CreateBucketWithOpts(fakestorage.CreateBucketOpts{Name: "evidence"})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		begins := r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/upload/") && !q.Has("upload_id")
		if begins && q.Get("ifGenerationMatch") != "0" || r.Method == http.MethodDelete || r.Method == http.MethodPatch {
			t.Errorf("%s %s might delete or replace an object", r.Method, r.URL)
		}
		s.HTTPHandler().ServeHTTP(w, r)
	})
}

// client is what makes a store talk to a fake.
func client(t *testing.T, h http.Handler) option.ClientOption {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	to, err := url.Parse(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	return option.WithHTTPClient(&http.Client{Transport: redirect{to}})
}

// redirect sends every request to the fake, keeping the Host that it was meant for.
type redirect struct{ to *url.URL }

func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	pr := &httputil.ProxyRequest{In: req, Out: req.Clone(req.Context())}
	pr.Out.Host = req.URL.Host
	pr.Out.URL.Scheme, pr.Out.URL.Host = r.to.Scheme, r.to.Host
	return http.DefaultTransport.RoundTrip(pr.Out)
}

// open returns a store in a fake of its own; wrap may sit between the two.
func open(t *testing.T, prefix string, wrap func(http.Handler) http.Handler) *gcs.Store {
	t.Helper()
	h := fake(t)
	if wrap != nil {
		h = wrap(h)
	}
	return openAt(t, h, prefix)
}

func openAt(t *testing.T, h http.Handler, prefix string) *gcs.Store {
	t.Helper()
	s, err := gcs.Open(t.Context(), "evidence", prefix, client(t, h))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "team/prod"} {
		t.Run("prefix "+prefix, func(t *testing.T) {
			t.Parallel()
			repositorytest.Run(t, func(t *testing.T) repository.Store { return open(t, prefix, nil) })
		})
	}
}

// The answer to the first upload is lost after the object was stored: the retry
// meets its own object and must call that a success.
func TestStoredButAnswerLost(t *testing.T) {
	t.Parallel()
	var lost atomic.Int32
	s := open(t, "", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && strings.Contains(r.URL.Path, "/upload/") && lost.CompareAndSwap(0, 1) {
				h.ServeHTTP(httptest.NewRecorder(), r)
				panic(http.ErrAbortHandler)
			}
			h.ServeHTTP(w, r)
		})
	})
	if err := s.Create(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if lost.Load() == 0 {
		t.Fatal("no answer was lost: the test tests nothing")
	}
	if got, err := s.Read(t.Context(), "k", 1); err != nil || string(got) != "v" {
		t.Errorf("read %q, %v", got, err)
	}
}

// Connections cut before anything is stored, and overload answers, are retried.
func TestRetries(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	s := open(t, "", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch n.Add(1) {
			case 1, 4:
				panic(http.ErrAbortHandler)
			case 2, 5:
				http.Error(w, "busy", http.StatusServiceUnavailable)
			default:
				h.ServeHTTP(w, r)
			}
		})
	})
	if err := s.Create(t.Context(), "k", []byte("v")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(t.Context(), "k", 1); err != nil || string(got) != "v" {
		t.Errorf("read %q, %v", got, err)
	}
	if n.Load() < 6 {
		t.Errorf("%d requests: the failures were not met", n.Load())
	}
}

// Bytes that change on the way back are noticed by their checksum.
func TestCorruptedRead(t *testing.T) {
	t.Parallel()
	s := open(t, "", func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Query().Get("alt") != "media" {
				h.ServeHTTP(w, r)
				return
			}
			rec := httptest.NewRecorder()
			h.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.WriteHeader(rec.Code)
			fmt.Fprint(w, strings.ToUpper(rec.Body.String()))
		})
	})
	if err := s.Create(t.Context(), "k", []byte("value")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Read(t.Context(), "k", 10); err == nil || !strings.Contains(strings.ToLower(err.Error()), "crc") {
		t.Errorf("read %q, %v; want a checksum error", got, err)
	}
}

func TestMissingBucket(t *testing.T) {
	t.Parallel()
	s, err := gcs.Open(t.Context(), "nobody", "", client(t, fake(t)))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(t.Context(), "k", nil); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("create in a bucket that is not there: %v, want 404", err)
	}
	if _, err := gcs.Open(t.Context(), "", "p"); err == nil || !strings.Contains(err.Error(), "gs://bucket") {
		t.Errorf("no bucket: %v", err)
	}
}
