package signatures

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// maxReasons bounds how many reasons a message lists.
const maxReasons = 4

// Findings verifies the sealed signatures of each image of the release.
func (*collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	d := collectors.NewDerivation(in, Name, rules)
	var rec record
	if err := d.Parse(recordFile, &rec); err != nil {
		return nil, err
	}
	set, err := sealedPolicies(in, &rec)
	if err != nil {
		return nil, err
	}
	j := &judge{Derivation: d, set: set, records: map[string]*imageRecord{}}
	for i := range rec.Images {
		j.records[rec.Images[i].Image] = &rec.Images[i]
	}
	if len(rec.Policies) == 0 && len(rel.Images) > 0 {
		j.Add(RuleVerified, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotChecked, "no signature policy was given", "Give one with --signature-policy.")
		return j.Out, nil
	}
	for _, image := range rel.Images {
		j.image(image)
	}
	if len(j.Out) == 0 {
		j.Add(RuleVerified, evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release runs no images", "")
	}
	return j.Out, nil
}

// sealedPolicies parses the policies that were sealed: those are what counts,
// whatever policies the collector was made with.
func sealedPolicies(in *collectors.Sealed, rec *record) (*policySet, error) {
	var files []PolicyFile
	for _, p := range rec.Policies {
		raw, err := in.Read(p.Artifact)
		if err != nil {
			return nil, err
		}
		files = append(files, PolicyFile{Name: p.Name, Raw: raw})
	}
	var tr []byte
	if rec.TrustedRoot != "" {
		var err error
		if tr, err = in.Read(rec.TrustedRoot); err != nil {
			return nil, err
		}
	}
	keys := map[string]serviceKey{}
	for _, k := range rec.Keys {
		s := serviceKey{problem: k.Problem}
		if s.problem == nil {
			var err error
			if s.pem, err = in.Read(k.Artifact); err != nil {
				return nil, err
			}
		}
		keys[k.Reference] = s
	}
	set, err := parsePolicies(files, tr, keys)
	if err != nil {
		return nil, err
	}
	for _, p := range set.policies {
		p.artifact = rec.Policies[p.file].Artifact
	}
	return set, nil
}

// judge derives the findings of one release.
type judge struct {
	*collectors.Derivation
	set     *policySet
	records map[string]*imageRecord
}

func (j *judge) add(image string, o evidence.Outcome, message, remediation string, at ...evidence.Pointer) {
	j.Add(RuleVerified, evidence.Target{Kind: "Image", Name: image}, o, message, remediation, at...)
}

func (j *judge) image(image string) {
	at := j.Own(recordFile, "")
	ref, err := name.ParseReference(image)
	if err != nil {
		j.add(image, evidence.OutcomeNotChecked, "not an image reference: "+err.Error(), "Correct the image's name.", at)
		return
	}
	digest, ok := ref.(name.Digest)
	if !ok {
		j.add(image, evidence.OutcomeNotChecked, "no digest: a signature is of a digest, and which one the tag will name is not known",
			"Write the image as name@sha256:… or name:tag@sha256:…", at)
		return
	}
	d, err := evidence.ParseDigest(digest.DigestStr())
	if err != nil {
		j.add(image, evidence.OutcomeNotChecked, err.Error(), "Write the image with its sha256 digest.", at)
		return
	}
	policies := j.set.matching(ref, image)
	if len(policies) == 0 {
		j.add(image, evidence.OutcomeNotChecked, "no signature policy matches "+ref.Name(), "Write a ClusterImagePolicy whose images match it, and give it with --signature-policy.", at)
		return
	}
	rec, ok := j.records[image]
	if !ok {
		j.add(image, evidence.OutcomeNotChecked, "nothing was fetched for it", "Collect again.", at)
		return
	}
	switch {
	case rec.Manifest.Problem != nil:
		j.add(image, evidence.OutcomeNotChecked, "the image could not be fetched: "+rec.Manifest.Problem.String(), rec.Manifest.Problem.Remediation(), at)
		return
	case rec.Manifest.Missing || rec.Manifest.Digest != d:
		j.add(image, evidence.OutcomeNotChecked, "the registry has no image of this digest", "Push the image with this digest, or correct the digest, and collect again.", at)
		return
	}
	if _, err := j.blob(d); err != nil {
		j.add(image, evidence.OutcomeNotChecked, "the image's manifest: "+err.Error(), "Collect again.", at)
		return
	}
	found := j.candidates(rec)
	for _, p := range policies {
		j.policy(image, d, p, found)
	}
}

// findings of one image and one policy.
func (j *judge) policy(image string, d evidence.Digest, p *policy, found *evidenceOf) {
	pointers := []evidence.Pointer{j.Pointer(p.artifact, "", "")}
	var reasons []string
	var unread *oci.Problem
	for _, a := range p.authorities {
		res := a.judge(found, d)
		if res.ok {
			for _, artifact := range res.artifacts {
				pointers = append(pointers, j.Pointer(artifact, "", ""))
			}
			j.add(image, evidence.OutcomePass, fmt.Sprintf("policy %s, authority %s: %s", p.name, a.name, strings.Join(res.reasons, "; ")), "", pointers...)
			return
		}
		if res.unread != nil && unread == nil {
			unread = res.unread
		}
		reasons = append(reasons, fmt.Sprintf("authority %s: %s", a.name, strings.Join(res.reasons, "; ")))
	}
	pointers = append(pointers, j.Own(recordFile, ""))
	message := fmt.Sprintf("policy %s: %s", p.name, strings.Join(reasons, "; "))
	switch {
	case unread != nil:
		j.add(image, evidence.OutcomeNotChecked, message, unread.Remediation(), pointers...)
	case p.warn:
		j.add(image, evidence.OutcomeWarn, message, "Sign the image by an identity or key of the policy.", pointers...)
	default:
		j.add(image, evidence.OutcomeFail, message, "Sign the image by an identity or key of the policy, or add its signer to the policy.", pointers...)
	}
}

// evidenceOf is what was found for one image.
type evidenceOf struct {
	candidates []candidate
	// unread are places that could not be read, in words.
	unread []unreadPlace
}

type unreadPlace struct {
	where, format string
	p             *oci.Problem
}

// result is what one authority says.
type result struct {
	ok        bool
	reasons   []string // why it holds, or why not
	artifacts []string
	unread    *oci.Problem // it might hold, had this been read
}

func (a *authority) judge(found *evidenceOf, image evidence.Digest) result {
	if a.unknown != nil {
		return result{reasons: []string{a.unknown.String()}, unread: a.unknown}
	}
	if len(a.attestations) == 0 {
		return a.one(found, image, "signature", (*candidate).signature)
	}
	out := result{ok: true}
	for _, at := range a.attestations {
		r := a.one(found, image, "attestation "+at.predicateType, func(c *candidate) bool { return c.predicateType == at.predicateType })
		if !r.ok && out.ok {
			out = result{} // why not is what counts from here on
		}
		if r.ok == out.ok {
			out.reasons = append(out.reasons, r.reasons...)
			out.artifacts = append(out.artifacts, r.artifacts...)
		}
		if r.unread != nil {
			out.unread = r.unread
		}
	}
	return out
}

// one looks for one signature or attestation that holds.
func (a *authority) one(found *evidenceOf, image evidence.Digest, what string, wanted func(*candidate) bool) result {
	var out result
	n := 0
	for i := range found.candidates {
		c := &found.candidates[i]
		if a.format == "legacy" && !c.legacy || a.format == "bundle" && c.legacy {
			continue
		}
		if c.unread != nil {
			out.unread = c.unread
			out.reasons = append(out.reasons, c.where+": "+c.unread.String())
			continue
		}
		if c.broken == "" && !wanted(c) {
			continue
		}
		who, err := a.check(c, image)
		if err == nil {
			return result{ok: true, reasons: []string{what + " " + who + ", " + c.where}, artifacts: []string{c.artifact}}
		}
		if n++; n <= maxReasons {
			out.reasons = append(out.reasons, c.where+": "+oci.Clip(err.Error()))
		}
	}
	if n > maxReasons {
		out.reasons = append(out.reasons, fmt.Sprintf("and %d more that do not hold", n-maxReasons))
	}
	for i := range found.unread {
		u := &found.unread[i]
		if a.format == "" || u.format == "" || a.format == u.format {
			out.unread = u.p
			out.reasons = append(out.reasons, u.where+": "+u.p.String())
		}
	}
	if len(out.reasons) == 0 {
		out.reasons = []string{"no " + what}
	}
	return out
}

// candidates reads what was sealed for one image, in a fixed order: tags, then
// bundles by the digest of their manifests.
func (j *judge) candidates(rec *imageRecord) *evidenceOf {
	out := new(evidenceOf)
	j.tag(out, rec, &rec.Signatures, ".sig")
	j.tag(out, rec, &rec.Attestations, ".att")
	j.bundles(out, rec)
	return out
}

func (j *judge) tag(out *evidenceOf, rec *imageRecord, f *oci.Fetched, suffix string) {
	where := "tag sha256-…" + suffix
	if f.Missing {
		return
	}
	if f.Problem != nil {
		out.unread = append(out.unread, unreadPlace{where, "legacy", f.Problem})
		return
	}
	m, err := j.manifest(f.Digest)
	if err != nil {
		out.candidates = append(out.candidates, candidate{where: where, legacy: true, broken: err.Error()})
		return
	}
	j.layers(out, rec, m, where, true)
}

func (j *judge) bundles(out *evidenceOf, rec *imageRecord) {
	const where = "referrers"
	unread := func(kind, text string) {
		out.unread = append(out.unread, unreadPlace{where, "bundle", &oci.Problem{Kind: kind, Text: text}})
	}
	if rec.Referrers.Problem != nil {
		out.unread = append(out.unread, unreadPlace{where, "bundle", rec.Referrers.Problem})
		return
	}
	raw, err := j.blob(rec.Referrers.Digest)
	if err != nil {
		unread(oci.Registry, err.Error())
		return
	}
	idx, err := parseIndex(raw)
	if err != nil {
		unread(oci.Registry, "the index of referrers cannot be read: "+err.Error())
		return
	}
	have := map[string]*oci.Fetched{}
	for i := range rec.Bundles {
		b := &rec.Bundles[i]
		_, d, _ := strings.Cut(b.Reference, "@")
		have[d] = b
	}
	list, all := bundlesOf(idx)
	if !all {
		unread(oci.TooLarge, fmt.Sprintf("more than %d bundles refer to the image", maxReferrers))
	}
	for _, d := range list {
		place := "referrer " + evidence.Digest(d).Short()
		b := have[d]
		switch {
		case b == nil:
			unread(oci.Missing, place+" was not fetched")
			continue
		case b.Problem != nil:
			unread(b.Problem.Kind, place+": "+b.Problem.Text)
			continue
		case b.Missing:
			unread(oci.Missing, place)
			continue
		case string(b.Digest) != d:
			unread(oci.Altered, place)
			continue
		}
		m, err := j.manifest(b.Digest)
		if err != nil {
			out.candidates = append(out.candidates, candidate{where: place, broken: err.Error()})
			continue
		}
		j.layers(out, rec, m, place, false)
	}
}

// layers reads the signatures of one manifest.
func (j *judge) layers(out *evidenceOf, rec *imageRecord, m *v1.Manifest, where string, legacy bool) {
	for i := range m.Layers {
		l := &m.Layers[i]
		if i == maxLayers {
			format := "bundle"
			if legacy {
				format = "legacy"
			}
			out.unread = append(out.unread, unreadPlace{where, format, &oci.Problem{Kind: oci.TooLarge, Text: fmt.Sprintf("more than %d layers", maxLayers)}})
			return
		}
		mt := string(l.MediaType)
		if !signatureLayer(mt) || legacy == strings.HasPrefix(mt, bundlePrefix) {
			continue
		}
		c := candidate{where: where, legacy: legacy}
		if len(m.Layers) > 1 {
			c.where = fmt.Sprintf("%s layer %d", where, i+1)
		}
		raw, err := j.blob(evidence.Digest(l.Digest.String()))
		switch p, failed := rec.Problems[l.Digest.String()]; {
		case err != nil && failed:
			c.unread = &p
		case err != nil:
			c.unread = &oci.Problem{Kind: oci.Registry, Text: err.Error()}
		default:
			c.artifact = folder + blobName(evidence.Digest(l.Digest.String()))
			if legacy {
				err = c.readLegacy(l, raw)
			} else {
				err = c.readBundle(raw)
			}
			if err != nil {
				c.broken = err.Error()
			}
		}
		out.candidates = append(out.candidates, c)
	}
}

// manifest parses a sealed manifest.
func (j *judge) manifest(d evidence.Digest) (*v1.Manifest, error) {
	raw, err := j.blob(d)
	if err != nil {
		return nil, err
	}
	m := new(v1.Manifest)
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, fmt.Errorf("its manifest cannot be read: %w", err)
	}
	return m, nil
}

// blob returns sealed bytes, which have to be those of the digest.
func (j *judge) blob(d evidence.Digest) ([]byte, error) {
	raw, err := j.Read(folder + blobName(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not in the evidence", d)
	}
	if err != nil {
		return nil, err
	}
	if have := evidence.DigestOf(raw); have != d {
		return nil, fmt.Errorf("the sealed bytes of %s are others (%s): altered, or redacted because a secret is in them", d, have)
	}
	return raw, nil
}
