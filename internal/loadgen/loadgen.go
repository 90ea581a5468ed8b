// Package loadgen sends HTTP requests or gRPC calls at a rate that grows to a target and is then
// held, each request when it is due and not when the one before has been answered
// (an open loop). It tells its own limits from those of what it loads. It knows no
// Kubernetes.
package loadgen

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"runtime/metrics"
	"strings"
	"time"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/probe"
)

// Limits of one run.
const (
	MaxTimeout = 30 * time.Second // of a request
	// MaxBusy requests may be under way at once. A plan that could need more, were no
	// request answered within its timeout, is refused: so that a slow service can
	// never use up the generator.
	MaxBusy = 10_000
	// MaxSamples of the hold are kept one by one; of more, seconds with histograms.
	MaxSamples = 200_000
	// stopAfter the last request was due, those that were not sent yet are not sent.
	stopAfter = time.Second
)

// Options says what to send, where and how fast.
type Options struct {
	// URL is http://host:port/path, grpc://host:port[/service] or grpcs://host:port[/service].
	URL string
	// Method is the gRPC method that is called with the message Request, "package.Service/Method";
	// empty: the health check of the URL's service.
	Method  string
	Request []byte
	// Addresses are what may be dialled, by the host:port that the URL names: ip:port.
	Addresses map[string]string
	Rate      float64 // requests a second
	Ramp      time.Duration
	Hold      time.Duration
	Timeout   time.Duration
}

// busy is how many requests are under way at most.
func (o *Options) busy() int { return int(o.Rate*o.Timeout.Seconds()*1.1) + 10 }

// Validate says why requests will not be sent so.
func (o *Options) Validate() error {
	u, err := url.Parse(o.URL)
	switch {
	case err != nil:
		return fmt.Errorf("load: %w", err)
	case u.Scheme != "http" && !o.grpc() || u.Host == "" || u.User != nil:
		return fmt.Errorf("load: %q is not http://host:port/path, grpc://host:port or grpcs://host:port", u.Redacted())
	case !o.grpc() && (o.Method != "" || len(o.Request) > 0):
		return fmt.Errorf("load: a gRPC method for %q, which is not grpc://host:port or grpcs://host:port", u.Redacted())
	case !(o.Rate > 0) || math.IsInf(o.Rate, 0): // NaN is not > 0 either
		return fmt.Errorf("load: a rate of %g requests a second", o.Rate)
	case o.Ramp < 0 || o.Hold < time.Second || o.Ramp > loadcount.MaxLength || o.Hold > loadcount.MaxLength || o.Ramp+o.Hold > loadcount.MaxLength:
		return fmt.Errorf("load: a ramp of %s and a hold of %s: at least a second held, and %s together at most", o.Ramp, o.Hold, loadcount.MaxLength)
	case o.Timeout <= 0 || o.Timeout > MaxTimeout:
		return fmt.Errorf("load: a timeout of %s: at most %s", o.Timeout, MaxTimeout)
	case o.Rate*(o.Ramp/2+o.Hold).Seconds() > loadcount.MaxRequests:
		return fmt.Errorf("load: %.0f requests: at most %d", o.Rate*(o.Ramp/2+o.Hold).Seconds(), loadcount.MaxRequests)
	case o.busy() > MaxBusy:
		return fmt.Errorf("load: at %g a second and a timeout of %s, %d requests could be under way at once, and %d may: lower one of them", o.Rate, o.Timeout, o.busy(), MaxBusy)
	case loadcount.Held(o.Rate, o.Hold) == 0:
		return fmt.Errorf("load: no request is due within %s at %g a second", o.Hold, o.Rate)
	}
	if o.grpc() {
		if _, err := o.call(); err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	if o.Addresses[hostPort(u)] == "" {
		return fmt.Errorf("load: %s is none of the addresses that may be loaded", u.Host)
	}
	return nil
}

func (o *Options) grpc() bool {
	return strings.HasPrefix(o.URL, "grpc://") || strings.HasPrefix(o.URL, "grpcs://")
}

const agent = "helmproof-load"

// call is what is sent to a gRPC service.
func (o *Options) call() (*probe.Call, error) {
	return probe.NewCall(o.URL, o.Method, o.Request, o.Timeout, agent)
}

// Kind is the probe's kind that the requests are of.
func (o *Options) Kind() string {
	if o.grpc() {
		return probe.GRPC
	}
	return probe.HTTP
}

// Called is the gRPC method that is called; empty: requests are HTTP's.
func (o *Options) Called() string {
	if !o.grpc() {
		return ""
	}
	return cmp.Or(o.Method, probe.HealthCheck)
}

// Dialled is the ip:port that requests go to; the error is Validate's.
func (o *Options) Dialled() (string, error) {
	if err := o.Validate(); err != nil {
		return "", err
	}
	u, err := url.Parse(o.URL)
	if err != nil {
		return "", err
	}
	return o.Addresses[hostPort(u)], nil
}

// HostPort is the host:port that the URL names; empty of one that is not valid.
func (o *Options) HostPort() string {
	u, err := url.Parse(o.URL)
	if err != nil {
		return ""
	}
	return hostPort(u)
}

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// ramped is the number of requests that are due before.
func ramped(rate float64, ramp time.Duration) int { return int(rate * ramp.Seconds() / 2) }

// due is when request i is due, from the beginning of the ramp, within which the
// rate grows steadily from nothing.
func (o *Options) due(i int) time.Duration {
	n := ramped(o.Rate, o.Ramp)
	if i < n {
		return time.Duration(math.Sqrt(2*float64(i)*o.Ramp.Seconds()/o.Rate) * float64(time.Second))
	}
	return o.Ramp + time.Duration(float64(i-n)/o.Rate*float64(time.Second))
}

// Result is what came of a run. Of Samples and Seconds one is set.
type Result struct {
	Began     time.Time          // of the ramp
	Start     time.Time          // of the hold
	Ramp      []loadcount.Second // each second of the ramp
	Samples   []probe.Sample     // each request of the hold
	Seconds   []loadcount.Second // each second of the hold
	Generator loadcount.Generator
}

// Run sends the requests. It ends by itself, or with ctx, whose cause it returns
// then along with what it had.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	pace := &pacer{o: &o, ramped: ramped(o.Rate, o.Ramp)}
	pace.total = pace.ramped + loadcount.Held(o.Rate, o.Hold)
	rec := newRecorder(&o, pace.ramped, pace.total)
	tr, err := newTransport(&o)
	if err != nil {
		return nil, err
	}
	defer tr.close()
	attacker := vegeta.NewAttacker(vegeta.MaxWorkers(uint64(o.busy())), vegeta.MaxBody(0), vegeta.Client(&http.Client{ //nolint:gosec // small, positive
		Transport: tr, Timeout: o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}))
	stopped := context.AfterFunc(ctx, func() { attacker.Stop() })
	defer stopped()
	target := vegeta.NewStaticTargeter(vegeta.Target{Method: http.MethodGet, URL: o.URL, Header: http.Header{"User-Agent": {agent}}})
	for r := range attacker.Attack(target, pace, 0, "") {
		i := int(r.Seq) //nolint:gosec // at most loadcount.MaxRequests
		sent := r.Timestamp.Sub(pace.began)
		rec.add(i, o.due(i), sent, r.Latency, tr.outcomeOf(r))
	}
	res := rec.result()
	res.Began, res.Start = pace.began, pace.began.Add(o.Ramp)
	res.Generator = loadcount.Generator{Busy: int(tr.most.Load()), MaxBusy: o.busy(), Procs: runtime.GOMAXPROCS(0), Wait: pace.waits.p99()}
	return res, context.Cause(ctx)
}

// pacer is vegeta's view of what is due when. vegeta calls it from one goroutine.
type pacer struct {
	o             *Options
	ramped, total int
	began         time.Time
	waits         waits
}

// Pace implements vegeta.Pacer.
func (p *pacer) Pace(elapsed time.Duration, hits uint64) (time.Duration, bool) {
	i := int(hits) //nolint:gosec // at most loadcount.MaxRequests
	if i == 0 {
		p.began = time.Now().Add(-elapsed)
	}
	if i == p.ramped && p.waits.before == nil {
		p.waits.before = schedLatencies()
	}
	if i >= p.total || elapsed > p.o.Ramp+p.o.Hold+stopAfter {
		return 0, true
	}
	return max(0, p.o.due(i)-elapsed), false
}

// Rate implements vegeta.Pacer.
func (p *pacer) Rate(elapsed time.Duration) float64 {
	if elapsed < p.o.Ramp {
		return p.o.Rate * elapsed.Seconds() / p.o.Ramp.Seconds()
	}
	return p.o.Rate
}

// waits is how long goroutines waited for a processor since a moment.
type waits struct{ before *metrics.Float64Histogram }

func schedLatencies() *metrics.Float64Histogram {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	if s[0].Value.Kind() != metrics.KindFloat64Histogram {
		return nil
	}
	return s[0].Value.Float64Histogram()
}

// p99 is the upper edge of the bucket that the 99th percentile is in.
func (w waits) p99() time.Duration {
	after := schedLatencies()
	if w.before == nil || after == nil || len(w.before.Counts) != len(after.Counts) {
		return 0
	}
	var all, seen uint64
	for i, n := range after.Counts {
		all += n - w.before.Counts[i]
	}
	for i, n := range after.Counts {
		if seen += n - w.before.Counts[i]; all > 0 && float64(seen) >= 0.99*float64(all) {
			edge := after.Buckets[i+1]
			if math.IsInf(edge, 1) {
				edge = after.Buckets[i]
			}
			return time.Duration(edge * float64(time.Second))
		}
	}
	return 0
}
