package kubebench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/templates/jobs"
)

// mountsFor says for which nodes a volume of the Job means something; a volume
// that is not named here is for all. role and platform are as in NodeRun and
// Overview.
var mountsFor = map[string]func(role, platform string) bool{
	"srv-kubernetes":                  ownControlPlane,
	"var-lib-etcd":                    ownControlPlane,
	"var-lib-kube-scheduler":          ownControlPlane,
	"var-lib-kube-controller-manager": ownControlPlane,
	"home-kubernetes":                 func(_, platform string) bool { return platform == "gke" },
	"var-lib-rancher":                 isRancher,
	"etc-rancher":                     isRancher,
}

func ownControlPlane(role, platform string) bool {
	return !managed(platform) && (strings.Contains(role, controlPlane) || strings.Contains(role, "etcd"))
}

func isRancher(_, platform string) bool { return platform == "rke2" || platform == "k3s" }

// newJob is the Job for one node.
func (r *run) newJob(n *target) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	if err := yaml.UnmarshalStrict(jobs.KubeBench, job); err != nil {
		return nil, fmt.Errorf("template of the Job: %w", err)
	}
	job.GenerateName, job.Name, job.Namespace = "kube-bench-", "", r.namespace
	deadline := int64(r.o.NodeTimeout / time.Second)
	job.Spec.ActiveDeadlineSeconds = &deadline
	pod := &job.Spec.Template.Spec
	// A node affinity, as DaemonSets have it, and not spec.nodeName: the scheduler
	// then says why a pod cannot run on the node, and looks at what is free there.
	pod.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
			MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{n.node.Name}}},
		}}},
	}}
	pod.Tolerations = tolerations(n.node.Spec.Taints)
	c := &pod.Containers[0]
	c.Image = r.o.Image
	for i := range c.Env {
		switch c.Env[i].Name {
		case "BENCHMARK":
			c.Env[i].Value = n.Benchmark
		case "TARGETS":
			c.Env[i].Value = strings.Join(n.Targets, ",")
		}
	}
	drop := func(name string) bool {
		wanted, ok := mountsFor[name]
		return ok && !wanted(n.Role, r.overview.Platform)
	}
	pod.Volumes = slices.DeleteFunc(pod.Volumes, func(v corev1.Volume) bool { return drop(v.Name) })
	c.VolumeMounts = slices.DeleteFunc(c.VolumeMounts, func(v corev1.VolumeMount) bool { return drop(v.Name) })
	return job, nil
}

// tolerations tolerates every taint of the node but the two of a node that does
// not answer: no pod starts there, and one that was bound to it could not be
// removed again before the node comes back or goes.
func tolerations(taints []corev1.Taint) []corev1.Toleration {
	out := []corev1.Toleration{}
	add := func(key string, effect corev1.TaintEffect) {
		t := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: effect}
		if key != corev1.TaintNodeNotReady && key != corev1.TaintNodeUnreachable && !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	for _, t := range taints {
		add(t.Key, t.Effect)
	}
	for _, key := range []string{ // that a node may get while the Job is made
		corev1.TaintNodeUnschedulable, corev1.TaintNodeMemoryPressure, corev1.TaintNodeDiskPressure, corev1.TaintNodePIDPressure,
		corev1.TaintNodeNetworkUnavailable,
	} {
		add(key, corev1.TaintEffectNoSchedule)
	}
	return out
}

// runJob runs the node's Job to its end and returns what it printed. The error
// is a problem of this node; its text goes into the evidence.
func (r *run) runJob(ctx context.Context, n *target) (*output, error) {
	job, err := r.newJob(n)
	if err != nil {
		return nil, err
	}
	api := r.kube.BatchV1().Jobs(r.namespace)
	var made *batchv1.Job
	if err := r.retry(ctx, "make the Job", func() (err error) {
		made, err = api.Create(ctx, job, metav1.CreateOptions{})
		return err
	}); err != nil {
		return nil, err
	}
	defer r.deleteJob(ctx, made.Name)
	pod, err := r.await(ctx, made.Name)
	if err != nil {
		return nil, err
	}
	return r.readOutput(ctx, pod)
}

// deleteJob makes room. What it does not get to is removed with the namespace.
func (r *run) deleteJob(ctx context.Context, name string) {
	if ctx.Err() != nil {
		return
	}
	policy := metav1.DeletePropagationBackground
	_ = r.kube.BatchV1().Jobs(r.namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy})
}

// problem is why a node has no result: one of the Outcome constants, and words.
type problem struct{ outcome, reason string }

func (p *problem) Error() string { return p.reason }

// await polls until the Job has ended and returns its pod that succeeded. It
// polls instead of watching: an API server that restarts or is busy then costs
// a few looks, and a Job's life is short.
func (r *run) await(ctx context.Context, job string) (*corev1.Pod, error) {
	limit, cancel := context.WithTimeoutCause(ctx, r.o.NodeTimeout+r.o.margin,
		&problem{OutcomeTimeout, fmt.Sprintf("no result within %s", r.o.NodeTimeout)})
	defer cancel()
	begun := r.o.now()
	last := ""
	for {
		j, pods, err := r.look(limit, job)
		switch {
		case err == nil && (len(pods) > 0 || last == ""): // a Job that failed has no pod left to ask
			last = waitingFor(pods)
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return nil, &problem{OutcomeFailed, err.Error()}
		case apierrors.IsNotFound(err):
			return nil, &problem{OutcomeFailed, "the Job was deleted by somebody else"}
		}
		if err == nil {
			if done, pod, why := ended(j, pods, last); done {
				if pod != nil {
					return pod, nil
				}
				return nil, why
			}
			if stuck(pods) && r.o.now().Sub(begun) > r.o.start {
				return nil, &problem{OutcomeNotStarted, fmt.Sprintf("the pod did not start within %s: %s", r.o.start, cmp.Or(last, "no reason given"))}
			}
		}
		if err := sleep(limit, r.o.poll); err != nil {
			if p := new(problem); errors.As(context.Cause(limit), &p) && last != "" {
				return nil, &problem{p.outcome, p.reason + ": " + last}
			}
			return nil, context.Cause(limit)
		}
	}
}

func (r *run) look(ctx context.Context, name string) (*batchv1.Job, []corev1.Pod, error) {
	job, err := r.kube.BatchV1().Jobs(r.namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pods, err := r.kube.CoreV1().Pods(r.namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(pods.Items, func(a, b corev1.Pod) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return job, pods.Items, nil
}

// ended tells how the Job ended, if it did; why is what its pods said last.
func ended(job *batchv1.Job, newestFirst []corev1.Pod, why string) (bool, *corev1.Pod, error) {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			for i := range newestFirst {
				if newestFirst[i].Status.Phase == corev1.PodSucceeded {
					return true, &newestFirst[i], nil
				}
			}
			return true, nil, &problem{OutcomeNoOutput, "the Job is complete, but its pod is gone"}
		case batchv1.JobFailed:
			if c.Reason == batchv1.JobReasonDeadlineExceeded {
				return true, nil, &problem{OutcomeTimeout, join("no result within the Job's deadline", why)}
			}
			return true, nil, &problem{OutcomeFailed, join(oneLine(c.Reason+": "+c.Message, 300), why)}
		}
	}
	return false, nil, nil
}

func join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// stuck reports whether no pod runs or ran, and none is about to: an image that
// is being pulled may take its time.
func stuck(newestFirst []corev1.Pod) bool {
	for _, p := range newestFirst {
		if p.Status.Phase != corev1.PodPending {
			return false
		}
	}
	if len(newestFirst) == 0 || len(newestFirst[0].Status.ContainerStatuses) == 0 {
		return true
	}
	w := newestFirst[0].Status.ContainerStatuses[0].State.Waiting
	return w != nil && !preparing(w.Reason)
}

// preparing are the reasons for which a healthy kubelet lets a container wait.
func preparing(reason string) bool {
	return reason == "ContainerCreating" || reason == "PodInitializing"
}

// waitingFor says what the newest pod waits for, or how it failed.
func waitingFor(newestFirst []corev1.Pod) string {
	if len(newestFirst) == 0 {
		return "no pod was made; is there a quota, or an admission policy against it?"
	}
	p := newestFirst[0]
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && !preparing(w.Reason) {
			return oneLine(w.Reason+": "+w.Message, 300)
		}
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return oneLine(fmt.Sprintf("container ended with exit code %d, %s %s", t.ExitCode, t.Reason, t.Message), 300)
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return oneLine("pod failed: "+p.Status.Reason+" "+p.Status.Message, 300)
	}
	if p.Spec.NodeName != "" && p.Status.Phase == corev1.PodPending && len(p.Status.ContainerStatuses) == 0 {
		return "the pod is bound to the node, whose kubelet has not taken it up"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return oneLine(c.Message, 300)
		}
	}
	return "pod is " + strings.ToLower(cmp.Or(string(p.Status.Phase), "pending"))
}

// readings is how often a log that is not whole is read.
const readings = 4

// readOutput reads the pod's log until it is whole. An API server that is away
// for a minute does not count as a reading.
func (r *run) readOutput(ctx context.Context, pod *corev1.Pod) (*output, error) {
	var last error
	until := r.o.now().Add(time.Minute)
	for read := 0; read < readings; {
		log, err := r.readLog(ctx, pod)
		if err == nil {
			var out *output
			if out, err = parseLog(log); err == nil {
				return out, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		last = err
		pause := r.o.poll
		if !away(err) || r.o.now().After(until) {
			if read++; apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
				break
			}
			pause = r.o.poll << (read - 1) / 2
		}
		if read < readings {
			if err := sleep(ctx, pause); err != nil {
				return nil, err
			}
		}
	}
	return nil, &problem{OutcomeNoOutput, oneLine(fmt.Sprintf("read what kube-bench printed: %v", last), 400)}
}

// away reports whether it is the API server that did not answer, and not a node.
func away(err error) bool {
	var answered apierrors.APIStatus
	return !errors.Is(err, errCut) && !errors.Is(err, errTooLong) && !errors.As(err, &answered) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err)
}

func (r *run) readLog(ctx context.Context, pod *corev1.Pod) (log []byte, err error) {
	limit := int64(maxLog + 1)
	body, err := r.kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
		Container: pod.Spec.Containers[0].Name, LimitBytes: &limit,
	}).Stream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := body.Close(); err == nil {
			err = e
		}
	}()
	if log, err = io.ReadAll(io.LimitReader(body, limit)); err != nil {
		return nil, fmt.Errorf("%w: %w", errCut, err)
	}
	if len(log) > maxLog {
		return nil, fmt.Errorf("%w: the log has more than %d bytes", errTooLong, maxLog)
	}
	return log, nil
}

// retry repeats what a busy or restarting API server refused, for half a minute.
// client-go repeats a 429 with Retry-After by itself before that.
func (r *run) retry(ctx context.Context, what string, f func() error) error {
	until := r.o.now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
			apierrors.IsNotFound(err) || r.o.now().After(until) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := sleep(ctx, r.o.poll); err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
