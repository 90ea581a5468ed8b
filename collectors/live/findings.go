package live

import (
	"fmt"
	"strconv"
	"strings"

	"helm.sh/helm/v4/pkg/release/common"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

type derivation struct {
	*collectors.Derivation
	rel *evidence.Release
}

// Findings derives the findings from what was seen.
func (collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, set, err := in.Rendered()
	if err != nil {
		return nil, err
	}
	d := &derivation{collectors.NewDerivation(in, Name, rules), rel}
	var stored chart.Stored
	if err := d.Parse(releaseFile, &stored); err != nil {
		return nil, err
	}
	var objects []Object
	if err := d.Parse(objectsFile, &objects); err != nil {
		return nil, err
	}
	if len(objects) != len(set.Objects) {
		return nil, fmt.Errorf("%s is about %d objects, the manifests hold %d", objectsFile, len(objects), len(set.Objects))
	}
	d.state(&stored)
	for i := range objects {
		o := &objects[i]
		if o.Index != i {
			return nil, fmt.Errorf("%s: object %d says that it is %d", objectsFile, i, o.Index)
		}
		d.object(&set.Objects[i], o)
	}
	for _, b := range set.Broken {
		d.Add(RuleObject, evidence.Target{Kind: "Release", Name: rel.ReleaseName, Namespace: rel.Namespace, File: b.File}, evidence.OutcomeNotChecked,
			"not a Kubernetes object, so that it cannot be looked for: "+b.Error, "Correct the template.", d.Own(objectsFile, ""))
	}
	return d.Out, nil
}

// state judges what Helm says of the release.
func (d *derivation) state(s *chart.Stored) {
	t := evidence.Target{Kind: "Release", Name: d.rel.ReleaseName, Namespace: d.rel.Namespace}
	say := func(outcome evidence.Outcome, message, fix string) {
		d.Add(RuleRelease, t, outcome, message, fix, d.Own(releaseFile, "/status"))
	}
	const again = "See helm history, and upgrade or roll back until the newest revision is deployed."
	newest := common.Status(s.NewestStatus)
	switch status := common.Status(s.Status); {
	case len(s.Deployed) > 1:
		list := make([]string, len(s.Deployed))
		for i, n := range s.Deployed {
			list[i] = strconv.Itoa(n)
		}
		say(evidence.OutcomeFail, "revisions "+strings.Join(list, ", ")+" all say that they are deployed", again)
	case status == common.StatusFailed:
		say(evidence.OutcomeFail, fmt.Sprintf("no revision is deployed: revision %d failed", s.Revision), again)
	case status.IsPending():
		say(evidence.OutcomeNotChecked, fmt.Sprintf("revision %d is %s: an operation is under way, or was broken off", s.Revision, status), "Collect again when it has ended; "+again)
	case status != common.StatusDeployed:
		say(evidence.OutcomeNotChecked, fmt.Sprintf("no revision is deployed: revision %d is %s", s.Revision, status), again)
	case s.NewestRevision == s.Revision:
		say(evidence.OutcomePass, fmt.Sprintf("revision %d is deployed", s.Revision), "")
	case newest.IsPending():
		say(evidence.OutcomeNotChecked, fmt.Sprintf("revision %d is deployed, but revision %d is %s: what runs may be of either", s.Revision, s.NewestRevision, newest), "Collect again when it has ended; "+again)
	default:
		say(evidence.OutcomeFail, fmt.Sprintf("revision %d is deployed, but revision %d after it is %s: what runs may be of either", s.Revision, s.NewestRevision, newest), again)
	}
}

// object judges one object.
func (d *derivation) object(o *manifest.Object, s *Object) {
	t := o.Target("")
	if s.Namespace != "" {
		t.Namespace = s.Namespace
	}
	at := fmt.Sprintf("/%d", s.Index)
	const fix = "Bring the change into the chart or its values, or upgrade the release so that the object is set back."
	say := func(outcome evidence.Outcome, message string) {
		d.Add(RuleObject, t, outcome, message, fix, d.Own(objectsFile, at))
	}
	drift, more := evidence.OutcomeFail, ""
	if chart.IsCRDFile(o.File) {
		drift, more = evidence.OutcomeWarn, " (Helm never updates what is in crds/)"
	}
	switch s.State {
	case StateHook:
		say(evidence.OutcomeNotApplicable, "a hook ("+strings.Join(o.Hooks(), ", ")+"): Helm makes it for one operation and does not keep it")
	case StateUnnamed:
		say(evidence.OutcomeNotChecked, "has generateName only: nothing says which live object it became")
	case StateUnserved:
		say(evidence.OutcomeFail, "the cluster does not serve "+o.GetAPIVersion()+" "+o.GetKind()+": the object cannot be there")
	case StateMissing:
		say(evidence.OutcomeFail, "is not in the cluster")
	case StateDiffers:
		for i := range s.Differences {
			at = fmt.Sprintf("/%d/differences/%d", s.Index, i)
			say(drift, s.Differences[i].text()+more+s.how())
		}
		if s.More > 0 {
			at = fmt.Sprintf("/%d/more", s.Index)
			say(drift, fmt.Sprintf("and %d further fields differ", s.More)+more)
		}
	case StateSame:
		if s.Owner != "" {
			break
		}
		message := "is as the release says"
		if s.Autoscaler != "" {
			message += "; its replicas are set by HorizontalPodAutoscaler " + s.Autoscaler
		}
		say(evidence.OutcomePass, message+s.how())
	default:
		say(evidence.OutcomeNotChecked, "could not be looked at: "+s.Error)
	}
	at = fmt.Sprintf("/%d/owner", s.Index)
	switch s.Owner {
	case "":
	case "none":
		say(evidence.OutcomeFail, "does not say that it belongs to the release: it was made again by something else than Helm")
	default:
		say(evidence.OutcomeFail, "says that it belongs to the release "+s.Owner)
	}
}

// how says where the API server was not the judge.
func (s *Object) how() string {
	if s.How == HowRead {
		return " (compared by reading; dry-run: " + s.NoDryRun + ")"
	}
	return ""
}

// text says what differs, and who did it.
func (d *Difference) text() string {
	var b strings.Builder
	b.WriteString(d.Pointer)
	switch {
	case d.Withheld:
		b.WriteString(" differs (values withheld)")
	case d.Live == "":
		b.WriteString(" is gone; the release sets " + d.Release)
	case d.Release == "":
		b.WriteString(" is " + d.Live + "; the release has nothing there")
	default:
		b.WriteString(" is " + d.Live + "; the release sets " + d.Release)
	}
	if len(d.Managers) > 0 {
		b.WriteString("; field manager " + strings.Join(d.Managers, ", "))
	}
	return b.String()
}
