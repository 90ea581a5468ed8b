package loadgen

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
)

func serve(t *testing.T, h http.HandlerFunc) Options {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	host := strings.TrimPrefix(s.URL, "http://")
	return Options{URL: s.URL, Addresses: map[string]string{host: host}, Rate: 100, Hold: time.Second, Timeout: time.Second}
}

func TestRun(t *testing.T) {
	t.Parallel()
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vegeta-Seq") == "60" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	o.Ramp = time.Second
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f := loadrecord.FromSamples(r.Samples)
	if f.Due != 100 || f.Good != 99 || f.Unsent != 0 || f.Failed["503"] != 1 || len(r.Ramp) != 1 || r.Ramp[0].Good != 50 {
		t.Errorf("%+v, ramp %+v", f, r.Ramp)
	}
	if r.Generator.Busy < 1 || r.Generator.MaxBusy != 120 || r.Generator.Procs < 1 || r.Start.IsZero() {
		t.Errorf("%+v", r.Generator)
	}
}

// A service that does not answer does not hold up the requests that are due after.
func TestOpenLoop(t *testing.T) {
	t.Parallel()
	o := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	o.Timeout = 500 * time.Millisecond
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if f := loadrecord.FromSamples(r.Samples); f.Failed[probe.Timeout] != 100 || f.Unsent != 0 || r.Generator.Busy < 20 {
		t.Errorf("%+v, %+v", f, r.Generator)
	}
}

func TestStopped(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	o := serve(t, func(http.ResponseWriter, *http.Request) { cancel(enough) })
	o.Hold = time.Minute
	r, err := Run(ctx, o)
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if f := loadrecord.FromSamples(r.Samples); f.Due != 6000 || f.Unsent < 5000 || f.Good < 1 {
		t.Errorf("%d due, %d not sent, %d good", f.Due, f.Unsent, f.Good)
	}
}

func TestRefused(t *testing.T) {
	t.Parallel()
	good := Options{URL: "http://127.0.0.1:8080/", Addresses: map[string]string{"127.0.0.1:8080": "127.0.0.1:8080"}, Rate: 10, Hold: time.Minute, Timeout: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		edit func(*Options)
	}{
		{"is none of the addresses that may be loaded", func(o *Options) { o.URL = "http://192.0.2.1:8080/" }},
		{"is none of the addresses that may be loaded", func(o *Options) { o.URL = "http://127.0.0.1/" }},
		{"is not http://host:port/path", func(o *Options) { o.URL = "https://127.0.0.1:8080/" }},
		{"is not http://host:port/path", func(o *Options) { o.URL = "http://me:hidden@127.0.0.1:8080/" }},
		{"a rate of NaN", func(o *Options) { o.Rate = 0; o.Rate /= o.Rate }},
		{"a rate of 0", func(o *Options) { o.Rate = 0 }},
		{"1h0m0s together at most", func(o *Options) { o.Ramp = time.Hour }},
		{"a timeout of 31s", func(o *Options) { o.Timeout = 31 * time.Second }},
		{"requests: at most 2000000", func(o *Options) { o.Rate, o.Hold = 1e4, 10*time.Minute }},
		{"could be under way at once", func(o *Options) { o.Rate, o.Timeout = 1000, 20*time.Second }},
		{"no request is due", func(o *Options) { o.Rate, o.Hold = 0.01, time.Second }},
	} {
		o := good
		tt.edit(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

func TestDue(t *testing.T) {
	t.Parallel()
	o := Options{Rate: 200, Ramp: 10 * time.Second, Hold: time.Minute}
	n := ramped(o.Rate, o.Ramp)
	if n != 1000 || loadcount.Held(o.Rate, o.Hold) != 12000 {
		t.Fatalf("%d in the ramp", n)
	}
	for i := 1; i < n+100; i++ {
		if o.due(i) <= o.due(i-1) {
			t.Fatalf("request %d is due at %s, %d at %s", i-1, o.due(i-1), i, o.due(i))
		}
	}
	if o.due(n) != o.Ramp || o.due(n+200) != o.Ramp+time.Second || o.due(n/4) != 5*time.Second {
		t.Errorf("%s, %s, %s", o.due(n), o.due(n+200), o.due(n/4))
	}
}

func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		code uint16
		text string
		want string
	}{
		{200, "", ""}, {302, "", ""}, {500, "500 Internal Server Error", "500"}, {404, "404 Not Found", "404"},
		{0, `Get "http://127.0.0.1:1/": dial tcp 127.0.0.1:1: connect: connection refused`, "refused"},
		{0, `Get "http://x/": context deadline exceeded (Client.Timeout exceeded while awaiting headers)`, "timeout"},
		{0, `read tcp 127.0.0.1:1->127.0.0.1:2: read: connection reset by peer`, "reset"},
		{0, `Get "http://x/": EOF`, "eof"}, {0, "unexpected EOF", "eof"},
		{0, `dial tcp 127.0.0.1:1: connect: cannot assign requested address`, "unsent"},
		{0, `dial tcp 127.0.0.1:1: socket: too many open files`, "unsent"},
		{0, "?", "other"}, {200, "malformed", "other"},
	} {
		if got := outcome(tt.code, tt.text); got != tt.want {
			t.Errorf("%d %q: %q, want %q", tt.code, tt.text, got, tt.want)
		}
	}
}

// Seconds say the same as samples do, to within the width of a bucket.
func TestSecondsAndSamples(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4)) //nolint:gosec // a test
	o := &Options{Rate: 150, Hold: 10 * time.Second, Timeout: time.Second}
	n := loadcount.Held(o.Rate, o.Hold)
	samples, binned := newRecorder(o, 0, n), newRecorder(o, 0, n)
	binned.samples, binned.hold = nil, make([]loadcount.Second, loadcount.SecondsOf(o.Hold))
	for _, i := range r.Perm(n)[:n-7] {
		late, took := time.Duration(r.Int64N(int64(60*time.Millisecond))), time.Duration(r.Int64N(int64(400*time.Millisecond)))
		outcome := []string{"", "", "", "", "", "", "", "", "503", "timeout"}[r.IntN(10)]
		samples.add(i, o.due(i), o.due(i)+late, took, outcome)
		binned.add(i, o.due(i), o.due(i)+late, took, outcome)
	}
	raw, err := loadcount.EncodeSeconds(binned.result().Seconds)
	if err != nil {
		t.Fatal(err)
	}
	list, err := loadcount.DecodeSeconds(raw)
	if err != nil {
		t.Fatal(err)
	}
	a := loadrecord.FromSamples(samples.result().Samples)
	b, err := loadrecord.FromSeconds(list, o.Rate, o.Hold)
	if err != nil {
		t.Fatal(err)
	}
	if a.Unsent != 7 {
		t.Errorf("%d not sent", a.Unsent)
	}
	if d := cmp.Diff([]any{a.Due, a.Good, a.Late, a.Unsent, a.Failed}, []any{b.Due, b.Good, b.Late, b.Unsent, b.Failed}); d != "" {
		t.Error(d)
	}
	for _, q := range []float64{0.01, 0.5, 0.7} {
		x, okA := a.Took(q)
		y, okB := b.Took(q)
		if !okA || !okB || y < x || y > x+x/32+time.Microsecond {
			t.Errorf("quantile %v: %s and %s", q, x, y)
		}
	}
	if _, ok := a.Took(0.99); ok {
		t.Error("a fifth failed, and the 99th percentile is a time")
	}
	for _, drop := range []int{0, 5, 9} {
		less := append(append([]loadcount.Second{}, list[:drop]...), list[drop+1:]...)
		if _, err := loadrecord.FromSeconds(less, o.Rate, o.Hold); err == nil || !strings.Contains(err.Error(), "9 seconds, of a hold of 10s") {
			t.Errorf("without second %d: %v", drop, err)
		}
	}
	list[3].Due--
	if _, err := loadrecord.FromSeconds(list, o.Rate, o.Hold); err == nil || !strings.Contains(err.Error(), "1499 requests, where 1500 were due") {
		t.Errorf("without a request: %v", err)
	}
	list[3].Due -= 9
	if _, err := loadrecord.FromSeconds(list, o.Rate, o.Hold); err == nil || !strings.Contains(err.Error(), "second 3 has 140 requests, where 150 were due") {
		t.Errorf("without ten requests: %v", err)
	}
}
