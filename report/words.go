package report

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

func controlsOf(groups []Group) [][]Control {
	out := make([][]Control, 0, len(groups))
	for _, g := range groups {
		out = append(out, g.Controls)
	}
	return out
}

func countMarks(cs []Control) []Count {
	out := make([]Count, len(controlMarks))
	for i, m := range controlMarks {
		out[i].Mark = m
		for _, c := range cs {
			if c.Mark.Key == m.Key {
				out[i].N++
			}
		}
	}
	return out
}

// reasons are the controls that stand between the release and a PASS.
func reasons(groups []Group) []Control {
	var out []Control
	for _, g := range groups {
		for _, c := range g.Controls {
			if c.Mark.Key == MarkFail.Key || c.Mark.Key == MarkIncomplete.Key {
				out = append(out, c)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Control) int {
		return cmp.Or(compareRequired(a.Required, b.Required), compareRequired(a.Mark.Key == MarkFail.Key, b.Mark.Key == MarkFail.Key),
			cmp.Compare(a.Severity.Rank(), b.Severity.Rank()))
	})
	return out
}

// conclusion says in one line what the plot of groups shows. It counts all
// required controls, as the verdict's reason does; those of them that do not apply
// are named beside.
func conclusion(o evidence.VerdictOutcome, groups []Group) string {
	n := map[string]int{}
	required, worst, worstN := 0, "", 0
	for _, g := range groups {
		bad := 0
		for _, c := range g.Controls {
			if !c.Required {
				continue
			}
			n[c.Mark.Key]++
			required++
			if c.Mark.Key == MarkFail.Key {
				bad++
			}
		}
		switch {
		case bad > worstN:
			worst, worstN = g.Title, bad
		case bad == worstN:
			worst = "" // no one group stands out
		}
	}
	beside := ""
	if na := n[MarkNotApplicable.Key]; na > 0 {
		if required == na {
			return fmt.Sprintf("None of %s applies", plural(na, "required control"))
		}
		beside = fmt.Sprintf("; %d", na) + verb(na, " does not apply", " do not apply")
	}
	if required == 0 {
		return "No control was required"
	}
	failed, open := n[MarkFail.Key], n[MarkIncomplete.Key]
	switch {
	case failed > 0:
		s := fmt.Sprintf("%d of %s", failed, plural(required, "required control")) + verb(failed, " fails", " fail")
		if worst != "" && worstN > 1 && worstN < failed {
			s += fmt.Sprintf(", %d of them in %s", worstN, worst)
		}
		return s + beside
	case open > 0:
		return fmt.Sprintf("%d of %s could not be checked; none failed", open, plural(required, "required control")) + beside
	case o != evidence.VerdictPass:
		return fmt.Sprintf("%d of %s pass", n[MarkPass.Key], plural(required, "required control")) + beside
	}
	s := fmt.Sprintf("None of %s fails", plural(required, "required control"))
	if w := n[MarkWaived.Key]; w > 0 {
		s += fmt.Sprintf("; %d by waiver", w)
	}
	return s + beside
}

func verb(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// plural writes "1 control", "2 controls".
func plural(n int, noun string) string {
	return strconv.Itoa(n) + " " + verb(n, noun, noun+"s")
}

func selectorText(s evidence.Selector) string {
	var parts []string
	add := func(label, v string) {
		if v != "" {
			parts = append(parts, label+" "+v)
		}
	}
	add("kind", s.Kind)
	add("name", s.Name)
	add("namespace", s.Namespace)
	add("container", s.Container)
	add("rule", s.Rule)
	if len(parts) == 0 {
		return "all targets"
	}
	return strings.Join(parts, ", ")
}

// sourceText says what was judged, by the word that release.json has for it.
func sourceText(source string) string {
	switch source {
	case "chart":
		return "a chart, rendered with the values of this digest"
	case "manifests":
		return "plain manifests"
	case "release":
		return "a live release, as Helm stored it in the cluster"
	}
	return source
}

func facts(in Input) []Fact {
	r := in.Release
	out := []Fact{}
	add := func(label, value string, mono bool) {
		if value != "" {
			out = append(out, Fact{label, value, mono})
		}
	}
	name := strings.TrimSpace(r.Chart + " " + r.Version)
	switch {
	case r.Scope == evidence.ScopeCluster: // named by its fingerprint, below
	case r.Source == "manifests":
		add("Manifests", name, false)
	default:
		add("Chart", name, false)
	}
	add("App version", r.AppVersion, false)
	if r.Scope != evidence.ScopeCluster {
		add("Release", r.ReleaseName, false)
	}
	add("Namespace", r.Namespace, false)
	if r.Scope == evidence.ScopeRelease || r.Scope == "" {
		add("Source", sourceText(r.Source), false)
		add("Values", string(r.ValuesDigest), true)
	}
	add("Cluster", r.Cluster, true)
	add("Kubernetes", r.KubeVersion, false)
	profile := in.Runs.ProfileName(in.Verdict.Profile, in.Verdict.ProfileDigest)
	if in.Profile != nil && in.Profile.Title != "" && in.Profile.Title != in.Verdict.Profile {
		profile += " – " + in.Profile.Title
	}
	if in.Profile != nil {
		profile += strings.TrimPrefix(in.Profile.Text(), in.Profile.Name)
	}
	add("Profile", profile, false)
	switch r.Bound {
	case evidence.BoundToManifests:
		add("Bound to", "chart, values and manifests, by digest", false)
	case evidence.BoundToName:
		add("Bound to", "the chart's name only: what is deployed was not compared", false)
	case evidence.BoundToImage:
		add("Bound to", "image "+string(r.BoundImage), true)
	}
	add("Evaluated", Time(in.Verdict.EvaluatedAt), false)
	if in.BundleID != "" {
		add("Evidence", string(in.BundleID), true)
		add("Signer key", cmp.Or(in.SignerKeyID, "not stated"), true)
	} else {
		add("Evidence", "not sealed", false)
	}
	return out
}

func digests(in Input) []Fact {
	r := in.Release
	var out []Fact
	add := func(label string, d evidence.Digest) {
		if d != "" {
			out = append(out, Fact{label, string(d), true})
		}
	}
	add("Evidence (evidence.zip)", in.BundleID)
	add("Chart files", r.ChartDigest)
	add("Chart archive", r.ArchiveDigest)
	add("Values", r.ValuesDigest)
	add("Rendered manifests", r.ManifestsDigest)
	if r.SealedManifestsDigest != r.ManifestsDigest {
		add("Rendered manifests as sealed, secrets redacted", r.SealedManifestsDigest)
	}
	add("Profile", in.Verdict.ProfileDigest)
	add("Catalog", in.Verdict.CatalogDigest)
	return out
}

func limits(in Input, outside int) []string {
	out := []string{
		"The evidence proves what was seen, by whom and when. It does not prove that the machine that looked was honest.",
	}
	if in.Release.Scope == evidence.ScopeRelease || in.Release.Scope == "" {
		if in.Release.Cluster == "" {
			out = append(out, "Judged from the rendering with the values named here. No cluster was asked: what runs may differ, and admission in the cluster was not tested.")
		}
		if in.Release.Source == "manifests" {
			out = append(out, "Plain manifests were judged: how they were rendered, and from what, is not known. Chart controls do not apply.")
		}
	}
	if n := in.Release.Redactions; n > 0 {
		out = append(out, fmt.Sprintf("%s redacted before sealing. The digest of the true rendered manifests is named beside that of the sealed ones.",
			plural(n, "secret value")+verb(n, " was", " were")))
	}
	if outside > 0 {
		out = append(out, fmt.Sprintf("The profile does not ask for %s of the catalog; nothing is said about them.", plural(outside, "other control")))
	}
	if in.BundleID == "" {
		out = append(out, "Nothing was sealed or signed: this report cannot be verified later.")
	} else {
		out = append(out, "A key alone does not prove when. The times here are those of the machine that looked, unless helmproof verify reports a timestamp authority.")
	}
	return out
}

func verifySteps(in Input) []Step {
	if in.BundleID == "" {
		return []Step{{
			Title:   "Seal the evidence first",
			Command: "helmproof collect CHART",
			Note:    "This report comes from a check that stored nothing. collect runs the same checks, seals and signs the evidence, and prints the bundle id to verify.",
		}}
	}
	id := in.BundleID.Hex()
	return []Step{
		{"Verify everything", "helmproof verify " + id,
			"Checks the signature and its signer, derives every finding and the verdict again from the sealed artifacts, and checks the reports. Needs no network. Without the repository: helmproof verify evidence.zip --trust and the signer's public key."},
		{"Compare the digest", "sha256sum evidence.zip",
			"Prints " + id + ", the evidence digest on every page of this report."},
		{"Verify the signature without helmproof", "cosign verify-blob-attestation --key cosign.pub --bundle evidence.sigstore.json --insecure-ignore-tlog=true --type " + PredicateType + " evidence.zip",
			"With the signer's public key. The flag keeps cosign offline: the signature rests on the key, not on a public transparency log."},
		{"Read the evidence", "unzip evidence.zip -d evidence",
			"findings.json, verdict.json and the raw artifacts that each finding points to."},
	}
}

func bundleInputs(results []evidence.ControlResult) []BundleInput {
	var out []BundleInput
	at := map[evidence.Digest]int{}
	for _, r := range results {
		for _, e := range r.Evidence {
			i, ok := at[e.Bundle]
			if !ok {
				i = len(out)
				at[e.Bundle] = i
				out = append(out, BundleInput{Bundle: e.Bundle, Scope: string(e.Scope), EvaluatedAt: e.EvaluatedAt.UTC()})
			}
			out[i].Controls = append(out[i].Controls, string(r.Control))
		}
	}
	return out
}

func runs(in evidence.Runs) []Run {
	out := make([]Run, 0, len(in.Collectors))
	for _, r := range in.Collectors {
		v := Run{Collector: r.Collector, Mark: FindingMark(r.Outcome), Error: r.Error, Started: r.StartedAt.UTC(), Took: r.FinishedAt.Sub(r.StartedAt)}
		if r.Outcome == evidence.OutcomePass {
			v.Mark.Word = "RAN"
		}
		out = append(out, v)
	}
	return out
}
