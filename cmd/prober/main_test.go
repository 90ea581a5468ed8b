package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/companyos/helmproof/internal/loadgen"
	"github.com/companyos/helmproof/internal/probe"
)

// asProber makes the test binary be the program.
const asProber = "HELMPROOF_TEST_AS_PROBER"

func TestMain(m *testing.M) {
	if os.Getenv(asProber) != "" {
		main()
	}
	os.Exit(m.Run())
}

func config(t *testing.T, probes ...probe.Config) string {
	t.Helper()
	raw, err := json.Marshal(probes)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func of(name, address string) probe.Config {
	return probe.Config{Name: name, Kind: probe.HTTP, Address: address, Rate: 100, Timeout: time.Second}
}

// read takes a prober's log.
func read(t *testing.T, log string) *probe.Demux {
	t.Helper()
	d := new(probe.Demux)
	for line := range strings.Lines(log) {
		if err := d.Line([]byte(strings.TrimSuffix(line, "\n"))); err != nil {
			t.Fatalf("%v in %.300q", err, line)
		}
	}
	return d
}

func TestUsage(t *testing.T) {
	t.Parallel()
	good := of("web", "http://web/")
	bad := good
	bad.Rate = 0
	for _, tt := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--help"}, exitDone, "-linger"},
		{[]string{"--none"}, exitUsage, "flag provided but not defined"},
		{[]string{"x"}, exitUsage, `argument "x"`},
		{nil, exitUsage, "give --config or set PROBER_CONFIG"},
		{[]string{"--config", "[]", "--load", "{}"}, exitUsage, "want one of them"},
		{[]string{"--load", "[]"}, exitUsage, "cannot unmarshal array"},
		{[]string{"--load", "{} {}"}, exitUsage, "something stands after the load"},
		{[]string{"--load", `{"Url2":"x"}`}, exitUsage, `unknown field "Url2"`},
		{[]string{"--load", `{"URL":"http://127.0.0.1:1/","Rate":1,"Hold":1000000000,"Timeout":1000000000}`}, exitUsage, "none of the addresses that may be loaded"},
		{[]string{"--config", "{}"}, exitUsage, "cannot unmarshal object"},
		{[]string{"--config", "[]"}, exitUsage, "there are no probes"},
		{[]string{"--config", "[] []"}, exitUsage, "something stands after the array"},
		{[]string{"--config", `[{"nam":"x"}]`}, exitUsage, `unknown field "nam"`},
		{[]string{"--config", config(t, good, bad)}, exitUsage, "rate 0 is not from"},
	} {
		var out, errs bytes.Buffer
		code := run(nil, tt.args, func(string) string { return "" }, &out, &errs)
		if code != tt.code || !strings.Contains(errs.String(), tt.want) || out.Len() > 0 {
			t.Errorf("%q: %d, %s; want %d, %q", tt.args, code, &errs, tt.code, tt.want)
		}
	}
}

type full struct{ after int }

func (f *full) Write(b []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, errors.New("nobody reads any more")
	}
	return len(b), nil
}

func TestStandardOutputBreaks(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.NotFoundHandler())
	defer srv.Close()
	for after := range 5 {
		var errs bytes.Buffer
		code := run(nil, []string{"--config", config(t, of("web", srv.URL))}, func(string) string { return "" }, &full{after}, &errs)
		if code != exitFailure || !strings.Contains(errs.String(), "nobody reads any more") {
			t.Errorf("after %d lines: %d, %s", after, code, &errs)
		}
	}
}

// A load that the variable asks for is sent, and its result is in the log; at the first
// signal it stops.
func TestLoad(t *testing.T) {
	t.Parallel()
	signals := make(chan os.Signal, 2)
	var once sync.Once
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stop" {
			once.Do(func() {
				signals <- syscall.SIGTERM
				signals <- syscall.SIGTERM
			})
		}
	}))
	defer srv.Close()
	host := strings.TrimPrefix(srv.URL, "http://")
	o := loadgen.Options{URL: srv.URL, Addresses: map[string]string{host: host}, Rate: 20, Timeout: 10 * time.Second}
	for path, stopped := range map[string]bool{"/": false, "/stop": true} {
		o.URL, o.Hold = srv.URL+path, time.Second
		if stopped {
			o.Hold = time.Minute
		}
		raw, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		env := map[string]string{"PROBER_LOAD": string(raw), "POD_NAME": "p", "NODE_NAME": "a"}
		var out, errs bytes.Buffer
		if code := run(signals, nil, func(name string) string { return env[name] }, &out, &errs); code != exitDone {
			t.Fatalf("%d, %s", code, &errs)
		}
		r, _, err := loadgen.ReadLog(&out, &o)
		if err != nil {
			t.Fatal(err)
		}
		good := 0
		for _, s := range r.Samples {
			if s.OK(0) {
				good++
			}
		}
		if r.From != "pod p on node a" || (r.Stopped != "") != stopped || good == 0 || !stopped && good != 20 {
			t.Errorf("%s: from %q, stopped %q, %d good of %d", path, r.From, r.Stopped, good, len(r.Samples))
		}
	}
}

func TestProbesOfALength(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	yes, no := of("yes", srv.URL), of("no", srv.URL+"/no")
	yes.Length, no.Length = 300*time.Millisecond, 300*time.Millisecond
	var out, errs bytes.Buffer
	env := map[string]string{"PROBER_CONFIG": config(t, yes, no), "POD_NAME": "p-1", "NODE_NAME": "node-a"}
	if code := run(nil, nil, func(k string) string { return env[k] }, &out, &errs); code != exitDone {
		t.Fatalf("%d, %s", code, &errs)
	}
	d := read(t, out.String())
	if !d.Ended() || !d.Done() || d.Beaten.IsZero() {
		t.Errorf("not whole: %s", &out)
	}
	for i, want := range []string{probe.Good, "503"} {
		raw, _ := d.File(i)
		s, err := probe.Read(raw)
		if err != nil || len(s.Samples) != 30 || s.Header.From != "pod p-1 on node node-a" {
			t.Fatalf("%+v, %v", s, err)
		}
		for _, sample := range s.Samples {
			if sample.Outcome != want {
				t.Errorf("%s: %+v", s.Header.Name, sample)
			}
		}
	}
}

// A prober that stands still for a while says so: what it did not send, and what
// it sent late.
func TestStopsAndSignals(t *testing.T) {
	t.Parallel()
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { seen.Add(1) }))
	defer srv.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "--linger=1m", "--config", config(t, of("web", srv.URL)))
	cmd.Env = append(os.Environ(), asProber+"=1")
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1000)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(out); in.Scan(); {
			lines <- in.Text() + "\n"
		}
	}()
	var log strings.Builder
	next := func(what string, ok func(line string) bool) {
		t.Helper()
		for {
			select {
			case line, more := <-lines:
				if !more {
					t.Fatalf("the log ended before %s: %s", what, &errs)
				}
				log.WriteString(line)
				if ok(line) {
					return
				}
			case <-time.After(30 * time.Second):
				t.Fatalf("no %s", what)
			}
		}
	}
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	next("samples", func(string) bool { return strings.Count(log.String(), ",") > 60 })
	signal(syscall.SIGSTOP)
	quiet(t, &seen, 1500*time.Millisecond)
	signal(syscall.SIGCONT)
	next("samples again", func(line string) bool { return strings.Contains(line, ",unsent") })
	next("samples again", func(line string) bool { return strings.Contains(line, ", ") && !strings.Contains(line, "unsent") })
	signal(syscall.SIGTERM)
	next("end", func(line string) bool { return line == "helmproof-prober/1 end\n" })
	signal(syscall.SIGTERM) // it lingers
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &errs)
	}
	d := read(t, log.String())
	raw, _ := d.File(0)
	s, err := probe.Read(raw)
	if err != nil {
		t.Fatal(err)
	}
	var longest probe.Stall
	for _, stall := range s.Stalls(250 * time.Millisecond) {
		if stall.Late > longest.Late {
			longest = stall
		}
	}
	if longest.Late < 1400*time.Millisecond || longest.Unsent < 30 {
		t.Errorf("a stop of 1.5 s shows as %+v", longest)
	}
	if len(s.Jumps) > 0 {
		t.Errorf("the clock was set: %v", s.Jumps)
	}
}

// quiet waits until nothing was seen for so long.
func quiet(t *testing.T, seen *atomic.Int64, long time.Duration) {
	t.Helper()
	last, since := seen.Load(), time.Now()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range tick.C {
		if n := seen.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Since(since) > long {
			return
		}
	}
}

// The program goes into an image that every node pulls.
func TestSize(t *testing.T) {
	t.Parallel()
	binary := t.TempDir() + "/prober"
	cmd := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-s -w", "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 8<<20 {
		t.Errorf("%d bytes", info.Size())
	}
	deps, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for dep := range strings.Lines(string(deps)) {
		if strings.HasPrefix(dep, "k8s.io/") || strings.HasPrefix(dep, "google.golang.org/grpc") {
			t.Error(fmt.Sprint("it links ", dep))
		}
	}
}
