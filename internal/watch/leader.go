package watch

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"k8s.io/klog/v2"
)

// How the Lease is held. Whoever leads is followed at the latest after leaseDuration.
const (
	leaseName     = "helmproof-watch"
	leaseDuration = 15 * time.Second
	renewDeadline = 4 * time.Second // giving the Lease back takes no longer either
	retryPeriod   = 2 * time.Second
)

// Election says where the Lease is by which one of several watches exports.
type Election struct {
	Kube      kubernetes.Interface
	Namespace string
	Identity  string // of this watch
}

// Elect takes part in the election until ctx ends, and gives the Lease back then.
//
// A leader that cannot reach the API server goes on exporting its last values, since
// nobody could take over without the API server: it stops when it sees another leader.
func (w *Watch) Elect(ctx context.Context, e Election) error {
	config := leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: leaseName}, Client: e.Kube.CoordinationV1(), LockConfig: resourcelock.ResourceLockConfig{Identity: e.Identity},
		},
		Name: leaseName, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { w.lead(true, "") },
			OnStoppedLeading: func() {},
			OnNewLeader: func(who string) {
				if who != "" && who != e.Identity {
					w.lead(false, who)
				}
			},
		},
	}
	ctx = klog.NewContext(ctx, logr.Discard())
	for ctx.Err() == nil {
		elector, err := leaderelection.NewLeaderElector(config)
		if err != nil {
			return fmt.Errorf("take part in the election of a leader: %w", err)
		}
		elector.Run(ctx)
	}
	return nil
}

// lead says whether this watch exports what comes of the sources.
func (w *Watch) lead(yes bool, other string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if yes != w.leader {
		if yes {
			w.Log.Info("this watch leads")
		} else {
			w.Log.Info(other + " leads")
		}
	}
	w.leader = yes
}
