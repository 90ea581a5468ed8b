package prober

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/internal/loadgen"
	"github.com/companyos/helmproof/internal/loadrecord"
)

// load is one of a second to a server of this test.
func load(t *testing.T) loadgen.Options {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	return loadgen.Options{URL: srv.URL + "/$(HOME)", Addresses: map[string]string{host: host, "other:1": "192.0.2.1:1"}, Rate: 20, Hold: time.Second, Timeout: time.Second}
}

// printed is what a generator with those options prints, by lines.
func printed(ctx context.Context, t *testing.T, o loadgen.Options) []string {
	t.Helper()
	var out bytes.Buffer
	if err := loadgen.Print(ctx, o, "pod p on node a", &out); err != nil {
		t.Fatal(err)
	}
	return strings.SplitAfter(out.String(), "\n")
}

// with gives the pod's container that state.
func (n *node) with(s corev1.ContainerState) {
	n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "prober", State: s}}
}

func terminated(code int32, reason string) corev1.ContainerState {
	return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: code, Reason: reason}}
}

func sends(kube kubernetes.Interface, told *[]string) Options {
	return Options{Image: "prober:1", Kube: kube, Namespace: "shop", Now: time.Now, Poll: 5 * time.Millisecond,
		Before: func(_ context.Context, pod string) error { *told = append(*told, pod); return nil }}
}

func TestLoad(t *testing.T) {
	t.Parallel()
	o := load(t)
	log := printed(t.Context(), t, o)
	n, kube := newNode(t)
	n.log = []byte(log[0])
	var told []string
	began := 0
	report, err := Load(t.Context(), sends(kube, &told), o, func() {
		began++
		n.update(func() {
			c := n.pod.Spec.Containers[0]
			var env string
			for _, e := range c.Env {
				switch e.Name {
				case loadVariable:
					env = e.Value
				case configVariable:
					t.Error("it is to probe as well")
				}
			}
			var got loadgen.Options
			if err := json.Unmarshal([]byte(env), &got); err != nil || got.URL != o.URL || len(got.Addresses) != 1 || got.Rate != 20 || strings.Contains(env, "$") {
				t.Errorf("it is told %s: %v", env, err)
			}
			n.log = append(n.log, strings.Join(log[1:], "")...)
			n.with(terminated(0, "Completed"))
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	if f := loadrecord.FromSamples(report.Samples); f.Good != 20 || report.From != "pod p on node a" || report.Stopped != "" || report.Generator.Procs < 1 {
		t.Errorf("%+v, from %q, %q", f, report.From, report.Stopped)
	}
	if began != 1 || len(told) != 1 || n.pod != nil {
		t.Errorf("it began %d times; %v are to be restored, and %v is left", began, told, n.pod)
	}
}

// A generator that is lost, or is none, is an error, and its pod goes.
func TestLoadLost(t *testing.T) {
	t.Parallel()
	o := load(t)
	log := printed(t.Context(), t, o)
	other := o
	other.Ramp = time.Second
	otherLog := strings.Join(printed(t.Context(), t, other), "")
	for _, tt := range []struct {
		name, want string
		do         func(n *node)
		now        func() time.Time
	}{
		{"out of memory", "it did not say what came of its requests; its container ended with exit code 137, OOMKilled", func(n *node) { n.with(terminated(137, "OOMKilled")) }, nil},
		{"a log that is cut", "it did not say what came of its requests; its container ended with exit code 0", func(n *node) {
			n.log = append(n.log, log[1][:len(log[1])/2]...)
			n.with(terminated(0, "Completed"))
		}, nil},
		{"a part of the log is missing", "its log: ", func(n *node) { n.log = append(n.log, log[len(log)-2]...) }, nil},
		{"another load", "it is of another load", func(n *node) { n.log = []byte(otherLog) }, nil},
		{"another image", `its log begins with "hello", which no generator says`, func(n *node) { n.log = []byte("hello\n") }, nil},
		{"a pod that was deleted", "its pod was deleted", func(n *node) { n.pod = nil }, nil},
		{"one that does not end", "it has not ended in time; the log has no end", func(*node) {}, nil},
		{"one that does not begin", "it has not begun in time; the log has no end", func(n *node) { n.log = nil }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, kube := newNode(t)
			n.log = []byte(log[0])
			var told []string
			opts := sends(kube, &told)
			asked := 0
			opts.Now = func() time.Time { // each look is a second later
				asked++
				return start.Add(time.Duration(asked) * time.Second)
			}
			done := false
			n.refuse = func(r *http.Request) (int, bool) {
				if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/log") && !done {
					done = true
					n.update(func() { tt.do(n) })
				}
				return 0, true
			}
			report, err := Load(t.Context(), opts, o, func() {})
			if err == nil || !strings.Contains(err.Error(), tt.want) || report != nil {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if n.pod != nil {
				t.Error("its pod is left")
			}
		})
	}
}

// A load that is stopped leaves what there is, and the reason.
func TestLoadStopped(t *testing.T) {
	t.Parallel()
	o := load(t)
	o.Hold = time.Minute
	gone, stop := context.WithCancel(t.Context())
	stop()
	log := printed(gone, t, o)
	for _, ends := range []bool{true, false} {
		n, kube := newNode(t)
		n.log = []byte(log[0])
		n.ends = func(n *node) {
			if ends {
				n.log = append(n.log, strings.Join(log[1:], "")...)
			} else {
				n.with(terminated(137, "Error"))
			}
		}
		enough := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		var told []string
		report, err := Load(ctx, sends(kube, &told), o, func() { cancel(enough) })
		if !errors.Is(err, enough) || (report != nil) != ends || n.pod != nil {
			t.Errorf("%v, %v, %v is left", report, err, n.pod)
		}
		if ends && (report.Stopped == "" || len(report.Samples) != 1200) {
			t.Errorf("%q, %d requests", report.Stopped, len(report.Samples))
		}
	}
}
