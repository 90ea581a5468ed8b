// Package workload judges what one object alone cannot show: that a disruption
// budget, a network policy, an autoscaler and an ExternalSecret meet the
// workload that they are meant for.
package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "workload"

// The rules.
const (
	RulePDBSelects    = "workload/pdb-selects"
	RulePDBAllows     = "workload/pdb-allows-disruption"
	RuleReplicas      = "workload/replicas"
	RuleNetworkPolicy = "workload/network-policy"
	RuleConflict      = "workload/hpa-vpa-conflict"
	RuleSecret        = "workload/secret-from-externalsecret"
)

var rules = collectors.Rules{
	RulePDBSelects: evidence.SeverityMedium, RulePDBAllows: evidence.SeverityMedium, RuleReplicas: evidence.SeverityMedium,
	RuleNetworkPolicy: evidence.SeverityMedium, RuleConflict: evidence.SeverityMedium, RuleSecret: evidence.SeverityMedium,
}

// nothing is said when the release has nothing that the rule is about.
var nothing = map[string]string{ //nolint:gosec // rules and sentences
	RulePDBSelects:    "the release has no replicated workload",
	RulePDBAllows:     "the release has no PodDisruptionBudget",
	RuleReplicas:      "the release has no Deployment or StatefulSet",
	RuleNetworkPolicy: "the release runs no pods",
	RuleConflict:      "the release has no autoscaler",
	RuleSecret:        "the release refers to no Secret",
}

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

// Collect has nothing to look at beyond the rendered manifests, which loading
// has sealed already.
func (collector) Collect(context.Context, collectors.Input, evidence.ArtifactWriter) error {
	return nil
}

func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	r := &release{Derivation: collectors.NewDerivation(in, Name, rules), namespace: rel.Namespace, opened: map[string]opened{}}
	workloads, err := in.Workloads()
	if err != nil {
		return nil, err
	}
	r.read(set, workloads)
	r.replicas()
	r.budgetsSelect()
	r.budgetsAllow()
	r.networkPolicies()
	r.autoscalerConflicts()
	r.secretReferences(set)
	for rule := range rules {
		r.Unreadable(rule, rel.Chart, set.Broken) // nobody can say what is in them: perhaps a workload, perhaps its budget
		if !slices.ContainsFunc(r.Out, func(f evidence.Finding) bool { return f.Rule == rule }) {
			r.Add(rule, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, nothing[rule], "")
		}
	}
	return evidence.NormalizeFindings(r.Out), nil
}

// release is the rendered set, sorted by what the rules need.
type release struct {
	*collectors.Derivation
	namespace string

	pods     []pod
	budgets  []budget
	policies []netpol
	others   []otherPolicy
	hpas     []scaler
	vpas     []vpa

	opened  map[string]opened // by direction and policies
	work    int               // done for it
	scalers map[workloadName][]scaler
	named   map[workloadName][]pod
	floors  map[int]floor
}

// workloadName is what autoscalers call a workload by, but for its group.
type workloadName struct{ ns, kind, name string }

// pod is a workload with its pod template.
type pod struct {
	manifest.Workload
	o        *manifest.Object // as rendered
	ns       string
	tpl      *corev1.PodTemplateSpec
	err      error  // why the template cannot be read; tpl is nil then
	n        int    // its place among the pods
	name     string // for messages
	labels   labels.Set
	replicas int  // as written; 1 if unset; -1 if unreadable
	off      bool // replicas is written, as 0: an autoscaler leaves the workload alone
}

// kind is the built-in kind that the pods are judged as; empty where nobody knows it.
func (p pod) kind() string {
	if p.As == nil {
		return ""
	}
	return p.As.GetKind()
}

// carried are the labels that the pods carry, as far as a rendering tells: those of
// the template, and those that the job controller adds to a Job of known name.
func (p pod) carried() labels.Set {
	if p.Custom() || p.kind() != "Job" || p.o.GetName() == "" {
		return p.tpl.Labels
	}
	set := labels.Set{"job-name": p.o.GetName(), "batch.kubernetes.io/job-name": p.o.GetName()}
	maps.Copy(set, p.tpl.Labels)
	return set
}

// selectedBy reports whether a selector of that namespace matches the pods. A
// template that cannot be read is matched by nothing.
func (p pod) selectedBy(ns string, s labels.Selector) bool {
	return p.err == nil && p.ns == ns && s.Matches(p.labels)
}

// replicated are the kinds that hold a number of like pods.
func (p pod) replicated() bool {
	switch p.kind() {
	case "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController":
		return true
	}
	return false
}

type budget struct {
	o        *manifest.Object
	ns       string
	spec     policyv1.PodDisruptionBudgetSpec
	selector labels.Selector
}

type netpol struct {
	o        *manifest.Object
	ns       string
	spec     networkingv1.NetworkPolicySpec
	selector labels.Selector
	n        int // its place among the policies
}

// scaler is a HorizontalPodAutoscaler of any version, as v2 says it, or a
// ScaledObject of KEDA, which makes one.
type scaler struct {
	o         *manifest.Object
	ns        string
	target    autoscalingv2.CrossVersionObjectReference
	min       int      // 1 if unset
	resources []string // cpu, memory
	up        int      // the smallest number above zero; 0: never any pods
	keeps     string   // what the minimum is called
	takesOver string   // the HorizontalPodAutoscaler that a ScaledObject replaces
	keda      bool     // KEDA makes it
	fromZero  bool     // it scales a workload that is at 0 as well
	paused    string   // by this annotation the number of pods is left as it is
	unknown   string   // nobody knows how it scales
}

// name is how a message calls the autoscaler.
func (s scaler) name() string { return s.o.GetKind() + " " + s.o.GetName() }

type vpa struct {
	o         *manifest.Object
	ns        string
	target    autoscalingv2.CrossVersionObjectReference
	mode      string
	resources []string
}

func (r *release) ns(o *manifest.Object) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns
	}
	return r.namespace
}

// add appends a finding about o; where else it can be seen goes to also.
func (r *release) add(rule string, o *manifest.Object, container string, outcome evidence.Outcome, message, fix string, also ...*manifest.Object) *evidence.Finding {
	at := []evidence.Pointer{r.Lines(o.From, o.To)}
	for _, x := range also[:min(len(also), maxNamed)] {
		if x != o {
			at = append(at, r.Lines(x.From, x.To))
		}
	}
	return r.Add(rule, o.Target(container), outcome, message, fix, at...)
}

// decode reads an object into its API type, strictly about types but not about
// unknown fields: those are the schema's business.
func decode(content map[string]any, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(content, into)
}

// read sorts the objects. What does not decode is not checked by the rules that it
// would have counted for: an autoscaler decides the replicas as well.
func (r *release) read(set *manifest.ObjectSet, workloads [][]manifest.Workload) {
	for i := range set.Objects {
		o := &set.Objects[i]
		for _, w := range workloads[i] {
			r.readPod(w)
		}
		var err error
		var about []string
		switch o.GroupVersionKind().Group + "/" + o.GetKind() {
		case "policy/PodDisruptionBudget":
			about, err = []string{RulePDBSelects, RulePDBAllows}, r.readBudget(o)
		case "networking.k8s.io/NetworkPolicy", "extensions/NetworkPolicy":
			about, err = []string{RuleNetworkPolicy}, r.readNetworkPolicy(o)
		case "autoscaling/HorizontalPodAutoscaler":
			about, err = []string{RuleConflict, RuleReplicas, RulePDBSelects, RulePDBAllows}, r.readHPA(o)
		case "autoscaling.k8s.io/VerticalPodAutoscaler":
			about, err = []string{RuleConflict}, r.readVPA(o)
		default:
			r.readOtherPolicy(o)
			if a := o.Autoscaler(); a != nil && !a.Own {
				about, err = []string{RuleConflict, RuleReplicas, RulePDBSelects, RulePDBAllows}, r.readAutoscaler(o, a)
			}
		}
		if err != nil {
			outcome, message, fix := collectors.Undecoded(err)
			for _, rule := range about {
				r.add(rule, o, "", outcome, message, fix)
			}
		}
	}
}

func (r *release) readPod(w manifest.Workload) {
	p := pod{Workload: w, o: w.Object, ns: r.ns(w.Object), n: len(r.pods), name: w.Object.Target("").Object(), replicas: 1}
	about := []string{RuleNetworkPolicy, RuleSecret}
	if p.As == nil {
		p.err = errors.New(p.Unknown)
		for _, rule := range append(about, RulePDBSelects, RuleReplicas) {
			r.add(rule, p.o, "", evidence.OutcomeNotChecked, p.Unknown, "Name its pod templates with podTemplates in helmproof.yaml.")
		}
		r.pods = append(r.pods, p)
		return
	}
	if p.tpl, _, p.err = p.As.PodTemplate(); p.err == nil {
		p.labels = p.carried()
	} else {
		p.tpl = nil
		if p.replicated() {
			about = append(about, RulePDBSelects)
		}
		outcome, message, fix := collectors.Undecoded(p.err)
		for _, rule := range about {
			r.add(rule, p.o, "", outcome, message, fix)
		}
	}
	if p.replicated() {
		switch n, found, err := unstructured.NestedFieldNoCopy(p.As.Object, "spec", "replicas"); {
		case err != nil:
			p.replicas = -1
		case found && n != nil:
			p.replicas = -1
			if v, ok := n.(int64); ok && v >= 0 && v < 1<<31 {
				p.replicas, p.off = int(v), v == 0 && !p.Custom()
			}
		}
	}
	r.pods = append(r.pods, p)
}

func (r *release) readBudget(o *manifest.Object) error {
	var pdb policyv1.PodDisruptionBudget
	if err := decode(o.Object, &pdb); err != nil {
		return err
	}
	sel, err := metav1.LabelSelectorAsSelector(pdb.Spec.Selector)
	if err != nil {
		return fmt.Errorf("spec.selector: %w", err)
	}
	// In policy/v1beta1 an empty selector selects nothing (removed in Kubernetes 1.25).
	if o.GroupVersionKind().Version == "v1beta1" && pdb.Spec.Selector != nil && sel.Empty() {
		sel = labels.Nothing()
	}
	r.budgets = append(r.budgets, budget{o, r.ns(o), pdb.Spec, sel})
	return nil
}

func (r *release) readNetworkPolicy(o *manifest.Object) error {
	var np networkingv1.NetworkPolicy
	if err := decode(o.Object, &np); err != nil {
		return err
	}
	sel, err := metav1.LabelSelectorAsSelector(&np.Spec.PodSelector)
	if err != nil {
		return fmt.Errorf("spec.podSelector: %w", err)
	}
	r.policies = append(r.policies, netpol{o, r.ns(o), np.Spec, sel, len(r.policies)})
	return nil
}

func (r *release) readHPA(o *manifest.Object) error {
	// All versions share scaleTargetRef and minReplicas; metrics differ.
	var h struct {
		Spec struct {
			ScaleTargetRef autoscalingv2.CrossVersionObjectReference `json:"scaleTargetRef"`
			MinReplicas    *int32                                    `json:"minReplicas"`
			CPU            *int32                                    `json:"targetCPUUtilizationPercentage"` // autoscaling/v1
			Metrics        []struct {
				Type     string `json:"type"`
				Resource struct {
					Name string `json:"name"`
				} `json:"resource"`
				ContainerResource struct {
					Name string `json:"name"`
				} `json:"containerResource"`
			} `json:"metrics"`
		} `json:"spec"`
	}
	if err := decode(o.Object, &h); err != nil {
		return err
	}
	s := scaler{o: o, ns: r.ns(o), target: h.Spec.ScaleTargetRef, min: 1, keeps: "minReplicas"}
	if h.Spec.MinReplicas != nil {
		s.min = int(*h.Spec.MinReplicas)
	}
	s.up = max(s.min, 1)
	if h.Spec.CPU != nil {
		s.resources = append(s.resources, "cpu")
	}
	for _, m := range h.Spec.Metrics {
		for _, name := range []string{m.Resource.Name, m.ContainerResource.Name} {
			if name != "" {
				s.resources = append(s.resources, name)
			}
		}
	}
	if len(h.Spec.Metrics) == 0 && h.Spec.CPU == nil {
		s.resources = []string{"cpu"} // the API server's default: cpu at 80 %
	}
	r.hpas = append(r.hpas, s)
	return nil
}

// readAutoscaler reads what KEDA makes of a ScaledObject, and autoscalers that
// nobody knows.
func (r *release) readAutoscaler(o *manifest.Object, a *manifest.Autoscaler) error {
	at := *r
	at.hpas = nil
	if err := at.readHPA(a.As); err != nil {
		return err
	}
	s := at.hpas[0]
	s.o, s.up, s.keeps, s.takesOver, s.keda, s.fromZero, s.paused = o, a.Up, a.MinAt, a.TakesOver, a.Unknown == "", a.FromZero, a.Paused
	if s.unknown = a.Unknown; s.unknown != "" {
		s.resources = nil
	}
	r.hpas = append(r.hpas, s)
	return nil
}

func (r *release) readVPA(o *manifest.Object) error {
	var v struct {
		Spec struct {
			TargetRef    autoscalingv2.CrossVersionObjectReference `json:"targetRef"`
			UpdatePolicy *struct {
				UpdateMode *string `json:"updateMode"`
			} `json:"updatePolicy"`
			ResourcePolicy *struct {
				ContainerPolicies []struct {
					ContainerName       string    `json:"containerName"`
					Mode                string    `json:"mode"`
					ControlledResources *[]string `json:"controlledResources"`
				} `json:"containerPolicies"`
			} `json:"resourcePolicy"`
		} `json:"spec"`
	}
	if err := decode(o.Object, &v); err != nil {
		return err
	}
	x := vpa{o: o, ns: r.ns(o), target: v.Spec.TargetRef, mode: "Auto"}
	if v.Spec.UpdatePolicy != nil && v.Spec.UpdatePolicy.UpdateMode != nil && *v.Spec.UpdatePolicy.UpdateMode != "" {
		x.mode = *v.Spec.UpdatePolicy.UpdateMode
	}
	all := v.Spec.ResourcePolicy == nil || len(v.Spec.ResourcePolicy.ContainerPolicies) == 0
	if !all {
		wildcard := false
		for _, p := range v.Spec.ResourcePolicy.ContainerPolicies {
			wildcard = wildcard || p.ContainerName == "*"
			switch {
			case p.Mode == "Off":
			case p.ControlledResources == nil:
				x.resources = append(x.resources, "cpu", "memory")
			default:
				x.resources = append(x.resources, *p.ControlledResources...)
			}
		}
		// Without a policy for "*", some container may be controlled whole.
		all = !wildcard
	}
	if all {
		x.resources = []string{"cpu", "memory"}
	}
	r.vpas = append(r.vpas, x)
	return nil
}

// refersTo reports whether an autoscaler of namespace ns with that target scales the
// workload. Kubernetes looks the kind up in the group, whatever the version: without
// it, or in extensions, which no longer serves one, it finds nothing.
func refersTo(ns string, ref autoscalingv2.CrossVersionObjectReference, p pod) bool {
	if ns != p.ns || ref.Kind != p.o.GetKind() || ref.Name != p.o.GetName() {
		return false
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	return err == nil && gv.Group == appsGroup(p.o.GroupVersionKind().Group)
}

// appsGroup is the group that serves what was once served by extensions.
func appsGroup(group string) string {
	if group == "extensions" {
		return "apps"
	}
	return group
}

// watches reports whether the VerticalPodAutoscaler works on the workload. It knows
// Kubernetes' own kinds by their names alone, whatever group its targetRef says
// (vertical-pod-autoscaler/pkg/target/fetcher.go).
func (x vpa) watches(p pod) bool {
	if p.o.IsWorkload() && x.ns == p.ns && x.target.Kind == p.o.GetKind() && x.target.Name == p.o.GetName() {
		return true
	}
	return refersTo(x.ns, x.target, p)
}

// scalersOf returns the HPAs that scale the workload.
func (r *release) scalersOf(p pod) []scaler {
	if r.scalers == nil {
		r.scalers = map[workloadName][]scaler{}
		for _, s := range r.hpas {
			at := workloadName{s.ns, s.target.Kind, s.target.Name}
			r.scalers[at] = append(r.scalers[at], s)
		}
	}
	var out []scaler
	for _, s := range r.scalers[workloadName{p.ns, p.o.GetKind(), p.o.GetName()}] {
		if refersTo(s.ns, s.target, p) {
			out = append(out, s)
		}
	}
	return out
}

// floor is the smallest number of pods that the workload runs by intent, and
// what says so; n is negative when it cannot be read. Of all counts up to an
// autoscaler's maximum the smallest is the hardest for a disruption budget.
func (r *release) floor(p pod) (n int, said string, by *manifest.Object) {
	f := r.floorOf(p)
	return f.n, f.said, f.by
}

func (r *release) floorOf(p pod) floor {
	f, ok := r.floors[p.n]
	if !ok {
		f = r.findFloor(p)
		if r.floors == nil {
			r.floors = map[int]floor{}
		}
		r.floors[p.n] = f
	}
	return f
}

// floor is what floorOf returns: every budget asks for it.
type floor struct {
	n    int
	said string
	by   *manifest.Object
	up   int // the smallest number of pods above zero; 0: never any
}

func (r *release) findFloor(p pod) floor {
	n, said, by, up := p.replicas, fmt.Sprintf("%s is %d", p.ReplicasAt, p.replicas), p.o, p.replicas
	if n < 0 {
		return floor{n: -1, said: p.ReplicasAt + " is not a whole number of zero or more: see CHT-3", by: p.o}
	}
	if a := p.o.Autoscaler(); n == 0 && a != nil && a.Own {
		up = 1 // it scales itself from zero
	}
	idle := ""
	kept := false // by an autoscaler that is there all the time
	for _, s := range r.scalersOf(p) {
		if s.unknown != "" && s.o.NeverMade() == "" {
			return floor{n: -1, said: s.unknown, by: s.o}
		}
		if p.off && !s.fromZero {
			continue
		}
		if s.paused != "" {
			idle += fmt.Sprintf(", and %s scales nothing, by %s", s.name(), s.paused)
			continue
		}
		there := s.o.Missing(p.o) == ""
		if s.o.NeverMade() != "" || (kept || !there) && s.min >= n {
			continue
		}
		kept = kept || there
		n, by, up = s.min, s.o, s.up
		said = fmt.Sprintf("%s keeps at least %d", s.name(), s.min)
		if s.keeps != "minReplicas" && s.min == 0 {
			said = fmt.Sprintf("%s scales to zero, by %s", s.name(), s.keeps)
		}
		if s.min < 0 {
			return floor{n: -1, said: fmt.Sprintf("%s of %s is negative: see CHT-3", s.keeps, s.name()), by: s.o}
		}
	}
	if by == p.o {
		said += idle
	}
	return floor{n, said, by, up}
}

// absent gathers helpers that a workload cannot count on, with the reasons: at most
// maxNamed of them.
type absent struct {
	seen    map[*manifest.Object]bool
	objects []*manifest.Object
	why     []string
}

// is reports whether o may be missing while p runs, and remembers it then.
func (a *absent) is(o, p *manifest.Object) bool {
	why := o.Missing(p)
	if why == "" || a.seen[o] {
		return why != ""
	}
	if a.seen == nil {
		a.seen = map[*manifest.Object]bool{}
	}
	a.seen[o] = true
	if len(a.objects) < maxNamed {
		a.objects, a.why = append(a.objects, o), append(a.why, o.Target("").Object()+" does not count: "+why)
	}
	return true
}

// said is the end of a message, "" where nothing is absent.
func (a *absent) said() string {
	if len(a.why) == 0 {
		return ""
	}
	text := strings.Join(a.why, "; ")
	if more := len(a.seen) - len(a.why); more > 0 {
		text += fmt.Sprintf("; … (%d more)", more)
	}
	return " (" + text + ")"
}

// maxNamed bounds how many objects one finding names and points at: as many may
// be about each of as many pods.
const maxNamed = 20

func names(os []*manifest.Object) string {
	var list []string
	for _, o := range os[:min(len(os), maxNamed)] {
		list = append(list, o.GetName())
	}
	return listed(list, len(os))
}

// listed are the first of so many.
func listed(first []string, all int) string {
	if more := all - len(first); more > 0 {
		first = append(first, fmt.Sprintf("… (%d more)", more))
	}
	return strings.Join(first, ", ")
}
