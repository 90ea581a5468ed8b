package jobrun

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

const (
	managedBy = "app.kubernetes.io/managed-by"
	component = "app.kubernetes.io/component"
	// expiresAt is the time (RFC 3339) after which a namespace of ours belongs to no
	// run any more, and whoever comes next removes it.
	expiresAt = "helmproof/expires-at"
)

// ours selects the namespaces that runs of this component made.
func (r *Runner) ours() string { return managedBy + "=helmproof," + component + "=" + r.Component }

func (r *Runner) prefix() string { return "helmproof-" + r.Component + "-" }

// MakeNamespace makes the run's namespace.
func (r *Runner) MakeNamespace(ctx context.Context) error {
	return r.Retry(ctx, "make a namespace for the Jobs", func() error {
		// A name of our own and not generateName: should the answer get lost, the
		// namespace can still be removed by its name.
		name := r.prefix() + rand.String(8)
		labels := map[string]string{managedBy: "helmproof", component: r.Component}
		for _, mode := range []string{"enforce", "warn", "audit"} {
			labels["pod-security.kubernetes.io/"+mode] = r.PodSecurity
		}
		r.Namespace = name
		_, err := r.Kube.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: labels, Annotations: map[string]string{expiresAt: r.Now().UTC().Add(r.Lives).Format(time.RFC3339)},
		}}, metav1.CreateOptions{})
		if err != nil && !apierrors.IsForbidden(err) {
			r.RemoveNamespace(ctx) // it may have been made all the same
		}
		return err
	})
}

// RemoveNamespace removes the run's namespace with everything in it, also when
// the run was interrupted: it has a context of its own.
func (r *Runner) RemoveNamespace(parent context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(parent), CleanupLimit-10*time.Second)
	defer cancel()
	if parent.Err() != nil {
		r.Warn("interrupted: removing namespace " + r.Namespace)
	}
	api := r.Kube.CoreV1().Namespaces()
	asked := false
	forceAt := r.Now().Add(20 * time.Second)
	var last error
	for {
		if !asked {
			err := api.Delete(ctx, r.Namespace, metav1.DeleteOptions{})
			if apierrors.IsNotFound(err) {
				return
			}
			if asked, last = err == nil || apierrors.IsConflict(err), err; apierrors.IsForbidden(err) {
				r.notRemoved(last)
				return
			}
		} else {
			ns, err := api.Get(ctx, r.Namespace, metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return
			}
			if last = err; err == nil {
				last = fmt.Errorf("it is still %s", strings.ToLower(string(ns.Status.Phase)))
			}
			if r.Now().After(forceAt) {
				r.forcePods(ctx)
			}
		}
		if sleep(ctx, r.Poll) != nil {
			r.notRemoved(last)
			return
		}
	}
}

func (r *Runner) notRemoved(why error) {
	r.Warn(fmt.Sprintf("remove namespace %s: %v; see kubectl get namespaces -l %s; a run after its expiry removes it", r.Namespace, why, r.ours()))
}

// forcePods removes pods whose kubelet does not say that they have ended, as on
// a node that went away. They would hold the namespace for ever.
func (r *Runner) forcePods(ctx context.Context) {
	now := int64(0)
	err := r.Kube.CoreV1().Pods(r.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{GracePeriodSeconds: &now}, metav1.ListOptions{})
	if err != nil && !apierrors.IsNotFound(err) && ctx.Err() == nil {
		r.Warn(fmt.Sprintf("remove the pods of namespace %s: %v", r.Namespace, err))
	}
}

// Sweep removes the namespaces that crashed runs left behind. That it cannot is
// no reason not to look at the nodes.
func (r *Runner) Sweep(ctx context.Context) {
	list, err := r.Kube.CoreV1().Namespaces().List(ctx, metav1.ListOptions{LabelSelector: r.ours()})
	if err != nil {
		r.Warn(fmt.Sprintf("look for namespaces of earlier runs: %v", err))
		return
	}
	for i := range list.Items {
		ns := &list.Items[i]
		if !strings.HasPrefix(ns.Name, r.prefix()) || ns.DeletionTimestamp != nil {
			continue
		}
		at, err := time.Parse(time.RFC3339, ns.Annotations[expiresAt])
		if err != nil {
			r.Warn(fmt.Sprintf("namespace %s looks like one of an earlier run, but does not say until when: remove it by hand", ns.Name))
			continue
		}
		if r.Now().Before(at) {
			continue // another run is at work, or was until a moment ago
		}
		uid := ns.UID
		err = r.Kube.CoreV1().Namespaces().Delete(ctx, ns.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			r.Warn(fmt.Sprintf("remove namespace %s of an earlier run: %v", ns.Name, err))
			continue
		}
		r.Warn(fmt.Sprintf("removed namespace %s, which an interrupted run left behind", ns.Name))
	}
}
