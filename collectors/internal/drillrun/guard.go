package drillrun

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/internal/cluster"
)

const (
	// Namespace is where a cluster keeps who drills.
	Namespace = "helmproof"
	// LeaseName is the Lease that says so.
	LeaseName = "helmproof-drill"
	// restoreKey is the Lease's annotation that holds the record.
	restoreKey = "helmproof.dev/restore"

	// leaseTerm is how long a holder that renews nothing is left alone; that is also
	// as long as the API server may be away.
	leaseTerm  = 30 * time.Second
	renewEvery = 5 * time.Second
	// maxRecord bounds the record, in bytes: annotations may have 256 KiB together.
	maxRecord = 128 << 10
)

// record is the annotation: who wrote it, and what is to be restored.
type record struct {
	Holder string `json:"holder"`
	Restore
}

// HeldError says that another drill holds the cluster.
type HeldError struct{ Holder string }

func (e *HeldError) Error() string {
	return "another drill runs on this cluster: " + e.Holder + " holds the Lease " + Namespace + "/" + LeaseName
}

// guard is the Lease that one drill holds.
type guard struct {
	cluster *cluster.Cluster
	kube    kubernetes.Interface
	now     func() time.Time
	holder  string // "host/random"

	lost chan error // why the Lease is no longer ours
	stop func()     // ends renewing

	mu      sync.Mutex // over requests too: they are one after the other
	lease   *coordinationv1.Lease
	record  record
	renewed time.Time
}

// keep renews the Lease, from when it is ours until it is given up: also while what was
// left behind is restored, and the preflight waits.
func (g *guard) keep(parent context.Context) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	ended := make(chan struct{})
	g.lost = make(chan error, 1)
	g.stop = func() { cancel(); <-ended }
	go func() {
		defer close(ended)
		if err := g.renew(ctx); err != nil {
			g.lost <- err
		}
	}()
}

func newHolder() (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name the holder of the Lease: %w", err)
	}
	return host + "/" + rand.String(12), nil
}

// take takes the Lease. What a holder before left behind, it restores first; done
// says what that was.
func take(ctx context.Context, c *cluster.Cluster, now func() time.Time, say func(string)) (g *guard, done []string, err error) {
	holder, err := newHolder()
	if err != nil {
		return nil, nil, err
	}
	kube := c.Kube
	g = &guard{cluster: c, kube: kube, now: now, holder: holder, record: record{Holder: holder}}
	leases := kube.CoordinationV1().Leases(Namespace)
	old, err := leases.Get(ctx, LeaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		made := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: LeaseName, Namespace: Namespace}}
		if err := g.sign(made, 0); err != nil {
			return nil, nil, err
		}
		g.lease, err = leases.Create(ctx, made, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil, nil, &HeldError{"somebody who was a moment faster"}
		}
		if err != nil {
			return nil, nil, noLease(err)
		}
		g.keep(ctx)
		return g, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the Lease %s/%s: %w", Namespace, LeaseName, err)
	}
	if old, err = dead(ctx, kube, old, say); err != nil {
		return nil, nil, err
	}
	// The Lease is ours before anything is restored, and keeps the old record until
	// that is done.
	left, err := recordOf(old)
	if err != nil {
		return nil, nil, err
	}
	g.record = left
	if err := g.update(ctx, old); err != nil {
		return nil, nil, err
	}
	g.keep(ctx)
	if !left.empty() {
		say("restoring what the drill of " + left.Holder + " left behind")
		var problems []string
		within, cancel := context.WithTimeout(ctx, restoreLimit)
		done, problems = g.restore(within, true)
		cancel()
		if len(problems) > 0 {
			// Whoever comes next must find the record.
			return nil, done, errors.Join(fmt.Errorf("restore what the drill of %s left behind: %s", left.Holder, strings.Join(problems, "; ")), g.cleanRelease(ctx))
		}
	}
	if err := g.forget(ctx); err != nil {
		return nil, done, errors.Join(err, g.cleanRelease(ctx))
	}
	return g, done, nil
}

// noLease says what to do where the Lease cannot be made.
func noLease(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("take the Lease %s/%s: %w; templates/rbac/drill.yaml has the namespace and the rights", Namespace, LeaseName, err)
}

// dead watches a Lease that somebody seems to hold for as long as it may go without
// renewal: no clock of another machine is asked. It returns the Lease as it is then.
func dead(ctx context.Context, kube kubernetes.Interface, l *coordinationv1.Lease, say func(string)) (*coordinationv1.Lease, error) {
	holder := holderOf(l)
	if holder == "" {
		return l, nil
	}
	// A holder that cannot reach the API server finds that out a little later.
	const late = 2 * renewEvery
	term := leaseTerm + late
	if s := l.Spec.LeaseDurationSeconds; s != nil && *s > 0 && *s < 3600 {
		term = time.Duration(*s)*time.Second + late
	}
	say(fmt.Sprintf("%s holds the Lease: looking for up to %s whether it is still there", holder, term))
	over := time.NewTimer(term)
	defer over.Stop()
	for last := false; ; {
		if !last {
			pause := time.NewTimer(time.Second)
			select {
			case <-ctx.Done():
				pause.Stop()
				return nil, context.Cause(ctx)
			case <-over.C:
				last = true
			case <-pause.C:
			}
			pause.Stop()
		}
		now, err := kube.CoordinationV1().Leases(Namespace).Get(ctx, LeaseName, metav1.GetOptions{})
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the Lease %s/%s: %w", Namespace, LeaseName, err)
		case holderOf(now) == "":
			return now, nil
		case now.ResourceVersion != l.ResourceVersion:
			return nil, &HeldError{holderOf(now)}
		case last:
			return now, nil
		}
	}
}

func holderOf(l *coordinationv1.Lease) string {
	if l.Spec.HolderIdentity == nil {
		return ""
	}
	return *l.Spec.HolderIdentity
}

func recordOf(l *coordinationv1.Lease) (record, error) {
	var r record
	text := l.Annotations[restoreKey]
	if text == "" {
		return r, nil
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return r, fmt.Errorf("the record of an earlier drill is unreadable: %w; see the annotation %s of Lease %s/%s, restore by hand, and delete the Lease", err, restoreKey, Namespace, LeaseName)
	}
	return r, nil
}

func (r *record) empty() bool { return len(r.Nodes)+len(r.Pods)+len(r.Releases) == 0 }

// write puts the record into a Lease.
func (r *record) write(l *coordinationv1.Lease) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if len(text) > maxRecord {
		return fmt.Errorf("what has to be restored is too long for the record: %d bytes, at most %d", len(text), maxRecord)
	}
	if l.Annotations == nil {
		l.Annotations = map[string]string{}
	}
	l.Annotations[restoreKey] = string(text)
	return nil
}

// sign makes a Lease this guard's own.
func (g *guard) sign(l *coordinationv1.Lease, transitions int32) error {
	now, term := metav1.NewMicroTime(g.now()), int32(leaseTerm/time.Second)
	l.Spec = coordinationv1.LeaseSpec{HolderIdentity: &g.holder, LeaseDurationSeconds: &term, AcquireTime: &now, RenewTime: &now, LeaseTransitions: &transitions}
	g.renewed = now.Time
	return g.record.write(l)
}

// update takes over an old Lease.
func (g *guard) update(ctx context.Context, old *coordinationv1.Lease) error {
	l := old.DeepCopy()
	var n int32
	if l.Spec.LeaseTransitions != nil {
		n = *l.Spec.LeaseTransitions
	}
	if err := g.sign(l, n+1); err != nil {
		return err
	}
	var err error
	g.lease, err = g.kube.CoordinationV1().Leases(Namespace).Update(ctx, l, metav1.UpdateOptions{})
	if apierrors.IsConflict(err) {
		return &HeldError{"somebody who was a moment faster"}
	}
	if err != nil {
		return fmt.Errorf("take the Lease %s/%s: %w", Namespace, LeaseName, err)
	}
	return nil
}

// forget replaces the record by one that has nothing in it.
func (g *guard) forget(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.record = record{Holder: g.holder}
	return g.write(ctx)
}

// before adds to the record, and returns once it is in the cluster.
func (g *guard) before(ctx context.Context, r Restore) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	old := g.record
	g.record.Nodes = add(old.Nodes, r.Nodes)
	g.record.Pods = add(old.Pods, r.Pods)
	g.record.Releases = append(slices.Clone(old.Releases), r.Releases...)
	err := g.write(ctx)
	if err != nil && !g.answered(err) {
		err = g.write(ctx) // the connection may have been an old one
	}
	if err != nil {
		// It may have been written all the same: what is too much does no harm.
		return fmt.Errorf("write down what has to be restored: %w", err)
	}
	return nil
}

func add(to, more []string) []string {
	out := append(slices.Clone(to), more...)
	slices.Sort(out)
	return slices.Compact(out)
}

func (g *guard) answered(err error) bool {
	var s apierrors.APIStatus
	return errors.As(err, &s)
}

// errLost is why a drill ends whose Lease somebody else has.
var errLost = errors.New("the Lease was lost")

// write renews the Lease with the record as it is. A conflict is looked into: the
// answer to an earlier write of ours may have got lost.
func (g *guard) write(ctx context.Context) error {
	leases := g.kube.CoordinationV1().Leases(Namespace)
	var err error
	for range 3 {
		l := g.lease.DeepCopy()
		if err := g.record.write(l); err != nil {
			return err
		}
		at := metav1.NewMicroTime(g.now())
		l.Spec.RenewTime = &at
		var updated *coordinationv1.Lease
		updated, err = leases.Update(ctx, l, metav1.UpdateOptions{})
		if err == nil {
			g.lease, g.renewed = updated, at.Time
			return nil
		}
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: somebody deleted it", errLost)
		}
		if !apierrors.IsConflict(err) {
			return err
		}
		now, e := leases.Get(ctx, LeaseName, metav1.GetOptions{})
		if e != nil {
			return e
		}
		if holderOf(now) != g.holder {
			return fmt.Errorf("%w: %s has it", errLost, cmp.Or(holderOf(now), "nobody"))
		}
		g.lease = now
	}
	return err
}

// renew renews the Lease until ctx ends, or until it is lost.
func (g *guard) renew(ctx context.Context) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		once, cancel := context.WithTimeout(ctx, renewEvery)
		g.mu.Lock()
		err := g.write(once)
		age := g.now().Sub(g.renewed)
		g.mu.Unlock()
		cancel()
		switch {
		case err == nil || ctx.Err() != nil:
		case errors.Is(err, errLost):
			return err
		case age > leaseTerm:
			return fmt.Errorf("the Lease could not be renewed for %s: %w", age.Round(time.Second), err)
		}
	}
}

// restore puts back what is in the record. What could not be stays there, and pods do
// unless they are asked for. The Lease is renewed meanwhile.
func (g *guard) restore(ctx context.Context, pods bool) (done, problems []string) {
	g.mu.Lock()
	r := g.record
	g.mu.Unlock()
	var kept []string
	if !pods {
		r.Pods, kept = nil, r.Pods
	}
	done, left, problems := restore(ctx, g.cluster, r)
	left.Pods = append(left.Pods, kept...)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.record = left
	return done, problems
}

// cleanRelease is release with a little time of its own.
func (g *guard) cleanRelease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return g.release(ctx)
}

// release gives the Lease up, with its record as it is.
func (g *guard) release(ctx context.Context) error {
	g.stop()
	g.mu.Lock()
	defer g.mu.Unlock()
	return patient(ctx, "give up the Lease", func() error {
		nobody := ""
		l := g.lease.DeepCopy()
		l.Spec.HolderIdentity = &nobody
		if g.record.empty() {
			delete(l.Annotations, restoreKey)
		} else if err := g.record.write(l); err != nil {
			return err
		}
		leases := g.kube.CoordinationV1().Leases(Namespace)
		if _, err := leases.Update(ctx, l, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			return err
		}
		now, err := leases.Get(ctx, LeaseName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if holderOf(now) != g.holder {
			return nil // it is another's, or given up already
		}
		g.lease = now
		return errAgain
	})
}

var errAgain = errors.New("it was changed at the same time")

// patient repeats what an API server that is away, or busy, did not do, until ctx ends.
func patient(ctx context.Context, what string, f func() error) error {
	for {
		err := f()
		switch {
		case err == nil:
			return nil
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsNotFound(err):
			return fmt.Errorf("%s: %w", what, err)
		}
		if pause(ctx, 500*time.Millisecond) != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
