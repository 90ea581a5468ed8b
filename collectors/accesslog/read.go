package accesslog

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/companyos/helmproof/evidence"
)

// Bounds of what is read.
const (
	maxEntry = 1 << 20 // of one entry, in bytes
	maxLog   = 8 << 30 // of one log, unpacked, in bytes
	maxPairs = 20_000  // of secrets and readers, of all logs together
)

// OpenLogs reads access logs: JSON lines, a JSON array of entries, or CloudTrail's
// files, each also packed by gzip. Memory is bounded by maxEntry and maxPairs, however
// large a log is. The error is of a file that cannot be opened, or of ctx; what
// is wrong within a log is recorded.
func OpenLogs(ctx context.Context, names []string) (*Logs, error) {
	r := reader{ctx: ctx, reads: map[pair]*Read{}}
	logs := &Logs{}
	for _, name := range names {
		f, err := r.open(name)
		if err != nil {
			return nil, err
		}
		logs.Files = append(logs.Files, *f)
	}
	for _, read := range r.reads {
		logs.Reads = append(logs.Reads, *read)
	}
	slices.SortFunc(logs.Reads, func(a, b Read) int {
		return cmp.Or(cmp.Compare(a.Provider, b.Provider), cmp.Compare(a.Mount, b.Mount), cmp.Compare(a.Secret, b.Secret), cmp.Compare(a.Principal, b.Principal))
	})
	return logs, nil
}

type pair struct{ provider, mount, secret, principal string }

// reader gathers the reads of all logs; file is the one that is being read.
type reader struct {
	ctx   context.Context
	reads map[pair]*Read
	file  *File
	seen  int // entries of file
}

func (r *reader) open(name string) (*File, error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close() //nolint:errcheck // only read
	if info, err := in.Stat(); err != nil {
		return nil, err
	} else if info.IsDir() {
		return nil, fmt.Errorf("%s is a directory: name the files in it", name)
	}
	r.file, r.seen = &File{Name: filepath.Base(name), Spans: map[string]Span{}}, 0
	sum := sha256.New()
	all := &counted{r: io.TeeReader(in, sum)}
	if err := r.log(all); err != nil {
		r.file.Cut = err.Error()
	}
	if err := context.Cause(r.ctx); err != nil {
		return nil, err
	}
	// The digest is of the whole file, also where reading ended early.
	if _, err := io.Copy(io.Discard, all); err != nil && r.file.Cut == "" {
		r.file.Cut = "read: " + err.Error()
	}
	r.file.Bytes, r.file.Digest = all.n, evidence.DigestOfHash(sum)
	return r.file, nil
}

type counted struct {
	r io.Reader
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

var documentPattern = regexp.MustCompile(`^\s*(\[|\{\s*"(Records|Events)"\s*:)`)

// log reads one log; the error says why it was not read to its end.
func (r *reader) log(in io.Reader) error {
	const buffer = 64 << 10
	b := bufio.NewReaderSize(in, buffer)
	if head, err := b.Peek(2); err == nil && head[0] == 0x1f && head[1] == 0x8b {
		unpacked, err := gzip.NewReader(b)
		if err != nil {
			return fmt.Errorf("unpack: %w", err)
		}
		b = bufio.NewReaderSize(unpacked, buffer)
	}
	bound := &bounded{r: b, all: maxLog}
	b = bufio.NewReaderSize(bound, buffer)
	if head, err := b.Peek(3); err == nil && bytes.Equal(head, []byte("\ufeff")) {
		if _, err := b.Discard(3); err != nil {
			return err
		}
	}
	head, err := b.Peek(4 << 10)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if documentPattern.Match(head) {
		return r.documents(b)
	}
	return r.lines(b)
}

var errLong = fmt.Errorf("an entry of more than %d bytes", maxEntry)

// bounded ends a log that is too long.
type bounded struct {
	r   io.Reader
	all int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.all <= 0 {
		return 0, fmt.Errorf("it has more than %d bytes", int64(maxLog))
	}
	n, err := b.r.Read(p[:min(int64(len(p)), b.all)])
	b.all -= int64(n)
	return n, err
}

// lines reads an entry a line. What is wrong with one does not touch the next.
func (r *reader) lines(b *bufio.Reader) error {
	var line []byte
	for number := 1; ; number++ {
		line = line[:0]
		long := false
		for {
			part, err := b.ReadSlice('\n')
			if long = long || len(line)+len(part) > maxEntry; !long {
				line = append(line, part...)
			}
			if err == nil {
				break
			}
			if errors.Is(err, bufio.ErrBufferFull) {
				continue
			}
			if !errors.Is(err, io.EOF) {
				return err
			}
			if long || len(bytes.TrimSpace(line)) > 0 {
				r.line(line, long, number)
			}
			return context.Cause(r.ctx)
		}
		if long || len(bytes.TrimSpace(line)) > 0 {
			r.line(line, long, number)
		}
		if number%1000 == 0 && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
	}
}

func (r *reader) line(line []byte, long bool, number int) {
	var e entry
	where := fmt.Sprintf("line %d", number)
	switch {
	case long:
		r.bad(where, errLong)
	case json.Unmarshal(line, &e) != nil:
		r.bad(where, errUnknown)
	default:
		r.entry(&e, where)
	}
}

// budget bounds what the decoder may read for one entry.
type budget struct {
	r    io.Reader
	left int
}

func (b *budget) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errLong
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// documents reads arrays of entries, and objects with one, one after the other.
func (r *reader) documents(in io.Reader) error {
	b := &budget{r: in}
	d := json.NewDecoder(b)
	for {
		b.left = maxEntry
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return cutAt(d, err)
		}
		switch t {
		case json.Delim('['):
			err = r.array(d, b)
		case json.Delim('{'):
			err = r.object(d, b)
		default:
			err = errors.New("something that is neither an array nor an object")
		}
		if err != nil {
			return cutAt(d, err)
		}
	}
}

func cutAt(d *json.Decoder, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("it ends in the middle")
	}
	if bad := new(json.SyntaxError); errors.As(err, &bad) {
		return fmt.Errorf("it is no JSON from byte %d on", bad.Offset)
	}
	return fmt.Errorf("at byte %d: %w", d.InputOffset(), err)
}

func (r *reader) object(d *json.Decoder, b *budget) error {
	for d.More() {
		b.left = maxEntry
		key, err := d.Token()
		if err != nil {
			return err
		}
		switch key {
		case "Records", "Events":
			t, err := d.Token()
			if err != nil {
				return err
			}
			if t != json.Delim('[') {
				return fmt.Errorf("%s is no array", key)
			}
			if err := r.array(d, b); err != nil {
				return err
			}
		default:
			var v json.RawMessage
			if err := d.Decode(&v); err != nil {
				return err
			}
			if key == "NextToken" && !bytes.Equal(v, []byte("null")) {
				r.file.Cut = "it has a NextToken: there are further pages"
			}
		}
	}
	_, err := d.Token()
	return err
}

func (r *reader) array(d *json.Decoder, b *budget) error {
	for n := 1; ; n++ {
		b.left = maxEntry
		if !d.More() {
			_, err := d.Token()
			return err
		}
		var e entry
		where := fmt.Sprintf("entry %d", n)
		err := d.Decode(&e)
		if kind := new(json.UnmarshalTypeError); errors.As(err, &kind) {
			r.bad(where, errUnknown)
		} else if err != nil {
			return err
		} else {
			r.entry(&e, where)
		}
		if n%1000 == 0 && r.ctx.Err() != nil {
			return context.Cause(r.ctx)
		}
	}
}

func (r *reader) bad(where string, err error) {
	if r.file.Malformed++; r.file.Malformed == 1 {
		r.file.FirstBad = where + ": " + err.Error()
	}
}

func (r *reader) entry(e *entry, where string) {
	ev, err := e.event()
	if err != nil {
		r.bad(where, err)
		return
	}
	s, ok := r.file.Spans[ev.provider]
	if s.Entries++; !ok {
		s.First, s.Last = ev.at, ev.at
	}
	s.First, s.Last = earlier(s.First, ev.at), later(s.Last, ev.at)
	r.file.Spans[ev.provider] = s
	if len(ev.secrets) > 0 {
		r.file.Reads++
	}
	for _, secret := range distinct(ev.secrets) {
		p := pair{ev.provider, ev.mount, secret, ev.principal}
		read := r.reads[p]
		if read == nil {
			if len(r.reads) == maxPairs {
				r.file.LeftOut++
				continue
			}
			read = &Read{Provider: p.provider, Mount: p.mount, Secret: secret, Principal: p.principal, First: ev.at, Last: ev.at}
			r.reads[p] = read
		}
		read.Count++
		if ev.refused {
			read.Refused++
		}
		read.First, read.Last = earlier(read.First, ev.at), later(read.Last, ev.at)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
