package drillrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/internal/cluster"
)

// Clean puts back what a drill left behind that did not end by itself, and says what
// that was. While that drill is alive it refuses with a HeldError, unless it is forced.
// say may be nil.
func Clean(ctx context.Context, c *cluster.Cluster, now func() time.Time, say func(string), force bool) (done []string, err error) {
	kube := c.Kube
	leases := kube.CoordinationV1().Leases(Namespace)
	l, err := leases.Get(ctx, LeaseName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the Lease %s/%s: %w", Namespace, LeaseName, err)
	}
	if say == nil {
		say = func(string) {}
	}
	if !force {
		if l, err = dead(ctx, kube, l, say); err != nil {
			return nil, err
		}
	}
	left, err := recordOf(l)
	if err != nil {
		return nil, err
	}
	if holderOf(l) == "" && left.empty() {
		return nil, nil
	}
	holder, err := newHolder()
	if err != nil {
		return nil, err
	}
	g := &guard{cluster: c, kube: kube, now: now, holder: holder, record: left}
	if err := g.update(ctx, l); err != nil {
		return nil, err
	}
	g.keep(ctx)
	done, problems := g.restore(ctx, true)
	if len(problems) > 0 {
		err = errors.New(strings.Join(problems, "; "))
	}
	return done, errors.Join(err, g.cleanRelease(ctx))
}

// restore puts back what a record says. What is as it should be already is not
// touched and not told. left is what could not be put back, problems say why.
func restore(ctx context.Context, c *cluster.Cluster, r record) (done []string, left record, problems []string) {
	kube := c.Kube
	left = record{Holder: r.Holder}
	for _, node := range r.Nodes {
		var was bool
		err := patient(ctx, "uncordon node "+node, func() (err error) {
			was, err = uncordon(ctx, kube, node, r.Holder)
			return err
		})
		if err != nil {
			left.Nodes, problems = append(left.Nodes, node), append(problems, oneLine(err.Error()))
		} else if was {
			done = append(done, "uncordoned "+node)
		}
	}
	for _, pod := range r.Pods {
		var was bool
		err := patient(ctx, "remove pod "+pod, func() (err error) {
			was, err = removePod(ctx, kube, pod)
			return err
		})
		if err != nil {
			left.Pods, problems = append(left.Pods, pod), append(problems, oneLine(err.Error()))
		} else if was {
			done = append(done, "removed pod "+pod)
		}
	}
	for _, b := range r.Releases {
		var what string
		var err error
		for range 3 { // each time that Helm gets far leaves a revision
			if what, err = helmop.Restore(ctx, c, b); err == nil || pause(ctx, 2*time.Second) != nil {
				break
			}
		}
		if err != nil {
			left.Releases, problems = append(left.Releases, b), append(problems, oneLine(err.Error()))
		} else if what != "" {
			done = append(done, what)
		}
	}
	return done, left, problems
}

// uncordon makes a node schedulable that bears the annotation of the drill which
// cordoned it. One that somebody else has cordoned, or uncordoned, stays as it is.
func uncordon(ctx context.Context, kube kubernetes.Interface, node, holder string) (was bool, err error) {
	n, err := kube.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return false, nil // there is nothing to uncordon any more
	}
	if err != nil || n.Annotations[cordonedBy] != holder {
		return false, err
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "annotations": map[string]any{cordonedBy: nil}},
		"spec":     map[string]any{"unschedulable": nil},
	})
	if err != nil {
		return false, err
	}
	_, err = kube.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	return n.Spec.Unschedulable && err == nil, err
}

// removePod deletes a pod that a drill made for itself.
func removePod(ctx context.Context, kube kubernetes.Interface, name string) (was bool, err error) {
	ns, name, ok := strings.Cut(name, "/")
	if !ok {
		return false, nil
	}
	api := kube.CoreV1().Pods(ns)
	p, err := api.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && p.Labels[managedBy] != "helmproof" {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now := int64(0)
	err = api.Delete(ctx, name, metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	return err == nil, err
}

const managedBy = "app.kubernetes.io/managed-by"
