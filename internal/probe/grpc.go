package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// HealthCheck is the method that a Call of no method calls.
const HealthCheck = "grpc.health.v1.Health/Check"

// Bounds of a call, in bytes.
const (
	MaxMessage = 16 << 10 // of a request; it is sealed with the plan
	maxMethod  = 256
	// maxAnswer is what gRPC's own libraries take of an answer unless they are told
	// otherwise.
	maxAnswer = 4 << 20
)

var methodPattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*/[A-Za-z_][A-Za-z0-9_]*$`)

// Call is one unary call of a gRPC method, to be sent as often as one likes. That is
// one message there and one back over HTTP/2, which the standard library speaks;
// gRPC's own library would be twice the prober.
// Source: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
type Call struct {
	// Method is "package.Service/Method".
	Method string

	url, timeout, agent string
	body                []byte
}

// NewCall returns the call of a method, "package.Service/Method", with a request that
// is the method's message in protobuf's encoding, at grpc://host:port or
// grpcs://host:port. Without a method it is the health check of the service that is
// the address's path. The error says which of them is not of that form.
func NewCall(address, method string, request []byte, timeout time.Duration, agent string) (*Call, error) {
	u, err := parseAddress(GRPC, address)
	if err != nil {
		return nil, err
	}
	service := strings.TrimPrefix(u.Path, "/")
	switch {
	case method == "" && len(request) > 0:
		return nil, errors.New("a request without the method that it is of")
	case method == "":
		method = HealthCheck
		if service != "" {
			request = protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), service)
		}
	case len(method) > maxMethod || !methodPattern.MatchString(method):
		return nil, fmt.Errorf("method %.60q is not package.Service/Method", method)
	case service != "":
		return nil, errors.New("an address with a service, which is for health checks, and a method")
	case len(request) > MaxMessage:
		return nil, fmt.Errorf("a request of %d bytes: at most %d", len(request), MaxMessage)
	}
	base := url.URL{Scheme: "http", Host: u.Host, Path: "/" + method}
	if u.Scheme == "grpcs" {
		base.Scheme = "https"
	}
	return &Call{
		Method: method, url: base.String(), agent: agent,
		timeout: strconv.FormatInt(timeout.Microseconds(), 10) + "u", // of a minute: 8 digits, and more may not be
		body:    append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(request))), request...),
	}, nil
}

// Protocols are what a transport has to speak to send the call: HTTP/2, within TLS or
// without.
func (c *Call) Protocols() *http.Protocols {
	p := new(http.Protocols)
	if strings.HasPrefix(c.url, "https:") {
		p.SetHTTP2(true)
	} else {
		p.SetUnencryptedHTTP2(true)
	}
	return p
}

// Do sends the call and says its outcome. last closes the connection after it.
func (c *Call) Do(ctx context.Context, t http.RoundTripper, last bool) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(c.body))
	if err != nil {
		return Other
	}
	req.Close = last
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "Grpc-Timeout": {c.timeout}, "User-Agent": {c.agent}}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return classify(ctx, err)
	}
	message, rest, err := readMessage(resp)
	switch {
	case resp.StatusCode != http.StatusOK:
		return httpStatus(resp.StatusCode)
	case err != nil:
		return classify(ctx, err)
	case int64(len(message))+rest > maxAnswer+frameHead:
		return grpcCodes[resourceExhausted] // as gRPC's own libraries have it
	case !isGRPC(resp.Header.Get("Content-Type")):
		return Other
	}
	status := resp.Trailer.Values("Grpc-Status")
	if len(status) == 0 && len(message) == 0 {
		status = resp.Header.Values("Grpc-Status") // an answer of trailers alone
	}
	if len(status) != 1 {
		return Other
	}
	code, err := strconv.Atoi(status[0])
	switch {
	case err != nil || code < 0 || code >= len(grpcCodes):
		return Other
	case code == deadlineExceeded:
		return Timeout
	case code != 0:
		return grpcCodes[code]
	case c.Method == HealthCheck:
		return healthOf(message)
	case !isFrame(message, rest):
		return Other
	}
	return Good
}

// Codes of gRPC.
const (
	deadlineExceeded  = 4 // of a request that the server gave up in time
	resourceExhausted = 8
)

// frameHead is the length of what stands before a message: whether it is compressed,
// and its length.
const frameHead = 5

// readMessage reads the answer to its end, as far as it is not too long: the beginning,
// and how much came after that. It closes the body.
func readMessage(resp *http.Response) (begin []byte, rest int64, err error) {
	begin, err = io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err == nil {
		rest, err = io.Copy(io.Discard, io.LimitReader(resp.Body, maxAnswer+frameHead+1-maxBody))
	}
	return begin, rest, errors.Join(err, resp.Body.Close())
}

// isFrame reports whether that is one message, and not compressed, which nobody asked
// for.
func isFrame(begin []byte, rest int64) bool {
	return len(begin) >= frameHead && begin[0] == 0 && int64(binary.BigEndian.Uint32(begin[1:frameHead])) == int64(len(begin))-frameHead+rest
}

// isGRPC reports whether a content type is gRPC's, of whatever encoding.
func isGRPC(contentType string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(contentType), "application/grpc")
	return ok && (rest == "" || rest[0] == '+' || rest[0] == ';')
}

// grpcSender asks grpc.health.v1.Health/Check.
type grpcSender struct {
	transport *http.Transport
	call      *Call
}

func (g *grpcSender) send(ctx context.Context) string { return g.call.Do(ctx, g.transport, false) }

func (g *grpcSender) close() { g.transport.CloseIdleConnections() }

// healthOf reads the status of a HealthCheckResponse: 1 is SERVING.
func healthOf(raw []byte) string {
	if !isFrame(raw, 0) {
		return Other
	}
	status := uint64(0)
	for raw = raw[frameHead:]; len(raw) > 0; {
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
