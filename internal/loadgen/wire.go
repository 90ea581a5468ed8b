package loadgen

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// A generator in a pod prints this into its log: when it begins, and, once all has been
// sent, its result as JSON, compressed, in lines that container runtimes do not split.
//
//	helmproof-load/1 begin
//	<base64>…
//	helmproof-load/1 end <number of bytes of the JSON>
const (
	beginLog = "helmproof-load/1 begin"
	endLog   = "helmproof-load/1 end "
	lineSize = 9 << 10  // bytes before base64
	maxLog   = 8 << 20  // bytes of a log; nodes keep 10 MiB of one
	maxJSON  = 96 << 20 // bytes of a result
)

// Report is what a generator in a pod says.
type Report struct {
	Result
	// From is the pod, as the generator knows it.
	From string
	// Stopped says why not all was sent; empty: it was.
	Stopped string
}

// Print runs a generator and prints its log. The error is of options that are not valid,
// or of the writer.
func Print(ctx context.Context, o Options, from string, w io.Writer) error {
	if err := o.Validate(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(w, beginLog); err != nil {
		return err
	}
	result, err := Run(ctx, o)
	if result == nil {
		return err
	}
	r := Report{Result: *result, From: from}
	if err != nil {
		r.Stopped = err.Error()
	}
	return r.write(w)
}

func (r *Report) write(w io.Writer) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	if _, err := z.Write(raw); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	out := bufio.NewWriter(w)
	for packed.Len() > 0 {
		fmt.Fprintln(out, base64.StdEncoding.EncodeToString(packed.Next(lineSize)))
	}
	fmt.Fprintln(out, endLog+strconv.Itoa(len(raw)))
	return out.Flush() // it keeps the first error
}

// ErrUnfinished is for a log that is good so far and has no end yet.
var ErrUnfinished = errors.New("the log has no end")

// ErrUnread is for a log that could not be read to where it ends.
var ErrUnread = errors.New("the log could not be read")

// ReadLog reads the log of a generator with those options. With ErrUnfinished, began says
// whether it has begun. Any other error but ErrUnread does not pass by itself: it is not the log of a
// generator, or not of that load. Whether its numbers fit each other is for those to see
// who judge them.
func ReadLog(log io.Reader, o *Options) (r *Report, began bool, err error) {
	var packed []byte
	lines := bufio.NewScanner(io.LimitReader(log, maxLog+1))
	for read := 0; lines.Scan(); {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if read += len(line) + 1; read > maxLog {
			return nil, began, fmt.Errorf("its log is longer than %d bytes", maxLog)
		}
		if !began {
			if line != beginLog {
				return nil, false, fmt.Errorf("its log begins with %.100q, which no generator says: is the image one of cmd/prober, of this version?", line)
			}
			began = true
			continue
		}
		if size, ok := strings.CutPrefix(line, endLog); ok {
			r, err := unpack(packed, size, o)
			if err != nil {
				return nil, true, fmt.Errorf("its log: %w", err)
			}
			return r, true, nil
		}
		// A line that is cut is the last so far.
		part, err := base64.StdEncoding.DecodeString(line)
		if err == nil {
			packed = append(packed, part...)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, began, fmt.Errorf("%w: %w", ErrUnread, err)
	}
	return nil, began, ErrUnfinished
}

func unpack(packed []byte, size string, o *Options) (*Report, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(z, maxJSON+1))
	switch {
	case err != nil:
		return nil, err
	case strconv.Itoa(len(raw)) != size:
		return nil, fmt.Errorf("a result of %d bytes, of %.20s", len(raw), size)
	}
	var r Report
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return nil, err
	}
	if len(r.From) > 512 || len(r.Stopped) > 512 || r.Start.Sub(r.Began).Round(time.Millisecond) != o.Ramp.Round(time.Millisecond) {
		return nil, errors.New("it is of another load")
	}
	return &r, nil
}
