package prober

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"github.com/companyos/helmproof/internal/probe"
	"github.com/companyos/helmproof/templates/jobs"
)

const (
	namePrefix = "helmproof-prober-"
	selector   = "app.kubernetes.io/managed-by=helmproof,app.kubernetes.io/component=prober"
	// configVariable is what cmd/prober reads.
	configVariable = "PROBER_CONFIG"
	// linger is how long the prober stays after it has finished its files when it is
	// told to end, for its log to be read, and some more.
	linger = 30 * time.Second
	// removal bounds how long the pod's removal is waited for.
	removal = 45 * time.Second
)

// newPod is the prober's pod, which reads what it is to do from a variable.
func newPod(o *Options, variable string, work any, grace time.Duration) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	if err := yaml.UnmarshalStrict(jobs.Prober, pod); err != nil {
		return nil, fmt.Errorf("template of the pod: %w", err)
	}
	if n := len(pod.Spec.Containers); n != 1 {
		return nil, fmt.Errorf("template of the pod: %d containers, want one", n)
	}
	raw, err := json.Marshal(work)
	if err != nil {
		return nil, err
	}
	// A name of our own and not generateName: should the answer get lost, the pod can
	// still be removed by its name.
	pod.Name, pod.Namespace = namePrefix+rand.String(8), o.Namespace
	life := int64(o.Life / time.Second)
	pod.Spec.ActiveDeadlineSeconds = &life
	seconds := int64(grace / time.Second)
	pod.Spec.TerminationGracePeriodSeconds = &seconds
	c := &pod.Spec.Containers[0]
	c.Image = o.Image
	set := false
	for i := range c.Env {
		if c.Env[i].Name == configVariable {
			// The kubelet would replace $(NAME); JSON has another way to write a dollar.
			c.Env[i].Name = variable
			c.Env[i].Value, set = strings.ReplaceAll(string(raw), "$", `\u0024`), true
		}
	}
	if !set {
		return nil, fmt.Errorf("template of the pod: no variable %s", configVariable)
	}
	if len(o.AvoidNodes) > 0 {
		var off []corev1.NodeSelectorRequirement // each takes one value
		for _, node := range o.AvoidNodes {
			off = append(off, corev1.NodeSelectorRequirement{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpNotIn, Values: []string{node}})
		}
		pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
			RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: off}}},
		}}
	}
	return pod, nil
}

// longest is the longest timeout of a request.
func longest(configs []probe.Config) time.Duration {
	var d time.Duration
	for i := range configs {
		d = max(d, configs[i].Timeout)
	}
	return d
}

// startPod makes the pod and waits until all its probes have begun.
func startPod(ctx context.Context, r *Running) (*podSource, error) {
	pod, err := newPod(r.o, configVariable, r.configs, longest(r.configs)+linger)
	if err != nil {
		return nil, err
	}
	p := &podSource{r: r, name: pod.Name, patience: longest(r.configs) + linger*2/3, retry: &jobrun.Runner{Poll: r.o.Poll, Now: r.o.Now}, changed: make(chan struct{}, 1), ended: make(chan struct{})}
	p.demux.Heard = p.sample
	if err := p.make(ctx, pod); err != nil {
		return nil, err
	}
	if err := p.begin(ctx); err != nil {
		p.endFollowing()
		return nil, errors.Join(err, p.remove(ctx))
	}
	return p, nil
}

// make makes the pod, once somebody was told of it.
func (p *podSource) make(ctx context.Context, pod *corev1.Pod) error {
	if p.r.o.Before != nil {
		if err := p.r.o.Before(ctx, pod.Name); err != nil {
			return err
		}
	}
	p.created = p.r.o.Now()
	err := p.retry.Retry(ctx, "make the pod", func() error {
		made, err := p.api().Create(ctx, pod, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) { // the answer to the try before was lost
			made, err = p.api().Get(ctx, pod.Name, metav1.GetOptions{})
		}
		if err == nil {
			p.uid = made.UID
		}
		return err
	})
	if err != nil && !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
		err = errors.Join(err, p.remove(ctx)) // it may have been made all the same
	}
	return err
}

// begin waits until the container runs, follows its log, and waits until it holds
// the beginning of every file.
func (p *podSource) begin(ctx context.Context) error {
	limit, cancel := context.WithTimeoutCause(ctx, p.r.o.StartLimit, fmt.Errorf("it did not start within %s", p.r.o.StartLimit))
	defer cancel()
	var last string
	for {
		pod, err := p.api().Get(limit, p.name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return errors.New("the pod was deleted by somebody else")
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return err
		case err != nil:
			last = err.Error()
		case pod.Status.Phase != corev1.PodPending && pod.Status.Phase != "":
			p.node = pod.Spec.NodeName
			p.follow(ctx)
			return p.awaitBegun(limit)
		default:
			last = jobrun.WaitingFor([]corev1.Pod{*pod})
		}
		if pause(limit, p.r.o.Poll) != nil {
			return fmt.Errorf("%w: %s", context.Cause(limit), last)
		}
	}
}

// awaitBegun waits until every probe has begun.
func (p *podSource) awaitBegun(limit context.Context) error {
	for {
		p.mu.Lock()
		began, broken := p.demux.Began(), p.broken
		p.mu.Unlock()
		switch {
		case broken != "":
			return errors.New(broken)
		case began:
			p.mu.Lock()
			defer p.mu.Unlock()
			if n := p.demux.Probes(); n != len(p.r.configs) {
				return fmt.Errorf("it runs %d probes of %d", n, len(p.r.configs))
			}
			for i := range p.r.configs {
				c := &p.r.configs[i]
				_, s := p.demux.File(i)
				if h := &s.Header; h.Name != c.Name || h.Kind != c.Kind || h.Address != c.Address || h.Rate != c.Rate || h.Timeout != c.Timeout {
					return fmt.Errorf("it does not run probe %q as it was told to; is its image of this version?", c.Name)
				}
				c.Live.Begin(c.Rate)
			}
			return nil
		}
		select {
		case <-p.changed:
		case <-limit.Done():
			return fmt.Errorf("%w: the container runs, and its log has no probes; is %s an image of helmproof's prober?", context.Cause(limit), p.r.o.Image)
		}
	}
}

// CleanUp removes the probers that crashed runs left in a namespace, and returns
// their names. Nobody may be drilling there meanwhile.
func CleanUp(ctx context.Context, kube kubernetes.Interface, namespace string) ([]string, error) {
	list, err := kube.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		return nil, fmt.Errorf("look for probers of earlier runs in namespace %s: %w", namespace, err)
	}
	var removed []string
	var errs []error
	for i := range list.Items {
		pod := &list.Items[i]
		if !strings.HasPrefix(pod.Name, namePrefix) {
			continue
		}
		grace := int64(1)
		err := kube.CoreV1().Pods(namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &grace, Preconditions: &metav1.Preconditions{UID: &pod.UID}})
		switch {
		case err == nil:
			removed = append(removed, pod.Name)
		case !apierrors.IsNotFound(err) && !apierrors.IsConflict(err):
			errs = append(errs, fmt.Errorf("remove prober %s/%s of an earlier run: %w", namespace, pod.Name, err))
		}
	}
	return removed, errors.Join(errs...)
}

// delete asks for the pod's end; that it is gone is no error.
func (p *podSource) delete(ctx context.Context, grace int64) error {
	o := metav1.DeleteOptions{GracePeriodSeconds: &grace}
	if p.uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: ptr(p.uid)}
	}
	err := p.api().Delete(ctx, p.name, o)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

func ptr(uid types.UID) *types.UID { return &uid }

// remove removes the pod, and waits until it is gone. It has a context of its own,
// since it has to work also when the drill was interrupted. The pod gets no grace:
// it only lingers, and one whose node does not answer would stay for ever.
func (p *podSource) remove(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	for {
		err := p.delete(ctx, 0)
		if err == nil {
			var pod *corev1.Pod
			pod, err = p.api().Get(ctx, p.name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err), err == nil && p.uid != "" && !p.same(pod):
				return nil
			case err == nil:
				err = errors.New("it is still there")
			}
		}
		if apierrors.IsForbidden(err) || pause(ctx, p.r.o.Poll) != nil {
			return fmt.Errorf("remove prober %s/%s: %w; remove it by hand", p.r.o.Namespace, p.name, err)
		}
	}
}

// same reports whether the pod there is ours.
func (p *podSource) same(pod *corev1.Pod) bool { return pod.UID == p.uid }

// whyEnded says what happened to a pod whose log or files have ended, and whether
// nothing more is to come.
func (p *podSource) whyEnded(ctx context.Context) (why string, over bool) {
	pod, err := p.api().Get(ctx, p.name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return "its pod was deleted", true
	case err != nil:
		return "", false // the API server is away: the log is asked for again
	case !p.same(pod):
		return "its pod was replaced by another of the same name", true
	}
	if pod.DeletionTimestamp != nil {
		why = "its pod is being deleted"
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue {
			why = jobrun.OneLine(fmt.Sprintf("its pod was disrupted: %s %s", c.Reason, c.Message), 300)
		}
	}
	for _, s := range pod.Status.ContainerStatuses {
		if t := s.State.Terminated; t != nil {
			return jobrun.Join(why, jobrun.OneLine(fmt.Sprintf("its container ended with exit code %d, %s %s", t.ExitCode, t.Reason, t.Message), 300)), true
		}
	}
	if pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded {
		return jobrun.Join(why, jobrun.OneLine(fmt.Sprintf("its pod has %s: %s %s", strings.ToLower(string(pod.Status.Phase)), pod.Status.Reason, pod.Status.Message), 300)), true
	}
	return why, false
}

// readWhole reads the log from its beginning to where it is now.
func (p *podSource) readWhole(ctx context.Context) error {
	body, err := p.logs(ctx, false)
	if err != nil {
		return err
	}
	return errors.Join(p.lines(body), body.Close())
}

var newline = []byte{'\n'}

func trimEnd(line []byte) []byte { return bytes.TrimSuffix(line, newline) }
