package loadgen

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/companyos/helmproof/internal/loadcount"
	"github.com/companyos/helmproof/internal/loadrecord"
	"github.com/companyos/helmproof/internal/probe"
)

func TestPrint(t *testing.T) {
	t.Parallel()
	o := serve(t, func(http.ResponseWriter, *http.Request) {})
	o.Ramp = time.Second
	var log bytes.Buffer
	if err := Print(t.Context(), o, "pod p on node a", &log); err != nil {
		t.Fatal(err)
	}
	r, began, err := ReadLog(bytes.NewReader(log.Bytes()), &o)
	if err != nil || !began {
		t.Fatal(began, err)
	}
	if f := loadrecord.FromSamples(r.Samples); f.Good != 100 || len(r.Ramp) != 1 || r.Ramp[0].Good != 50 || r.From != "pod p on node a" || r.Stopped != "" || r.Generator.Procs < 1 {
		t.Errorf("%+v, %+v", f, r)
	}
	// Every beginning of it is unfinished, and no more.
	for i := range log.Len() - 1 {
		r, began, err := ReadLog(bytes.NewReader(log.Bytes()[:i]), &o)
		if i > 0 && i < len(beginLog) {
			continue // the node's log has whole lines
		}
		if r != nil || began != (i > 0) || !errors.Is(err, ErrUnfinished) && !strings.HasPrefix(err.Error(), "its log: a result of") {
			t.Fatalf("%d bytes of %d: %v, %v", i, log.Len(), began, err)
		}
	}
	lines := strings.SplitAfter(log.String(), "\n")
	for name, tt := range map[string]struct{ log, want string }{
		"another program":  {"hello\n" + log.String(), "which no generator says"},
		"a line missing":   {lines[0] + lines[len(lines)-2], "its log: "},
		"a line of others": {lines[0] + lines[1][:400] + "\n" + lines[len(lines)-2], "its log: "},
		"another size":     {strings.Replace(log.String(), endLog, endLog+"9", 1), "its log: a result of"},
		"too long":         {lines[0] + strings.Repeat("AAAA\n", maxLog/5), "longer than"},
		"a line too long":  {lines[0] + strings.Repeat("A", 100<<10), "the log could not be read"},
	} {
		if r, _, err := ReadLog(strings.NewReader(tt.log), &o); r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	other := o
	other.Ramp = 2 * time.Second
	if _, _, err := ReadLog(bytes.NewReader(log.Bytes()), &other); err == nil || !strings.Contains(err.Error(), "it is of another load") {
		t.Errorf("another load's: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	log.Reset()
	if err := Print(ctx, o, "", &log); err != nil {
		t.Fatal(err)
	}
	if r, _, err := ReadLog(&log, &o); err != nil || r.Stopped == "" || loadrecord.FromSamples(r.Samples).Unsent == 0 {
		t.Errorf("one that was stopped: %+v, %v", r, err)
	}
	o.Rate = -1
	if err := Print(t.Context(), o, "", &log); err == nil || !strings.Contains(err.Error(), "a rate of -1") {
		t.Error(err)
	}
}

// What the largest loads leave fits into a log that nodes keep whole.
func TestPrintSizes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	sample := func() probe.Sample {
		late := time.Duration(r.ExpFloat64() * float64(time.Millisecond)).Round(time.Microsecond)
		return probe.Sample{Late: late, Took: late + time.Duration(r.ExpFloat64()*float64(20*time.Millisecond)).Round(time.Microsecond)}
	}
	const part = 20 // of the largest is enough
	samples := make([]probe.Sample, MaxSamples/part)
	for i := range samples {
		samples[i] = sample()
	}
	seconds := make([]loadcount.Second, 3600/part)
	for i := range loadcount.MaxRequests / part {
		seconds[i%len(seconds)].Add(sample())
	}
	for name, result := range map[string]Result{"samples": {Samples: samples}, "seconds": {Seconds: seconds}} {
		var log bytes.Buffer
		log.WriteString(beginLog + "\n")
		if err := (&Report{Result: result}).write(&log); err != nil {
			t.Fatal(err)
		}
		if log.Len()*part > maxLog/2 {
			t.Errorf("%s: a log of %d bytes", name, log.Len()*part)
		}
		for line := range bytes.Lines(log.Bytes()) {
			if len(line) > 16<<10 {
				t.Errorf("%s: a line of %d bytes", name, len(line))
			}
		}
		back, _, err := ReadLog(&log, &Options{})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(result, back.Result) {
			t.Errorf("%s: another result is read", name)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add(beginLog + "\nAAAA\n" + endLog + "3\n")
	f.Add(beginLog + "\n")
	f.Fuzz(func(t *testing.T, log string) {
		if r, began, err := ReadLog(strings.NewReader(log), &Options{}); r != nil && (!began || err != nil) {
			t.Error(began, err)
		}
	})
}
