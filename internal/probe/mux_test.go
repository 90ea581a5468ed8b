package probe

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// logOf is the log of a prober with one file, which it printed every half second.
func logOf(t testing.TB, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	m, err := NewMux(&b, 1)
	if err != nil {
		t.Fatal(err)
	}
	file := m.File(0)
	for i := 0; len(raw) > 0; i++ {
		n := min(600, len(raw)) // also in the middle of lines
		if _, err := file.Write(raw[:n]); err != nil {
			t.Fatal(err)
		}
		raw = raw[n:]
		if i%4 == 0 {
			if err := m.Beat(time.UnixMilli(int64(i) * 500)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := m.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func demuxed(log string) (*Demux, error) {
	d := new(Demux)
	for line := range strings.Lines(log) {
		if err := d.Line([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
			return d, err
		}
	}
	return d, nil
}

func TestMux(t *testing.T) {
	t.Parallel()
	raw := halfHour()
	log := string(logOf(t, raw))
	for line := range strings.Lines(log) {
		if len(line) > maxLogLine {
			t.Fatalf("a line of %d bytes", len(line))
		}
	}
	heard := 0
	d := &Demux{Heard: func(int, *Header, Sample) { heard++ }}
	half := strings.Index(log[len(log)/2:], "\n") + len(log)/2 + 1
	for _, part := range []string{log[:half], log[:half], log[half/2+strings.Index(log[half/2:], "\n")+1:]} { // begun again, and later rotated
		for line := range strings.Lines(part) {
			if d.Done() && line != endLog+"\n" && !strings.HasPrefix(line, beat) {
				t.Fatalf("whole before %.40q", line)
			}
			if err := d.Line([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
				t.Fatal(err)
			}
		}
	}
	got, s := d.File(0)
	if !bytes.Equal(got, raw) || !d.Done() || !d.Ended() || len(s.Samples) != 180_000 || heard != 180_000 {
		t.Errorf("%d bytes of %d, %d samples, %d heard", len(got), len(raw), len(s.Samples), heard)
	}
	if d.Beaten.IsZero() {
		t.Error("no beat")
	}
}

func TestDemuxRefuses(t *testing.T) {
	t.Parallel()
	begin := beginLog + "2\n0 0 " + goodHeader + "\n"
	for name, tt := range map[string]struct {
		log, want string
		gap       bool
	}{
		"begins in the middle": {"0 5 1,2,\n", "it begins in the middle", true},
		"lines are missing":    {begin + "0 1 1,2, 1,2,\n0 5 1,2,\n", "of probe 0, lines 3 to 4", true},
		"header is missing":    {begin + "1 1 1,2,\n", "of probe 1, lines 0 to 0", true},
		"another probe":        {begin + "2 0 " + goodHeader + "\n", "is no line of a prober", false},
		"of another program":   {"exec /app: no such file\n", `it begins with "exec /app: no such file", which no prober says`, false},
		"somebody else's line": {begin + "panic: oh no\n", `"panic: oh no" is no line of a prober`, false},
		"a sample is garbage":  {begin + "0 1 1,2, 7\n", `probe 0, line 2: "7" is not late,took,outcome`, false},
		"no number":            {begin + "0 x 1,2,\n", "is no line of a prober", false},
		"absurd beat":          {begin + "beat 99999999999999999\n", "beat: ", false},
		"no probes":            {beginLog + "0\n", `"0" probes`, false},
		"too many probes":      {beginLog + "65\n", `"65" probes`, false},
		"begun as another":     {begin + beginLog + "3\n", "a log of 3 probes follows one of 2", false},
	} {
		d, err := demuxed(tt.log)
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrGap) != tt.gap {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
		if d.Done() {
			t.Errorf("%s: whole", name)
		}
	}
	if _, err := NewMux(&bytes.Buffer{}, 65); err == nil {
		t.Error("65 probes")
	}
}

func TestMuxSaysWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	m, err := NewMux(&failing{40}, 1)
	if err != nil {
		t.Fatal(err)
	}
	f := m.File(0)
	if _, err := f.Write([]byte("a line that is not whole")); err != nil {
		t.Error(err)
	}
	if _, err := f.Write([]byte("\n")); err == nil || !strings.Contains(err.Error(), "the disk is full") {
		t.Error(err)
	}
	if err := m.Beat(time.UnixMilli(1)); err == nil {
		t.Error("a beat after the writer has failed")
	}
}

func FuzzDemux(f *testing.F) {
	f.Add(string(logOf(f, []byte(goodFile))))
	f.Add(beginLog + "1\n0 0 " + goodHeader + "\n0 1 1,2, end,1\n")
	f.Fuzz(func(t *testing.T, log string) {
		d, err := demuxed(log)
		if err != nil {
			return
		}
		for i := range d.Probes() {
			raw, s := d.File(i)
			got, err := Read(raw)
			if d.Done() && err != nil {
				t.Fatalf("whole, and %v", err)
			}
			if got != nil && len(got.Samples) != len(s.Samples) {
				t.Fatalf("%d samples, read as %d", len(s.Samples), len(got.Samples))
			}
		}
	})
}
