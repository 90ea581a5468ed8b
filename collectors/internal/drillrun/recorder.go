package drillrun

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/companyos/helmproof/internal/drill"
)

const (
	// maxTimeline bounds what watches may write, in bytes; what the drill itself did
	// has room besides.
	maxTimeline = 2 << 20
	maxOwn      = 512 << 10
	// longGap is from when on a watch that was interrupted counts as a gap: the API
	// server ends every watch some time, and the next one takes a moment.
	longGap = time.Second
	// maxAway is how long the API server, or a watch, may be away before the drill is aborted.
	maxAway = 30 * time.Second
	// settle is how long all must have been well, without a change, to count as recovered.
	settle = 3 * time.Second
)

// recorder writes the timeline.
type recorder struct {
	s     *Session
	began time.Time

	mu     sync.Mutex
	lines  bytes.Buffer
	own    int // bytes of marks, actions and answers to the query
	seen   int // bytes of what watches gave
	gaps   []drill.Gap
	broken map[string]time.Time // since when a watch is interrupted
	breaks map[string]time.Time // when it was interrupted last
	synced map[string]bool
	failed error // a watch that will never work
	full   map[string]bool

	state   state
	changed time.Time     // the last change of what settled looks at
	news    chan struct{} // closed at the next change
	probe   Prober
}

func newRecorder(s *Session, began time.Time) *recorder {
	return &recorder{s: s, began: began, broken: map[string]time.Time{}, breaks: map[string]time.Time{}, synced: map[string]bool{}, full: map[string]bool{},
		state: newState(s), changed: began, news: make(chan struct{})}
}

func (r *recorder) at() time.Duration { return r.s.Now().Sub(r.began) }

// line writes an event; the lock is held.
func (r *recorder) line(e drill.Event, counter *int, limit int, what string) {
	e.At = r.at()
	b, err := json.Marshal(e)
	if err == nil && *counter+len(b)+1 > limit {
		err = fmt.Errorf("more than %d bytes", limit)
	}
	if err != nil {
		if !r.full[what] {
			r.full[what] = true
			r.gaps = append(r.gaps, drill.Gap{What: what + " that no longer fit into the timeline: " + err.Error(), From: e.At})
		}
		return
	}
	*counter += len(b) + 1
	r.lines.Write(b)
	r.lines.WriteByte('\n')
}

func (r *recorder) mark(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line(drill.Event{Mark: phase}, &r.own, maxOwn, "marks")
	r.s.say(phase)
}

func (r *recorder) act(a drill.Action) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line(drill.Event{Action: &a}, &r.own, maxOwn, "actions")
	r.touch()
}

func (r *recorder) query(q drill.Sampled) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line(drill.Event{Query: &q}, &r.own, maxOwn, "answers to the query")
}

// touch says that something changed; the lock is held.
func (r *recorder) touch() {
	r.changed = r.s.Now()
	close(r.news)
	r.news = make(chan struct{})
}

// write records the changes that an object made.
func (r *recorder) write(events []drill.Event) {
	for _, e := range events {
		r.line(e, &r.seen, maxTimeline, "watch events")
		if e.Node == nil {
			r.touch()
		}
	}
}

// end is what was recorded; nothing more is.
func (r *recorder) end(length time.Duration) (timeline []byte, lost []drill.Gap) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, what := range slices.Sorted(maps.Keys(r.broken)) {
		if from := r.broken[what]; r.s.Now().Sub(from) > longGap {
			r.gaps = append(r.gaps, drill.Gap{What: what, From: from.Sub(r.began), To: length})
		}
	}
	for i := range r.gaps {
		if r.gaps[i].To == 0 {
			r.gaps[i].To = length
		}
	}
	// What was interrupted while things were put back is no gap in the drill.
	lost = slices.DeleteFunc(slices.Clone(r.gaps), func(g drill.Gap) bool { return g.From >= length })
	return bytes.Clone(r.lines.Bytes()), lost
}

// trouble is why the drill cannot go on: a watch that is refused, or was away for long.
func (r *recorder) trouble() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil {
		return r.failed
	}
	for _, what := range slices.Sorted(maps.Keys(r.broken)) {
		if away := r.s.Now().Sub(r.broken[what]); away > maxAway {
			return fmt.Errorf("the API server was away for more than %s: %s", maxAway, what)
		}
	}
	return nil
}

// source is one kind of objects that is watched.
type source struct {
	what  string
	list  func(context.Context, metav1.ListOptions) (runtime.Object, error)
	watch func(context.Context, metav1.ListOptions) (watch.Interface, error)
	see   func(runtime.Object) []drill.Event // what counts of an object, if it changed
	gone  func(key string) []drill.Event
}

func key(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }

func (r *recorder) sources() []source {
	kube := r.s.Cluster.Kube
	st := &r.state
	out := []source{{
		what: "nodes",
		list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			return kube.CoreV1().Nodes().List(ctx, o)
		},
		watch: kube.CoreV1().Nodes().Watch, see: st.node, gone: st.goneNode,
	}}
	for _, ns := range r.s.namespaces() {
		pods, slicesOf, budgets := kube.CoreV1().Pods(ns), kube.DiscoveryV1().EndpointSlices(ns), kube.PolicyV1().PodDisruptionBudgets(ns)
		deployments, sets := kube.AppsV1().Deployments(ns), kube.AppsV1().StatefulSets(ns)
		out = append(out, source{
			what:  "budgets of " + ns,
			list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return budgets.List(ctx, o) },
			watch: budgets.Watch, see: st.budget, gone: st.goneBudget,
		}, source{
			what:  "pods of " + ns,
			list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return pods.List(ctx, o) },
			watch: pods.Watch, see: st.pod, gone: st.gonePod,
		}, source{
			what:  "endpoints of " + ns,
			list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return slicesOf.List(ctx, o) },
			watch: slicesOf.Watch, see: st.slice, gone: st.goneSlice,
		}, source{
			what: "Deployments of " + ns,
			list: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
				return deployments.List(ctx, o)
			},
			watch: deployments.Watch, see: st.workload, gone: st.goneWorkload("Deployment"),
		}, source{
			what:  "StatefulSets of " + ns,
			list:  func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return sets.List(ctx, o) },
			watch: sets.Watch, see: st.workload, gone: st.goneWorkload("StatefulSet"),
		})
	}
	return out
}

// watch follows everything until lasting ends. It returns once all has been listed,
// budgets before the pods that they select.
func (r *recorder) watch(ctx, lasting context.Context, group *sync.WaitGroup) error {
	for _, s := range r.sources() {
		r.mu.Lock()
		r.broken[s.what] = r.s.Now()
		r.mu.Unlock()
		first := make(chan struct{})
		group.Go(func() { r.follow(lasting, s, first) })
		select {
		case <-first:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		r.mu.Lock()
		err := r.failed
		r.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// follow lists and watches until ctx ends. first is closed after the first list, or
// where there will never be one.
func (r *recorder) follow(ctx context.Context, s source, first chan struct{}) {
	open := true
	opened := func() {
		if open {
			close(first)
			open = false
		}
	}
	defer opened()
	keys := map[string]bool{}
	version := ""
	for ctx.Err() == nil {
		err := func() (err error) {
			if version == "" {
				if version, err = r.relist(ctx, s, keys); err != nil {
					return err
				}
				opened()
			}
			w, err := s.watch(ctx, metav1.ListOptions{ResourceVersion: version, AllowWatchBookmarks: true})
			if err != nil {
				return err
			}
			defer w.Stop()
			r.back(s.what)
			version, err = r.events(ctx, s, w, version, keys)
			return err
		}()
		if ctx.Err() != nil {
			return
		}
		if apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			version = "" // what happened since is seen by its result alone
			r.expired(s.what)
			continue
		}
		r.away(s.what)
		switch {
		case err == nil: // the API server ends each watch some time, and a proxy may end it at once
			if pause(ctx, 100*time.Millisecond) != nil {
				return
			}
			continue
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsNotFound(err), apierrors.IsInvalid(err):
			r.mu.Lock()
			r.failed = fmt.Errorf("watch %s: %w", s.what, err)
			r.mu.Unlock()
			return
		}
		if pause(ctx, 250*time.Millisecond) != nil {
			return
		}
	}
}

// expired records that a watch could not go on from where it was interrupted last.
func (r *recorder) expired(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.s.Now()
	from, ok := r.breaks[what]
	if !ok {
		from = now
	}
	r.broken[what] = now
	r.gaps = append(r.gaps, drill.Gap{What: what + ": listed anew, what happened meanwhile is not known", From: from.Sub(r.began), To: now.Sub(r.began)})
}

func (r *recorder) away(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.broken[what]; !ok {
		r.broken[what] = r.s.Now()
		r.breaks[what] = r.broken[what]
	}
}

// back ends an interruption, which is a gap if it was more than a moment.
func (r *recorder) back(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	from, ok := r.broken[what]
	if !ok {
		return
	}
	delete(r.broken, what)
	if r.synced[what] && r.s.Now().Sub(from) > longGap {
		r.gaps = append(r.gaps, drill.Gap{What: what, From: from.Sub(r.began), To: r.at()})
	}
	r.synced[what] = true
}

// relist reads all objects, and what is no longer there of keys.
func (r *recorder) relist(ctx context.Context, s source, keys map[string]bool) (version string, err error) {
	left := maps.Clone(keys)
	err = pages(func(o metav1.ListOptions) (string, error) {
		list, err := s.list(ctx, o)
		if err != nil {
			return "", err
		}
		acc, err := meta.ListAccessor(list)
		if err != nil {
			return "", err
		}
		version = acc.GetResourceVersion()
		r.mu.Lock()
		defer r.mu.Unlock()
		return acc.GetContinue(), meta.EachListItem(list, func(o runtime.Object) error {
			m, err := meta.Accessor(o)
			if err != nil {
				return err
			}
			delete(left, key(m))
			keys[key(m)] = true
			r.write(s.see(o))
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(left)) {
		delete(keys, k)
		r.write(s.gone(k))
	}
	return version, nil
}

// events reads a watch to its end. It returns the version to go on from.
func (r *recorder) events(ctx context.Context, s source, w watch.Interface, version string, keys map[string]bool) (string, error) {
	for {
		var e watch.Event
		var ok bool
		select {
		case <-ctx.Done():
			return version, context.Cause(ctx)
		case e, ok = <-w.ResultChan():
		}
		if !ok {
			return version, nil
		}
		if e.Type == watch.Error {
			return version, apierrors.FromObject(e.Object)
		}
		m, err := meta.Accessor(e.Object)
		if err != nil {
			return version, err
		}
		r.mu.Lock()
		switch e.Type {
		case watch.Added, watch.Modified:
			keys[key(m)] = true
			r.write(s.see(e.Object))
		case watch.Deleted:
			delete(keys, key(m))
			r.write(s.gone(key(m)))
		}
		r.mu.Unlock()
		version = m.GetResourceVersion()
	}
}

// settled returns once the release's workloads are whole, nothing about them has
// changed for a while, and the probes answer.
func (r *recorder) settled(ctx context.Context) error {
	var base map[string]Count
	var since time.Time
	for {
		r.mu.Lock()
		ok, news := r.state.whole(), r.news
		quiet := r.s.Now().Sub(r.changed)
		broken := len(r.broken) > 0
		probe := r.probe
		r.mu.Unlock()
		wait := 200 * time.Millisecond
		if !ok || broken {
			base = nil
		} else if answering(&base, &since, probe, r.s.Now()) && quiet >= settle && r.s.Now().Sub(since) >= settle {
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return context.Cause(ctx)
		case <-news:
		case <-t.C:
		}
		t.Stop()
	}
}

// answering reports whether every probe had answers since base was taken and none of
// them failed; a failure takes base anew.
func answering(base *map[string]Count, since *time.Time, p Prober, now time.Time) bool {
	if p == nil {
		if *base == nil {
			*base, *since = map[string]Count{}, now
		}
		return true
	}
	counts := map[string]Count{}
	fine := true
	for _, c := range p.Live() {
		counts[c.Probe] = c
		was, ok := (*base)[c.Probe]
		fine = fine && ok && was.Failed == c.Failed
		if ok && was.Due == c.Due {
			return false // not asked since
		}
	}
	if *base == nil || !fine {
		*base, *since = counts, now
		return false
	}
	return true
}

// oneLine folds an error's text and bounds it.
func oneLine(s string) string {
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "\uFFFD")), " ")
	if r := []rune(s); len(r) > 500 {
		return string(r[:499]) + "…"
	}
	return s
}
