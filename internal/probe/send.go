package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
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
	call, err := NewCall(c.Address, "", nil, c.Timeout, "helmproof-probe")
	if err != nil {
		return nil, err
	}
	t.Protocols = call.Protocols()
	return &grpcSender{t, call}, nil
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
	case errors.As(err, &stream) && deadline(ctx):
		return Timeout // gRPC's servers reset a stream whose deadline has passed
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
