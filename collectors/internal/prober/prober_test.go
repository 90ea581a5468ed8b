package prober

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/probe"
)

// node is an API server with one namespace, whose one node runs one prober, as the
// test says.
type node struct {
	t *testing.T

	mu      sync.Mutex
	changed chan struct{} // closed when something was
	pod     *corev1.Pod
	log     []byte
	lines   int           // of the file that are in the log
	cut     int           // connections that follow the log break off, each after so many bytes; 0: none does
	follows int           // connections so far
	broken  int           // how often all of them were broken off
	ends    func(n *node) // what the prober does when it is told to end

	refuse func(r *http.Request) (code int, stored bool) // 0: it does not
}

func newNode(t *testing.T) (*node, kubernetes.Interface) {
	t.Helper()
	n := &node{t: t, changed: make(chan struct{}), ends: (*node).endFile}
	srv := httptest.NewServer(n)
	t.Cleanup(srv.Close)
	client, err := kubernetes.NewForConfig(&rest.Config{Host: srv.URL, QPS: -1, ContentConfig: rest.ContentConfig{ContentType: "application/json", AcceptContentTypes: "application/json"}})
	if err != nil {
		t.Fatal(err)
	}
	return n, client
}

// update changes the node, and wakes whoever waits for that.
func (n *node) update(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) print(text string) { n.update(func() { n.log = append(n.log, text...) }) }

var start = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// begin prints what a prober prints first.
func (n *node) begin(c probe.Config) {
	h, err := json.Marshal(probe.Header{Version: 1, Name: c.Name, Kind: c.Kind, Address: c.Address, Rate: c.Rate, Timeout: c.Timeout, Start: start, From: "pod p on node a"})
	if err != nil {
		n.t.Error(err)
	}
	n.print("helmproof-prober/1 begin 1\n0 0 " + string(h) + "\n")
	n.mu.Lock()
	n.lines = 1
	n.mu.Unlock()
}

// samples prints so many good ones, and a beat.
func (n *node) samples(count int) {
	n.mu.Lock()
	first := n.lines
	n.lines += count
	n.mu.Unlock()
	n.print(fmt.Sprintf("0 %d%s\nbeat %d\n", first, strings.Repeat(" 10,900,", count), start.Add(time.Duration(first)*10*time.Millisecond).UnixMilli()))
}

// endFile is a prober that ends as it should; with mu held.
func (n *node) endFile() {
	n.log = fmt.Appendf(n.log, "0 %d end,%d\nbeat %d\nhelmproof-prober/1 end\n", n.lines, n.lines-1, start.Add(time.Minute).UnixMilli())
}

// ServeHTTP knows pods and their logs.
func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	code, stored := 0, true
	if n.refuse != nil {
		code, stored = n.refuse(r)
	}
	if code != 0 && !stored {
		n.status(w, code)
		return
	}
	path := strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/shop/pods")
	switch {
	case r.Method == http.MethodPost && path == "":
		n.create(w, r, code)
	case r.Method == http.MethodGet && path == "":
		n.mu.Lock()
		list := corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		if n.pod != nil {
			list.Items = append(list.Items, *n.pod)
		}
		n.mu.Unlock()
		n.answer(w, list)
	case strings.HasSuffix(path, "/log"):
		n.serveLog(w, r)
	case r.Method == http.MethodDelete:
		var o metav1.DeleteOptions
		if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
			n.t.Error(err)
		}
		n.update(func() {
			if n.pod == nil {
				return
			}
			if n.pod.DeletionTimestamp == nil && *o.GracePeriodSeconds > 0 {
				n.pod.DeletionTimestamp = &metav1.Time{Time: start}
				n.ends(n)
			} else if *o.GracePeriodSeconds == 0 {
				n.pod = nil
			}
		})
		n.answer(w, metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess})
	case r.Method == http.MethodGet:
		n.mu.Lock()
		pod := n.pod.DeepCopy()
		n.mu.Unlock()
		if pod == nil || "/"+pod.Name != path {
			n.status(w, http.StatusNotFound)
			return
		}
		n.answer(w, pod)
	default:
		n.t.Errorf("%s %s", r.Method, r.URL)
	}
}

func (n *node) create(w http.ResponseWriter, r *http.Request, code int) {
	pod := &corev1.Pod{}
	raw, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(raw, pod)
	}
	if err != nil {
		n.t.Error(err)
	}
	n.mu.Lock()
	there := n.pod != nil
	n.mu.Unlock()
	if there {
		n.status(w, http.StatusConflict)
		return
	}
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	pod.UID, pod.Status.Phase, pod.Spec.NodeName = types.UID("uid-1"), corev1.PodRunning, "a"
	n.update(func() { n.pod = pod.DeepCopy() })
	if code != 0 {
		n.status(w, code)
		return
	}
	n.answer(w, pod)
}

func (n *node) answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		n.t.Log(err)
	}
}

func (n *node) status(w http.ResponseWriter, code int) {
	reasons := map[int]metav1.StatusReason{404: metav1.StatusReasonNotFound, 403: metav1.StatusReasonForbidden, 409: metav1.StatusReasonAlreadyExists}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: reasons[code], Message: "the test said no", Code: int32(code)})
}

// serveLog gives the log as it grows, until the pod is gone or its container has ended.
func (n *node) serveLog(w http.ResponseWriter, r *http.Request) {
	follow := r.URL.Query().Get("follow") == "true"
	n.mu.Lock()
	if follow {
		n.follows++
	}
	breakAt, broken := n.cut*n.follows, n.broken
	n.mu.Unlock()
	for sent := 0; ; {
		n.mu.Lock()
		if n.broken > broken {
			n.mu.Unlock()
			panic(http.ErrAbortHandler)
		}
		log, changed, over := n.log[min(sent, len(n.log)):], n.changed, n.pod == nil || n.pod.Status.Phase != corev1.PodRunning
		n.mu.Unlock()
		if follow && n.cut > 0 && sent+len(log) > breakAt && breakAt > 0 {
			_, _ = w.Write(log[:max(0, breakAt-sent)])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(log)
		sent += len(log)
		w.(http.Flusher).Flush()
		if over || !follow {
			return
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

// web is the probe of all tests.
var web = drill.Probe{Name: "web", Kind: probe.HTTP, Address: "http://web.shop/$(HOME)", Rate: 100, Timeout: evidence.Duration(time.Second)}

func started(t *testing.T, n *node, o Options) *Running {
	t.Helper()
	go func() { // the pod starts when it is made
		for n.podThere() == nil {
			n.wait(t)
		}
		n.begin(probe.Config{Name: web.Name, Kind: web.Kind, Address: web.Address, Rate: web.Rate, Timeout: time.Duration(web.Timeout)})
		n.samples(10)
	}()
	r, err := Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (n *node) podThere() *corev1.Pod {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.pod
}

func (n *node) wait(t *testing.T) {
	n.mu.Lock()
	changed := n.changed
	there := n.pod != nil
	n.mu.Unlock()
	if there {
		return
	}
	select {
	case <-changed:
	case <-t.Context().Done():
	}
}

func options(client kubernetes.Interface) Options {
	return Options{
		Probes: []drill.Probe{web}, Began: start.Add(-time.Second), Now: time.Now, Image: "cluster.test/prober:1", Kube: client, Namespace: "shop",
		Poll: 5 * time.Millisecond, StartLimit: 20 * time.Second, Silence: time.Minute,
	}
}

// eventually waits for something.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(20 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("it did not come to %s", what)
		}
	}
}

func TestPod(t *testing.T) {
	t.Parallel()
	done := func(want int64) func(*testing.T, *node, *Running) {
		return func(t *testing.T, _ *node, r *Running) {
			eventually(t, fmt.Sprint(want, " requests"), func() bool { return r.Live()[0].Done == want })
		}
	}
	lost := func(want string) func(*testing.T, *node, *Running) {
		return func(t *testing.T, _ *node, r *Running) {
			eventually(t, "be lost", func() bool { return strings.Contains(r.Live()[0].Lost, want) })
		}
	}
	for _, tt := range []struct {
		name  string
		setup func(n *node)
		do    func(n *node)
		wait  func(*testing.T, *node, *Running)
		want  string // why it is lost; empty: the file is whole
		count int
	}{
		{"whole", nil, func(n *node) { n.samples(20) }, done(30), "", 30},
		{"connections break in the middle of lines", func(n *node) { n.cut = 211 }, func(n *node) {
			for range 20 {
				n.samples(20)
			}
		}, done(410), "", 410},
		{"rotated while nobody read", nil, func(n *node) {
			n.update(func() { n.log, n.lines, n.broken = nil, 40, n.broken+1 })
			n.samples(20)
		}, lost("of probe 0, lines 11 to 39"), "a part of the log is missing", 10},
		{"garbage", nil, func(n *node) { n.print("panic: oh no\n") }, lost("panic"), `its log: "panic: oh no" is no line of a prober`, 10},
		{"endless line", nil, func(n *node) { n.print(strings.Repeat("1", 70<<10)) }, lost("line"), "its log: a line longer than 65536 bytes", 10},
		{"deleted", nil, func(n *node) { n.update(func() { n.pod = nil }) }, lost("deleted"), "its pod was deleted", 10},
		{"replaced", nil, func(n *node) {
			n.update(func() { n.pod.Status.Phase = corev1.PodSucceeded; n.pod.UID = "uid-2" })
		}, lost("replaced"), "its pod was replaced", 10},
		{"evicted by its node", nil, func(n *node) {
			n.update(func() {
				n.pod.Status.Phase, n.pod.Status.Reason, n.pod.Status.Message = corev1.PodFailed, "Evicted", "The node was low on resource: memory."
			})
		}, lost("low on"), "its pod has failed: Evicted The node was low on resource: memory.", 10},
		{"out of memory", nil, func(n *node) {
			n.update(func() {
				n.pod.Status.Phase = corev1.PodFailed
				n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "OOMKilled"}}}}
			})
		}, lost("OOM"), "its container ended with exit code 137, OOMKilled", 10},
		{"told to end by somebody else", nil, func(n *node) {
			n.update(func() { n.pod.DeletionTimestamp = &metav1.Time{Time: start}; n.endFile() })
		}, lost("not because"), "it ended, and not because we said so; its pod is being deleted", 10},
		{"does not end its file", func(n *node) { n.ends = func(*node) {} }, func(n *node) { n.samples(1) }, done(11), "it did not end its file within 300ms", 11},
		{"ends with another number", func(n *node) {
			n.ends = func(n *node) { n.log = fmt.Appendf(n.log, "0 %d end,%d\n", n.lines, n.lines) }
		}, func(*node) {}, done(10), "it says that there are 11 requests, and there are 10", 10},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, client := newNode(t)
			if tt.setup != nil {
				tt.setup(n)
			}
			r := started(t, n, options(client))
			r.source.(*podSource).patience = 300 * time.Millisecond
			if tt.want == "" {
				r.source.(*podSource).patience = 20 * time.Second
			}
			eventually(t, "the first samples", func() bool { return r.Live()[0].Done >= 10 })
			tt.do(n)
			tt.wait(t, n, r)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // the drill was interrupted
			files, gaps, err := r.Stop(ctx)
			if n.podThere() != nil && tt.name != "replaced" {
				t.Error("the pod is left")
			}
			s, readErr := probe.Read(files["web"])
			if s == nil || len(s.Samples) != tt.count {
				t.Errorf("%d bytes of a file with %d samples: %v", len(files["web"]), tt.count, readErr)
			}
			if tt.want == "" {
				if err != nil || len(gaps) > 0 || readErr != nil {
					t.Errorf("%v, %v, gaps %v", err, readErr, gaps)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(gaps) != 1 || !strings.Contains(gaps[0].What, tt.want) {
				t.Fatalf("%v, gaps %v; want %q", err, gaps, tt.want)
			}
			if want := time.Second + time.Duration(tt.count)*10*time.Millisecond; gaps[0].To <= gaps[0].From || gaps[0].From > want {
				t.Errorf("gap from %s to %s, want it from %s", gaps[0].From, gaps[0].To, want)
			}
		})
	}
}

// A prober that is not heard of for a while is lost for who would abort; what comes
// later makes it whole again.
func TestSilence(t *testing.T) {
	t.Parallel()
	n, client := newNode(t)
	o := options(client)
	o.Silence = 100 * time.Millisecond
	r := started(t, n, o)
	eventually(t, "the first samples", func() bool { return r.Live()[0].Done == 10 })
	eventually(t, "silence", func() bool { return strings.HasPrefix(r.Live()[0].Lost, "nothing was heard of it for ") })
	eventually(t, "connections that are given up", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.follows > 2 })
	for range 20 { // reading the old lines again is no sign of life
		if r.Live()[0].Lost == "" {
			t.Error("it is heard of again, and said nothing new")
		}
		n.mu.Lock()
		follows := n.follows
		n.mu.Unlock()
		if follows > 6 {
			break
		}
		eventually(t, "another connection", func() bool { n.mu.Lock(); defer n.mu.Unlock(); return n.follows > follows })
	}
	n.samples(5)
	eventually(t, "what came later", func() bool { return r.Live()[0].Done == 15 })
	if _, gaps, err := r.Stop(t.Context()); err != nil || len(gaps) > 0 {
		t.Errorf("%v, gaps %v", err, gaps)
	}
}

// TestBefore: the pod is told of before it is made, and not made where that fails.
func TestBefore(t *testing.T) {
	t.Parallel()
	n, client := newNode(t)
	o := options(client)
	told := ""
	o.Before = func(_ context.Context, pod string) error {
		told = pod
		return errors.New("no record")
	}
	if _, err := Start(t.Context(), o); err == nil || !strings.HasSuffix(err.Error(), "no record") || !strings.HasPrefix(told, namePrefix) || n.podThere() != nil {
		t.Errorf("%v, told of %q", err, told)
	}
}

func TestPodStart(t *testing.T) {
	t.Parallel()
	pods := func(code int, stored bool, times int) func(*http.Request) (int, bool) {
		return func(r *http.Request) (int, bool) {
			if r.Method == http.MethodPost && times > 0 {
				times--
				return code, stored
			}
			return 0, true
		}
	}
	for _, tt := range []struct {
		name   string
		refuse func(*http.Request) (int, bool)
		print  func(n *node)
		want   string
	}{
		{"the answer was lost", pods(http.StatusInternalServerError, true, 1), nil, ""},
		{"forbidden", pods(http.StatusForbidden, false, 1), nil, "make the pod: "},
		{"another address", nil, func(n *node) {
			n.begin(probe.Config{Name: "web", Kind: "http", Address: "http://other/", Rate: 100, Timeout: time.Second})
		}, `it does not run probe "web" as it was told to`},
		{"two probes", nil, func(n *node) {
			n.begin(probe.Config{Name: "web", Kind: "http", Address: "http://other/", Rate: 100, Timeout: time.Second})
			n.update(func() {
				n.log = bytes.Replace(n.log, []byte("begin 1"), []byte("begin 2"), 1)
				n.log = append(n.log, bytes.Replace(bytes.SplitAfter(n.log, []byte("\n"))[1], []byte("0 0"), []byte("1 0"), 1)...)
			})
		}, "it runs 2 probes of 1"},
		{"another program", nil, func(n *node) { n.print("nginx: ready\n") }, `it begins with "nginx: ready", which no prober says`},
		{"says nothing", nil, func(*node) {}, "its log has no probes; is cluster.test/prober:1 an image of helmproof's prober?"},
		{"ends at once", nil, func(n *node) {
			n.update(func() {
				n.pod.Status.Phase = corev1.PodFailed
				n.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 2, Reason: "Error"}}}}
			})
		}, "exit code 2"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n, client := newNode(t)
			n.refuse = tt.refuse
			o := options(client)
			if tt.name == "says nothing" {
				o.StartLimit = 300 * time.Millisecond
			}
			if tt.print == nil && tt.want == "" {
				r := started(t, n, o)
				if _, _, err := r.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				return
			}
			if tt.print != nil {
				go func() {
					for n.podThere() == nil {
						n.wait(t)
					}
					tt.print(n)
				}()
			}
			_, err := Start(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if n.podThere() != nil {
				t.Error("the pod is left")
			}
		})
	}
}

func TestNewPod(t *testing.T) {
	t.Parallel()
	o := options(nil)
	o.AvoidNodes, o.Life = []string{"node-b", "node-c"}, time.Minute
	configs := []probe.Config{{Name: web.Name, Kind: web.Kind, Address: web.Address, Rate: web.Rate, Timeout: time.Duration(web.Timeout), Live: new(probe.Live)}}
	pod, err := newPod(&o, configVariable, configs, longest(configs)+linger)
	if err != nil {
		t.Fatal(err)
	}
	value := pod.Spec.Containers[0].Env[0].Value
	if strings.Contains(value, "$") {
		t.Errorf("the kubelet would expand %s", value)
	}
	var got []probe.Config
	if err := json.Unmarshal([]byte(value), &got); err != nil || got[0].Address != web.Address {
		t.Errorf("%+v, %v", got, err)
	}
	terms := pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchFields) != 2 || terms[0].MatchFields[1].Values[0] != "node-c" {
		t.Errorf("%+v", terms)
	}
	if *pod.Spec.ActiveDeadlineSeconds != 60 || *pod.Spec.TerminationGracePeriodSeconds != 31 || *pod.Spec.AutomountServiceAccountToken {
		t.Errorf("%+v", pod.Spec)
	}
}

func TestCleanUp(t *testing.T) {
	t.Parallel()
	n, client := newNode(t)
	n.pod = &corev1.Pod{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: namePrefix + "left", UID: "uid-1"}}
	if removed, err := CleanUp(t.Context(), client, "shop"); err != nil || len(removed) != 1 || removed[0] != namePrefix+"left" {
		t.Errorf("%v, %v", removed, err)
	}
	n.refuse = func(r *http.Request) (int, bool) {
		if r.Method == http.MethodDelete {
			return http.StatusForbidden, false
		}
		return 0, true
	}
	if removed, err := CleanUp(t.Context(), client, "shop"); err == nil || !strings.Contains(err.Error(), "of an earlier run: the test said no") || len(removed) > 0 {
		t.Errorf("%v, %v", removed, err)
	}
	n.refuse = func(*http.Request) (int, bool) { return http.StatusForbidden, false }
	if _, err := CleanUp(t.Context(), client, "shop"); err == nil || !strings.Contains(err.Error(), "look for probers of earlier runs in namespace shop") {
		t.Error(err)
	}
}

func TestOutside(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	o := Options{Began: time.Now(), Now: time.Now, Probes: []drill.Probe{
		{Name: "yes", Kind: "http", Address: srv.URL, Rate: 50, Timeout: evidence.Duration(time.Second)},
		{Name: "no", Kind: "http", Address: srv.URL + "/no", Rate: 50, Timeout: evidence.Duration(time.Second)},
	}}
	r, err := Start(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // probes see what the drill restores
	eventually(t, "requests", func() bool { return r.Live()[0].Done > 20 && r.Live()[1].Done > 20 })
	for _, s := range r.Live() {
		if s.Lost != "" || s.Name == "no" && (s.Failed != s.Done || s.Spent != float64(s.Failed)/50) {
			t.Errorf("%+v", s)
		}
	}
	files, gaps, err := r.Stop(ctx)
	if err != nil || len(gaps) > 0 || len(files) != 2 {
		t.Fatalf("%v, gaps %v", err, gaps)
	}
	for name, raw := range files {
		if s, err := probe.Read(raw); err != nil || s.Header.Name != name || s.Header.From != "outside" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStartRefuses(t *testing.T) {
	t.Parallel()
	twice := []drill.Probe{web, web}
	bad := web
	bad.Rate = -1
	for want, probes := range map[string][]drill.Probe{"there is no probe": nil, `two probes have the name "web"`: twice, "rate -1 is not": {bad}} {
		if _, err := Start(t.Context(), Options{Probes: probes, Now: time.Now}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
