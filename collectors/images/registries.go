package images

import (
	"fmt"
	"path"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/companyos/helmproof/evidence"
)

const dockerHub = "docker.io"

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

// registries holds each use of an image to the allow-list (IMG-5).
func (j *judge) registries() {
	add := func(t evidence.Target, o evidence.Outcome, message, remediation string, at ...evidence.Pointer) {
		j.Add(RuleRegistry, t, o, message, remediation, at...)
	}
	const correct = "Correct the manifest."
	for _, b := range j.broken {
		add(evidence.Target{File: b.File, Line: b.Line}, evidence.OutcomeNotChecked, "images unknown, for it is no Kubernetes object: see CHT-3", correct, j.Lines(b.From, b.To))
	}
	if len(j.policy.Registries) == 0 {
		add(j.chart(), evidence.OutcomeNotChecked, "no allow-list of registries was given", "Name the registries that are allowed with --registry-allow.")
		return
	}
	list := j.Own(policyFile, "/registries")
	for _, u := range j.uses {
		t, at := u.object.Target(u.Container), j.Lines(u.object.From, u.object.To)
		if u.Problem != "" {
			add(t, evidence.OutcomeNotChecked, u.Problem, correct, at)
			continue
		}
		ref, err := name.ParseReference(u.Image)
		if err != nil {
			add(t, evidence.OutcomeNotChecked, "not an image reference: "+err.Error(), "Correct the image's name.", at)
			continue
		}
		by := ""
		for _, p := range j.policy.Registries {
			if Allowed(p, ref.Context()) {
				by = p
				break
			}
		}
		if by == "" {
			add(t, evidence.OutcomeFail, fmt.Sprintf("image %s: no pattern of the allow-list matches %s", u.Image, ref.Context().Name()),
				"Mirror the image to an allowed registry, or add its registry with --registry-allow.", at, list)
			continue
		}
		add(t, evidence.OutcomePass, fmt.Sprintf("image %s: allowed by %s", u.Image, by), "", at, list)
	}
	if len(j.uses)+len(j.broken) == 0 {
		add(j.chart(), evidence.OutcomeNotApplicable, "the release runs no images", "")
	}
}
