package drillrun

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/companyos/helmproof/internal/drill"
)

// Live is a drill that runs, as its fault sees it. It is safe for concurrent use.
type Live struct {
	*Session
	// World is what the preflight saw; Look sees it anew.
	World *World

	guard    *guard
	recorder *recorder
	began    time.Time
}

// Elapsed is the time since the drill began.
func (l *Live) Elapsed() time.Duration { return l.Now().Sub(l.began) }

// Before adds to what must be restored. It must have returned without an error
// before that is touched.
func (l *Live) Before(ctx context.Context, r Restore) error { return l.guard.before(ctx, r) }

// Act does one request and records it with its answer. success is the status that
// the API server answers with where it does what it was asked. The error is that of do.
func (l *Live) Act(a drill.Action, success int, do func() error) error {
	begun := l.Now()
	err := do()
	a.Took = l.Now().Sub(begun)
	a.Code, a.Error, a.Budget = answer(success, err)
	if kindAndNamespace, _, ok := strings.Cut(a.Object, "/"); ok && a.Budget != "" {
		_, ns, _ := strings.Cut(kindAndNamespace, " ")
		a.Budget = ns + "/" + a.Budget // a budget is of its pods' namespace
	}
	l.recorder.act(a)
	return err
}

// Delete deletes a pod, which asks no budget. grace nil: the pod's own.
func (l *Live) Delete(ctx context.Context, p *corev1.Pod, grace *int64) error {
	return l.Act(drill.Action{Verb: "delete", Object: podName(p), UID: string(p.UID)}, http.StatusOK, func() error {
		return l.Cluster.Kube.CoreV1().RESTClient().Delete().Namespace(p.Namespace).Resource("pods").Name(p.Name).MaxRetries(0).
			Body(&metav1.DeleteOptions{GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &p.UID}}).Do(ctx).Error()
	})
}

// Evict asks once for the eviction of a pod: a refusal (429) is an answer, and not
// repeated.
func (l *Live) Evict(ctx context.Context, p *corev1.Pod, grace *int64) error {
	return l.Act(drill.Action{Verb: "evict", Object: podName(p), UID: string(p.UID)}, http.StatusCreated, func() error {
		return l.Cluster.Kube.CoreV1().RESTClient().Post().Namespace(p.Namespace).Resource("pods").Name(p.Name).SubResource("eviction").MaxRetries(0).
			Body(&policyv1.Eviction{
				ObjectMeta:    metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
				DeleteOptions: &metav1.DeleteOptions{GracePeriodSeconds: grace, Preconditions: &metav1.Preconditions{UID: &p.UID}},
			}).Do(ctx).Error()
	})
}

// cordonedBy is the annotation of a node that a drill has cordoned: the drill's holder.
const cordonedBy = "helmproof.dev/cordoned-by"

// Cordon makes a node unschedulable, once it stands in the record. It refuses a node
// that is so already: whoever did that may rely on it.
func (l *Live) Cordon(ctx context.Context, node string) error {
	if err := l.Before(ctx, Restore{Nodes: []string{node}}); err != nil {
		return err
	}
	return l.again(func() error { return l.cordon(ctx, node) })
}

// again repeats what met a change of the same object by somebody else: the status of
// a node changes all the time.
func (l *Live) again(f func() error) (err error) {
	for range 5 {
		if err = f(); !apierrors.IsConflict(err) {
			return err
		}
	}
	return err
}

func (l *Live) cordon(ctx context.Context, node string) error {
	api := l.Cluster.Kube.CoreV1().Nodes()
	n, err := api.Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("cordon: %w", err)
	}
	if n.Spec.Unschedulable {
		return fmt.Errorf("cordon: somebody else has cordoned node %s", node)
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": n.ResourceVersion, "annotations": map[string]any{cordonedBy: l.guard.holder}},
		"spec":     map[string]any{"unschedulable": true},
	})
	if err != nil {
		return err
	}
	return l.Act(drill.Action{Verb: "cordon", Object: "Node " + node, UID: string(n.UID)}, http.StatusOK, func() error {
		_, err := api.Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	})
}

// AwaitReady returns when every workload of the release is whole again and the probes
// answer, for a little while already.
func (l *Live) AwaitReady(ctx context.Context) error {
	return l.recorder.settled(ctx)
}

func podName(p *corev1.Pod) string { return "Pod " + p.Namespace + "/" + p.Name }

// The words of the API server's eviction handler.
var budgetPattern = regexp.MustCompile(`[Tt]he disruption budget ([a-z0-9.-]{1,253}) `)

// answer is what the API server answered: its status, and the budget that it named.
func answer(success int, err error) (code int, message, budget string) {
	if err == nil {
		return success, "", ""
	}
	message = oneLine(err.Error())
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0, message, ""
	}
	s := status.Status()
	if s.Details != nil {
		for _, c := range s.Details.Causes {
			if c.Type == policyv1.DisruptionBudgetCause {
				if m := budgetPattern.FindStringSubmatch(c.Message); m != nil {
					budget = m[1]
				}
			}
		}
	}
	return int(s.Code), message, budget
}
