package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/exec"
	"k8s.io/kubectl/pkg/drain"

	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/internal/drill"
)

// Verbs of the actions that are recorded.
const (
	verbDelete  = "delete"
	verbEvict   = "evict"
	verbRestart = "restart"
	verbKill    = "kill"
)

// faults are what the experiments do. Each returns when it is done, or when nothing
// has moved for as long as the plan gives the release to recover; the actions that
// were recorded say how far it got.
var faults = map[drill.Experiment]func(context.Context, *drillrun.Live) error{
	drill.PodKill: podKill, drill.Eviction: eviction, drill.NodeDrain: drainNodes, drill.ZoneDrain: drainNodes,
	drill.RollingRestart: rollingRestart, drill.ContainerKill: containerKill,
}

// podKill deletes the chosen pods, all of them at once. Other answers than a yes are
// recorded, and judged later.
func podKill(ctx context.Context, l *drillrun.Live) error {
	for i := range l.World.Victims {
		if err := l.Delete(ctx, &l.World.Victims[i], l.Plan.Target.GraceSeconds); ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
	return nil
}

// errPatience ends an experiment that does not get on.
var errPatience = errors.New("nothing has moved for as long as the release may take to recover")

// patience ends a context once nothing has moved for the plan's time to recover.
type patience struct {
	mu    sync.Mutex
	timer *time.Timer
	limit time.Duration
}

func newPatience(ctx context.Context, limit time.Duration) (context.Context, *patience, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	p := &patience{limit: limit}
	p.timer = time.AfterFunc(limit, func() { cancel(errPatience) })
	return ctx, p, func() { p.timer.Stop(); cancel(nil) }
}

// moved says that something did.
func (p *patience) moved() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.timer.Reset(p.limit)
}

// retryEvery is how long after a refusal an eviction is asked for again.
const retryEvery = time.Second

// eviction evicts the chosen pods one after the other. What a budget refuses is asked
// for again, since other pods become ready meanwhile.
func eviction(parent context.Context, l *drillrun.Live) error {
	ctx, patience, stop := newPatience(parent, time.Duration(l.Plan.Phases.Recover))
	defer stop()
	for i := range l.World.Victims {
		for {
			err := l.Evict(ctx, &l.World.Victims[i], l.Plan.Target.GraceSeconds)
			if err == nil {
				patience.moved()
			}
			if !apierrors.IsTooManyRequests(err) || wait(ctx, retryEvery) != nil {
				break
			}
		}
		if ctx.Err() != nil {
			return context.Cause(parent)
		}
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// drainNodes cordons the nodes, all of them first, and drains one after the other as
// kubectl does. They stay cordoned until the drill has ended.
func drainNodes(parent context.Context, l *drillrun.Live) error {
	for _, node := range l.World.Drain {
		if err := l.Cordon(parent, node); err != nil {
			return err
		}
	}
	ctx, patience, stop := newPatience(parent, time.Duration(l.Plan.Phases.Recover))
	defer stop()
	rec := &evictions{l: l, patience: patience, uids: map[string]types.UID{}}
	client, err := rec.client(l.Cluster.Config)
	if err != nil {
		return err
	}
	grace := -1 // the pods' own
	if g := l.Plan.Target.GraceSeconds; g != nil {
		grace = int(*g)
	}
	for _, node := range l.World.Drain {
		err := drain.RunNodeDrain(&drain.Helper{
			Ctx: ctx, Client: client, GracePeriodSeconds: grace, IgnoreAllDaemonSets: true, DeleteEmptyDirData: true, ChunkSize: 500,
			EvictErrorRetryDelay: retryEvery, Out: io.Discard, ErrOut: io.Discard,
			AdditionalFilters:               []drain.PodFilter{only(l.Plan.AllowNamespaces)},
			OnPodDeletionOrEvictionStarted:  func(p *corev1.Pod, _ bool) { rec.about(p) },
			OnPodDeletionOrEvictionFinished: func(*corev1.Pod, bool, error) { patience.moved() },
		}, node)
		switch {
		case parent.Err() != nil:
			return context.Cause(parent)
		case ctx.Err() != nil:
			return nil // what was refused until now is recorded
		case err != nil && !rec.failed():
			return fmt.Errorf("drain node %s: %w", node, err)
		}
	}
	return nil
}

// only keeps a drain to the namespaces that were named. The preflight has asked for those
// of the pods that were there then: others may have come since, and the drain is not
// begun. Pods that have ended stay, as nobody has allowed for them; kubectl would
// remove them.
func only(namespaces []string) drain.PodFilter {
	return func(p corev1.Pod) drain.PodDeleteStatus {
		switch {
		case p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed:
			return drain.MakePodDeleteStatusSkip()
		case !slices.Contains(namespaces, p.Namespace):
			return drain.MakePodDeleteStatusWithError("pods of a namespace in which nothing may be touched")
		}
		return drain.MakePodDeleteStatusOkay()
	}
}

// evictions records what a client's evictions are answered. kubectl's drain tells
// refusals to a terminal alone.
type evictions struct {
	l        *drillrun.Live
	patience *patience

	mu   sync.Mutex
	uids map[string]types.UID // of pods that are to be evicted, by namespace/name
	bad  bool                 // an eviction had another answer than yes, or not yet
}

// about says whose eviction is asked for next.
func (e *evictions) about(p *corev1.Pod) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.uids[p.Namespace+"/"+p.Name] = p.UID
}

func (e *evictions) failed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.bad
}

// client is one of its own, whose requests pass by here.
func (e *evictions) client(config *rest.Config) (kubernetes.Interface, error) {
	c := rest.CopyConfig(config)
	c.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) { return e.roundTrip(next, req) })
	})
	return kubernetes.NewForConfig(c)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

var evictionPath = regexp.MustCompile(`/namespaces/([^/]+)/pods/([^/]+)/eviction$`)

// maxStatus bounds what is read of an answer that is none of a yes, in bytes.
const maxStatus = 64 << 10

// roundTrip passes a request on; that of an eviction it records with its answer.
func (e *evictions) roundTrip(next http.RoundTripper, req *http.Request) (*http.Response, error) {
	m := evictionPath.FindStringSubmatch(req.URL.Path)
	if m == nil || req.Method != http.MethodPost {
		return next.RoundTrip(req)
	}
	name := m[1] + "/" + m[2]
	e.mu.Lock()
	uid := e.uids[name]
	e.mu.Unlock()
	var res *http.Response
	var err error // of the connection, which is the round tripper's to return
	answer := e.l.Act(drill.Action{Verb: verbEvict, Object: "Pod " + name, UID: string(uid)}, http.StatusCreated, func() error {
		if res, err = next.RoundTrip(req); err != nil { //nolint:bodyclose // the caller's to close
			return err
		}
		return statusOf(res)
	})
	switch {
	case answer == nil:
		e.patience.moved()
	case !apierrors.IsTooManyRequests(answer) && !apierrors.IsNotFound(answer) && req.Context().Err() == nil:
		e.mu.Lock()
		e.bad = true
		e.mu.Unlock()
	}
	return res, err
}

// statusOf is what an answer says in its body, which can still be read afterwards; nil
// for a yes.
func statusOf(res *http.Response) error {
	if res.StatusCode < 300 {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxStatus))
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), res.Body), res.Body}
	status := metav1.Status{}
	if err == nil {
		err = json.Unmarshal(body, &status)
	}
	if err != nil || status.Code == 0 {
		status = metav1.Status{Status: metav1.StatusFailure, Code: int32(res.StatusCode), Message: res.Status} //nolint:gosec // an HTTP status
	}
	return &apierrors.StatusError{ErrStatus: status}
}

// restartedAt is what kubectl rollout restart sets.
const restartedAt = "kubectl.kubernetes.io/restartedAt"

// rollingRestart restarts the workloads, all at once, and waits for their rollouts.
func rollingRestart(parent context.Context, l *drillrun.Live) error {
	for i := range l.World.Workloads {
		w := &l.World.Workloads[i]
		if !w.Target {
			continue
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"template": map[string]any{
			"metadata": map[string]any{"annotations": map[string]string{restartedAt: l.Now().UTC().Format(time.RFC3339)}},
		}}})
		if err != nil {
			return err
		}
		err = l.Act(drill.Action{Verb: verbRestart, Object: w.Kind + " " + w.Namespace + "/" + w.Name}, http.StatusOK, func() (err error) {
			apps := l.Cluster.Kube.AppsV1()
			if w.Kind == "Deployment" {
				_, err = apps.Deployments(w.Namespace).Patch(parent, w.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "helmproof"})
			} else {
				_, err = apps.StatefulSets(w.Namespace).Patch(parent, w.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: "helmproof"})
			}
			return err
		})
		if err != nil {
			return fmt.Errorf("restart %s: %w", w, err)
		}
	}
	ctx, patience, stop := newPatience(parent, time.Duration(l.Plan.Phases.Recover))
	defer stop()
	last := ""
	for {
		w, err := l.Look(ctx)
		switch {
		case parent.Err() != nil:
			return context.Cause(parent)
		case ctx.Err() != nil:
			return nil // the pods that are left say so
		case err == nil: // an API server that is away for long ends the drill by itself
			done, state := rolledOut(w)
			if done {
				return nil
			}
			if state != last {
				patience.moved()
			}
			last = state
		}
		if wait(ctx, time.Second) != nil {
			return context.Cause(parent)
		}
	}
}

// rolledOut reports whether no pod of an older template is left, and how far the
// rollouts are.
func rolledOut(w *drillrun.World) (done bool, state string) {
	done = true
	for i := range w.Workloads {
		if load := &w.Workloads[i]; load.Target {
			done = done && load.Status.Whole() && len(load.Pods) == int(load.Status.Want)
			state += fmt.Sprintf("%+v %d\n", load.Status, len(load.Pods))
		}
	}
	return done, state
}

// containerKill sends the main process of a container a signal, by the program kill in
// its image: where there is none, nothing can be done from outside, which is recorded.
func containerKill(ctx context.Context, l *drillrun.Live) error {
	for i := range l.World.Victims {
		p := &l.World.Victims[i]
		container := l.Plan.Target.Container
		if container == "" {
			container = p.Spec.Containers[0].Name
		}
		err := l.Act(drill.Action{Verb: verbKill, Object: "Pod " + p.Namespace + "/" + p.Name, UID: string(p.UID)}, http.StatusOK, func() error {
			return kill(ctx, l, p, container)
		})
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
	}
	return nil
}

// kill runs kill in a container. That it dies with the container is no failure.
func kill(ctx context.Context, l *drillrun.Live, p *corev1.Pod, container string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req := l.Cluster.Kube.CoreV1().RESTClient().Post().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: container, Command: []string{"kill", "1"}, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	run, err := remotecommand.NewSPDYExecutor(l.Cluster.Config, http.MethodPost, req.URL())
	if err != nil {
		return err
	}
	err = run.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard, Stderr: io.Discard})
	if code, ok := errors.AsType[exec.CodeExitError](err); ok && (code.Code == 137 || code.Code == 143) {
		return nil
	}
	return err
}
