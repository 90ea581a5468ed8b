// Package podsecurity judges every pod and pod template by the Pod Security
// Standards, with the library that the API server itself uses
// (k8s.io/pod-security-admission).
package podsecurity

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// Name is the collector's name in the catalog.
const Name = "podsecurity"

// The rules: one per level of the Pod Security Standards, and what gets a pod
// round them.
const (
	RuleBaseline   = "podsecurity/baseline"
	RuleRestricted = "podsecurity/restricted"
	RuleNodePath   = "podsecurity/node-path"
	RuleMetadata   = "podsecurity/metadata-service"
	RuleNamespace  = "podsecurity/namespace"
	RulePolicies   = "podsecurity/policies"
)

var rules = collectors.Rules{
	RuleBaseline: evidence.SeverityCritical, RuleRestricted: evidence.SeverityHigh, RuleNodePath: evidence.SeverityHigh, RuleMetadata: evidence.SeverityHigh,
	RuleNamespace: evidence.SeverityHigh, RulePolicies: evidence.SeverityMedium,
}

var evaluator = sync.OnceValues(func() (policy.Evaluator, error) {
	return policy.NewEvaluator(policy.DefaultChecks(), nil)
})

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
	eval, err := evaluator()
	if err != nil {
		return nil, fmt.Errorf("set up Pod Security: %w", err)
	}
	version, err := versionOf(rel.KubeVersion)
	if err != nil {
		return nil, err
	}
	d := collectors.NewDerivation(in, Name, rules)
	workloads, err := in.Workloads()
	if err != nil {
		return nil, err
	}
	for i := range set.Objects {
		o := &set.Objects[i]
		nodePath(d, o)
		loosened(d, o)
		policies(d, o)
		for _, w := range workloads[i] {
			pods(d, eval, version, &w)
		}
	}
	d.Unreadable(RuleRestricted, rel.Chart, set.Broken) // nobody can say what is in them: perhaps a pod
	if len(d.Out) == 0 {
		d.Add(RuleRestricted, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release runs no pods", "")
	}
	return d.Out, nil
}

// pods judges what one workload makes pods of.
func pods(d *collectors.Derivation, eval policy.Evaluator, version api.Version, w *manifest.Workload) {
	o := w.Object
	at := d.Lines(o.From, o.To)
	if w.As == nil {
		d.Add(RuleRestricted, o.Target(""), evidence.OutcomeNotChecked, w.Unknown, "Name its pod templates with podTemplates in helmproof.yaml.", at)
		return
	}
	tpl, _, err := w.As.PodTemplate()
	if err != nil {
		outcome, message, fix := collectors.Undecoded(err)
		d.Add(RuleRestricted, o.Target(""), outcome, message, fix, at)
		return
	}
	metadataService(d, w, &tpl.Spec)
	found := judge(eval, version, tpl)
	if len(found) == 0 {
		d.Add(RuleRestricted, o.Target(""), evidence.OutcomePass, w.Where("meets the Pod Security Standard restricted"), "", at)
	}
	for _, v := range found {
		d.Add(v.rule, o.Target(v.container), evidence.OutcomeFail, w.Where(v.text), remediation(v.reason), at).Declared = declared(w, &tpl.Spec, v)
	}
}

// versionOf returns the version of the standard; the library judges a version
// that is newer than itself by the newest that it knows.
func versionOf(kube string) (api.Version, error) {
	major, rest, _ := strings.Cut(strings.TrimPrefix(kube, "v"), ".")
	minor, _, _ := strings.Cut(rest, ".")
	m, err := strconv.Atoi(major)
	n, err2 := strconv.Atoi(minor)
	if err != nil || err2 != nil {
		return api.Version{}, fmt.Errorf("kubernetes version %q: want a version like 1.37", kube)
	}
	return api.MajorMinorVersion(m, n), nil
}

// violation is one check that does not hold, of one container or of the pod.
type violation struct{ rule, container, reason, text string }

// judge evaluates both levels. What fails baseline is not repeated under restricted.
func judge(eval policy.Evaluator, version api.Version, tpl *corev1.PodTemplateSpec) []violation {
	var out []violation
	seen := map[string]bool{}
	for _, l := range []struct {
		rule  string
		level api.Level
	}{{RuleBaseline, api.LevelBaseline}, {RuleRestricted, api.LevelRestricted}} {
		lv := api.LevelVersion{Level: l.level, Version: version}
		whole := eval.EvaluatePod(lv, &tpl.ObjectMeta, &tpl.Spec)
		for i, res := range whole {
			if res.Allowed || seen[res.ForbiddenReason] {
				continue
			}
			for _, v := range blame(eval, lv, tpl, i) {
				v.rule, v.reason = l.rule, res.ForbiddenReason
				out = append(out, v)
			}
		}
		for _, res := range whole {
			if !res.Allowed {
				seen[res.ForbiddenReason] = true
			}
		}
	}
	return out
}

// blame finds out which containers fail check i: each is judged alone in the
// pod. What a pod without containers fails is the pod's own.
func blame(eval policy.Evaluator, lv api.LevelVersion, tpl *corev1.PodTemplateSpec, i int) []violation {
	result := func(edit func(*corev1.PodSpec)) policy.CheckResult {
		spec := tpl.Spec
		spec.Containers, spec.InitContainers, spec.EphemeralContainers = nil, nil, nil
		edit(&spec)
		meta := metav1.ObjectMeta{Name: tpl.Name, Annotations: tpl.Annotations, Labels: tpl.Labels}
		return eval.EvaluatePod(lv, &meta, &spec)[i]
	}
	if res := result(func(*corev1.PodSpec) {}); !res.Allowed {
		return []violation{{text: text(res)}}
	}
	var out []violation
	add := func(name string, res policy.CheckResult) {
		if !res.Allowed {
			out = append(out, violation{container: name, text: text(res)})
		}
	}
	for _, c := range tpl.Spec.InitContainers {
		add(c.Name, result(func(s *corev1.PodSpec) { s.InitContainers = []corev1.Container{c} }))
	}
	for _, c := range tpl.Spec.Containers {
		add(c.Name, result(func(s *corev1.PodSpec) { s.Containers = []corev1.Container{c} }))
	}
	for _, c := range tpl.Spec.EphemeralContainers {
		add(c.Name, result(func(s *corev1.PodSpec) { s.EphemeralContainers = []corev1.EphemeralContainer{c} }))
	}
	if len(out) == 0 {
		// Only the containers together fail.
		out = append(out, violation{text: text(eval.EvaluatePod(lv, &tpl.ObjectMeta, &tpl.Spec)[i])})
	}
	return out
}

func text(res policy.CheckResult) string {
	if res.ForbiddenDetail == "" {
		return res.ForbiddenReason
	}
	return res.ForbiddenReason + ": " + res.ForbiddenDetail
}

// remediation says the fix for a check, by the reason that the library gives.
func remediation(reason string) string {
	for _, r := range []struct{ reason, fix string }{
		{"allowPrivilegeEscalation", "Set securityContext.allowPrivilegeEscalation: false on the container."},
		{"forbidden AppArmor", "Use the AppArmor profile RuntimeDefault or Localhost."},
		{"non-default capabilities", "Remove the added capabilities; restricted allows only NET_BIND_SERVICE."},
		{"unrestricted capabilities", "Set securityContext.capabilities.drop: [ALL] on the container, and add none but NET_BIND_SERVICE."},
		{"host namespaces", "Remove hostNetwork, hostPID and hostIPC from the pod."},
		{"hostPath volumes", "Replace the hostPath volume by an emptyDir, a projected volume or a PersistentVolumeClaim."},
		{"hostPort", "Remove hostPort; reach the container through a Service."},
		{"probe or lifecycle host", "Remove host from the probe or lifecycle handler; it defaults to the pod's address."},
		{"privileged", "Remove securityContext.privileged from the container."},
		{"procMount", "Remove securityContext.procMount from the container."},
		{"restricted volume types", "Use only configMap, csi, downwardAPI, emptyDir, ephemeral, persistentVolumeClaim, projected and secret volumes."},
		{"runAsNonRoot", "Set securityContext.runAsNonRoot: true on the pod or on the container."},
		{"runAsUser", "Set securityContext.runAsUser to a number other than 0."},
		{"seLinuxOptions", "Remove the SELinux user and role, and use one of the container types."},
		{"seccompProfile", "Set securityContext.seccompProfile.type: RuntimeDefault on the pod or on the container."},
		{"forbidden sysctls", "Remove the sysctls that are not namespaced and safe."},
		{"hostProcess", "Remove securityContext.windowsOptions.hostProcess."},
	} {
		if strings.HasPrefix(reason, r.reason) {
			return r.fix
		}
	}
	return "Make the pod meet the Pod Security Standard restricted (https://kubernetes.io/docs/concepts/security/pod-security-standards/)."
}

// Violations says what of restricted a pod does not meet, check by check; both
// levels count. kube is a version like 1.37.
func Violations(kube string, tpl *corev1.PodTemplateSpec) ([]string, error) {
	eval, err := evaluator()
	if err != nil {
		return nil, fmt.Errorf("set up Pod Security: %w", err)
	}
	version, err := versionOf(kube)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, v := range judge(eval, version, tpl) {
		out = append(out, v.text)
	}
	return out, nil
}

// Allowed says whether the two levels let a pod in. kube is a version like 1.37.
func Allowed(kube string, tpl *corev1.PodTemplateSpec) (baseline, restricted bool, err error) {
	eval, err := evaluator()
	if err != nil {
		return false, false, fmt.Errorf("set up Pod Security: %w", err)
	}
	version, err := versionOf(kube)
	if err != nil {
		return false, false, err
	}
	meets := func(l api.Level) bool {
		return policy.AggregateCheckResults(eval.EvaluatePod(api.LevelVersion{Level: l, Version: version}, &tpl.ObjectMeta, &tpl.Spec)).Allowed
	}
	baseline = meets(api.LevelBaseline)
	return baseline, baseline && meets(api.LevelRestricted), nil
}
