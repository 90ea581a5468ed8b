package harden

import (
	"cmp"
	"fmt"
	"strings"
)

// tokenWords are how programs, scripts and configuration speak of the token or
// of the API server.
var tokenWords = []string{
	"serviceaccount", "service-account", "service_account", "kubernetes_sd", "kubernetes_service_host", "kubernetes.default",
	"kubectl", "kubeconfig", "kube-api", "in-cluster", "in_cluster", "incluster", "auth/kubernetes", "pod_namespace", "pod-namespace",
	"leader-elect", "leaderelect", "k8s", "kubernetes",
}

// token adds automountServiceAccountToken: false where the pod has no token
// anyway; on request also where nothing in the release gives the token rights,
// and nothing speaks of it.
func (r *release) token(x *object) {
	if x.tpl.Spec.AutomountServiceAccountToken != nil {
		return
	}
	reason, none := r.needsToken(x)
	flag := ""
	if reason == "" && !none && !r.opts.asks("SEC-6") {
		reason, flag = "nothing in the release speaks of the token, but the program may read it, with rights from elsewhere", "--control SEC-6"
	}
	if reason != "" {
		r.keep(x, RuleToken, "", reason, flag)
		return
	}
	r.add(x, RuleToken, "", false, "spec", "automountServiceAccountToken")
}

// needsToken says why the pod may need its token. none reports that its service
// account gives it none today.
func (r *release) needsToken(x *object) (reason string, none bool) {
	if none = r.noToken(x); none {
		return "", true
	}
	return r.usesToken(x), false
}

// noToken reports whether the pod's service account, which is the release's own,
// mounts no token.
func (r *release) noToken(x *object) bool {
	accounts := r.accounts[x.account()]
	for _, a := range accounts {
		if a.AutomountServiceAccountToken == nil || *a.AutomountServiceAccountToken || a.Namespace != x.GetNamespace() {
			return false
		}
	}
	return len(accounts) > 0
}

// account is the name of the pod's service account.
func (x *object) account() string {
	return cmp.Or(x.tpl.Spec.ServiceAccountName, x.tpl.Spec.DeprecatedServiceAccount, "default")
}

func (r *release) usesToken(x *object) string {
	name := x.account()
	accounts := r.accounts[name]
	for _, a := range accounts {
		if auto := a.AutomountServiceAccountToken; auto != nil && *auto {
			return "service account " + name + " mounts its token on purpose"
		}
	}
	switch {
	case r.blind:
		return "a document of the release could not be read: it may give the service account rights"
	case r.boundAll:
		return "a binding of the release gives every service account rights"
	case r.bound[name]:
		return "a binding of the release gives service account " + name + " rights"
	case name != "default" && len(accounts) == 0:
		return "service account " + name + " is not in the release: its rights are unknown"
	}
	for k := range x.tpl.Annotations {
		if strings.Contains(k, "inject") {
			return fmt.Sprintf("annotation %s: what is injected may need the token", k)
		}
	}
	for k := range x.tpl.Labels {
		if strings.Contains(k, "inject") {
			return fmt.Sprintf("label %s: what is injected may need the token", k)
		}
	}
	for _, c := range x.containers() {
		if mentions(&c, tokenWords...) || containsAny([]string{c.Image}, "kube", "k8s") {
			return fmt.Sprintf("container %s speaks of Kubernetes' API", c.Name)
		}
	}
	for _, ref := range x.configs() {
		if containsAny(r.texts[ref], tokenWords...) {
			return strings.Replace(ref, "/", " ", 1) + " speaks of Kubernetes' API"
		}
	}
	return ""
}

// configs are the ConfigMaps and Secrets that the pod reads, as kind/name, in
// the order of the pod.
func (x *object) configs() []string {
	var out []string
	for _, v := range x.tpl.Spec.Volumes {
		switch {
		case v.ConfigMap != nil:
			out = append(out, "ConfigMap/"+v.ConfigMap.Name)
		case v.Secret != nil:
			out = append(out, "Secret/"+v.Secret.SecretName)
		case v.Projected != nil:
			for _, s := range v.Projected.Sources {
				if s.ConfigMap != nil {
					out = append(out, "ConfigMap/"+s.ConfigMap.Name)
				}
				if s.Secret != nil {
					out = append(out, "Secret/"+s.Secret.Name)
				}
			}
		}
	}
	for _, c := range x.containers() {
		for _, e := range c.EnvFrom {
			if e.ConfigMapRef != nil {
				out = append(out, "ConfigMap/"+e.ConfigMapRef.Name)
			}
			if e.SecretRef != nil {
				out = append(out, "Secret/"+e.SecretRef.Name)
			}
		}
		for _, e := range c.Env {
			if f := e.ValueFrom; f != nil && f.ConfigMapKeyRef != nil {
				out = append(out, "ConfigMap/"+f.ConfigMapKeyRef.Name)
			} else if f != nil && f.SecretKeyRef != nil {
				out = append(out, "Secret/"+f.SecretKeyRef.Name)
			}
		}
	}
	return out
}
