// Package rbac judges the rights that a release gives: its roles, what they are
// bound to, and whom. It sees what the chart shows (CIS Kubernetes Benchmark,
// section 5.1); rights that come from the rest of the cluster are not checked.
package rbac

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "rbac"

// The rules.
const (
	RuleWildcard = "rbac/wildcard"
	RuleRights   = "rbac/rights"
	RuleSubjects = "rbac/subjects"
)

var rules = collectors.Rules{RuleWildcard: evidence.SeverityHigh, RuleRights: evidence.SeverityHigh, RuleSubjects: evidence.SeverityMedium}

var nothing = map[string]string{
	RuleWildcard: "the release has no role and no binding",
	RuleRights:   "the release has no role and no binding",
	RuleSubjects: "the release has no binding",
}

const group = "rbac.authorization.k8s.io"

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

// Findings implements collectors.Collector.
func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	r := &release{Derivation: collectors.NewDerivation(in, Name, rules), namespace: rel.Namespace, accounts: map[[2]string][]*manifest.Object{}}
	r.read(set)
	for _, x := range r.roles {
		r.role(x)
	}
	for _, b := range r.bindings {
		r.roleOf(b)
		r.subjectsOf(b)
	}
	for rule := range rules {
		r.Unreadable(rule, rel.Chart, set.Broken) // nobody can say what is in them: perhaps a binding
		if !slices.ContainsFunc(r.Out, func(f evidence.Finding) bool { return f.Rule == rule }) {
			r.Add(rule, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, nothing[rule], "")
		}
	}
	return evidence.NormalizeFindings(r.Out), nil
}

// release is what of the rendered set gives rights, and to whom.
type release struct {
	*collectors.Derivation
	namespace string

	roles    []role
	bindings []binding
	accounts map[[2]string][]*manifest.Object // by namespace and name
}

// role is a Role or a ClusterRole.
type role struct {
	o           *manifest.Object
	ns          string // "" for a ClusterRole
	rules       []rbacv1.PolicyRule
	aggregation *rbacv1.AggregationRule
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	o        *manifest.Object
	ns       string // "" for a ClusterRoleBinding
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
}

func (r *release) ns(o *manifest.Object) string {
	if ns := o.GetNamespace(); ns != "" {
		return ns
	}
	return r.namespace
}

func (r *release) add(rule string, o *manifest.Object, outcome evidence.Outcome, message, fix string, also ...*manifest.Object) {
	at := []evidence.Pointer{r.Lines(o.From, o.To)}
	for _, x := range also[:min(len(also), maxNamed)] {
		at = append(at, r.Lines(x.From, x.To))
	}
	r.Add(rule, o.Target(""), outcome, message, fix, at...)
}

// maxNamed bounds what one finding names and points at: a binding may have any
// number of subjects, and a role any number of rules.
const maxNamed = 20

// joined is a list for people.
func joined(list []string, by string) string {
	if more := len(list) - maxNamed; more > 0 {
		list = append(slices.Clone(list[:maxNamed]), fmt.Sprintf("… (%d more)", more))
	}
	return strings.Join(list, by)
}

func (r *release) read(set *manifest.ObjectSet) {
	for i := range set.Objects {
		o := &set.Objects[i]
		var err error
		about := []string{RuleWildcard, RuleRights}
		switch o.GroupVersionKind().Group + "/" + o.GetKind() {
		case group + "/Role", group + "/ClusterRole":
			var x rbacv1.ClusterRole // a Role lacks aggregationRule, and is the same otherwise
			if err = decode(o, &x); err == nil {
				r.roles = append(r.roles, role{o, r.scope(o), x.Rules, x.AggregationRule})
			}
		case group + "/RoleBinding", group + "/ClusterRoleBinding":
			about = append(about, RuleSubjects)
			var x rbacv1.RoleBinding
			if err = decode(o, &x); err == nil {
				r.bindings = append(r.bindings, binding{o, r.scope(o), x.RoleRef, x.Subjects})
			}
		case "/ServiceAccount":
			key := [2]string{r.ns(o), o.GetName()}
			r.accounts[key] = append(r.accounts[key], o)
		}
		if err != nil {
			outcome, message, fix := collectors.Undecoded(err)
			for _, rule := range about {
				r.add(rule, o, outcome, message, fix)
			}
		}
	}
}

func decode(o *manifest.Object, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
}

// scope is the namespace in which a role or binding holds, "" for everywhere.
func (r *release) scope(o *manifest.Object) string {
	if strings.HasPrefix(o.GetKind(), "Cluster") {
		return ""
	}
	return r.ns(o)
}

// role decides RBC-1 and RBC-2 for a role of the release, bound or not.
func (r *release) role(x role) {
	r.say(RuleWildcard, x.o, wildcards(x.rules), "names what it gives", "Name the API groups, resources and verbs that are needed.")
	r.say(RuleRights, x.o, r.rights(x), "gives none of the rights that lead to all others", fixRights)
	if x.aggregation != nil && x.ns == "" {
		r.aggregated(x)
	}
}

const fixRights = "Name the Secrets by resourceNames, mount what a pod reads, and leave out the other rights; a component that needs them needs a waiver that says who judged it."

func (r *release) say(rule string, o *manifest.Object, wrong []string, well, fix string) {
	if len(wrong) == 0 {
		r.add(rule, o, evidence.OutcomePass, well, "")
		return
	}
	r.add(rule, o, evidence.OutcomeFail, joined(wrong, "; "), fix)
}

// aggregated judges a ClusterRole whose rules the control plane fills in from all
// ClusterRoles of the cluster that carry certain labels. Those of the release are
// judged themselves; of the others a chart shows nothing.
func (r *release) aggregated(x role) {
	const fix = "Write the rules into the ClusterRole, and bind that."
	for _, sel := range x.aggregation.ClusterRoleSelectors {
		for _, name := range slices.Sorted(maps.Keys(sel.MatchLabels)) {
			if as, ok := strings.CutPrefix(name, group+"/aggregate-to-"); ok {
				if why := builtinRights[as]; why != "" {
					r.add(RuleRights, x.o, evidence.OutcomeFail, "takes in all that makes the ClusterRole "+as+", which "+why, fix)
				}
			}
		}
	}
	for _, rule := range []string{RuleWildcard, RuleRights} {
		r.add(rule, x.o, evidence.OutcomeNotChecked, "its rules come from every ClusterRole of the cluster that its aggregationRule selects: a chart shows those of its own only", fix)
	}
}

// roleOf decides RBC-1 and RBC-2 for what a binding binds.
func (r *release) roleOf(b binding) {
	const fix = "Bind a Role of the release that names what is needed."
	name := b.ref.Kind + " " + b.ref.Name
	if b.ref.Kind != "ClusterRole" && b.ref.Kind != "Role" || b.ref.APIGroup != "" && b.ref.APIGroup != group {
		for _, rule := range []string{RuleWildcard, RuleRights} {
			r.add(rule, b.o, evidence.OutcomeNotChecked, fmt.Sprintf("roleRef names %q, which is no role", name), fix)
		}
		return
	}
	own := slices.IndexFunc(r.roles, func(x role) bool {
		return x.o.GetKind() == b.ref.Kind && x.o.GetName() == b.ref.Name && (x.ns == "" || x.ns == b.ns) && missingFor(x.o, b.o) == ""
	})
	cluster := b.ref.Kind == "ClusterRole"
	switch {
	case cluster && b.ref.Name == "cluster-admin":
		r.add(RuleWildcard, b.o, evidence.OutcomeFail, "binds the ClusterRole cluster-admin, which may do everything", fix)
		r.add(RuleRights, b.o, evidence.OutcomeFail, "binds the ClusterRole cluster-admin, which may do everything", fix)
	case cluster && isBuiltin(b.ref.Name):
		r.builtin(b, name, fix)
	case own >= 0:
		r.add(RuleWildcard, b.o, evidence.OutcomePass, "binds "+name+" of the release, which is judged itself", "", r.roles[own].o)
		r.add(RuleRights, b.o, evidence.OutcomePass, "binds "+name+" of the release, which is judged itself", "", r.roles[own].o)
	case !cluster && b.ns == "kube-system" && b.ref.Name == "extension-apiserver-authentication-reader":
		r.add(RuleWildcard, b.o, evidence.OutcomePass, "binds "+name+", which reads one ConfigMap", "")
		r.add(RuleRights, b.o, evidence.OutcomePass, "binds "+name+", which reads one ConfigMap", "")
	default:
		for _, rule := range []string{RuleWildcard, RuleRights} {
			r.add(rule, b.o, evidence.OutcomeNotChecked, "binds "+name+", which the release does not make: what it gives cannot be seen", fix)
		}
	}
}

func (r *release) builtin(b binding, name, fix string) {
	if builtinWildcard[b.ref.Name] {
		r.add(RuleWildcard, b.o, evidence.OutcomeFail, "binds Kubernetes' own "+name+", which has wildcards", fix)
	} else {
		r.add(RuleWildcard, b.o, evidence.OutcomePass, "binds Kubernetes' own "+name, "")
	}
	if why := builtinRights[b.ref.Name]; why != "" {
		r.add(RuleRights, b.o, evidence.OutcomeFail, "binds Kubernetes' own "+name+", which "+why, fix)
	} else {
		r.add(RuleRights, b.o, evidence.OutcomePass, "binds Kubernetes' own "+name+", which gives none of the rights that lead to all others", "")
	}
}

// subjectsOf decides RBC-3: each subject is a service account that the release
// makes and that is there as long as the binding, or one of the control plane.
func (r *release) subjectsOf(b binding) {
	const fix = "Name a ServiceAccount that the release makes, in its namespace; what others are to be allowed they bind themselves."
	if len(b.subjects) == 0 {
		r.add(RuleSubjects, b.o, evidence.OutcomePass, "binds nobody", "")
		return
	}
	var wrong, system []string
	var also []*manifest.Object
	seen := map[*manifest.Object]bool{}
	for _, s := range b.subjects {
		if isControlPlane(s) {
			system = append(system, s.Name)
			continue
		}
		why, account := r.subject(b, s)
		if why != "" {
			wrong = append(wrong, why)
		} else if !seen[account] {
			seen[account] = true
			also = append(also, account)
		}
	}
	if len(wrong) > 0 {
		r.add(RuleSubjects, b.o, evidence.OutcomeFail, joined(wrong, "; "), fix, also...)
		return
	}
	var names []string
	for _, o := range also {
		names = append(names, o.GetName())
	}
	var binds []string
	if len(names) > 0 {
		binds = append(binds, "ServiceAccount "+joined(names, ", ")+" of the release")
	}
	if len(system) > 0 {
		binds = append(binds, joined(system, ", ")+" of Kubernetes' own control plane")
	}
	r.add(RuleSubjects, b.o, evidence.OutcomePass, "binds "+strings.Join(binds, " and "), "", also...)
}

// isControlPlane reports whether a subject is one that every cluster has and nobody
// else can be: an account that the controller manager makes for a controller, or the
// user that the controller manager or the scheduler is. An aggregated API is called
// by them.
func isControlPlane(s rbacv1.Subject) bool {
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		return s.Namespace == metav1.NamespaceSystem && isController(s.Name)
	case rbacv1.UserKind:
		name, ok := strings.CutPrefix(s.Name, "system:serviceaccount:"+metav1.NamespaceSystem+":")
		return ok && isController(name) || s.Name == "system:kube-controller-manager" || s.Name == "system:kube-scheduler"
	}
	return false
}

// subject says why one is not of the release, or which account it is.
func (r *release) subject(b binding, s rbacv1.Subject) (string, *manifest.Object) {
	ns, name := s.Namespace, s.Name
	switch s.Kind {
	case rbacv1.ServiceAccountKind:
		// A binding that names no namespace is refused by the API server, save where
		// a client fills in the binding's own.
		if ns == "" {
			ns = b.ns
		}
	case rbacv1.GroupKind:
		if why, ok := wellKnown(name); ok {
			return "group " + name + " is " + why, nil
		}
		return "group " + name + " is not of the release", nil
	case rbacv1.UserKind:
		account, ok := strings.CutPrefix(name, "system:serviceaccount:")
		if !ok {
			return "user " + name + " is not of the release", nil
		}
		ns, name, _ = strings.Cut(account, ":")
	default:
		return fmt.Sprintf("%q is no kind of subject", s.Kind), nil
	}
	about := "ServiceAccount " + ns + "/" + name
	missing := "nothing in the release makes " + about
	if name == "default" {
		missing = about + " is there in every namespace, and pods without an account of their own use it"
	}
	for _, o := range r.accounts[[2]string{ns, name}] {
		why := missingFor(o, b.o)
		if why == "" {
			return "", o
		}
		missing = about + " does not count: " + why
	}
	return missing, nil
}

// missingFor says why a role or an account of the release may not be the one that a
// binding finds by its name, "" if it is. What the release installs is there before
// long, whatever binds it; what is a hook may follow the binding of the same hook.
func missingFor(o, binding *manifest.Object) string {
	if never := o.NeverMade(); never != "" {
		return never
	}
	if len(o.Hooks()) == 0 || o.MadeWith(binding) {
		return ""
	}
	return o.Missing(binding)
}

// wellKnown says who is in a group of Kubernetes' own.
func wellKnown(name string) (string, bool) {
	switch name {
	case "system:masters":
		return "whoever may do everything", true
	case "system:authenticated":
		return "everybody who can log in, every service account among them", true
	case "system:unauthenticated":
		return "everybody, without a login", true
	case "system:serviceaccounts":
		return "every service account of the cluster", true
	case "system:nodes":
		return "every node", true
	}
	if ns, ok := strings.CutPrefix(name, "system:serviceaccounts:"); ok {
		return "every service account of namespace " + ns, true
	}
	return "", false
}
