package images

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// view returns what the sealed answers of the registry say of an image.
func (j *judge) view(image string, p parsedImage) view {
	return viewOf(j.record(image), p, j.blob)
}

func (j *judge) record(image string) *imageRecord {
	for i := range j.rec.Images {
		if j.rec.Images[i].Image == image {
			return &j.rec.Images[i]
		}
	}
	return nil
}

func (j *judge) blob(d evidence.Digest) ([]byte, error) {
	raw, err := j.Read(folder + blobName(d))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s is not in the evidence", d)
	}
	return raw, err
}

// pins says of each image what its digest and its tag name in the registry.
func (j *judge) pins() {
	for _, image := range j.images {
		at := []evidence.Pointer{j.Own(recordFile, "")}
		add := func(o evidence.Outcome, message, remediation string) {
			j.Add(RulePin, j.image(image), o, message, remediation, at...)
		}
		p, err := parseImage(image)
		if err != nil {
			add(evidence.OutcomeNotChecked, err.Error(), "Correct the image's name.")
			continue
		}
		rec := j.record(image)
		v := j.view(image, p)
		switch {
		case rec == nil:
			add(evidence.OutcomeNotChecked, "the registry was not asked about it", "Collect with --resolve.")
		case v.missing && p.digest != "":
			add(evidence.OutcomeFail, fmt.Sprintf("the registry does not have %s", p.digest), "Push the image with this digest, or correct the digest.")
		case v.missing:
			add(evidence.OutcomeFail, fmt.Sprintf("the registry has no tag %s", p.tag), "Correct the image's tag, and write its digest.")
		case v.problem != "":
			add(evidence.OutcomeNotChecked, v.problem, j.unread(rec))
		default:
			if rec.Manifest.Digest != "" {
				at = append(at, j.Pointer(folder+blobName(rec.Manifest.Digest), "", ""))
			}
			j.pinned(p, rec, &v, add)
		}
	}
}

func (j *judge) unread(rec *imageRecord) string {
	if rec.Manifest.Problem != nil {
		return rec.Manifest.Problem.Remediation()
	}
	return "Collect again with --resolve."
}

// pinned says of an image that is in the registry what it is.
func (j *judge) pinned(p parsedImage, rec *imageRecord, v *view, add func(evidence.Outcome, string, string)) {
	if p.digest == "" {
		add(evidence.OutcomeWarn, fmt.Sprintf("tag %s names %s now, and any other later", p.tag, v.digest), fmt.Sprintf("Write the image as %s:%s@%s", p.repo.Name(), p.tag, v.digest))
		return
	}
	what := "an index of " + strings.Join(v.listed, ", ")
	if !v.index {
		what = "one image"
		for platform := range v.platforms {
			if platform != "" {
				what = "the image for " + platform + " alone"
			}
		}
	}
	message := fmt.Sprintf("%s is %s", v.digest.Short(), what)
	for _, s := range rec.SBOMs {
		if s.Problem == nil {
			message += fmt.Sprintf("; %s SBOM %s attached", s.Format, s.Digest)
		}
	}
	for _, want := range j.policy.Platforms {
		if _, ok := v.of(want); !ok && hasPlatform(v.listed, want) {
			add(evidence.OutcomeNotChecked, fmt.Sprintf("%s: the registry was not asked for its image for %s", message, want), "Collect with --platform "+want+".")
			return
		}
		if !slices.ContainsFunc(sortedKeys(v.platforms), func(have string) bool { return have == "" || samePlatform(have, want) }) {
			add(evidence.OutcomeFail, fmt.Sprintf("%s: nothing in it runs on %s", message, want), "Build the image for this platform, or name those that the release runs on with --platform.")
			return
		}
	}
	switch t := rec.Tag; {
	case t == nil:
		add(evidence.OutcomePass, message, "")
	case t.Problem != nil:
		add(evidence.OutcomeWarn, fmt.Sprintf("%s; tag %s was not read: %s", message, p.tag, t.Problem), t.Problem.Remediation())
	case t.Missing:
		add(evidence.OutcomeWarn, fmt.Sprintf("%s; the registry has no tag %s any more", message, p.tag), "Correct the tag: it is what people read.")
	case t.Digest != p.digest:
		add(evidence.OutcomeWarn, fmt.Sprintf("%s; tag %s moved since the pin: it names %s now", message, p.tag, t.Digest.Short()),
			fmt.Sprintf("Look at what changed, and pin %s:%s@%s.", p.repo.Name(), p.tag, t.Digest))
	default:
		add(evidence.OutcomePass, fmt.Sprintf("%s; tag %s names it", message, p.tag), "")
	}
}
