// Package images judges the images that a release runs by where they come from.
//
// Collect seals the allow-list of registries; Findings holds every image of the
// rendered manifests to it. Vulnerability scans (IMG-2, IMG-3) are not judged
// here: the gate finds no evidence for those controls.
package images

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
)

// Name is the collector's name.
const Name = "images"

// RuleRegistry holds for an image that a pattern of the allow-list matches.
const RuleRegistry = "images/registry"

var controls = []evidence.ControlID{"IMG-5"}

const (
	folder     = "artifacts/" + Name + "/"
	policyFile = "policy.json"
	dockerHub  = "docker.io"
)

// Options is what images are judged by. The zero value is enough to derive
// findings again: the allow-list is sealed.
type Options struct {
	// Registries are the patterns of the allow-list, as Allowed takes them.
	Registries []string
}

// sealedPolicy is policy.json.
type sealedPolicy struct {
	Registries []string `json:"registries"`
}

type collector struct{ o Options }

// New returns the collector; the error names the pattern that is wrong.
func New(o Options) (collectors.Collector, error) {
	for _, p := range o.Registries {
		if err := checkPattern(p); err != nil {
			return nil, err
		}
	}
	return &collector{o: o}, nil
}

func (*collector) Name() string { return Name }

// Collect seals the allow-list.
func (c *collector) Collect(_ context.Context, _ collectors.Input, out evidence.ArtifactWriter) error {
	if len(c.o.Registries) == 0 {
		return errors.New("no allow-list of registries: give --registry-allow PATTERN")
	}
	raw, err := json.MarshalIndent(sealedPolicy{Registries: c.o.Registries}, "", "  ")
	if err != nil {
		return fmt.Errorf("allow-list of registries: %w", err)
	}
	return out.Write(policyFile, append(raw, '\n'))
}

// checkPattern refuses patterns that could match nothing, or not what they seem to.
func checkPattern(p string) error {
	bad := func(why string) error {
		return fmt.Errorf("registry pattern %q: %s; write a registry such as ghcr.io or *.example.com, or one with the start of a repository such as ghcr.io/team", p, why)
	}
	if strings.ContainsAny(p, "@ \t\n") || strings.Contains(p, "://") {
		return bad("not a registry or repository")
	}
	for _, part := range strings.Split(p, "/") {
		if part == "" {
			return bad("an empty part")
		}
		if strings.Contains(part, "**") {
			return bad("** is not known: a pattern matches all repositories below it")
		}
		if _, err := path.Match(part, ""); err != nil {
			return bad(err.Error())
		}
	}
	return nil
}

// Allowed reports whether the pattern matches a repository. A pattern is a
// registry, or a registry and the first parts of the repository's name; each
// part is a glob (path.Match) of exactly one part. Docker Hub is docker.io.
func Allowed(pattern string, repo name.Repository) bool {
	host := strings.ToLower(repo.RegistryStr())
	if host == name.DefaultRegistry {
		host = dockerHub
	}
	parts := append([]string{host}, strings.Split(repo.RepositoryStr(), "/")...)
	want := strings.Split(pattern, "/")
	want[0] = strings.ToLower(want[0])
	if want[0] == name.DefaultRegistry {
		want[0] = dockerHub
	}
	if len(want) > len(parts) {
		return false
	}
	for i, w := range want {
		if ok, err := path.Match(w, parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// Findings holds each image of the rendered manifests to the sealed allow-list.
func (*collector) Findings(in *collectors.Sealed) ([]evidence.Finding, error) {
	raw, err := in.Read(folder + policyFile)
	if err != nil {
		return nil, err
	}
	var pol sealedPolicy
	if err := json.Unmarshal(raw, &pol); err != nil {
		return nil, fmt.Errorf("parse %s: %w", policyFile, err)
	}
	if len(pol.Registries) == 0 {
		return nil, fmt.Errorf("%s: no patterns", policyFile)
	}
	for _, p := range pol.Registries {
		if err := checkPattern(p); err != nil {
			return nil, fmt.Errorf("%s: %w", policyFile, err)
		}
	}
	rel, err := in.Release()
	if err != nil {
		return nil, err
	}
	set, err := in.Objects()
	if err != nil {
		return nil, err
	}
	var out []evidence.Finding
	add := func(t evidence.Target, o evidence.Outcome, message, remediation string, at ...evidence.Pointer) {
		out = append(out, evidence.Finding{Rule: RuleRegistry, Controls: controls, Target: t, Outcome: o,
			Severity: evidence.SeverityMedium, Message: message, Remediation: remediation, Evidence: at})
	}
	manifests := func(from, to int) evidence.Pointer {
		return in.Pointer(collectors.ManifestsFile, "", fmt.Sprintf("%d-%d", from, to))
	}
	for _, b := range set.Broken {
		add(evidence.Target{File: b.File, Line: b.Line}, evidence.OutcomeNotChecked, "images unknown: "+b.Error,
			"Correct the manifest.", manifests(b.From, b.To))
	}
	list := in.Pointer(folder+policyFile, "/registries", "")
	for i := range set.Objects {
		o := &set.Objects[i]
		for _, u := range o.ImageUses(nil) {
			t, at := o.Target(u.Container), manifests(o.From, o.To)
			if u.Problem != "" {
				add(t, evidence.OutcomeNotChecked, u.Problem, "Correct the manifest.", at)
				continue
			}
			outcome, message, remediation := judge(u.Image, pol.Registries)
			add(t, outcome, message, remediation, at, list)
		}
	}
	if len(out) == 0 {
		add(evidence.Target{Kind: "Chart", Name: rel.Chart}, evidence.OutcomeNotApplicable, "the release runs no images", "")
	}
	return out, nil
}

func judge(image string, patterns []string) (o evidence.Outcome, message, remediation string) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return evidence.OutcomeNotChecked, "not an image reference: " + err.Error(), "Correct the image's name."
	}
	for _, p := range patterns {
		if Allowed(p, ref.Context()) {
			return evidence.OutcomePass, fmt.Sprintf("image %s: allowed by %s", image, p), ""
		}
	}
	return evidence.OutcomeFail, fmt.Sprintf("image %s: no pattern of the allow-list matches %s", image, ref.Context().Name()),
		"Mirror the image to an allowed registry, or add its registry with --registry-allow."
}
