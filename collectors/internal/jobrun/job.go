package jobrun

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
)

// Run runs a Job to its end and returns what its program printed. An error that is
// a *Problem is one of this Job; the others are of ctx.
func (r *Runner) Run(ctx context.Context, job *batchv1.Job) (*Output, error) {
	job.Namespace = r.Namespace
	api := r.Kube.BatchV1().Jobs(r.Namespace)
	var made *batchv1.Job
	if err := r.Retry(ctx, "make the Job", func() (err error) {
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
func (r *Runner) deleteJob(ctx context.Context, name string) {
	if ctx.Err() != nil {
		return
	}
	policy := metav1.DeletePropagationBackground
	_ = r.Kube.BatchV1().Jobs(r.Namespace).Delete(ctx, name, metav1.DeleteOptions{PropagationPolicy: &policy})
}

// Problem is why a Job has no result: one of the outcomes, and words.
type Problem struct{ Outcome, Reason string }

func (p *Problem) Error() string { return p.Reason }

// await polls until the Job has ended and returns its pod that succeeded. It
// polls instead of watching: an API server that restarts or is busy then costs
// a few looks, and a Job's life is short.
func (r *Runner) await(ctx context.Context, job string) (*corev1.Pod, error) {
	limit, cancel := context.WithTimeoutCause(ctx, r.JobTimeout+r.Margin,
		&Problem{OutcomeTimeout, fmt.Sprintf("no result within %s", r.JobTimeout)})
	defer cancel()
	begun := r.Now()
	last, ran := "", false
	for {
		j, pods, err := r.look(limit, job)
		switch {
		case err == nil && (len(pods) > 0 || last == ""): // a Job that failed has no pod left to ask
			last = WaitingFor(pods)
		case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
			return nil, &Problem{OutcomeFailed, err.Error()}
		case apierrors.IsNotFound(err):
			return nil, &Problem{OutcomeFailed, "the Job was deleted by somebody else"}
		}
		if err == nil {
			if done, pod, why := ended(j, pods, last); done {
				if pod != nil {
					return pod, nil
				}
				return nil, why
			}
			// Once a pod has run, the Job itself tells how it ended: at its deadline the
			// pod is deleted some time before the Job says so.
			ran = ran || slices.ContainsFunc(pods, func(p corev1.Pod) bool { return p.Status.Phase != corev1.PodPending })
			if !ran && stuck(pods) && r.Now().Sub(begun) > r.Start {
				return nil, &Problem{OutcomeNotStarted, fmt.Sprintf("the pod did not start within %s: %s", r.Start, cmp.Or(last, "no reason given"))}
			}
		}
		if err := sleep(limit, r.Poll); err != nil {
			if p := new(Problem); errors.As(context.Cause(limit), &p) && last != "" {
				return nil, &Problem{p.Outcome, p.Reason + ": " + last}
			}
			return nil, context.Cause(limit)
		}
	}
}

func (r *Runner) look(ctx context.Context, name string) (*batchv1.Job, []corev1.Pod, error) {
	job, err := r.Kube.BatchV1().Jobs(r.Namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, nil, err
	}
	pods, err := r.Kube.CoreV1().Pods(r.Namespace).List(ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + name})
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
			return true, nil, &Problem{OutcomeNoOutput, "the Job is complete, but its pod is gone"}
		case batchv1.JobFailed:
			if c.Reason == batchv1.JobReasonDeadlineExceeded {
				return true, nil, &Problem{OutcomeTimeout, Join("no result within the Job's deadline", why)}
			}
			return true, nil, &Problem{OutcomeFailed, Join(OneLine(c.Reason+": "+c.Message, 300), why)}
		}
	}
	return false, nil, nil
}

// Join puts the parts that say something into one line.
func Join(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), "; ")
}

// stuck reports, of pods none of which has run yet, whether none is about to: an
// image that is being pulled may take its time.
func stuck(newestFirst []corev1.Pod) bool {
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

// WaitingFor says what the newest pod waits for, or how it failed.
func WaitingFor(newestFirst []corev1.Pod) string {
	if len(newestFirst) == 0 {
		return "no pod was made; is there a quota, or an admission policy against it?"
	}
	p := newestFirst[0]
	for _, s := range p.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && !preparing(w.Reason) {
			return OneLine(w.Reason+": "+w.Message, 300)
		}
		if t := s.State.Terminated; t != nil && t.ExitCode != 0 {
			return OneLine(fmt.Sprintf("container ended with exit code %d, %s %s", t.ExitCode, t.Reason, t.Message), 300)
		}
	}
	if p.Status.Phase == corev1.PodFailed {
		return OneLine("pod failed: "+p.Status.Reason+" "+p.Status.Message, 300)
	}
	if p.Spec.NodeName != "" && p.Status.Phase == corev1.PodPending && len(p.Status.ContainerStatuses) == 0 {
		return "the pod is bound to the node, whose kubelet has not taken it up"
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return OneLine(c.Message, 300)
		}
	}
	return "pod is " + strings.ToLower(cmp.Or(string(p.Status.Phase), "pending"))
}

// readings is how often a log that is not whole is read.
const readings = 4

// readOutput reads the pod's log until it is whole. An API server that is away
// for a minute does not count as a reading.
func (r *Runner) readOutput(ctx context.Context, pod *corev1.Pod) (*Output, error) {
	var last error
	until := r.Now().Add(time.Minute)
	for read := 0; read < readings; {
		log, err := r.readLog(ctx, pod)
		if err == nil {
			var out *Output
			if out, err = ParseLog(log); err == nil {
				return out, nil
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		last = err
		pause := r.Poll
		if !away(err) || r.Now().After(until) {
			if read++; apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
				break
			}
			pause = r.Poll << (read - 1) / 2
		}
		if read < readings {
			if err := sleep(ctx, pause); err != nil {
				return nil, err
			}
		}
	}
	return nil, &Problem{OutcomeNoOutput, OneLine(fmt.Sprintf("read what the program printed: %v", last), 400)}
}

// away reports whether it is the API server that did not answer, and not a node.
func away(err error) bool {
	var answered apierrors.APIStatus
	return !errors.Is(err, ErrCut) && !errors.Is(err, ErrTooLong) && !errors.As(err, &answered) ||
		apierrors.IsServiceUnavailable(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err)
}

func (r *Runner) readLog(ctx context.Context, pod *corev1.Pod) (log []byte, err error) {
	limit := int64(maxLog + 1)
	body, err := r.Kube.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, &corev1.PodLogOptions{
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
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	if len(log) > maxLog {
		return nil, fmt.Errorf("%w: the log has more than %d bytes", ErrTooLong, maxLog)
	}
	return log, nil
}

// Retry repeats what a busy or restarting API server refused, for half a minute.
// client-go repeats a 429 with Retry-After by itself before that.
func (r *Runner) Retry(ctx context.Context, what string, f func() error) error {
	until := r.Now().Add(30 * time.Second)
	for {
		err := f()
		if err == nil || ctx.Err() != nil {
			return err
		}
		if apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
			apierrors.IsNotFound(err) || r.Now().After(until) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if err := sleep(ctx, r.Poll); err != nil {
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
