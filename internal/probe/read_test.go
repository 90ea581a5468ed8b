package probe

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const goodHeader = `{"version":1,"name":"web","kind":"http","address":"http://web/","rate":10,"timeout":1000000000,"start":"2026-11-28T12:00:00Z","from":"outside"}`

const goodFile = goodHeader + `
10,1200,
0,1000010,timeout
clock,3600000000
5,80,503
2000000,2000000,unsent
end,4
`

func TestRead(t *testing.T) {
	t.Parallel()
	s, err := Read([]byte(goodFile))
	if err != nil {
		t.Fatal(err)
	}
	us := time.Microsecond
	want := []Sample{{10 * us, 1200 * us, Good}, {0, 1000010 * us, Timeout}, {5 * us, 80 * us, "503"}, {2 * time.Second, 2 * time.Second, Unsent}}
	if !slices.Equal(s.Samples, want) || !slices.Equal(s.Jumps, []Jump{{2, time.Hour}}) {
		t.Errorf("%+v", s)
	}
	var dues []string
	for at := range s.All() {
		dues = append(dues, at.Format("05.0"))
	}
	if got := strings.Join(dues, " "); got != "00.0 00.1 00.2 00.3" {
		t.Errorf("due at %s", got)
	}
}

func TestReadRefuses(t *testing.T) {
	t.Parallel()
	header := func(old, with string) string { return strings.Replace(goodFile, old, with, 1) }
	body := func(lines string) string { return goodHeader + "\n" + lines + "\n" }
	tests := []struct {
		name, file, want string
		cut              bool
		samples          int // that come with the error
	}{
		{"nothing", "", "it has no header", true, 0},
		{"header cut", goodHeader[:40], "it has no header", true, 0},
		{"header alone", goodHeader + "\n", "it ends after 0 requests", true, 0},
		{"end missing", strings.Replace(goodFile, "end,4\n", "", 1), "it ends after 4 requests", true, 4},
		{"end cut", strings.TrimSuffix(goodFile, "\n"), "it ends after 4 requests", true, 4},
		{"line cut", goodHeader + "\n10,1200,\n10,12", "it ends after 1 requests", true, 1},
		{"line lost", strings.Replace(goodFile, "5,80,503\n", "", 1), "it says that there are 4 requests, and there are 3", false, 0},
		{"end twice", goodFile + "end,4\n", "something stands after the last line", false, 0},
		{"rest after the end", goodFile + "x", "something stands after the last line", false, 0},
		{"not JSON", body("")[1:], "line 1: header: ", false, 0},
		{"unknown key", header(`"kind"`, `"kinds"`), `unknown field "kinds"`, false, 0},
		{"header twice", header(goodHeader, goodHeader+goodHeader), "something stands after it", false, 0},
		{"other version", header(`"version":1`, `"version":2`), "version 2 of the format", false, 0},
		{"absurd rate", header(`"rate":10`, `"rate":1e300`), "rate 1e+300 is not from", false, 0},
		{"rate below", header(`"rate":10`, `"rate":-1`), "rate -1 is not from", false, 0},
		{"no start", header(`"start":"2026-11-28T12:00:00Z",`, ``), "it does not say when it began", false, 0},
		{"long header", strings.Repeat(" ", 9000) + goodFile, "header: 9143 bytes", false, 0},
		{"garbage", body("hello"), `line 2: "hello" is not late,took,outcome`, false, 0},
		{"empty line", body(""), `line 2: "" is not late,took,outcome`, false, 0},
		{"too many fields", body("1,2,,"), `outcome "," is not known`, false, 0},
		{"sign", body("+1,2,"), `"+1" is not a number`, false, 0},
		{"below zero", body("-1,2,"), `"-1" is not a number`, false, 0},
		{"zeros before", body("01,2,"), `"01" is not a number`, false, 0},
		{"fraction", body("1.5,2,"), `"1.5" is not a number`, false, 0},
		{"overflow", body("1,99999999999999999999,"), "is not a number", false, 0},
		{"absurd time", body("1,999999999999,timeout"), "999999999999 is more than", false, 0},
		{"done before it was sent", body("5,4,timeout"), "done 4 µs after it was due, and sent after 5", false, 0},
		{"not sent, but waited", body("5,6,unsent"), "not sent, and took time", false, 0},
		{"good after the timeout", body("5,1000006,"), "answered well after 1.000001s, with a timeout of 1s", false, 0},
		{"unknown outcome", body("5,6,fine"), `outcome "fine" is not known`, false, 0},
		{"gRPC's OK", body("5,6,OK"), `outcome "OK" is not known`, false, 0},
		{"status of two digits", body("5,6,50"), `outcome "50" is not known`, false, 0},
		{"CRLF", strings.ReplaceAll(goodFile, "\n", "\r\n"), `outcome "\r" is not known`, false, 0},
		{"end without number", body("end,"), `end: "" is not a number`, false, 0},
		{"end below zero", body("end,-1"), `end: "-1" is not a number`, false, 0},
		{"absurd end", body("end,99999999"), "end: 99999999 is more than", false, 0},
		{"clock without number", body("clock,x"), `clock: "x" is not a number`, false, 0},
		{"clock set by minus nothing", body("clock,-0"), "clock: set by nothing", false, 0},
		{"absurd clock", body("clock,9000000000000000"), "clock: 9000000000000000 is more than", false, 0},
		{"clock again and again", body("clock,1\nclock,2\nclock,3"), "clock: set more often", false, 0},
	}
	for _, tt := range tests {
		s, err := Read([]byte(tt.file))
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrCut) != tt.cut {
			t.Errorf("%s: %v, want %q, cut: %v", tt.name, err, tt.want, tt.cut)
		}
		if n := 0; s != nil && len(s.Samples) != tt.samples || s == nil && tt.samples != n {
			t.Errorf("%s: %+v, want %d samples", tt.name, s, tt.samples)
		}
	}
	if _, err := Read(make([]byte, MaxFile+1)); err == nil || !strings.Contains(err.Error(), "bytes, more than") {
		t.Errorf("a file that is too long: %v", err)
	}
}

// halfHour is what a drill of 30 minutes at 100 a second may look like: latencies
// of a log-normal kind, and a minute of it refused.
func halfHour() []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := append([]byte(strings.Replace(goodHeader, `"rate":10`, `"rate":100`, 1)), '\n')
	const n = 30 * 60 * 100
	for i := range n {
		late := time.Duration(80+r.ExpFloat64()*150) * time.Microsecond
		s := Sample{Late: late, Took: late + time.Duration(1500+r.ExpFloat64()*4000)*time.Microsecond}
		if i > n/2 && i < n/2+6000 {
			s.Outcome = Refused
		}
		b = appendSample(b, s)
	}
	return fmt.Appendf(b, "end,%d\n", n)
}

func TestHalfAnHourIsSmall(t *testing.T) {
	t.Parallel()
	raw := halfHour()
	var z bytes.Buffer
	w, err := flate.NewWriter(&z, flate.DefaultCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	log := logOf(t, raw)
	// Each line of a node's log has the time, the stream and a tag before it.
	onNode := len(log) + 45*bytes.Count(log, []byte{'\n'})
	t.Logf("30 minutes at 100 a second: %d bytes, %d deflated, %d in the node's log", len(raw), z.Len(), onNode)
	if len(raw) > 5<<20/2 || z.Len() > 1<<20 || onNode > 5<<20/2 {
		t.Error("too much")
	}
	if s, err := Read(raw); err != nil || len(s.Samples) != 180_000 {
		t.Error(err)
	}
}

func BenchmarkRead(b *testing.B) {
	raw := halfHour()
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Read(raw); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(goodFile))
	f.Add([]byte(goodHeader + "\n1,2,UNAVAILABLE\nclock,-5\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := Read(raw)
		if err != nil {
			if s != nil && !errors.Is(err, ErrCut) {
				t.Fatalf("%v, and a series", err)
			}
			return
		}
		// What was read is written in the same words.
		_, want, _ := bytes.Cut(raw, []byte{'\n'})
		var got []byte
		jumps := s.Jumps
		for i, sample := range s.Samples {
			for len(jumps) > 0 && jumps[0].Before == i {
				got, jumps = appendJump(got, jumps[0]), jumps[1:]
			}
			got = appendSample(got, sample)
		}
		for _, j := range jumps {
			got = appendJump(got, j)
		}
		got = fmt.Appendf(got, "end,%d\n", len(s.Samples))
		if !bytes.Equal(got, want) {
			t.Fatalf("%q was read, and is written as %q", want, got)
		}
	})
}
