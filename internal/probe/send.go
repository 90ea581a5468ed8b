package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// maxBody bounds what is read of an answer, in bytes. One that is longer is whole
// once that much of it has come.
const maxBody = 64 << 10

// sender sends one request and says its outcome.
type sender interface {
	send(ctx context.Context) string
	close()
}

func newSender(c *Config) (sender, error) {
	u, err := parseAddress(c.Kind, c.Address)
	if err != nil {
		return nil, err
	}
	// Keep-alive probes of TCP would tell nothing, and timers cost.
	dialer := &net.Dialer{Timeout: c.Timeout, KeepAlive: -1}
	if c.Kind == TCP {
		return &tcpSender{dialer, hostPort(u)}, nil
	}
	t := &http.Transport{
		// No proxy: it is the Service that is asked.
		DialContext:            dialer.DialContext,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: c.InsecureTLS}, //nolint:gosec // only where it was asked for
		TLSHandshakeTimeout:    c.Timeout,
		DisableKeepAlives:      !c.KeepAlive,
		MaxIdleConnsPerHost:    c.inFlight(),
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxBody,
		Protocols:              new(http.Protocols),
	}
	if c.Kind == HTTP {
		t.Protocols.SetHTTP1(true)
		return &httpSender{t, u.String()}, nil
	}
	g := &grpcSender{transport: t, timeout: strconv.FormatInt(c.Timeout.Milliseconds(), 10) + "m"}
	base := url.URL{Scheme: "http", Host: u.Host, Path: "/grpc.health.v1.Health/Check"}
	if u.Scheme == "grpcs" {
		base.Scheme = "https"
		t.Protocols.SetHTTP2(true)
	} else {
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	g.url = base.String()
	var message []byte
	if len(u.Path) > 1 {
		message = protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), u.Path[1:])
	}
	g.body = append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
	return g, nil
}

type tcpSender struct {
	dialer  *net.Dialer
	address string
}

func (t *tcpSender) send(ctx context.Context) string {
	conn, err := t.dialer.DialContext(ctx, "tcp", t.address)
	if err != nil {
		return classify(ctx, err)
	}
	_ = conn.Close() // the connection was made, and that was the question
	return Good
}

func (t *tcpSender) close() {}

type httpSender struct {
	transport *http.Transport
	url       string
}

// send asks for the page without following redirects. An answer below 400 is good.
func (h *httpSender) send(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.url, nil)
	if err != nil {
		return Other
	}
	req.Header.Set("User-Agent", "helmproof-probe")
	resp, err := h.transport.RoundTrip(req)
	if err != nil {
		return classify(ctx, err)
	}
	_, err = readBody(resp)
	switch {
	case resp.StatusCode >= 400:
		return httpStatus(resp.StatusCode)
	case err != nil:
		return classify(ctx, err)
	}
	return Good
}

func (h *httpSender) close() { h.transport.CloseIdleConnections() }

func readBody(resp *http.Response) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	return raw, errors.Join(err, resp.Body.Close())
}

func httpStatus(code int) string {
	if s, ok := statuses[strconv.Itoa(code)]; ok {
		return s
	}
	return Other
}

// grpcSender asks grpc.health.v1.Health/Check. That is one message over HTTP/2,
// which the standard library speaks; gRPC's own library would be twice the prober.
type grpcSender struct {
	transport    *http.Transport
	url, timeout string
	body         []byte
}

func (g *grpcSender) send(ctx context.Context) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url, bytes.NewReader(g.body))
	if err != nil {
		return Other
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {g.timeout}, "User-Agent": {"helmproof-probe"}}
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		return classify(ctx, err)
	}
	raw, err := readBody(resp)
	if resp.StatusCode != http.StatusOK {
		return httpStatus(resp.StatusCode)
	}
	if err != nil {
		return classify(ctx, err)
	}
	status := resp.Trailer.Get("Grpc-Status")
	if status == "" {
		status = resp.Header.Get("Grpc-Status") // an answer of trailers alone
	}
	code, err := strconv.Atoi(status)
	switch {
	case err != nil || code < 0 || code >= len(grpcCodes):
		return Other
	case code == deadlineExceeded:
		return Timeout
	case code != 0:
		return grpcCodes[code]
	}
	return healthOf(raw)
}

func (g *grpcSender) close() { g.transport.CloseIdleConnections() }

// deadlineExceeded is gRPC's code for a request that the server gave up in time.
const deadlineExceeded = 4

// healthOf reads the status of a HealthCheckResponse: 1 is SERVING.
func healthOf(raw []byte) string {
	if len(raw) < 5 || raw[0] != 0 || int(binary.BigEndian.Uint32(raw[1:5])) != len(raw)-5 {
		return Other
	}
	status := uint64(0)
	for raw = raw[5:]; len(raw) > 0; {
		field, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return Other
		}
		raw = raw[n:]
		if n = protowire.ConsumeFieldValue(field, kind, raw); n < 0 {
			return Other
		}
		if field == 1 && kind == protowire.VarintType {
			status, _ = protowire.ConsumeVarint(raw)
		}
		raw = raw[n:]
	}
	switch status {
	case 0:
		return "UNKNOWN"
	case 1:
		return Good
	case 2:
		return "NOT_SERVING"
	case 3:
		return "SERVICE_UNKNOWN"
	}
	return Other
}

// streamError is the error of net/http for a stream that the server reset; the
// fields are what errors.As goes by.
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "stream error" }

// classify says what an error was, by who is to blame.
func classify(ctx context.Context, err error) string {
	var (
		dns    *net.DNSError
		record tls.RecordHeaderError
		alert  tls.AlertError
		cert   *tls.CertificateVerificationError
		host   x509.HostnameError
		signer x509.UnknownAuthorityError
		stream streamError
		netErr net.Error
	)
	is := func(targets ...error) bool {
		for _, t := range targets {
			if errors.Is(err, t) {
				return true
			}
		}
		return false
	}
	switch {
	// The prober's own machine had nothing left to send with.
	case is(syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL):
		return Unsent
	case errors.As(err, &dns):
		return DNS
	case errors.As(err, &record), errors.As(err, &alert), errors.As(err, &cert), errors.As(err, &host), errors.As(err, &signer):
		return TLS
	case is(syscall.ECONNREFUSED):
		return Refused
	case is(syscall.ECONNRESET, syscall.EPIPE, syscall.ECONNABORTED), errors.As(err, &stream):
		return Reset
	case is(syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.EHOSTDOWN, syscall.ENETDOWN):
		return Unreachable
	case is(context.DeadlineExceeded, syscall.ETIMEDOUT), errors.As(err, &netErr) && netErr.Timeout(), deadline(ctx):
		return Timeout
	case is(io.EOF, io.ErrUnexpectedEOF), connectionGone(err):
		return EOF
	}
	return Other
}

// connectionGone reports whether HTTP/2 found its connection ended. net/http has
// words for that, and no values.
func connectionGone(err error) bool {
	text := err.Error()
	return strings.Contains(text, "http2: client conn") || strings.Contains(text, "http2: server sent GOAWAY")
}

// deadline reports whether the request's time is up: what net/http says then
// depends on where it was.
func deadline(ctx context.Context) bool {
	until, ok := ctx.Deadline()
	return ok && !time.Now().Before(until)
}
