package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
)

// counted counts the connections that a listener accepts.
type counted struct {
	net.Listener
	n atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

// calls serves gRPC's health and shop.Cart/Get, each of which costs what do does.
func calls(t *testing.T, do func(ctx context.Context) error, o ...grpc.ServerOption) (Options, *counted, *grpc.Server) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	count := &counted{Listener: l}
	srv := grpc.NewServer(append(o, grpc.UnaryInterceptor(func(ctx context.Context, in any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		if err := do(ctx); err != nil {
			return nil, err
		}
		return next(ctx, in)
	}))...)
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "shop.Cart", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Get", Handler: func(_ any, ctx context.Context, decode func(any) error, between grpc.UnaryServerInterceptor) (any, error) {
			in := new(wrapperspb.StringValue)
			if err := decode(in); err != nil {
				return nil, err
			}
			return between(ctx, in, nil, func(context.Context, any) (any, error) { return in, nil })
		},
	}}}, nil)
	go func() { _ = srv.Serve(count) }()
	t.Cleanup(srv.Stop)
	host := l.Addr().String()
	return Options{URL: "grpc://" + host, Addresses: map[string]string{host: host}, Rate: 100, Hold: time.Second, Timeout: 2 * time.Second}, count, srv
}

// hold sends the load, and says what became of the requests that were held.
func hold(t *testing.T, o Options) (*loadrecord.Requests, *Result) {
	t.Helper()
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return loadrecord.FromSamples(r.Samples), r
}

func TestGRPC(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	o, count, _ := calls(t, func(context.Context) error {
		switch n.Add(1) {
		case 60, 61, 62:
			return status.Error(codes.Unavailable, "busy")
		case 63:
			return status.Error(codes.Internal, "oh")
		}
		return nil
	})
	o.Ramp, o.Method, o.Request = time.Second, "shop.Cart/Get", []byte("\x0a\x06apples")
	f, r := hold(t, o)
	failed := func(status string) int { return f.Failed[status] + r.Ramp[0].Failed[status] } // calls may overtake each other
	if f.Due != 100 || f.Good+r.Ramp[0].Good != 146 || f.Unsent != 0 || failed("UNAVAILABLE") != 3 || failed("INTERNAL") != 1 || n.Load() != 150 {
		t.Errorf("%d due, %d and %d good, failed: %v and %v, %d calls", f.Due, r.Ramp[0].Good, f.Good, r.Ramp[0].Failed, f.Failed, n.Load())
	}
	if o.Kind() != probe.GRPC || o.Called() != "shop.Cart/Get" {
		t.Errorf("%s, %s", o.Kind(), o.Called())
	}
	// Connections are shared, and made anew: no pod keeps all of the load.
	if c := count.n.Load(); c < lanes || c > 2*lanes+3*maxRedone {
		t.Errorf("%d connections", c)
	}
	o.Method, o.Request = "", nil
	if f, _ := hold(t, o); f.Good != 100 || o.Called() != probe.HealthCheck {
		t.Errorf("health: %+v of %s", f, o.Called())
	}
	o.URL += "/shop.None"
	if f, _ := hold(t, o); f.Failed["NOT_FOUND"] != 100 {
		t.Errorf("health of no service: %+v", f)
	}
}

// A service that does not answer, or takes one call of a connection at a time, does
// not hold up the calls that are due after; their deadline is the service's too.
func TestGRPCOpenLoop(t *testing.T) {
	t.Parallel()
	var given atomic.Int64
	o, _, _ := calls(t, func(ctx context.Context) error {
		if until, ok := ctx.Deadline(); ok && time.Until(until) <= 500*time.Millisecond {
			given.Add(1)
		}
		<-ctx.Done()
		return ctx.Err()
	})
	o.Timeout = 500 * time.Millisecond
	f, r := hold(t, o)
	if f.Failed[probe.Timeout] != 100 || f.Unsent != 0 || r.Generator.Busy < 20 || given.Load() == 0 {
		t.Errorf("%+v, %+v, %d with a deadline", f, r.Generator, given.Load())
	}
	o, _, _ = calls(t, func(ctx context.Context) error {
		wait, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		<-wait.Done()
		return nil
	}, grpc.MaxConcurrentStreams(1))
	o.Timeout = 10 * time.Second
	f, r = hold(t, o)
	if f.Good != 100 || f.Unsent != 0 || r.Generator.Busy < 20 {
		t.Errorf("one call at a time: %+v, %+v", f, r.Generator)
	}
}

// A server that ends its connections as it should costs no call; one that dies costs
// those that it had, and then refuses.
func TestGRPCConnectionsEnd(t *testing.T) {
	t.Parallel()
	o, count, _ := calls(t, func(context.Context) error { return nil },
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionAge: 100 * time.Millisecond, MaxConnectionAgeGrace: time.Second}))
	o.Rate, o.Hold = 200, 2*time.Second
	if f, _ := hold(t, o); f.Good != 400 {
		t.Errorf("GOAWAY: %+v", f)
	}
	t.Logf("%d connections", count.n.Load())

	var once sync.Once
	var n atomic.Int64
	stop := make(chan struct{})
	dying, _, srv := calls(t, func(ctx context.Context) error {
		if n.Add(1) > 50 {
			once.Do(func() { close(stop) })
			<-ctx.Done()
		}
		return nil
	})
	go func() {
		<-stop
		srv.Stop()
	}()
	f, _ := hold(t, dying)
	if f.Good > 50 || f.Unsent != 0 || f.Failed[probe.Refused] == 0 || f.Bad() != f.Failed[probe.Refused]+f.Failed[probe.EOF]+f.Failed[probe.Reset] || f.Bad() < 50 {
		t.Errorf("a server that dies: %+v", f)
	}

	// Streams that are reset, and a page instead of gRPC.
	for want, h := range map[string]http.HandlerFunc{
		probe.Reset: func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		probe.Other: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Header().Set(outcomeHeader, "") // which is ours, and believed of nobody
		},
		"404": http.NotFound,
	} {
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Start()
		t.Cleanup(s.Close)
		host := s.Listener.Addr().String()
		o := Options{URL: "grpc://" + host, Addresses: map[string]string{host: host}, Rate: 50, Hold: time.Second, Timeout: 2 * time.Second}
		if f, _ := hold(t, o); f.Failed[want] != 50 {
			t.Errorf("want %q: %+v", want, f)
		}
	}
}

// By TLS, where it is asked for, and with certificates verified.
func TestGRPCTLS(t *testing.T) {
	t.Parallel()
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	t.Cleanup(cert.Close)
	o, _, _ := calls(t, func(context.Context) error { return nil }, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: cert.TLS.Certificates, MinVersion: tls.VersionTLS12})))
	o.Rate, o.URL = 20, strings.Replace(o.URL, "grpc:", "grpcs:", 1)
	if f, _ := hold(t, o); f.Failed[probe.TLS] != 20 {
		t.Errorf("a certificate of nobody: %+v", f)
	}
	tr, err := newTransport(&o)
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	tr.lanes[0].TLSClientConfig.RootCAs = cert.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	tr.lanes[0].TLSClientConfig.ServerName = "example.com"
	if got := tr.call.Do(t.Context(), tr.lanes[0], false); got != probe.Good {
		t.Errorf("%q", got)
	}
}

func TestGRPCStopped(t *testing.T) {
	t.Parallel()
	enough := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	o, _, _ := calls(t, func(context.Context) error { cancel(enough); return nil })
	o.Hold = time.Minute
	r, err := Run(ctx, o)
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if f := loadrecord.FromSamples(r.Samples); f.Due != 6000 || f.Unsent < 5000 || f.Good < 1 {
		t.Errorf("%d due, %d not sent, %d good", f.Due, f.Unsent, f.Good)
	}
}

func TestGRPCRefused(t *testing.T) {
	t.Parallel()
	good := Options{URL: "grpc://127.0.0.1:8080", Addresses: map[string]string{"127.0.0.1:8080": "127.0.0.1:8080"}, Rate: 10, Hold: time.Minute, Timeout: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want string
		edit func(*Options)
	}{
		{"is none of the addresses that may be loaded", func(o *Options) { o.URL = "grpc://192.0.2.1:8080" }},
		{"is none of the addresses that may be loaded", func(o *Options) { o.URL = "grpcs://127.0.0.1:443" }},
		{"address without a port", func(o *Options) { o.URL = "grpc://127.0.0.1" }},
		{"is not http://host:port/path, grpc://host:port or grpcs://host:port", func(o *Options) { o.URL = "grpc://me:hidden@127.0.0.1:8080" }},
		{"a gRPC method for", func(o *Options) { o.URL, o.Method = "http://127.0.0.1:8080/", "shop.Cart/Get" }},
		{"a gRPC method for", func(o *Options) { o.URL, o.Request = "http://127.0.0.1:8080/", []byte{1} }},
		{"is not package.Service/Method", func(o *Options) { o.Method = "Get" }},
		{"could be under way at once", func(o *Options) { o.Rate, o.Timeout = 1000, 20*time.Second }},
	} {
		o := good
		tt.edit(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%v, want %q", err, tt.want)
		}
	}
}

// BenchmarkGRPC is what a call costs the generator, and the server in this process.
func BenchmarkGRPC(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(srv, health.NewServer())
	go func() { _ = srv.Serve(l) }()
	defer srv.Stop()
	host := l.Addr().String()
	tr, err := newTransport(&Options{URL: "grpc://" + host, Addresses: map[string]string{host: host}, Rate: 5000, Timeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer tr.close()
	b.ReportAllocs()
	for b.Loop() {
		if got := tr.call.Do(b.Context(), tr.lanes[0], false); got != probe.Good {
			b.Fatal(got)
		}
	}
}
