package policy

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// custom judges what a custom resource stands for by the built-in policies: the
// pods that its controller makes of it, its images, and the autoscaler that KEDA
// or Knative makes. An admission policy in a cluster sees the pods when they are
// made. Policies of the user's own are about the kinds that they name.
func (s *policySet) custom(in *collectors.Sealed, w *world, o *manifest.Object, workloads []manifest.Workload, extra []manifest.ImageField, applied []atomic.Bool) ([]evidence.Finding, error) {
	var out []evidence.Finding
	for n, r := range s.policies {
		if !r.builtin {
			continue
		}
		var found []evidence.Finding
		var err error
		switch {
		case r.aboutPods():
			found, err = s.customPods(in, r, w, o, workloads, extra)
		case r.rule == ruleBounds || r.rule == ruleWindows:
			found, err = s.customScaler(in, r, w, o)
		}
		if err != nil {
			return nil, err
		}
		if len(found) > 0 {
			applied[n].Store(true)
			out = append(out, found...)
		}
	}
	return out, nil
}

// aboutPods reports whether the policy is about what all workloads have.
func (r *policyRule) aboutPods() bool {
	_, ok := r.versions[schema.GroupResource{Group: "apps", Resource: "deployments"}]
	return ok
}

func (s *policySet) customPods(in *collectors.Sealed, r *policyRule, w *world, o *manifest.Object, workloads []manifest.Workload, extra []manifest.ImageField) ([]evidence.Finding, error) {
	var out []evidence.Finding
	if r.rule == ruleImage {
		if found := fieldImages(o, extra); len(found) > 0 {
			out = append(out, r.report(in, o, found)...)
		}
	}
	for i := range workloads {
		load := &workloads[i]
		switch {
		case load.NoImages && r.rule == ruleImage:
			continue
		case load.As == nil:
			for _, f := range r.report(in, o, []result{{evidence.OutcomeNotChecked, load.Unknown}}) {
				f.Remediation = "Name its pod templates with podTemplates in helmproof.yaml."
				out = append(out, f)
			}
			continue
		case !load.Custom():
			continue
		}
		results, err := s.evaluate(r, w, w.subject(load.As))
		if err != nil {
			return nil, err
		}
		if len(results) == 0 {
			continue
		}
		results = append(results, r.beyond(w, load.As, results)...)
		said := r.reportAs(in, o, load.As, results)
		if r.rule == ruleImage {
			if said = operators(load, said); len(said) == 0 {
				said = r.report(in, o, []result{{outcome: evidence.OutcomePass}})
			}
		}
		for _, f := range said {
			if load.Guest && f.Outcome == evidence.OutcomeFail && f.Target.Container == "" {
				f.Outcome = evidence.OutcomeNotChecked
				f.Message = "its containers run in pods that something else writes, and may say itself: " + f.Message
			}
			f.Message = load.Where(f.Message)
			out = append(out, f)
		}
	}
	return out, nil
}

// noImage is what the policy about images says of a container without one.
const noImage = "image (none)"

// operators says that nobody knows the images that are left to an operator, and
// nothing of containers that are the operator's own.
func operators(load *manifest.Workload, said []evidence.Finding) []evidence.Finding {
	var out []evidence.Finding
	for _, f := range said {
		if strings.Contains(f.Message, noImage) {
			switch {
			case slices.Contains(load.Patched, f.Target.Container):
				continue
			case slices.Contains(load.Operators, f.Target.Container):
				f.Outcome, f.Message, f.Remediation = evidence.OutcomeNotChecked, "the image is left to the operator of "+load.Object.GetKind(), "Write the image, by its digest."
			}
		}
		out = append(out, f)
	}
	return out
}

// fieldImages judges the images that a custom resource names outside pod templates.
func fieldImages(o *manifest.Object, extra []manifest.ImageField) []result {
	var out []result
	for _, use := range o.FieldImages(extra) {
		switch problem := imageProblem(use.Image); {
		case use.Problem != "":
			out = append(out, result{evidence.OutcomeNotChecked, use.Problem})
		case problem != "":
			out = append(out, result{evidence.OutcomeFail, fmt.Sprintf("%s: image %s %s", use.At, use.Image, problem)})
		default:
			out = append(out, result{outcome: evidence.OutcomePass})
		}
	}
	return out
}

// customScaler judges the autoscaler that a custom resource stands for as the
// HorizontalPodAutoscaler that it is, or is like.
func (s *policySet) customScaler(in *collectors.Sealed, r *policyRule, w *world, o *manifest.Object) ([]evidence.Finding, error) {
	scaler := o.Autoscaler()
	switch {
	case scaler == nil || scaler.NoWindows && r.rule != ruleBounds:
		return nil, nil
	case scaler.Unknown != "":
		return r.report(in, o, []result{{evidence.OutcomeNotChecked, scaler.Unknown}}), nil
	}
	results, err := s.evaluate(r, w, w.subject(scaler.As))
	if err != nil || len(results) == 0 {
		return nil, err
	}
	if r.rule == ruleBounds && scaler.Paused != "" {
		results = append(results, result{evidence.OutcomeFail, "by " + scaler.Paused + " no autoscaler keeps its bounds"})
	}
	out := r.reportAs(in, o, scaler.As, results)
	for i := range out {
		out[i].Message = scaler.Words(out[i].Message)
		if out[i].Remediation != "" {
			out[i].Remediation = scaler.Words(out[i].Remediation)
		}
	}
	return out, nil
}
