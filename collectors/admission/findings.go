package admission

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// The labels of Pod Security admission (https://kubernetes.io/docs/concepts/security/pod-security-admission/).
const (
	labelEnforce        = "pod-security.kubernetes.io/enforce"
	labelEnforceVersion = "pod-security.kubernetes.io/enforce-version"
	labelWarn           = "pod-security.kubernetes.io/warn"
	labelAudit          = "pod-security.kubernetes.io/audit"
	levelRestricted     = "restricted"
)

var rules = collectors.Rules{
	RuleNamespace: evidence.SeverityHigh,
	RuleObject:    evidence.SeverityHigh, RulePod: evidence.SeverityHigh, RuleLivePods: evidence.SeverityHigh,
	RuleProbe:     evidence.SeverityHigh,
	RulePolicies:  evidence.SeverityHigh,
	RuleExemption: evidence.SeverityMedium,
	RuleRefused:   evidence.SeverityLow,
	RuleSignature: evidence.SeverityHigh,
}

type derivation struct {
	*collectors.Derivation
	rel *evidence.Release
}

func (d *derivation) namespaceTarget(name string) evidence.Target {
	return evidence.Target{APIVersion: "v1", Kind: "Namespace", Name: name}
}

var pinned = regexp.MustCompile(`^(latest|v1\.[0-9]+)$`)

// namespace decides ADM-1.
func (d *derivation) namespace() error {
	var ns Namespace
	if err := d.Parse(namespaceFile, &ns); err != nil {
		return err
	}
	t := d.namespaceTarget(ns.Name)
	const fix = "kubectl label --overwrite namespace NAME pod-security.kubernetes.io/enforce=restricted (warn and audit likewise)."
	say := func(outcome evidence.Outcome, message string) {
		d.Add(RuleNamespace, t, outcome, message, strings.Replace(fix, "NAME", ns.Name, 1), d.Own(namespaceFile, ""))
	}
	switch {
	case ns.Error != "":
		say(evidence.OutcomeNotChecked, "the namespace could not be read: "+ns.Error)
		return nil
	case !ns.Found:
		say(evidence.OutcomeNotChecked, "the namespace is not in the cluster")
		return nil
	}
	enforce, version := ns.Labels[labelEnforce], ns.Labels[labelEnforceVersion]
	switch {
	case enforce == "" && (ns.Labels[labelWarn] != "" || ns.Labels[labelAudit] != ""):
		say(evidence.OutcomeFail, "the namespace only warns and audits: no pod is refused")
	case enforce == "":
		say(evidence.OutcomeFail, "the namespace has no label "+labelEnforce+": the cluster's default decides, which is privileged unless configured")
	case enforce != levelRestricted:
		say(evidence.OutcomeFail, "the namespace enforces "+enforce+", not restricted")
	case version != "" && !pinned.MatchString(version):
		say(evidence.OutcomeFail, fmt.Sprintf("%s is %q, which is no version: the API server enforces latest in its place", labelEnforceVersion, version))
	case ns.Labels[labelWarn] != levelRestricted:
		say(evidence.OutcomeWarn, "enforces restricted, but does not warn: a workload that breaks it is accepted silently, and gets no pods")
	default:
		say(evidence.OutcomePass, "enforces restricted"+versionText(version))
	}
	if ns.Relabel != nil {
		d.relabel(&ns)
	}
	return nil
}

func versionText(v string) string {
	if v == "" {
		return " at the latest version"
	}
	return " at version " + v
}

// relabel reports what the API server says about live pods. Silence is no pass:
// live-pods judges every pod.
func (d *derivation) relabel(ns *Namespace) {
	a := ns.Relabel
	t := d.namespaceTarget(ns.Name)
	for i, w := range a.Warnings {
		d.Add(RuleLivePods, t, evidence.OutcomeFail, "labelled to enforce restricted, the API server warns: "+w,
			"Correct the pods that the warning names before the namespace enforces restricted.", d.Own(namespaceFile, fmt.Sprintf("/relabel/warnings/%d", i)))
	}
}

// unanswered says why an answer decides nothing, or nothing.
func unanswered(a *Answer) string {
	switch {
	case a.NotAllowed:
		return "helmproof's account may not ask: " + a.Message
	case a.Error != "":
		return "no answer: " + a.Error
	}
	return ""
}

// dryRuns decides ADM-2 for objects and the pods of their templates.
func (d *derivation) dryRuns() error {
	var runs []DryRun
	if err := d.Parse(dryRunFile, &runs); err != nil {
		return err
	}
	set, err := d.Objects()
	if err != nil {
		return err
	}
	asked := map[int]bool{}
	for i := range runs {
		run := &runs[i]
		if run.Index < 0 || run.Index >= len(set.Objects) || objectName(&set.Objects[run.Index]) != run.Object {
			return fmt.Errorf("parse %s: request %d is about %s, which is not in the manifests at that place", dryRunFile, i, run.Object)
		}
		asked[run.Index] = true
		d.dryRun(run, &set.Objects[run.Index], fmt.Sprintf("/%d", i))
	}
	for i := range set.Objects {
		if !asked[i] {
			d.Add(RuleObject, set.Objects[i].Target(""), evidence.OutcomeNotChecked, "the cluster was not asked about it", "Collect again.", d.Own(dryRunFile, ""))
		}
	}
	d.Unreadable(RuleObject, d.rel.Chart, set.Broken, d.Own(dryRunFile, ""))
	if len(set.Objects)+len(set.Broken) == 0 {
		d.Add(RuleObject, evidence.Target{Kind: "Chart", Name: d.rel.Chart}, evidence.OutcomeNotApplicable, "the release has no objects", "", d.Own(dryRunFile, ""))
	}
	return nil
}

func (d *derivation) dryRun(run *DryRun, o *manifest.Object, at string) {
	rule, who := RuleObject, "the object"
	if run.What == "pod" {
		rule, who = RulePod, "the pod of its template"
	}
	t := o.Target("")
	a := &run.Answer
	why := unanswered(a)
	switch {
	case run.Unserved:
		d.Add(rule, t, evidence.OutcomeNotChecked, "the cluster does not serve "+o.GetAPIVersion()+" "+o.GetKind(), "Install the CustomResourceDefinition first, or use an API that the cluster serves.", d.Own(dryRunFile, at))
		return
	case why != "":
		d.Add(rule, t, evidence.OutcomeNotChecked, why, "Let helmproof's account create and patch in a dry-run (docs/cluster.md), and collect again.", d.Own(dryRunFile, at+"/answer"))
		return
	case !a.Accepted && a.Reason == string(metav1.StatusReasonNotFound):
		d.Add(rule, t, evidence.OutcomeNotChecked, "cannot be tried yet: "+a.Message, "Create what it needs first, the namespace above all, and collect again.", d.Own(dryRunFile, at+"/answer"))
		return
	case !a.Accepted:
		d.Add(rule, t, evidence.OutcomeFail, who+" is refused: "+a.Message, "Change the object as the refusal says.", d.Own(dryRunFile, at+"/answer"))
	}
	for i, w := range a.Warnings {
		d.Add(rule, t, evidence.OutcomeFail, who+" is met with a warning: "+w, "Change the object as the warning says.", d.Own(dryRunFile, fmt.Sprintf("%s/answer/warnings/%d", at, i)))
	}
	if a.Accepted && len(a.Warnings) == 0 {
		text := who + " is accepted without a warning"
		if run.ServiceAccount != "" {
			text += " (with the account default in the place of " + run.ServiceAccount + ", which the release makes)"
		}
		d.Add(rule, t, evidence.OutcomePass, text, "", d.Own(dryRunFile, at+"/answer"))
	}
}

// livePods decides ADM-2 for the pods that run in the namespace already.
func (d *derivation) livePods() error {
	var live LivePods
	if err := d.Parse(livePodsFile, &live); err != nil {
		return err
	}
	t := d.namespaceTarget(d.rel.Namespace)
	if live.Error != "" {
		d.Add(RuleLivePods, t, evidence.OutcomeNotChecked, "the namespace's pods could not be listed: "+live.Error, "Let helmproof's account list pods.", d.Own(livePodsFile, ""))
		return nil
	}
	version := "1.37"
	if info, err := d.Cluster(); err == nil {
		version = info.Version
	}
	bad, judged := 0, 0
	for i := range live.Groups {
		g := &live.Groups[i]
		judged += g.Count
		found, err := podsecurity.Violations(version, &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: g.Annotations}, Spec: g.Spec})
		if err != nil {
			return err
		}
		if len(found) == 0 {
			continue
		}
		bad += g.Count
		target := evidence.Target{APIVersion: "v1", Kind: "Pod", Name: g.Example, Namespace: d.rel.Namespace}
		like := ""
		if g.Count > 1 {
			like = fmt.Sprintf(" (and %d like it)", g.Count-1)
		}
		d.Add(RuleLivePods, target, evidence.OutcomeFail, "runs"+like+" and would be refused by restricted: "+strings.Join(found, "; "),
			"Correct the workload that owns the pod, or move it to a namespace of its own.", d.Own(livePodsFile, fmt.Sprintf("/groups/%d", i)))
	}
	switch {
	case judged != live.Total:
		return fmt.Errorf("parse %s: %d pods in groups, %d in all", livePodsFile, judged, live.Total)
	case live.Total == 0:
		d.Add(RuleLivePods, t, evidence.OutcomeNotApplicable, "no pods run in the namespace", "", d.Own(livePodsFile, ""))
	case bad == 0:
		d.Add(RuleLivePods, t, evidence.OutcomePass, fmt.Sprintf("all %d pods that run in the namespace meet restricted", live.Total), "", d.Own(livePodsFile, "/groups"))
	}
	return nil
}

// probes decides ADM-3.
func (d *derivation) probes() error {
	var sealed []Probe
	if err := d.Parse(probesFile, &sealed); err != nil {
		return err
	}
	t := d.namespaceTarget(d.rel.Namespace)
	for _, want := range probes {
		i := slices.IndexFunc(sealed, func(p Probe) bool { return p.Name == want.name })
		if i < 0 {
			d.Add(RuleProbe, t, evidence.OutcomeNotChecked, "probe "+want.name+" was not made", "Collect again.", d.Own(probesFile, ""))
			continue
		}
		a := &sealed[i].Answer
		at := fmt.Sprintf("/%d/answer", i)
		// A refusal names the standard, and this check among its reasons.
		_, reasons, standard := strings.Cut(a.Message, podSecuritySays)
		switch why := unanswered(a); {
		case why != "":
			d.Add(RuleProbe, t, evidence.OutcomeNotChecked, "probe "+want.name+": "+why, "Let helmproof's account create pods in a dry-run (docs/cluster.md), and collect again.", d.Own(probesFile, at))
		case a.Accepted:
			d.Add(RuleProbe, t, evidence.OutcomeFail, "a pod that breaks restricted on purpose ("+want.name+") is accepted",
				"Let the namespace enforce restricted; if it does, the asking user or the namespace is exempt in the API server's Pod Security configuration.", d.Own(probesFile, at))
		case standard && strings.Contains(reasons, want.reason):
			d.Add(RuleProbe, t, evidence.OutcomePass, "a pod that breaks restricted on purpose ("+want.name+") is refused", "", d.Own(probesFile, at))
		default:
			d.Add(RuleProbe, t, evidence.OutcomeNotChecked, "probe "+want.name+" is refused for another reason, which shows nothing: "+a.Message,
				"Remove what refuses every pod in the namespace (a missing account, a quota, a webhook), and collect again.", d.Own(probesFile, at))
		}
	}
	return nil
}

// policies decides ADM-4.
func (d *derivation) policies() error {
	var sealed Policies
	if err := d.Parse(policiesFile, &sealed); err != nil {
		return err
	}
	cluster := evidence.Target{Kind: "Cluster", Name: d.rel.Cluster}
	if sealed.Error != "" {
		d.Add(RulePolicies, cluster, evidence.OutcomeNotChecked, "the cluster's policies could not be read: "+sealed.Error, "Let helmproof's account list ValidatingAdmissionPolicies and their bindings.", d.Own(policiesFile, ""))
		return nil
	}
	if len(sealed.Policies) == 0 {
		d.Add(RulePolicies, cluster, evidence.OutcomeNotApplicable, "no policy is expected", "", d.Own(policiesFile, ""))
	}
	for i := range sealed.Policies {
		p := &sealed.Policies[i]
		t := evidence.Target{APIVersion: "admissionregistration.k8s.io/v1", Kind: "ValidatingAdmissionPolicy", Name: p.Name}
		outcome, message, fix := judgePolicy(p)
		d.Add(RulePolicies, t, outcome, message, fix, d.Own(policiesFile, fmt.Sprintf("/policies/%d", i)))
	}
	return nil
}

func judgePolicy(p *Policy) (outcome evidence.Outcome, message, fix string) {
	denies := slices.IndexFunc(p.Bindings, func(b Binding) bool { return slices.Contains(b.Actions, "Deny") && b.Matches == nil })
	partly := slices.IndexFunc(p.Bindings, func(b Binding) bool { return slices.Contains(b.Actions, "Deny") })
	const install = "Install the policies and their bindings; charts/platform has them."
	switch {
	case p.Error != "":
		return evidence.OutcomeNotChecked, "could not be read: " + p.Error, "Let helmproof's account get ValidatingAdmissionPolicies."
	case !p.Found:
		return evidence.OutcomeFail, "is not in the cluster", install
	case len(p.Differs) > 0:
		return evidence.OutcomeFail, "is in the cluster, but its " + strings.Join(p.Differs, ", ") + " differ from what releases are judged by", install
	case len(p.Bindings) == 0:
		return evidence.OutcomeFail, "is bound nowhere: it decides nothing", install
	case partly < 0:
		return evidence.OutcomeFail, "no binding denies: it warns or audits only", "Set the binding's validationActions to [Deny]."
	case len(p.Warnings) > 0:
		return evidence.OutcomeFail, "does not type-check in the cluster: " + strings.Join(p.Warnings, "; "), "Install the policy of a helmproof version that knows the cluster's version."
	case !p.TypeChecked:
		return evidence.OutcomeNotChecked, "has not been type-checked by the cluster yet", "Collect again in a minute; the controller manager checks it."
	case denies < 0:
		return evidence.OutcomeWarn, "is in force only where binding " + p.Bindings[partly].Name + " selects", "Bind the policy without selectors, or see that every namespace with workloads is selected."
	}
	return evidence.OutcomePass, "is in force: bound with Deny by " + p.Bindings[denies].Name, ""
}

// unsigned is how admission controllers that verify signatures say that there is
// none: sigstore policy-controller, Kyverno, Connaisseur, Ratify.
var unsigned = regexp.MustCompile(`(?i)(signature|signed|attestation|cosign|notar|image verification|failed policy|verify)`)

// signature decides ADM-5.
func (d *derivation) signature() error {
	var s Signature
	if err := d.Parse(signatureFile, &s); err != nil {
		return err
	}
	t := evidence.Target{Kind: "Cluster", Name: d.rel.Cluster}
	var hooks []string
	for _, w := range s.Webhooks {
		hooks = append(hooks, w.Name)
	}
	seen := "no webhook sees pods"
	if len(hooks) > 0 {
		seen = "webhooks that see pods: " + strings.Join(hooks, ", ")
	}
	const fix = "Install an admission controller that verifies signatures; charts/platform has policies for sigstore policy-controller and Kyverno."
	say := func(outcome evidence.Outcome, message string) {
		d.Add(RuleSignature, t, outcome, message, fix, d.Own(signatureFile, ""))
	}
	switch {
	case s.Answer == nil && s.Error == "" && len(hooks) == 0:
		say(evidence.OutcomeFail, seen+": nothing can verify signatures")
	case s.Answer == nil && s.Error != "":
		say(evidence.OutcomeNotChecked, "the cluster's webhooks could not be read: "+s.Error)
	case s.Answer == nil:
		say(evidence.OutcomeNotChecked, "no unsigned image was tried (--unsigned-image); "+seen)
	case unanswered(s.Answer) != "" && !unsigned.MatchString(s.Answer.Error):
		say(evidence.OutcomeNotChecked, unanswered(s.Answer))
	case s.Answer.Accepted:
		say(evidence.OutcomeFail, "the unsigned image "+s.Image+" is accepted in namespace "+s.Namespace+"; "+seen)
	case s.Answer.Error == "" && strings.Contains(s.Answer.Message, "admission webhook") && unsigned.MatchString(s.Answer.Message):
		say(evidence.OutcomePass, "the unsigned image "+s.Image+" is refused in namespace "+s.Namespace+": "+s.Answer.Message)
	default:
		say(evidence.OutcomeNotChecked, "the unsigned image is refused for another reason, which shows nothing: "+s.Answer.Message+s.Answer.Error)
	}
	return nil
}
