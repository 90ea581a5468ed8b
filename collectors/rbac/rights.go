package rbac

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/companyos/helmproof/internal/manifest"
)

// wildcards says where rules name everything (CIS 5.1.3), each once.
func wildcards(rules []rbacv1.PolicyRule) []string {
	var out []string
	seen := map[string]bool{}
	for _, rule := range rules {
		of := what(rule)
		for _, field := range []struct {
			name string
			list []string
		}{{"apiGroups", rule.APIGroups}, {"resources", rule.Resources}, {"verbs", rule.Verbs}, {"nonResourceURLs", rule.NonResourceURLs}} {
			for _, s := range field.list {
				// */scale is every resource's, pods/* would be every subresource; a path
				// that only ends in * is a tree of its own.
				wild := s == "*" || s == "/*" || field.name == "resources" && (strings.HasPrefix(s, "*/") || strings.HasSuffix(s, "/*"))
				if text := fmt.Sprintf("%s of %s: %s", field.name, of, s); wild && !seen[text] {
					seen[text] = true
					out = append(out, text)
				}
			}
		}
	}
	return out
}

// what names a rule for people.
func what(rule rbacv1.PolicyRule) string {
	list := slices.Concat(rule.Resources, rule.NonResourceURLs)
	if len(list) > 3 {
		list = append(slices.Clone(list[:3]), "…")
	}
	if len(list) == 0 {
		return "a rule"
	}
	return strings.Join(list, ", ")
}

// danger is a right that leads to more than it says.
type danger struct {
	group     string // API group
	resources []string
	verbs     []string
	named     bool // also where the rule names single objects
	means     string
	// cluster are those of the resources that lie in no namespace. A RoleBinding is
	// asked only about requests in its namespace: in a Role they give nothing.
	cluster []string
}

// anyVerb stands for all verbs: the API server takes several for such subresources.
var anyVerb = []string{"get", "list", "watch", "create", "update", "patch", "delete"}

const (
	readsSecrets = "reads all Secrets"
	makesTokens  = "makes tokens of every service account"
)

// dangers are the rights that CIS 5.1 wants few to have. Reading is whatever
// answers with the content: a patch does, and so does deleting a collection.
var dangers = []danger{
	{"", []string{"secrets"}, []string{"get", "list", "watch", "patch", "deletecollection"}, false, readsSecrets, nil},
	{"", []string{"pods/exec", "pods/attach"}, anyVerb, true, "runs commands in pods", nil},
	{"", []string{"pods/ephemeralcontainers"}, []string{"update", "patch"}, true, "puts containers into pods", nil},
	{"", []string{"nodes/proxy"}, anyVerb, true, "reaches the kubelet, and by it every pod", []string{"nodes/proxy"}},
	{"", []string{"serviceaccounts/token"}, []string{"create"}, true, makesTokens, nil},
	{"", []string{"users", "groups", "serviceaccounts"}, []string{"impersonate"}, true, "acts as others", []string{"users", "groups"}},
	{"authentication.k8s.io", []string{"users", "groups", "serviceaccounts", "uids", "userextras/*"}, []string{"impersonate"}, true, "acts as others", []string{"users", "groups", "uids", "userextras/*"}},
	{group, []string{"roles", "clusterroles"}, []string{"escalate"}, true, "gives roles rights that it does not have", []string{"clusterroles"}},
	{group, []string{"roles", "clusterroles"}, []string{"bind"}, true, "binds roles whose rights it does not have", nil},
}

// rights says which dangers the rules of a role hold, each once.
func (r *release) rights(x role) []string {
	var out []string
	seen := map[string]bool{}
	for _, rule := range x.rules {
		for _, d := range dangers {
			d := d.in(x)
			verbs := d.verbsIn(rule)
			if len(verbs) == 0 {
				continue
			}
			means, answer := d.means, ""
			switch d.means {
			case readsSecrets:
				means += where(x)
				if !slices.ContainsFunc(verbs, func(v string) bool { return slices.Contains([]string{"*", "get", "list", "watch"}, v) }) {
					answer = ", which is answered with the content"
				}
			case makesTokens:
				if means = r.tokens(x, rule); means == "" {
					continue
				}
			}
			text := fmt.Sprintf("%s (%s %s%s)", means, joined(verbs, ", "), joined(d.resourcesIn(rule), ", "), answer)
			if !seen[text] {
				seen[text] = true
				out = append(out, text)
			}
		}
	}
	return out
}

// where says to what a role is confined.
func where(x role) string {
	if x.ns == "" {
		return ""
	}
	return " of namespace " + x.ns
}

// tokens says whose tokens a rule makes; "" where it names accounts of the release
// only. A ClusterRole names those of every namespace that it is bound in.
func (r *release) tokens(x role, rule rbacv1.PolicyRule) string {
	if !restricts(rule) {
		return makesTokens + where(x)
	}
	var foreign []string
	for _, name := range rule.ResourceNames {
		own := func(o *manifest.Object) bool { return o.NeverMade() == "" }
		if x.ns == "" || !slices.ContainsFunc(r.accounts[[2]string{x.ns, name}], own) {
			foreign = append(foreign, name)
		}
	}
	switch {
	case len(foreign) == 0:
		return ""
	case x.ns == "":
		return "makes tokens of service accounts of that name in every namespace that it is bound in: " + joined(foreign, ", ")
	}
	return "makes tokens of service accounts that the release does not make: " + joined(foreign, ", ")
}

// in is the danger as a role can hold it: a ClusterRole all of it, a Role what of it
// lies in namespaces.
func (d danger) in(x role) danger {
	if x.ns != "" {
		d.resources = slices.DeleteFunc(slices.Clone(d.resources), func(s string) bool { return slices.Contains(d.cluster, s) })
	}
	return d
}

// verbsIn is the rule's words for verbs of the danger; none: it does not hold it.
func (d *danger) verbsIn(rule rbacv1.PolicyRule) []string {
	if !d.named && restricts(rule) || !slices.Contains(rule.APIGroups, "*") && !slices.Contains(rule.APIGroups, d.group) || len(d.resourcesIn(rule)) == 0 {
		return nil
	}
	var out []string
	for _, v := range rule.Verbs {
		// "impersonate:user-info" is a part of impersonate.
		if base, _, _ := strings.Cut(v, ":"); v == "*" || slices.Contains(d.verbs, base) {
			out = append(out, v)
		}
	}
	return out
}

// restricts reports whether a rule is about single objects. The authorizer
// takes an empty name for itself only where a request has no name.
func restricts(rule rbacv1.PolicyRule) bool {
	return len(rule.ResourceNames) > 0 && !slices.Contains(rule.ResourceNames, "")
}

func (d *danger) resourcesIn(rule rbacv1.PolicyRule) []string {
	var out []string
	for _, have := range rule.Resources {
		if slices.ContainsFunc(d.resources, func(want string) bool { return covers(have, want) }) {
			out = append(out, have)
		}
	}
	return out
}

// covers reports whether a rule's resource is, or may be meant as, that one:
// "*" is all, "*/exec" that of all, and "pods/*" all of one.
func covers(have, want string) bool {
	if have == "*" || have == want {
		return true
	}
	kind, sub, isSub := strings.Cut(have, "/")
	wantKind, wantSub, wantIsSub := strings.Cut(want, "/")
	if !isSub || !wantIsSub {
		return false
	}
	return (kind == "*" || kind == wantKind) && (sub == "*" || wantSub == "*" || sub == wantSub)
}

// isBuiltin reports whether Kubernetes itself makes, and on every start mends,
// the ClusterRole. A release cannot change what they give, save those that
// aggregate.
func isBuiltin(name string) bool {
	switch name {
	case "cluster-admin", "admin", "edit", "view":
		return true
	}
	controller, ok := strings.CutPrefix(name, controllerRole)
	return systemRoles[name] || builtinRights[name] != "" || ok && isController(controller)
}

const controllerRole = "system:controller:"

// isController reports whether Kubernetes has a controller of that name, with a role
// and an account of its own.
func isController(name string) bool {
	return slices.Contains(controllers, name) || builtinRights[controllerRole+name] != ""
}

// controllers are those of Kubernetes' controllers whose roles hold none of the
// dangers. Of another role that is called so a chart shows nothing.
var controllers = strings.Fields(`
	attachdetach-controller cronjob-controller daemon-set-controller deployment-controller device-taint-eviction-controller
	endpoint-controller endpointslice-controller endpointslicemirroring-controller ephemeral-volume-controller job-controller
	node-controller pod-garbage-collector pv-protection-controller pvc-protection-controller replicaset-controller
	replication-controller resource-claim-controller root-ca-cert-publisher route-controller selinux-warning-controller
	service-account-controller service-cidrs-controller service-controller statefulset-controller
	ttl-after-finished-controller ttl-controller validatingadmissionpolicy-status-controller
	volumeattributesclass-protection-controller`)

// systemRoles are those that hold none of the dangers (kubernetes
// plugin/pkg/auth/authorizer/rbac/bootstrappolicy, policy.go).
var systemRoles = map[string]bool{
	"system:auth-delegator": true, "system:basic-user": true, "system:discovery": true, "system:public-info-viewer": true, "system:monitoring": true,
	"system:service-account-issuer-discovery": true, "system:node-proxier": true, "system:node-problem-detector": true, "system:node-bootstrapper": true,
	"system:kube-dns": true, "system:kube-scheduler": true, "system:volume-scheduler": true, "system:persistent-volume-provisioner": true, "system:aggregate-to-view": true,
	"system:kube-aggregator": true, "system:heapster": true,
}

// builtinRights says what the others give that RBC-2 forbids.
var builtinRights = map[string]string{
	"admin":                          "reads all Secrets, runs commands in pods and acts as service accounts",
	"edit":                           "reads all Secrets, runs commands in pods and acts as service accounts",
	"system:aggregate-to-admin":      "reads all Secrets, runs commands in pods and acts as service accounts",
	"system:aggregate-to-edit":       "reads all Secrets, runs commands in pods and acts as service accounts",
	"system:node":                    "is meant for the kubelet: it reads Secrets and makes tokens",
	"system:kubelet-api-admin":       "reaches the kubelet, and by it every pod",
	"system:kube-controller-manager": "is meant for the control plane: it reads all Secrets and makes tokens",

	"system:controller:certificate-controller":               "is meant for the control plane: it signs certificates of clients",
	"system:controller:storage-version-migrator-controller":  "reads and writes everything",
	"system:controller:clusterrole-aggregation-controller":   "gives roles rights that it does not have",
	"system:controller:expand-controller":                    "reads all Secrets",
	"system:controller:generic-garbage-collector":            "reads and deletes everything",
	"system:controller:legacy-service-account-token-cleaner": "reads all Secrets",
	"system:controller:namespace-controller":                 "reads and deletes everything",
	"system:controller:persistent-volume-binder":             "reads all Secrets",
	"system:controller:resourcequota-controller":             "reads everything",
	"system:controller:horizontal-pod-autoscaler":            "scales everything",
	"system:controller:disruption-controller":                "reads the scale of everything",
}

// builtinWildcard are those, beside cluster-admin, that have wildcards.
var builtinWildcard = map[string]bool{
	"system:kubelet-api-admin": true, "system:kube-controller-manager": true,
	"system:controller:generic-garbage-collector": true, "system:controller:namespace-controller": true, "system:controller:resourcequota-controller": true,
	"system:controller:horizontal-pod-autoscaler": true, "system:controller:disruption-controller": true,
	"system:controller:storage-version-migrator-controller": true,
}
