package loadgen

import (
	"context"
	"crypto/tls"
	"errors"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"

	vegeta "github.com/tsenart/vegeta/v12/lib"

	"github.com/companyos/helmproof/internal/probe"
)

// A connection stays with the pod that it was made to: were they all kept, a few pods
// would have all of the load. So they are closed now and then.
const (
	// maxDials is how many connections are made in a second.
	maxDials = 200
	// Calls of gRPC share connections, as those of its clients do: so many are there at
	// once, used in turn, and so many are made anew in a second.
	lanes     = 16
	maxRedone = 20
)

// transport dials what it may and nothing else, and counts what is under way.
type transport struct {
	lanes            []*http.Transport // used in turn
	call             *probe.Call       // nil: requests are HTTP's
	every            int64             // request of a lane that closes its connection
	sent, busy, most atomic.Int64
}

func newTransport(o *Options) (*transport, error) {
	t, n, dials := &transport{}, 1, maxDials
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	if o.grpc() {
		var err error
		if t.call, err = o.call(); err != nil {
			return nil, err
		}
		protocols, n, dials = t.call.Protocols(), lanes, maxRedone
	}
	t.every = int64(math.Ceil(o.Rate / float64(dials)))
	dialer := &net.Dialer{Timeout: o.Timeout}
	for range n {
		t.lanes = append(t.lanes, &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				to, ok := o.Addresses[address]
				if !ok {
					return nil, errors.New("this address may not be loaded")
				}
				return dialer.DialContext(ctx, network, to)
			},
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}, TLSHandshakeTimeout: o.Timeout, Protocols: protocols,
			DisableCompression: true, MaxIdleConnsPerHost: o.busy(), MaxResponseHeaderBytes: 64 << 10,
		})
	}
	return t, nil
}

func (t *transport) close() {
	for _, l := range t.lanes {
		l.CloseIdleConnections()
	}
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	n := t.busy.Add(1)
	defer t.busy.Add(-1)
	for {
		most := t.most.Load()
		if n <= most || t.most.CompareAndSwap(most, n) {
			break
		}
	}
	turn, of := t.sent.Add(1)-1, int64(len(t.lanes))
	lane, last := t.lanes[turn%of], (turn/of+1)%t.every == 0
	if t.call != nil {
		return said(r, t.call.Do(r.Context(), lane, last)), nil
	}
	if last {
		closing := *r
		closing.Close = true
		r = &closing
	}
	return lane.RoundTrip(r)
}

// outcomeHeader is of answers that said makes, and of no others.
const outcomeHeader = "Helmproof-Outcome"

// said is an answer by which vegeta, which knows HTTP, hands on the outcome of a call.
func said(r *http.Request, outcome string) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{outcomeHeader: {outcome}}, Body: http.NoBody, Request: r}
}

// outcomeOf is what became of a request.
func (t *transport) outcomeOf(r *vegeta.Result) string {
	if o := r.Headers[outcomeHeader]; t.call != nil && len(o) == 1 {
		return o[0]
	}
	return outcome(r.Code, r.Error)
}

// outcome sorts what vegeta says of a request: it has errors as text only.
func outcome(code uint16, text string) string {
	switch {
	case code >= 200 && code < 400 && text == "":
		return probe.Good
	case code != 0 && (code < 200 || code >= 400):
		return strconv.Itoa(int(code))
	}
	for _, k := range []struct{ word, outcome string }{
		// Our own limits: the service is not to blame for them.
		{"cannot assign requested address", probe.Unsent}, {"too many open files", probe.Unsent}, {"no buffer space", probe.Unsent},
		{"Client.Timeout", probe.Timeout}, {"deadline exceeded", probe.Timeout}, {"i/o timeout", probe.Timeout},
		{"connection refused", probe.Refused}, {"connection reset", probe.Reset}, {"broken pipe", probe.Reset},
		{"no route to host", probe.Unreachable}, {"unreachable", probe.Unreachable}, {"EOF", probe.EOF},
	} {
		if strings.Contains(text, k.word) {
			return k.outcome
		}
	}
	return probe.Other
}
