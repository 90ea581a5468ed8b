package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// cart is a gRPC service with one unary method, shop.Cart/Get.
type cart func(ctx context.Context, in string) (string, error)

func (c cart) start(t *testing.T, o ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer(o...)
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "shop.Cart", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Get", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in wrapperspb.StringValue
			if err := decode(&in); err != nil {
				return nil, err
			}
			out, err := c(ctx, in.GetValue())
			return wrapperspb.String(out), err
		},
	}}}, nil)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(srv.Stop)
	return "grpc://" + l.Addr().String()
}

func message(t *testing.T, text string) []byte {
	t.Helper()
	raw, err := proto.Marshal(wrapperspb.String(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// called sends one call by a connection of its own.
func called(t *testing.T, address, method string, request []byte, timeout time.Duration) string {
	t.Helper()
	c, err := NewCall(address, method, request, timeout, "test")
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{Protocols: c.Protocols()}
	defer tr.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	return c.Do(ctx, tr, false)
}

// gRPC's own server understands what is made by hand here: the message, the deadline
// and who asks.
func TestCallIsUnderstood(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "apples", strings.Repeat("a", MaxMessage-10)} {
		var got, agent string
		var left time.Duration
		address := cart(func(ctx context.Context, in string) (string, error) {
			until, _ := ctx.Deadline()
			got, left = in, time.Until(until)
			md, _ := metadata.FromIncomingContext(ctx)
			agent = strings.Join(md.Get("user-agent"), " ")
			return in, nil
		}).start(t)
		if o := called(t, address, "shop.Cart/Get", message(t, text), 25*time.Second); o != Good {
			t.Errorf("%d bytes: %q", len(text), o)
		}
		if got != text || left <= 20*time.Second || left > 25*time.Second || agent != "test" {
			t.Errorf("it got %d bytes of %d, %s before its deadline, from %q", len(got), len(text), left, agent)
		}
	}
}

// Every status of gRPC is known by its name.
func TestCallStatuses(t *testing.T) {
	t.Parallel()
	address := cart(func(_ context.Context, in string) (string, error) {
		n, err := strconv.Atoi(in)
		if err != nil {
			return "", err
		}
		return "", status.Error(codes.Code(n), "as you said") //nolint:gosec // a small number
	}).start(t)
	for code, name := range grpcCodes {
		want := name
		switch codes.Code(code) { //nolint:gosec,exhaustive // the index of a short list
		case codes.OK:
			want = Good
		case codes.DeadlineExceeded:
			want = Timeout
		}
		if got := called(t, address, "shop.Cart/Get", message(t, strconv.Itoa(code)), 10*time.Second); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if codes.Code(code) != codes.OK && strings.ReplaceAll(strings.ToLower(name), "_", "") != strings.ToLower(strings.Replace(codes.Code(code).String(), "Canceled", "Cancelled", 1)) { //nolint:gosec // likewise
			t.Errorf("code %d is called %s, and %s by gRPC", code, name, codes.Code(code))
		}
	}
	for method, want := range map[string]string{"shop.Cart/Put": "UNIMPLEMENTED", "shop.Till/Get": "UNIMPLEMENTED"} {
		if got := called(t, address, method, nil, 10*time.Second); got != want {
			t.Errorf("%s: %q", method, got)
		}
	}
	if got := called(t, address, "shop.Cart/Get", []byte{0xff}, 10*time.Second); got != "INTERNAL" {
		t.Errorf("a request that is no message: %q", got)
	}
	slow := cart(func(ctx context.Context, _ string) (string, error) {
		<-ctx.Done()
		return "", ctx.Err()
	}).start(t)
	if got := called(t, slow, "shop.Cart/Get", nil, 100*time.Millisecond); got != Timeout {
		t.Errorf("a slow server: %q", got)
	}
	large := cart(func(_ context.Context, in string) (string, error) {
		n, err := strconv.Atoi(in)
		return strings.Repeat("x", n), err
	}).start(t)
	for size, want := range map[int]string{1 << 20: Good, maxAnswer - 5: Good, maxAnswer + 1: "RESOURCE_EXHAUSTED", 16 << 20: "RESOURCE_EXHAUSTED"} {
		if got := called(t, large, "shop.Cart/Get", message(t, strconv.Itoa(size)), 20*time.Second); got != want {
			t.Errorf("an answer of %d bytes: %q, want %q", size, got, want)
		}
	}
}

// plainHTTP2 serves HTTP/2 without TLS.
func plainHTTP2(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	srv.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close() })
	return "grpc://" + l.Addr().String()
}

// What is not one whole message and one status of 0 is no good answer, whatever else
// of it looks well.
func TestCallOddAnswers(t *testing.T) {
	t.Parallel()
	frame := func(b ...byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(b))), b...)
	}
	serving := frame(8, 1)
	for _, tt := range []struct {
		name, contentType string
		status            []string // trailers
		head              string   // the status as a header
		body              []byte
		want              string
	}{
		{"good", "application/grpc", []string{"0"}, "", serving, Good},
		{"an encoding", "application/grpc+proto", []string{"0"}, "", serving, Good},
		{"a page", "text/html", []string{"0"}, "", serving, Other},
		{"no type", "", []string{"0"}, "", serving, Other},
		{"gRPC for browsers", "application/grpc-web", []string{"0"}, "", serving, Other},
		{"no status", "application/grpc", nil, "", serving, Other},
		{"two statuses", "application/grpc", []string{"0", "14"}, "", serving, Other},
		{"no number", "application/grpc", []string{"OK"}, "", serving, Other},
		{"a code that nobody knows", "application/grpc", []string{"17"}, "", serving, Other},
		{"below 0", "application/grpc", []string{"-1"}, "", serving, Other},
		{"status before the message", "application/grpc", nil, "0", serving, Other},
		{"trailers alone", "application/grpc", nil, "14", nil, "UNAVAILABLE"},
		{"trailers alone, and well", "application/grpc", nil, "0", nil, Other},
		{"no message", "application/grpc", []string{"0"}, "", nil, Other},
		{"two messages", "application/grpc", []string{"0"}, "", append(bytes.Clone(serving), serving...), Other},
		{"a cut message", "application/grpc", []string{"0"}, "", serving[:6], Other},
		{"a cut head", "application/grpc", []string{"0"}, "", serving[:3], Other},
		{"a compressed message", "application/grpc", []string{"0"}, "", append([]byte{1}, serving[1:]...), Other},
		{"a failure after a message", "application/grpc", []string{"13"}, "", serving, "INTERNAL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			address := plainHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.Copy(io.Discard, r.Body); err != nil {
					panic(err)
				}
				w.Header()["Content-Type"] = []string{tt.contentType}
				if tt.head != "" {
					w.Header().Set("Grpc-Status", tt.head)
				}
				if tt.body != nil || tt.status != nil {
					w.WriteHeader(http.StatusOK)
					_, _ = w.Write(tt.body)
					_ = http.NewResponseController(w).Flush()
				}
				for _, s := range tt.status {
					w.Header().Add(http.TrailerPrefix+"Grpc-Status", s)
				}
			})
			for _, method := range []string{"", "shop.Cart/Get"} {
				if got := called(t, address, method, nil, 10*time.Second); got != tt.want {
					t.Errorf("method %q: %q, want %q", method, got, tt.want)
				}
			}
		})
	}
	for name, tt := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"503":                    {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }, "503"},
		"a stream that is reset": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, Reset},
		"one that is reset in the middle": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			_, _ = w.Write(serving)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, Reset},
	} {
		if got := called(t, plainHTTP2(t, tt.answer), "shop.Cart/Get", nil, 10*time.Second); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
	// A server of HTTP/1 alone.
	page := raw(t, func(c net.Conn) {
		head(c)
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: application/grpc\r\nGrpc-Status: 0\r\nContent-Length: 0\r\n\r\n")
		c.Close()
	})
	if got := called(t, "grpc://"+page, "shop.Cart/Get", nil, 5*time.Second); got == Good {
		t.Error("HTTP/1 is taken for gRPC")
	}
}

func TestCallRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		address, method string
		request         []byte
		want            string
	}{
		{"http://127.0.0.1:1", "", nil, "begins with grpc:// or grpcs://"},
		{"grpc://127.0.0.1", "", nil, "without a port"},
		{"grpc://127.0.0.1:1", "", []byte{1}, "a request without the method"},
		{"grpc://127.0.0.1:1/shop.Cart", "shop.Cart/Get", nil, "an address with a service"},
		{"grpc://127.0.0.1:1", "shop.Cart", nil, `method "shop.Cart" is not package.Service/Method`},
		{"grpc://127.0.0.1:1", "/shop.Cart/Get", nil, "is not package.Service/Method"},
		{"grpc://127.0.0.1:1", "shop.Cart/../Get", nil, "is not package.Service/Method"},
		{"grpc://127.0.0.1:1", "shop.Cart/Get?x", nil, "is not package.Service/Method"},
		{"grpc://127.0.0.1:1", "shop.Cart/Get\r\nx: y", nil, "is not package.Service/Method"},
		{"grpc://127.0.0.1:1", strings.Repeat("a", maxMethod) + "/Get", nil, "is not package.Service/Method"},
		{"grpc://127.0.0.1:1", "shop.Cart/Get", make([]byte, MaxMessage+1), "a request of 16385 bytes: at most 16384"},
	} {
		if _, err := NewCall(tt.address, tt.method, tt.request, time.Second, "test"); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %.40q: %v, want %q", tt.address, tt.method, err, tt.want)
		}
	}
}
