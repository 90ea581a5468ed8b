package harden

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/companyos/helmproof/internal/manifest"
)

// object is one object of the stream and where it stands in its document.
type object struct {
	manifest.Object
	doc     *document
	path    []any // from the document's root
	tpl     *corev1.PodTemplateSpec
	pod     []any // path of the pod (metadata and spec); nil: no workload
	added   []string
	budgets bool // gets a PodDisruptionBudget
}

type budget struct {
	ns       string
	selector labels.Selector
}

type scaler struct {
	kind, name string
	min        int
}

type service struct {
	ns       string
	selector labels.Selector
	low      bool // sends to a numbered port below 1024
}

// release is the set of objects and what they say about each other. The release's
// namespace is not known: an object without one may stand beside any other.
type release struct {
	opts    Options
	objects []*object

	bound    map[string]bool // names of service accounts that a binding gives rights
	boundAll bool            // a binding gives rights to groups of service accounts
	accounts map[string][]*corev1.ServiceAccount
	budgets  []budget
	scalers  []scaler
	services []service
	texts    map[string][]string // contents of ConfigMaps and Secrets, by kind/name
	taken    map[string]bool     // names of PodDisruptionBudgets
	blind    bool                // something in the stream could not be read

	byLabel map[[2]string][]*object // workloads by a label of their pods, made when needed

	changes []Change
	kept    []Kept
}

func newRelease(o Options) *release {
	return &release{opts: o, bound: map[string]bool{}, accounts: map[string][]*corev1.ServiceAccount{}, texts: map[string][]string{}, taken: map[string]bool{}}
}

func decode(o *object, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object.Object, into)
}

// learn reads what an object says about others. An error means that nobody can
// know what it selects, binds or holds.
func (r *release) learn(o *object) error {
	group := o.GroupVersionKind().Group
	switch group + "/" + o.GetKind() {
	case "rbac.authorization.k8s.io/RoleBinding", "rbac.authorization.k8s.io/ClusterRoleBinding":
		var b rbacv1.RoleBinding
		if err := decode(o, &b); err != nil {
			return err
		}
		r.bind(b.Subjects)
	case "/ServiceAccount":
		var a corev1.ServiceAccount
		if err := decode(o, &a); err != nil {
			return err
		}
		r.accounts[a.Name] = append(r.accounts[a.Name], &a)
	case "policy/PodDisruptionBudget":
		var b policyv1.PodDisruptionBudget
		if err := decode(o, &b); err != nil {
			return err
		}
		sel, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			return err
		}
		r.budgets = append(r.budgets, budget{b.Namespace, sel})
		r.taken[b.Name] = true
	case "autoscaling/HorizontalPodAutoscaler":
		var h struct {
			Spec struct {
				ScaleTargetRef struct {
					Kind string `json:"kind"`
					Name string `json:"name"`
				} `json:"scaleTargetRef"`
				MinReplicas *int32 `json:"minReplicas"`
			} `json:"spec"`
		}
		if err := decode(o, &h); err != nil {
			return err
		}
		s := scaler{h.Spec.ScaleTargetRef.Kind, h.Spec.ScaleTargetRef.Name, 1}
		if h.Spec.MinReplicas != nil {
			s.min = int(*h.Spec.MinReplicas)
		}
		r.scalers = append(r.scalers, s)
	case "/Service":
		var s corev1.Service
		if err := decode(o, &s); err != nil {
			return err
		}
		if len(s.Spec.Selector) > 0 {
			r.services = append(r.services, service{s.Namespace, labels.SelectorFromSet(s.Spec.Selector), slices.ContainsFunc(s.Spec.Ports, lowTarget)})
		}
	case "/ConfigMap", "/Secret":
		r.texts[o.GetKind()+"/"+o.GetName()] = append(r.texts[o.GetKind()+"/"+o.GetName()], contents(o)...)
	}
	return nil
}

func (r *release) bind(subjects []rbacv1.Subject) {
	for _, s := range subjects {
		switch {
		case s.Kind == rbacv1.ServiceAccountKind:
			r.bound[s.Name] = true
		case s.Kind == rbacv1.GroupKind && (strings.HasPrefix(s.Name, "system:serviceaccounts") || s.Name == "system:authenticated"):
			r.boundAll = true
		case s.Kind == rbacv1.UserKind && strings.HasPrefix(s.Name, "system:serviceaccount:"):
			r.bound[s.Name[strings.LastIndexByte(s.Name, ':')+1:]] = true
		}
	}
}

// lowTarget: without a targetPort the port itself is the target.
func lowTarget(p corev1.ServicePort) bool {
	switch {
	case p.TargetPort.Type == intstr.String && p.TargetPort.StrVal != "":
		return false // the container names it
	case p.TargetPort.IntVal != 0:
		return p.TargetPort.IntVal < 1024
	}
	return p.Port < 1024
}

// contents are the texts of a ConfigMap or Secret, decoded.
func contents(o *object) []string {
	var out []string
	for _, field := range []string{"data", "stringData", "binaryData"} {
		m, _ := o.Object.Object[field].(map[string]any)
		for _, v := range m {
			s, ok := v.(string)
			if !ok {
				continue
			}
			if o.GetKind() == "Secret" && field == "data" || field == "binaryData" {
				if b, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), "")); err == nil {
					s = string(b)
				}
			}
			out = append(out, s)
		}
	}
	return out
}

// together reports whether two objects may stand in one namespace.
func together(a, b string) bool { return a == b || a == "" || b == "" }

// floor is the smallest number of pods that a replicated workload runs by intent.
func (r *release) floor(o *object) int {
	for _, s := range r.scalers {
		if s.kind == o.GetKind() && s.name == o.GetName() {
			return s.min
		}
	}
	spec, _ := o.Object.Object["spec"].(map[string]any)
	n, ok := spec["replicas"].(int64)
	if !ok {
		return 1
	}
	return int(n)
}

// replicated are the kinds that hold a number of like pods.
func (o *object) replicated() bool {
	switch o.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet", "ReplicationController":
		return o.pod != nil
	}
	return false
}

// longRunning: its containers are meant to run until they are stopped.
func (o *object) longRunning() bool {
	switch o.GetKind() {
	case "Job", "CronJob", "PodTemplate":
		return false
	case "Pod":
		return o.tpl.Spec.RestartPolicy == "" || o.tpl.Spec.RestartPolicy == corev1.RestartPolicyAlways
	}
	return true
}

// selector is the workload's own selector as a plain value, if it selects its pods.
func (o *object) selector() (map[string]any, labels.Selector, error) {
	spec, _ := o.Object.Object["spec"].(map[string]any)
	m, _ := spec["selector"].(map[string]any)
	if o.GetKind() == "ReplicationController" {
		m = map[string]any{"matchLabels": m}
	}
	var ls metav1.LabelSelector
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(m, &ls); err != nil {
		return nil, nil, fmt.Errorf("its selector cannot be read: %w", err)
	}
	sel, err := metav1.LabelSelectorAsSelector(&ls)
	if err != nil {
		return nil, nil, fmt.Errorf("its selector cannot be read: %w", err)
	}
	if sel.Empty() || !sel.Matches(labels.Set(o.tpl.Labels)) {
		return nil, nil, fmt.Errorf("its selector does not select its own pods")
	}
	return m, sel, nil
}
