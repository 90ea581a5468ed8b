package probe

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// ask sends one request.
func ask(t *testing.T, c Config) string {
	t.Helper()
	c.Name, c.Rate, c.From = "x", 1, "outside"
	if c.Timeout == 0 {
		c.Timeout = 10 * time.Second
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	s, err := newSender(&c)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	return c.request(t.Context(), time.Now(), s).Outcome
}

// raw listens, and does something with each connection.
func raw(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go do(conn)
		}
	}()
	return l.Addr().String()
}

// head reads the head of a request.
func head(conn net.Conn) {
	b := make([]byte, 4096)
	_, _ = conn.Read(b)
}

// nobody is an address that refuses connections.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestHTTPOutcomes(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code := 0
		_, _ = fmt.Sscan(r.PathValue("code"), &code)
		w.Header().Set("Location", "/status/500")
		w.WriteHeader(code)
	})
	mux.HandleFunc("/hang", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	mux.HandleFunc("/drip", func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil { // a byte now and then, until the client goes
			_, _ = w.Write([]byte("x"))
			w.(http.Flusher).Flush()
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	mux.HandleFunc("/endless", func(w http.ResponseWriter, _ *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/half", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("half"))
		panic(http.ErrAbortHandler)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	secure := httptest.NewUnstartedServer(mux)
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)

	closes := raw(t, func(c net.Conn) { head(c); c.Close() })
	resets := raw(t, func(c net.Conn) {
		head(c)
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	})
	silent := raw(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	babbles := raw(t, func(c net.Conn) {
		head(c)
		_, _ = c.Write([]byte("hello\r\n\r\n"))
		c.Close()
	})
	bigHead := raw(t, func(c net.Conn) {
		head(c)
		_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\n"))
		for {
			if _, err := fmt.Fprintf(c, "X-Big: %s\r\n", strings.Repeat("x", 1000)); err != nil {
				return
			}
		}
	})
	short := 150 * time.Millisecond
	for _, tt := range []struct {
		name, address, want string
		timeout             time.Duration
		insecure            bool
	}{
		{"good", srv.URL + "/good", Good, 0, false},
		{"redirect, not followed", srv.URL + "/status/302", Good, 0, false},
		{"503", srv.URL + "/status/503", "503", 0, false},
		{"404", srv.URL + "/nothing", "404", 0, false},
		{"hangs", srv.URL + "/hang", Timeout, short, false},
		{"drips", srv.URL + "/drip", Timeout, short, false},
		{"endless", srv.URL + "/endless", Good, 0, false},
		{"half a body", srv.URL + "/half", EOF, 0, false},
		{"closes", "http://" + closes, EOF, 0, false},
		{"resets", "http://" + resets, Reset, 0, false},
		{"accepts and is silent", "http://" + silent, Timeout, short, false},
		{"refuses", "http://" + nobody(t), Refused, 0, false},
		{"speaks another protocol", "http://" + babbles, Other, 0, false},
		{"endless headers", "http://" + bigHead, Other, 0, false},
		{"no such name", "http://no-such-name.invalid", DNS, 0, false},
		{"certificate", secure.URL + "/good", TLS, 0, false},
		{"certificate not verified", secure.URL + "/good", Good, 0, true},
		{"TLS to a server without", strings.Replace(srv.URL, "http://", "https://", 1), TLS, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if got := ask(t, Config{Kind: HTTP, Address: tt.address, Timeout: tt.timeout, InsecureTLS: tt.insecure}); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// Proxies of the environment are not asked: every request would fail.
func TestHTTPAsksNoProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://"+nobody(t))
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	s, err := newSender(&Config{Kind: HTTP, Address: srv.URL, Timeout: time.Second, Rate: 1})
	if err != nil {
		t.Fatal(err)
	}
	if p := s.(*httpSender).transport.Proxy; p != nil {
		t.Error("there is a proxy")
	}
}

func TestConnectionsAreNewUnlessAskedFor(t *testing.T) {
	t.Parallel()
	for _, keep := range []bool{false, true} {
		var conns atomic.Int64
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			if s == http.StateNew {
				conns.Add(1)
			}
		}
		srv.Start()
		c := Config{Kind: HTTP, Address: srv.URL, Timeout: 10 * time.Second, Rate: 1, KeepAlive: keep}
		s, err := newSender(&c)
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if got := s.send(t.Context()); got != Good {
				t.Errorf("%q", got)
			}
		}
		s.close()
		srv.Close()
		if got := conns.Load(); keep && got != 1 || !keep && got != 5 {
			t.Errorf("keep-alive %v: %d connections for 5 requests", keep, got)
		}
	}
}

func TestTCPOutcomes(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		raw(t, func(c net.Conn) { c.Close() }): Good,
		nobody(t):                              Refused,
		"no-such-name.invalid:80":              DNS,
	} {
		if got := ask(t, Config{Kind: TCP, Address: "tcp://" + address}); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}

func TestGRPCOutcomes(t *testing.T) {
	t.Parallel()
	serve := func(o ...grpc.ServerOption) (string, *health.Server) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv, h := grpc.NewServer(o...), health.NewServer()
		grpc_health_v1.RegisterHealthServer(srv, h)
		go func() { _ = srv.Serve(l) }()
		t.Cleanup(srv.Stop)
		return l.Addr().String(), h
	}
	plain, h := serve()
	h.SetServingStatus("shop.Cart", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	h.SetServingStatus("shop.Odd", grpc_health_v1.HealthCheckResponse_UNKNOWN)
	fails := func(code codes.Code) string {
		address, _ := serve(grpc.UnaryInterceptor(func(ctx context.Context, _ any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			if code == codes.OK {
				<-ctx.Done()
				return nil, status.Error(codes.DeadlineExceeded, "too late")
			}
			return nil, status.Error(code, "no")
		}))
		return address
	}
	cert := httptest.NewUnstartedServer(nil)
	cert.StartTLS()
	t.Cleanup(cert.Close)
	secure, _ := serve(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: cert.TLS.Certificates})))
	nothing := grpc.NewServer()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = nothing.Serve(l) }()
	t.Cleanup(nothing.Stop)
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	resets := raw(t, func(c net.Conn) {
		head(c)
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	})
	for _, tt := range []struct {
		name, address, want string
		insecure            bool
	}{
		{"serving", "grpc://" + plain, Good, false},
		{"a service that does not", "grpc://" + plain + "/shop.Cart", "NOT_SERVING", false},
		{"a service that does not know", "grpc://" + plain + "/shop.Odd", "UNKNOWN", false},
		{"a service that is not there", "grpc://" + plain + "/shop.None", "NOT_FOUND", false},
		{"unavailable", "grpc://" + fails(codes.Unavailable), "UNAVAILABLE", false},
		{"too slow", "grpc://" + fails(codes.OK), Timeout, false},
		{"no health service", "grpc://" + l.Addr().String(), "UNIMPLEMENTED", false},
		{"refuses", "grpc://" + nobody(t), Refused, false},
		{"resets", "grpc://" + resets, Reset, false},
		{"TLS", "grpcs://" + secure, Good, true},
		{"certificate", "grpcs://" + secure, TLS, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			timeout := 10 * time.Second
			if tt.want == Timeout {
				timeout = 150 * time.Millisecond
			}
			got := ask(t, Config{Kind: GRPC, Address: tt.address, Timeout: timeout, InsecureTLS: tt.insecure})
			// HTTP/2 may find its connection gone before it reads why.
			if got != tt.want && (tt.want != Reset || got != EOF) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	if got := ask(t, Config{Kind: GRPC, Address: strings.Replace(page.URL, "http://", "grpc://", 1)}); got == Good {
		t.Error("a page is good health")
	}
}

func TestHealthMessages(t *testing.T) {
	t.Parallel()
	message := func(b ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	for _, tt := range []struct {
		raw  []byte
		want string
	}{
		{message(8, 1), Good},
		{message(), "UNKNOWN"},
		{message(8, 2), "NOT_SERVING"},
		{message(8, 3), "SERVICE_UNKNOWN"},
		{message(8, 9), Other},
		{message(18, 1, 'x', 8, 1), Good}, // a field that nobody knows
		{message(8), Other},
		{message(8, 1)[:6], Other},
		{append(message(8, 1), 0), Other},
		{[]byte{1, 0, 0, 0, 2, 8, 1}, Other}, // compressed, which nobody asked for
		{nil, Other},
	} {
		if got := healthOf(tt.raw); got != tt.want {
			t.Errorf("%v: %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func FuzzHealth(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 2, 8, 1})
	f.Add([]byte{0, 0, 0, 0, 5, 18, 1, 'x', 8, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if got := healthOf(raw); got == Good && (len(raw) < 7 || raw[0] != 0) {
			t.Fatalf("%v is good", raw)
		}
	})
}

// What the prober's own machine lacks is not the service's failure.
func TestClassify(t *testing.T) {
	t.Parallel()
	for errno, want := range map[syscall.Errno]string{
		syscall.EMFILE: Unsent, syscall.EADDRNOTAVAIL: Unsent, syscall.ENOBUFS: Unsent,
		syscall.EHOSTUNREACH: Unreachable, syscall.ENETUNREACH: Unreachable, syscall.ETIMEDOUT: Timeout, syscall.EPIPE: Reset, syscall.EACCES: Other,
	} {
		err := &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connect: %w", errno)}
		if got := classify(context.Background(), err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

// BenchmarkRequest asks a server in this process, by a connection of its own each
// time.
func BenchmarkRequest(b *testing.B) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer srv.Close()
	s, err := newSender(&Config{Kind: HTTP, Address: srv.URL, Timeout: time.Second, Rate: 100})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if got := s.send(b.Context()); got != Good {
			b.Fatal(got)
		}
	}
}
