package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
)

// probeTimeout is how long the API server may take to answer.
const probeTimeout = 5 * time.Second

// Clients are the connections to a cluster, and what it said of itself.
type Clients struct {
	Kube        kubernetes.Interface
	Dynamic     dynamic.Interface
	Metadata    metadata.Interface
	Discovery   discovery.DiscoveryInterface
	Version     string // of the API server
	Fingerprint string // the UID of kube-system
	// Release loads a release of Helm as the gate compares it; nil: releases are compared
	// by their names.
	Release Loader
}

// api is what is known of a cluster: a store of each kind, kept by an informer.
type api struct {
	connect func(context.Context) (*Clients, error)

	mu      sync.Mutex
	clients *Clients // nil: it never answered
	kinds   map[string]*kind
	scaled  map[string]*scaling // by namespace and name of the HorizontalPodAutoscaler
	reading reading
	// unloaded says which releases could not be loaded.
	unloaded error
}

// kind is one kind of objects that is watched.
type kind struct {
	resource
	store  cache.Store
	synced func() bool
	stop   context.CancelFunc
	ended  chan struct{}

	mu     sync.Mutex
	failed error // of the last list or watch that failed; nil: the last one began
}

// item is what is kept of an object.
type item struct {
	metav1.ObjectMeta // namespace, name and version alone
	what              any
}

func (k *kind) note(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.failed = err
}

// failure says why the kind is not known as it is; nil: it is.
func (k *kind) failure() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case k.failed != nil:
		return fmt.Errorf("watch %s: %w", k.name, k.failed)
	case !k.synced():
		return fmt.Errorf("%s were not read yet", k.name)
	}
	return nil
}

// items calls yield for what is kept of a kind; nothing where it is not served.
func (a *api) items(name string, yield func(*item)) {
	k := a.kinds[name]
	if k == nil {
		return
	}
	for _, x := range k.store.List() {
		if i, ok := x.(*item); ok && i.what != nil {
			yield(i)
		}
	}
}

// update connects where that was not done yet, starts to watch kinds that are served by
// now, and asks whether all is known as it is.
func (a *api) update(ctx context.Context) error {
	a.mu.Lock()
	c := a.clients
	a.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	if c == nil {
		var err error
		if c, err = a.connect(limited); err != nil {
			return err
		}
		a.mu.Lock()
		a.clients, a.kinds, a.scaled = c, map[string]*kind{}, map[string]*scaling{}
		a.mu.Unlock()
	} else if system, err := c.Kube.CoreV1().Namespaces().Get(limited, metav1.NamespaceSystem, metav1.GetOptions{}); err != nil {
		return fmt.Errorf("ask the API server: %w", err)
	} else if string(system.UID) != c.Fingerprint {
		return fmt.Errorf("this is cluster %s, and was %s: start anew", system.UID, c.Fingerprint)
	}
	var failed []error
	for _, r := range resources(c, a) {
		if err := a.follow(ctx, c, r); err != nil {
			failed = append(failed, err)
		}
	}
	// Kinds that began only now are given a moment.
	for _, name := range slices.Sorted(maps.Keys(a.kinds)) {
		a.kinds[name].settle(limited)
		if err := a.kinds[name].failure(); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

// follow watches a kind, where it is served. A definition that is taken away ends it.
func (a *api) follow(ctx context.Context, c *Clients, r resource) error {
	a.mu.Lock()
	k := a.kinds[r.name]
	a.mu.Unlock()
	if k != nil {
		if r.definedBy == "" || !apierrors.IsNotFound(k.lastFailed()) {
			return nil
		}
		k.stop()
		<-k.ended
		a.mu.Lock()
		delete(a.kinds, r.name)
		a.mu.Unlock()
		return nil
	}
	if r.definedBy != "" {
		list, err := c.Discovery.ServerResourcesForGroupVersion(r.definedBy)
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("ask for the resources of %s: %w", r.definedBy, err)
		}
		if !slices.ContainsFunc(list.APIResources, func(x metav1.APIResource) bool { return x.Name == r.plural }) {
			return nil
		}
	}
	k = &kind{resource: r, ended: make(chan struct{})}
	quiet := logr.Discard() // what fails is said by whoever asks
	store, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		Logger: &quiet, ListerWatcher: k.listerWatcher(), ObjectType: r.object, Handler: r.handler, Transform: r.transform,
	})
	k.store, k.synced = store, informer.HasSynced
	running, stop := context.WithCancel(klog.NewContext(ctx, quiet))
	k.stop = stop
	go func() {
		defer close(k.ended)
		informer.RunWithContext(running)
	}()
	a.mu.Lock()
	a.kinds[r.name] = k
	a.mu.Unlock()
	return nil
}

// settle waits until a kind was read or failed to be, for as long as ctx lasts.
func (k *kind) settle(ctx context.Context) {
	for ctx.Err() == nil && !k.synced() && k.lastFailed() == nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// settle waits until all kinds that are watched were read, or failed to be.
func (a *api) settle(ctx context.Context) {
	a.mu.Lock()
	list := slices.Collect(maps.Values(a.kinds))
	a.mu.Unlock()
	for _, k := range list {
		k.settle(ctx)
	}
}

func (k *kind) lastFailed() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.failed
}

// listerWatcher keeps how the last call went.
func (k *kind) listerWatcher() cache.ListerWatcher {
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			out, err := k.list(ctx, o)
			k.note(err)
			return out, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			out, err := k.watch(ctx, o)
			k.note(err)
			return out, err
		},
	}, k.client)
}

// transform keeps of an object what the metrics say.
func (r *resource) transform(x any) (any, error) {
	if i, ok := x.(*item); ok {
		return i, nil // it may be asked for twice
	}
	m, ok := x.(metav1.Object)
	if !ok {
		return x, nil
	}
	out := &item{ObjectMeta: metav1.ObjectMeta{Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUID(), ResourceVersion: m.GetResourceVersion()}}
	out.what = r.keep(m)
	return out, nil
}

// cluster is the fingerprint; empty: not known yet.
func (a *api) cluster() string {
	if a == nil {
		return ""
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.clients == nil {
		return ""
	}
	return a.clients.Fingerprint
}

// add adds what is known of the cluster.
func (a *api) add(s *samples, leader bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.reading.add(s, sourceAPI)
	if a.clients == nil || !leader {
		return
	}
	a.items(budgets, func(i *item) {
		if b, ok := i.what.(budget); ok {
			s.set(budgetViolations, number(b.violated), i.Namespace, i.Name)
		}
	})
	a.items(autoscalers, func(i *item) {
		if n, ok := i.what.(int32); ok {
			s.set(autoscalerRecommendations, float64(n), i.Namespace, "HorizontalPodAutoscaler", i.Name, "", "replicas")
		}
	})
	a.items(verticals, func(i *item) {
		if list, ok := i.what.([]recommended); ok {
			for _, r := range list {
				s.set(autoscalerRecommendations, r.value, i.Namespace, "VerticalPodAutoscaler", i.Name, r.container, r.resource)
			}
		}
	})
	for _, of := range []struct{ name, mode string }{{pods, "live"}, {"Deployments", "dryrun"}, {"StatefulSets", "dryrun"}, {"DaemonSets", "dryrun"}, {"ReplicaSets", "dryrun"},
		{"ReplicationControllers", "dryrun"}, {"Jobs", "dryrun"}, {"CronJobs", "dryrun"}} {
		a.items(of.name, func(i *item) {
			if p, ok := i.what.(refused); ok {
				s.add(podSecurity, number(p.baseline), i.Namespace, "baseline", of.mode)
				s.add(podSecurity, number(p.restricted), i.Namespace, "restricted", of.mode)
			}
		})
	}
	a.items(externalSecrets, func(i *item) {
		if e, ok := i.what.(externalSecret); ok {
			s.set(secretReady, number(e.ready), i.Namespace, i.Name)
			s.set(secretRefresh, seconds(e.refreshed), i.Namespace, i.Name)
			s.set(secretInterval, e.interval.Seconds(), i.Namespace, i.Name)
		}
	})
	for _, key := range slices.Sorted(maps.Keys(a.scaled)) {
		x := a.scaled[key]
		namespace, name, _ := strings.Cut(key, "/")
		s.set(scaleEvents, float64(x.up), namespace, name, "up")
		s.set(scaleEvents, float64(x.down), namespace, name, "down")
		s.set(directionChanges, float64(x.turns), namespace, name)
	}
}
