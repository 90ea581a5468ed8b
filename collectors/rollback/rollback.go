// Package rollback validates that a release can go back: it upgrades the live
// release to itself with one fault, sees how and when Helm finds that out, and
// rolls it back.
package rollback

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/collectors/internal/helmop"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/drill"
)

// Name is the collector's name in the catalog.
const Name = "rollback"

// file is what is sealed besides the record that all drills have.
const file = "rollback.json"

// maxPods bounds what is sealed of the upgrade's pods.
const maxPods = 50

// OptIn is the label, with its value, of namespaces in which a release may be
// upgraded so that it fails.
const (
	OptIn      = "helmproof.dev/drill"
	OptInValue = "allowed"
)

// Options are what a drill is asked for.
type Options struct {
	// Plan is what to do, complete and valid; nil: nothing. Findings need none.
	Plan *drill.Plan
	// Progress is told what the drill does, a line each; nil: nobody is.
	Progress func(string)
}

// Seen is what the upgrade and the rollback were, and what came of them.
type Seen struct {
	Fault  string            `json:"fault"`
	From   int               `json:"from"` // the revision that was deployed before
	Change *Change           `json:"change,omitempty"`
	Before []helmop.Revision `json:"before"`
	After  []helmop.Revision `json:"after"` // when the drill had ended, restoring included
	// Manifests is the digest of what is deployed afterwards, as release.json has it
	// of what was before.
	Manifests      evidence.Digest `json:"manifests,omitempty"`
	ManifestsError string          `json:"manifestsError,omitempty"`

	Upgrade  *Operation `json:"upgrade,omitempty"` // nil: the drill did not get there
	Rollback *Operation `json:"rollback,omitempty"`
	// Pods are the upgrade's, as they were when Helm had reported it.
	Pods      []PodSeen `json:"pods"`
	PodsError string    `json:"podsError,omitempty"`
	// Live is the workload before the upgrade, when that had been reported, and after
	// the rollback.
	Live [3]Workload `json:"live"`

	CRDs   []string `json:"crds"`   // files of the chart
	Claims []string `json:"claims"` // PersistentVolumeClaims, and templates of them
}

// Operation is one of Helm's. Times are by our clock.
type Operation struct {
	Began time.Time     `json:"began"`
	Took  time.Duration `json:"took"`
	Error string        `json:"error,omitempty"`
}

// PodSeen is one pod of the failed upgrade.
type PodSeen struct {
	Name   string `json:"name"`
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"` // why its first container that does not run does not
}

// Workload is what was changed, live.
type Workload struct {
	Template evidence.Digest `json:"template,omitempty"` // of spec.template
	Marked   bool            `json:"marked"`             // it bears the drill's annotation
	// Deadline is a Deployment's progressDeadlineSeconds; Exceeded since when its
	// condition says so, by the cluster's clock.
	Deadline int32      `json:"deadline,omitempty"`
	Exceeded *time.Time `json:"exceeded,omitempty"`
	Error    string     `json:"error,omitempty"` // why it could not be read
}

type collector struct{ o Options }

// New returns the collector.
func New(o Options) collectors.Lasting { return &collector{o} }

func (*collector) Name() string { return Name }

func (*collector) Rules() []string { return rules.Names() }

// TimeLimit is the plan's deadline, and what comes before it: the preflight, another
// drill's Lease that has to run out, and what that left behind.
func (c *collector) TimeLimit() time.Duration {
	if c.o.Plan == nil {
		return time.Minute
	}
	return time.Duration(c.o.Plan.Phases.Deadline) + time.Duration(c.o.Plan.Phases.Recover) + 3*time.Minute
}

// CleanupLimit is how long restoring may take.
func (*collector) CleanupLimit() time.Duration { return drillrun.CleanupLimit + 10*time.Second }

// Collect does the upgrade and the rollback, and seals what was seen.
func (c *collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	r, err := c.prepare(in)
	if err != nil {
		return err
	}
	if err := drillrun.Run(ctx, *r.session, out); err != nil {
		return err
	}
	if r.seen.Upgrade != nil {
		r.afterwards(ctx)
	}
	return collectors.WriteJSON(out, file, r.seen)
}

// Preflight asks what Collect would ask first, and changes nothing.
func Preflight(ctx context.Context, o Options, in collectors.Input) ([]drill.Check, error) {
	r, err := (&collector{o}).prepare(in)
	if err != nil {
		return nil, err
	}
	return drillrun.Preflight(ctx, *r.session)
}

// run is one drill.
type run struct {
	in      collectors.Input
	ref     helmop.Ref
	plan    drill.Plan
	session *drillrun.Session
	spoiled []byte // what the upgrade applies
	seen    Seen
}

func (c *collector) prepare(in collectors.Input) (*run, error) {
	switch {
	case in.Cluster == nil:
		return nil, collectors.ErrNoCluster
	case in.Release == nil || in.Release.Stored == nil:
		return nil, errors.New("a rollback drill is about a live release, and none is given")
	case c.o.Plan == nil || c.o.Plan.Rollback == nil:
		return nil, errors.New("no rollback drill was asked for")
	}
	if err := c.o.Plan.Validate(); err != nil {
		return nil, err
	}
	set, err := in.Release.Objects()
	if err != nil {
		return nil, err
	}
	s := in.Release.Stored
	r := &run{in: in, plan: *c.o.Plan, ref: helmop.Ref{Namespace: s.Namespace, Name: s.Name, Storage: s.Storage}}
	r.seen = Seen{Fault: r.plan.Rollback.Fault, From: s.Revision, Before: []helmop.Revision{}, After: []helmop.Revision{}, Pods: []PodSeen{}, CRDs: []string{}, Claims: []string{}}
	for i := range set.Objects {
		r.claims(set.Objects[i].GetKind(), set.Objects[i].GetName(), set.Objects[i].Object)
	}
	need, err := r.rights(set)
	if err != nil {
		return nil, err
	}
	r.session = &drillrun.Session{
		Cluster: in.Cluster, Plan: r.plan, Release: in.Release.Info, Objects: set, Now: in.Now, Progress: c.o.Progress, Rights: need,
		Checks: []drillrun.Question{{Name: "opt-in", Ask: r.optIn}, {Name: "history", Ask: r.history}},
		Fault:  r.fault, Probe: drillrun.Probing, Ask: drillrun.AskOnce,
	}
	return r, nil
}

func (r *run) claims(kind, name string, o map[string]any) {
	switch kind {
	case "PersistentVolumeClaim":
		r.seen.Claims = append(r.seen.Claims, name)
	case "StatefulSet":
		spec, _ := o["spec"].(map[string]any)
		if t, _ := spec["volumeClaimTemplates"].([]any); len(t) > 0 {
			r.seen.Claims = append(r.seen.Claims, "StatefulSet/"+name)
		}
	}
}

// optIn asks for the label of every namespace that the release has objects in.
func (r *run) optIn(ctx context.Context, _ *drillrun.World) (bool, string, error) {
	namespaces := []string{r.ref.Namespace}
	for i := range r.session.Objects.Objects {
		if ns := r.session.Objects.Objects[i].GetNamespace(); ns != "" {
			namespaces = append(namespaces, ns)
		}
	}
	slices.Sort(namespaces)
	namespaces = slices.Compact(namespaces)
	for _, name := range namespaces {
		ns, err := r.in.Cluster.Kube.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, "", err
		}
		if got := ns.Labels[OptIn]; got != OptInValue {
			return false, fmt.Sprintf("namespace %s lacks the label %s=%s: a release there is not upgraded so that it fails", name, OptIn, OptInValue), nil
		}
	}
	return true, fmt.Sprintf("%s: labelled %s=%s", strings.Join(namespaces, ", "), OptIn, OptInValue), nil
}

// history asks whether the release can be upgraded at all, and makes the upgrade.
func (r *run) history(ctx context.Context, _ *drillrun.World) (bool, string, error) {
	client, err := helmop.New(ctx, r.in.Cluster, r.ref)
	if err != nil {
		return false, "", err
	}
	all, err := client.History()
	if err != nil {
		return false, "", err
	}
	newest := all[len(all)-1]
	switch {
	case newest.Pending():
		return false, fmt.Sprintf("another operation is in progress, or was cut off: revision %d is %s", newest.Revision, newest.Status), nil
	case newest.Revision != r.seen.From || newest.Status != "deployed":
		return false, fmt.Sprintf("the newest revision, %d, is %s: a drill starts from one that is deployed, and %d was looked at", newest.Revision, newest.Status, r.seen.From), nil
	}
	content, err := client.Content(r.seen.From)
	if err != nil {
		return false, "", err
	}
	spoiled, change, err := spoil(content, r.ref.Namespace, r.plan.Target, r.plan.Rollback.Fault)
	if err != nil {
		return false, err.Error(), nil //nolint:nilerr // the answer is no, and why
	}
	r.spoiled, r.seen.Change, r.seen.Before = spoiled, &change, all
	meta, _, _, err := r.read(ctx)
	if err != nil {
		return false, "", err
	}
	for _, m := range meta.ManagedFields {
		if m.Operation == metav1.ManagedFieldsOperationApply && m.Subresource == "" {
			r.ref.Manager = m.Manager
			break
		}
	}
	for _, f := range content.Files {
		if chart.IsCRDFile(f) && path.Ext(f) != ".md" {
			r.seen.CRDs = append(r.seen.CRDs, f)
		}
	}
	slices.Sort(r.seen.CRDs)
	r.seen.CRDs = slices.Compact(r.seen.CRDs)
	return true, fmt.Sprintf("revision %d is deployed; the upgrade gives %s, container %s: %s", newest.Revision, change.Workload(), change.Container, change.What), nil
}

// margin is what Helm needs to say, and write down, that it waited in vain.
func margin(limit time.Duration) time.Duration { return min(5*time.Second, limit/10) }

// fault upgrades and rolls back. What Helm answers is what is looked for, and no
// reason to stop.
func (r *run) fault(ctx context.Context, l *drillrun.Live) error {
	client, err := helmop.New(ctx, r.in.Cluster, r.ref)
	if err != nil {
		return err
	}
	r.seen.Live[0] = r.live(ctx)
	if err := l.Before(ctx, drillrun.Restore{Releases: []helmop.Back{{Ref: r.ref, Revision: r.seen.From}}}); err != nil {
		return err
	}
	limit := time.Duration(r.plan.Rollback.Detect)
	r.seen.Upgrade = r.operate(l, "upgrade", r.begun(client), func() error { return client.Upgrade(r.seen.From, r.spoiled, limit-margin(limit)) })
	r.seen.Live[1] = r.live(ctx)
	r.pods(ctx)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	limit = time.Duration(r.plan.Rollback.Back)
	r.seen.Rollback = r.operate(l, "rollback", func() bool { return false }, func() error {
		return client.Rollback(helmop.RollbackOptions{Revision: r.seen.From, Timeout: limit - margin(limit)})
	})
	r.seen.Live[2] = r.live(ctx)
	return context.Cause(ctx)
}

// begun returns a function that tells whether the cluster took the upgrade.
func (r *run) begun(client *helmop.Client) func() bool {
	return func() bool {
		all, err := client.History()
		return err == nil && all[len(all)-1].Drill
	}
}

// operate does one of Helm's operations. One that Helm began and found to fail was
// done all the same, as the timeline counts.
func (r *run) operate(l *drillrun.Live, verb string, begun func() bool, do func() error) *Operation {
	op := &Operation{Began: r.in.Now().UTC()}
	err := l.Act(drill.Action{Verb: verb, Object: "Release " + r.ref.String()}, 200, func() error {
		err := do()
		op.Took = r.in.Now().Sub(op.Began)
		if err != nil {
			op.Error = helmop.Clip(err.Error())
			if begun() {
				return nil
			}
		}
		return err
	})
	if err != nil && op.Error == "" {
		op.Error = helmop.Clip(err.Error())
	}
	return op
}

// live reads the workload that is upgraded.
func (r *run) live(ctx context.Context) Workload {
	meta, template, deployment, err := r.read(ctx)
	if err != nil {
		return Workload{Error: err.Error()}
	}
	var out Workload
	if deployment != nil {
		if deployment.Spec.ProgressDeadlineSeconds != nil {
			out.Deadline = *deployment.Spec.ProgressDeadlineSeconds
		}
		for _, c := range deployment.Status.Conditions {
			if c.Type == appsv1.DeploymentProgressing && c.Reason == "ProgressDeadlineExceeded" {
				at := c.LastTransitionTime.UTC()
				out.Exceeded = &at
			}
		}
	}
	raw, err := json.Marshal(template)
	if err != nil {
		return Workload{Error: err.Error()}
	}
	out.Template = evidence.DigestOf(raw)
	_, onIt := meta.Annotations[mark]
	_, onPods := template.Annotations[mark]
	out.Marked = onIt || onPods
	return out
}

// read gets the workload that is upgraded; deployment is nil where it is none.
func (r *run) read(ctx context.Context) (meta metav1.ObjectMeta, template corev1.PodTemplateSpec, deployment *appsv1.Deployment, err error) {
	apps, ch := r.in.Cluster.Kube.AppsV1(), r.seen.Change
	if ch.Kind == "Deployment" {
		d, err := apps.Deployments(ch.Namespace).Get(ctx, ch.Name, metav1.GetOptions{})
		if err != nil {
			return meta, template, nil, err
		}
		return d.ObjectMeta, d.Spec.Template, d, nil
	}
	s, err := apps.StatefulSets(ch.Namespace).Get(ctx, ch.Name, metav1.GetOptions{})
	if err != nil {
		return meta, template, nil, err
	}
	return s.ObjectMeta, s.Spec.Template, nil, nil
}

// pods reads the pods that the upgrade made.
func (r *run) pods(ctx context.Context) {
	opts := metav1.ListOptions{Limit: 500}
	for {
		page, err := r.in.Cluster.Kube.CoreV1().Pods(r.seen.Change.Namespace).List(ctx, opts)
		if err != nil {
			r.seen.PodsError = err.Error()
			return
		}
		for i := range page.Items {
			p := &page.Items[i]
			if p.Annotations[mark] != "rollback/"+r.seen.Fault || p.CreationTimestamp.Time.Before(r.seen.Upgrade.Began.Add(-time.Minute)) || len(r.seen.Pods) == maxPods {
				continue
			}
			r.seen.Pods = append(r.seen.Pods, describePod(p))
		}
		if opts.Continue = page.Continue; opts.Continue == "" {
			break
		}
	}
	slices.SortFunc(r.seen.Pods, func(a, b PodSeen) int { return cmp.Compare(a.Name, b.Name) })
}

func describePod(p *corev1.Pod) PodSeen {
	out := PodSeen{Name: p.Name}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReady:
			out.Ready = c.Status == corev1.ConditionTrue
		case c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse:
			out.Reason = c.Reason
		}
	}
	for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
		switch {
		case out.Reason != "":
		case c.State.Waiting != nil:
			out.Reason = c.State.Waiting.Reason
		case c.State.Terminated != nil && c.State.Terminated.ExitCode != 0:
			out.Reason = c.State.Terminated.Reason
		}
	}
	return out
}

// afterwards looks at what is deployed in the end. What cannot be read shows in
// the findings.
func (r *run) afterwards(ctx context.Context) {
	fail := func(err error) { r.seen.ManifestsError = helmop.Clip(err.Error()) }
	client, err := helmop.New(ctx, r.in.Cluster, r.ref)
	if err != nil {
		fail(err)
		return
	}
	all, err := client.History()
	if err != nil {
		fail(err)
		return
	}
	r.seen.After = all
	found, err := chart.FindRelease(ctx, r.in.Cluster, r.ref.Namespace, r.ref.Name)
	if err != nil {
		fail(err)
		return
	}
	i := slices.IndexFunc(found, func(s chart.StoredRelease) bool { return s.Storage == r.ref.Storage })
	if i < 0 {
		fail(helmop.ErrGone)
		return
	}
	rel, err := chart.LoadStored(ctx, r.in.Cluster, found[i], chart.LoadOptions{})
	if err != nil {
		fail(err)
		return
	}
	r.seen.Manifests = rel.Info.ManifestsDigest
	if err := rel.Close(); err != nil {
		fail(err)
	}
}
