package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// ErrCut is for a file without its last line. What it has so far is good.
var ErrCut = errors.New("the file is cut")

// Read reads a probe's file, and nothing but a whole one. With ErrCut comes the
// series as far as it goes.
func Read(raw []byte) (*Series, error) {
	if len(raw) > MaxFile {
		return nil, fmt.Errorf("%d bytes, more than %d", len(raw), MaxFile)
	}
	var p Parser
	// This saves growing, and does not trust what the file says of itself.
	p.series.Samples = make([]Sample, 0, min(bytes.Count(raw, []byte{'\n'}), MaxSamples))
	for n := 1; len(raw) > 0; n++ {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		if !whole {
			break // the last line was cut in the middle
		}
		if err := p.Line(line); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		raw = rest
	}
	if len(raw) > 0 && p.Done() {
		return nil, errors.New("something stands after the last line")
	}
	if !p.began {
		return nil, fmt.Errorf("%w: it has no header", ErrCut)
	}
	if !p.Done() {
		return &p.series, fmt.Errorf("%w: it ends after %d requests", ErrCut, len(p.series.Samples))
	}
	return &p.series, nil
}

// Parser reads a file line by line, as it comes. The zero value is at its beginning.
type Parser struct {
	series Series
	began  bool
	done   bool
}

// Series is what was read so far.
func (p *Parser) Series() *Series { return &p.series }

// Began reports whether the header was read, Done whether the last line was.
func (p *Parser) Began() bool { return p.began }

// Done reports whether the file is whole.
func (p *Parser) Done() bool { return p.done }

// Line takes the next line, without its end. After an error the parser is of no
// use any more.
func (p *Parser) Line(line []byte) error {
	switch {
	case p.done:
		return errors.New("something stands after the last line")
	case !p.began:
		return p.header(line)
	case bytes.HasPrefix(line, []byte("end,")):
		n, err := number(line[len("end,"):], MaxSamples)
		if err != nil {
			return fmt.Errorf("end: %w", err)
		}
		if int(n) != len(p.series.Samples) {
			return fmt.Errorf("it says that there are %d requests, and there are %d", n, len(p.series.Samples))
		}
		p.done = true
		return nil
	case bytes.HasPrefix(line, []byte("clock,")):
		return p.jump(line[len("clock,"):])
	}
	if len(p.series.Samples) == MaxSamples {
		return fmt.Errorf("more than %d requests", MaxSamples)
	}
	s, err := parseSample(line, p.series.Header.Timeout)
	if err != nil {
		return err
	}
	p.series.Samples = append(p.series.Samples, s)
	return nil
}

func (p *Parser) header(line []byte) error {
	if len(line) > maxHeader {
		return fmt.Errorf("header: %d bytes, more than %d", len(line), maxHeader)
	}
	h := &p.series.Header
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(h); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	if d.More() {
		return errors.New("header: something stands after it")
	}
	if err := h.validate(); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	p.began = true
	return nil
}

func (p *Parser) jump(text []byte) error {
	digits, back := bytes.CutPrefix(text, []byte{'-'})
	n, err := number(digits, maxJump)
	if err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	if back {
		if n == 0 {
			return errors.New("clock: set by nothing")
		}
		n = -n
	}
	if len(p.series.Jumps) > len(p.series.Samples) {
		return errors.New("clock: set more often than there are requests")
	}
	p.series.Jumps = append(p.series.Jumps, Jump{len(p.series.Samples), time.Duration(n) * time.Microsecond})
	return nil
}

func parseSample(line []byte, timeout time.Duration) (Sample, error) {
	first, rest, ok := bytes.Cut(line, comma)
	second, third, ok2 := bytes.Cut(rest, comma)
	if !ok || !ok2 {
		return Sample{}, fmt.Errorf("%.40q is not late,took,outcome", line)
	}
	late, err := number(first, int64(maxTime/time.Microsecond))
	if err != nil {
		return Sample{}, err
	}
	took, err := number(second, int64((maxTime+MaxTimeout)/time.Microsecond))
	if err != nil {
		return Sample{}, err
	}
	outcome, ok := known(third)
	s := Sample{time.Duration(late) * time.Microsecond, time.Duration(took) * time.Microsecond, outcome}
	switch {
	case !ok:
		return s, fmt.Errorf("outcome %.40q is not known", third)
	case took < late:
		return s, fmt.Errorf("done %d µs after it was due, and sent after %d", took, late)
	case outcome == Unsent && took != late:
		return s, errors.New("not sent, and took time")
	case outcome == Good && s.Took-s.Late > timeout:
		return s, fmt.Errorf("answered well after %s, with a timeout of %s", s.Took-s.Late, timeout)
	}
	return s, nil
}

var comma = []byte{','}

// number reads a decimal number of at most 18 digits as it is written here, and in
// no other spelling.
func number(text []byte, most int64) (int64, error) {
	n := int64(0)
	for _, c := range text {
		if c < '0' || c > '9' || len(text) > 18 {
			return 0, fmt.Errorf("%.40q is not a number", text)
		}
		n = n*10 + int64(c-'0')
	}
	if len(text) == 0 || text[0] == '0' && len(text) > 1 {
		return 0, fmt.Errorf("%.40q is not a number", text)
	}
	if n > most {
		return 0, fmt.Errorf("%d is more than %d", n, most)
	}
	return n, nil
}

// words are the outcomes that are not numbers. The gRPC codes are those of
// google.rpc.Code, the health statuses those of grpc.health.v1.
var words = func() map[string]string {
	m := map[string]string{}
	for _, w := range []string{Good, Timeout, Refused, Reset, Unreachable, EOF, DNS, TLS, Other, Unsent, "NOT_SERVING", "SERVICE_UNKNOWN"} {
		m[w] = w
	}
	for _, w := range grpcCodes {
		m[w] = w
	}
	return m
}()

var grpcCodes = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

// statuses are those of HTTP; a file of a million samples holds each only once.
var statuses = func() map[string]string {
	m := map[string]string{}
	for i := 100; i < 1000; i++ {
		s := strconv.Itoa(i)
		m[s] = s
	}
	return m
}()

func known(outcome []byte) (string, bool) {
	if w, ok := words[string(outcome)]; ok && w != "OK" {
		return w, true
	}
	w, ok := statuses[string(outcome)]
	return w, ok
}
