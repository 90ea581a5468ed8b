package drillrun

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/manifest"
)

// script is a source whose answers are told.
type script struct {
	lists   chan *corev1.PodList
	watches chan any // *watch.FakeWatcher or an error
}

func (s *script) source(r *recorder) source {
	return source{
		what: "pods of shop", see: r.state.pod, gone: r.state.gonePod,
		list: func(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
			select {
			case l := <-s.lists:
				return l, nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
		watch: func(ctx context.Context, _ metav1.ListOptions) (watch.Interface, error) {
			select {
			case w := <-s.watches:
				if err, ok := w.(error); ok {
					return nil, err
				}
				return w.(watch.Interface), nil
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		},
	}
}

func follow(t *testing.T) (r *recorder, s *script, end func()) {
	t.Helper()
	r = newRecorder(testSession(t), time.Now())
	s = &script{lists: make(chan *corev1.PodList, 8), watches: make(chan any, 8)}
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	first := make(chan struct{})
	group.Go(func() { r.follow(ctx, s.source(r), first) })
	return r, s, func() {
		cancel()
		group.Wait()
	}
}

func list(pods ...*corev1.Pod) *corev1.PodList {
	l := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "1"}}
	for _, p := range pods {
		l.Items = append(l.Items, *p)
	}
	return l
}

// TestExpired: what happened while a watch could not go on is seen by its result, and
// the gap is said.
func TestExpired(t *testing.T) {
	t.Parallel()
	r, s, end := follow(t)
	s.lists <- list(webPod("a", "1"), webPod("b", "2"))
	w := watch.NewFake()
	s.watches <- w
	w.Modify(webPod("a", "1", isReady))
	s.lists <- list(webPod("a", "1", isReady, deleting), webPod("c", "3"))
	again := watch.NewFake()
	s.watches <- again
	status := apierrors.NewResourceExpired("too old").Status()
	w.Error(&status)
	again.Delete(webPod("c", "3")) // returns when it is being read
	end()
	timeline, lost := r.end(time.Minute)
	var got []string
	for _, want := range []string{`"name":"shop/a"`, `"name":"shop/b"`, `"ready":true`, `"deleting":true`, `"name":"shop/c"`, `"name":"shop/b","uid":"2","owner":"Deployment/web","phase":"Pending","gone":true`, `"name":"shop/c","uid":"3","owner":"Deployment/web","phase":"Pending","gone":true`} {
		i := strings.Index(string(timeline), want)
		if i < 0 {
			t.Fatalf("no %s in\n%s", want, timeline)
		}
		got = append(got, want)
		timeline = timeline[i:]
	}
	if len(lost) != 1 || !strings.Contains(lost[0].What, "listed anew") || lost[0].To > time.Minute {
		t.Errorf("gaps %+v after %d events", lost, len(got))
	}
}

// TestRefusedWatch: what may not be watched is no gap but the end.
func TestRefusedWatch(t *testing.T) {
	t.Parallel()
	r, s, end := follow(t)
	defer end()
	s.lists <- list()
	s.watches <- apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", errors.New("no"))
	for r.trouble() == nil && t.Context().Err() == nil {
		if err := pause(t.Context(), time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.trouble(); err == nil || !strings.HasPrefix(err.Error(), "watch pods of shop: pods is forbidden") {
		t.Error(err)
	}
}

// clock is a time that tests set.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestAway(t *testing.T) {
	t.Parallel()
	c := &clock{time.Unix(1000, 0)}
	s := testSession(t)
	s.Now = c.now
	r := newRecorder(s, c.at)
	r.synced["nodes"] = true
	r.away("nodes")
	c.at = c.at.Add(maxAway)
	if err := r.trouble(); err != nil {
		t.Error(err)
	}
	r.back("nodes")
	r.away("nodes")
	c.at = c.at.Add(longGap)
	r.back("nodes") // no gap: the API server ends every watch some time
	r.away("nodes")
	c.at = c.at.Add(maxAway + time.Second)
	if err := r.trouble(); err == nil || err.Error() != "the API server was away for more than 30s: nodes" {
		t.Error(err)
	}
	_, lost := r.end(r.at())
	if len(lost) != 2 || lost[0] != (drill.Gap{What: "nodes", To: maxAway}) || lost[1].From != 31*time.Second || lost[1].To != 62*time.Second {
		t.Errorf("%+v", lost)
	}
}

// TestBounds: a timeline that is full says so, and still takes what the drill itself does.
func TestBounds(t *testing.T) {
	t.Parallel()
	r := newRecorder(testSession(t), time.Now())
	node := drill.Event{Node: &drill.Node{Name: strings.Repeat("x", 1000)}}
	for range maxTimeline/1000 + 10 {
		r.write([]drill.Event{node})
	}
	r.act(drill.Action{Verb: "evict"})
	for range maxOwn/1000 + 10 {
		r.act(drill.Action{Verb: "delete", Error: strings.Repeat("x", 1000)})
	}
	timeline, lost := r.end(time.Hour)
	if len(timeline) > maxTimeline+maxOwn || !strings.Contains(string(timeline), `"evict"`) {
		t.Errorf("%d bytes", len(timeline))
	}
	if len(lost) != 2 || !strings.HasPrefix(lost[0].What, "watch events that no longer fit") || !strings.HasPrefix(lost[1].What, "actions that no longer fit") || lost[0].To != time.Hour {
		t.Errorf("%+v", lost)
	}
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	refused := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0)
	refused.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: policyv1.DisruptionBudgetCause, Message: "The disruption budget web.v2 needs 2 healthy pods and has 2 currently"}}
	for _, tt := range []struct {
		name   string
		err    error
		code   int
		budget string
	}{
		{"yes", nil, http.StatusCreated, ""},
		{"refused", refused, http.StatusTooManyRequests, "shop/web.v2"},
		{"wrapped", errors.Join(errors.New("evict"), refused), http.StatusTooManyRequests, "shop/web.v2"},
		{"busy", apierrors.NewTooManyRequests("try again", 1), http.StatusTooManyRequests, ""},
		{"not there", apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "a"), http.StatusNotFound, ""},
		{"away", errors.New("connection refused"), 0, ""},
	} {
		r := newRecorder(testSession(t), time.Now())
		l := &Live{Session: r.s, recorder: r}
		if err := l.Act(drill.Action{Verb: "evict", Object: "Pod shop/web-1"}, http.StatusCreated, func() error { return tt.err }); !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", tt.name, err)
		}
		a := drill.Action{Verb: "evict", Object: "Pod shop/web-1", Code: tt.code, Budget: tt.budget}
		events := lines(t, []drill.Event{{Action: &a}})
		timeline, _ := r.end(0)
		for _, part := range strings.Split(strings.Trim(events[strings.Index(events, `"action"`):], "{}"), ",") {
			if !strings.HasPrefix(part, `"took"`) && !strings.Contains(string(timeline), part) {
				t.Errorf("%s: no %s in %s", tt.name, part, timeline)
			}
		}
		if tt.budget == "" && strings.Contains(string(timeline), `"budget"`) {
			t.Errorf("%s: %s", tt.name, timeline)
		}
	}
}

func TestOverBudget(t *testing.T) {
	t.Parallel()
	plan := &drill.Plan{
		SLO:    drill.SLO{Objective: 0.999, Window: evidence.Duration(time.Hour), Share: 0.5}, // 1.8 s
		Probes: []drill.Probe{{Name: "web", Rate: 10}, {Name: "api", Rate: 100}},
	}
	for _, tt := range []struct {
		counts []Count
		want   string
	}{
		{[]Count{{Probe: "web", Due: 1000, Failed: 18}, {Probe: "api", Due: 10000, Failed: 180}}, ""},
		{[]Count{{Probe: "web", Failed: 19}}, "error budget exhausted: probe web has spent 1.90 of 1.80 s"},
		{[]Count{{Probe: "web"}, {Probe: "api", Failed: 181}}, "error budget exhausted: probe api has spent 1.81 of 1.80 s"},
	} {
		got := ""
		if err := overBudget(plan, tt.counts); err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.counts, got, tt.want)
		}
	}
}

// What is interrupted once the drill has ended is no gap in it.
func TestGapsAfterTheEnd(t *testing.T) {
	t.Parallel()
	began := time.Now()
	r := newRecorder(&Session{Now: func() time.Time { return began.Add(time.Minute) }, Objects: new(manifest.ObjectSet)}, began)
	r.broken["pods"], r.broken["nodes"] = began.Add(5*time.Second), began.Add(20*time.Second)
	_, lost := r.end(10 * time.Second)
	if len(lost) != 1 || lost[0] != (drill.Gap{What: "pods", From: 5 * time.Second, To: 10 * time.Second}) {
		t.Errorf("%+v", lost)
	}
}
