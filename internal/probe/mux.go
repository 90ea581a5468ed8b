package probe

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A prober in a pod prints the files of all its probes into one log, which nodes
// keep 10 MiB of, and prefix each line of with 45 bytes. So many lines of a file
// are one line of the log:
//
//	helmproof-prober/1 begin <number of probes>
//	<probe> <number of its file's first line here, from 0> <lines of the file, with blanks between them>
//	beat <wall clock, milliseconds since 1970>
//	helmproof-prober/1 end
//
// The header of a file stands alone, since it may have blanks.
const (
	beginLog = "helmproof-prober/1 begin "
	endLog   = "helmproof-prober/1 end"
	beat     = "beat "
	// maxLogLine is below what container runtimes split, 16 KiB.
	maxLogLine = 12 << 10
	maxProbes  = 64
)

// Mux writes the files of several probes as one log.
type Mux struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

// NewMux begins a log of n files.
func NewMux(w io.Writer, n int) (*Mux, error) {
	if n < 1 || n > maxProbes {
		return nil, fmt.Errorf("%d probes, want 1 to %d", n, maxProbes)
	}
	m := &Mux{w: w}
	return m, m.write([]byte(beginLog + strconv.Itoa(n) + "\n"))
}

// Beat says that the prober lives, and its time.
func (m *Mux) Beat(now time.Time) error {
	return m.write([]byte(beat + strconv.FormatInt(now.UnixMilli(), 10) + "\n"))
}

// End is the log's last line.
func (m *Mux) End() error { return m.write([]byte(endLog + "\n")) }

// File is where probe i writes its file. One goroutine at a time may use it.
func (m *Mux) File(i int) io.Writer { return &muxFile{m: m, probe: i} }

func (m *Mux) write(b []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		_, m.err = m.w.Write(b)
	}
	return m.err
}

type muxFile struct {
	m     *Mux
	probe int
	line  int    // the number of the next line
	part  []byte // the beginning of it
}

func (f *muxFile) Write(b []byte) (int, error) {
	f.part = append(f.part, b...)
	end := bytes.LastIndexByte(f.part, '\n')
	if end < 0 {
		return len(b), nil
	}
	if err := f.m.write(f.pack(f.part[:end])); err != nil {
		return 0, err
	}
	f.part = append(f.part[:0], f.part[end+1:]...)
	return len(b), nil
}

// pack makes lines of the log of whole lines of the file.
func (f *muxFile) pack(text []byte) []byte {
	var out []byte
	begun := 0 // where the log's line began
	for i, line := range bytes.Split(text, []byte{'\n'}) {
		if i == 0 || f.line == 1 || len(out)-begun+len(line) >= maxLogLine {
			if i > 0 {
				out = append(out, '\n')
			}
			begun = len(out)
			out = strconv.AppendInt(out, int64(f.probe), 10)
			out = append(out, ' ')
			out = strconv.AppendInt(out, int64(f.line), 10)
		}
		out = append(append(out, ' '), line...)
		f.line++
	}
	return append(out, '\n')
}

// Demux reads such a log as it comes. The zero value is at its beginning. A log may
// be read again from any place: what is known already is passed over.
type Demux struct {
	files []demuxFile
	ended bool
	// Beaten is the prober's wall clock in its last beat.
	Beaten time.Time
	// News counts what was new: lines of files, and beats.
	News int
	// Heard, if it is set, is told of each new sample.
	Heard func(probe int, h *Header, s Sample)
}

type demuxFile struct {
	parser Parser
	lines  int
	raw    bytes.Buffer
}

// begunBefore is how lines begin that a prober prints after its first.
var begunBefore = regexp.MustCompile("^(" + beat + "|" + endLog + "$|[0-9]+ [0-9]+ )")

// ErrGap is for a log of which a part is missing.
var ErrGap = errors.New("a part of the log is missing")

// Line takes the next line of the log, without its end.
func (d *Demux) Line(line []byte) error {
	text := string(bytes.TrimSuffix(line, []byte{'\r'}))
	if count, ok := strings.CutPrefix(text, beginLog); ok {
		return d.begin(count)
	}
	if d.files == nil {
		if !begunBefore.MatchString(text) {
			return fmt.Errorf("it begins with %.200q, which no prober says: is the image one of cmd/prober, and does it run on this node?", text)
		}
		return fmt.Errorf("%w: it begins in the middle", ErrGap)
	}
	if ms, ok := strings.CutPrefix(text, beat); ok {
		n, err := number([]byte(ms), maxJump/1000)
		if err != nil {
			return fmt.Errorf("beat: %w", err)
		}
		if at := time.UnixMilli(n); at.After(d.Beaten) {
			d.Beaten = at
			d.News++
		}
		return nil
	}
	if text == endLog {
		d.ended = true
		return nil
	}
	probe, rest, _ := strings.Cut(text, " ")
	first, lines, ok := strings.Cut(rest, " ")
	i, err := number([]byte(probe), int64(len(d.files)-1))
	if err != nil || !ok {
		return fmt.Errorf("%.60q is no line of a prober", text)
	}
	n, err := number([]byte(first), 2*MaxSamples+2)
	if err != nil {
		return fmt.Errorf("%.60q is no line of a prober", text)
	}
	return d.lines(int(i), int(n), lines)
}

func (d *Demux) begin(count string) error {
	n, err := number([]byte(count), maxProbes)
	if err != nil || n == 0 {
		return fmt.Errorf("%.40q probes", count)
	}
	if d.files == nil {
		d.files = make([]demuxFile, n)
	}
	if len(d.files) != int(n) {
		return fmt.Errorf("a log of %d probes follows one of %d", n, len(d.files))
	}
	return nil
}

func (d *Demux) lines(probe, first int, text string) error {
	f := &d.files[probe]
	if first > f.lines {
		return fmt.Errorf("%w: of probe %d, lines %d to %d", ErrGap, probe, f.lines, first-1)
	}
	lines := []string{text}
	if first > 0 {
		lines = strings.Split(text, " ")
	}
	for i, line := range lines {
		if first+i < f.lines {
			continue
		}
		before := len(f.parser.series.Samples)
		if err := f.parser.Line([]byte(line)); err != nil {
			return fmt.Errorf("probe %d, line %d: %w", probe, first+i, err)
		}
		f.raw.WriteString(line)
		f.raw.WriteByte('\n')
		f.lines++
		d.News++
		if after := f.parser.series.Samples; d.Heard != nil && len(after) > before {
			d.Heard(probe, &f.parser.series.Header, after[before])
		}
	}
	return nil
}

// Began reports whether all probes have begun, Done whether all files are whole.
func (d *Demux) Began() bool { return d.all(func(f *demuxFile) bool { return f.parser.Began() }) }

// Done reports whether all files are whole.
func (d *Demux) Done() bool { return d.all(func(f *demuxFile) bool { return f.parser.Done() }) }

// Ended reports whether the log's last line was read.
func (d *Demux) Ended() bool { return d.ended }

func (d *Demux) all(is func(*demuxFile) bool) bool {
	for i := range d.files {
		if !is(&d.files[i]) {
			return false
		}
	}
	return len(d.files) > 0
}

// Probes is the number of files, once the log has begun.
func (d *Demux) Probes() int { return len(d.files) }

// File is what there is of probe i's file, and the series as far as it goes.
func (d *Demux) File(i int) ([]byte, *Series) {
	f := &d.files[i]
	return f.raw.Bytes(), &f.parser.series
}
