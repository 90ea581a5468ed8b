package probe

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// probed runs c against its address and reads the file back.
func probed(t *testing.T, c Config) *Series {
	t.Helper()
	var b bytes.Buffer
	if err := Run(t.Context(), c, &b); err != nil {
		t.Fatal(err)
	}
	s, err := Read(b.Bytes())
	if err != nil {
		t.Fatalf("%v in %.2000s", err, b.Bytes())
	}
	return s
}

func TestRunHTTP(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	s := probed(t, Config{Name: "web", Kind: HTTP, Address: srv.URL, Rate: 100, Timeout: time.Second, Length: time.Second, From: "outside"})
	if len(s.Samples) != 100 {
		t.Errorf("%d requests, want 100", len(s.Samples))
	}
	for i, sample := range s.Samples {
		if !sample.OK(0) {
			t.Errorf("request %d: %+v", i, sample)
		}
	}
}
