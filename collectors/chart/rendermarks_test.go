package chart

import (
	"strings"
	"testing"
)

// TestActsOnNumbers: a template that acts on one patch version, one suffix or one
// revision, by whatever ways it gets there, is not taken at its word.
func TestActsOnNumbers(t *testing.T) {
	t.Parallel()
	const evil = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"}}`
	for template, want := range map[string]string{
		`{{ if eq .Capabilities.KubeVersion.Version "v1.33.4-gke.1" }}` + evil + `{{ end }}`:                                                                      byPatch,
		`{{ if eq "v1.37.4" .Capabilities.KubeVersion.GitVersion }}` + evil + `{{ end }}`:                                                                         byPatch,
		`{{ if .Capabilities.KubeVersion.Version | eq "v1.37.4" }}` + evil + `{{ end }}`:                                                                          byPatch,
		`{{ if eq (toString .Capabilities.KubeVersion) "v1.37.4" }}` + evil + `{{ end }}`:                                                                         byPatch,
		`{{ $v := .Capabilities.KubeVersion.Version }}{{ if eq $v "v1.37.4" }}` + evil + `{{ end }}`:                                                              byPatch,
		`{{ if has .Capabilities.KubeVersion.Version (list "v1.37.4") }}` + evil + `{{ end }}`:                                                                    byPatch,
		`{{ if hasKey (dict "v1.37.4" 1) .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                               byPatch,
		`{{ if contains "v1.37.4-gke.1" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                byPatch,
		`{{ if contains "-acme" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                        byPatch,
		`{{ if hasSuffix ".4" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                          byPatch,
		`{{ if regexMatch "^v1\\.37\\.[02]" .Capabilities.KubeVersion.Version }}{{ else }}` + evil + `{{ end }}`:                                                  byPatch,
		`{{ if regexFind "gke\\.17$" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                   byPatch,
		`{{ if eq (trunc 7 .Capabilities.KubeVersion.Version) "v1.37.4" }}` + evil + `{{ end }}`:                                                                  byPatch,
		`{{ if eq "evil" (replace "v1.37.4" "evil" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}`:                                                    byPatch,
		`{{ if gt (len (splitList "4-gke" .Capabilities.KubeVersion.Version)) 1 }}` + evil + `{{ end }}`:                                                          byPatch,
		`{{ if eq (int (semver .Capabilities.KubeVersion.Version).Patch) 4 }}` + evil + `{{ end }}`:                                                               byPatch,
		`{{ if (semver .Capabilities.KubeVersion.Version).Equal (semver "v1.37.4") }}` + evil + `{{ end }}`:                                                       byPatch,
		`{{ if semverCompare "=1.37.4" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                 byPatch,
		`{{ if semverCompare ">=1.37.20-0" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                             byPatch,
		`{{ if semverCompare "=1.37.4-gke.1" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                           byPatch,
		`{{ if semverCompare "=1.37.4" (include "v" .) }}` + evil + `{{ end }}{{ define "v" }}{{ default .Capabilities.KubeVersion.Version .Values.v }}{{ end }}`: byPatch,
		`{{ if semverCompare (print "=1.37" ".4") .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                      byPatch,
		`{{ if eq (sha256sum .Capabilities.KubeVersion.Version) "00" }}` + evil + `{{ end }}`:                                                                     byPatch,
		`{{ tpl "{{ if eq .Capabilities.KubeVersion.Version \"v1.37.4\" }}x{{ end }}" . }}`:                                                                       byPatch,

		`{{ include "h" (dict "x" .Release.Revision) }}{{ define "h" }}{{ if eq (int .x) 17 }}` + evil + `{{ end }}{{ end }}`:           byNumber,
		`{{ include "h" (list .Release.Revision) }}{{ define "h" }}{{ if eq (toString (first .)) "17" }}` + evil + `{{ end }}{{ end }}`: byNumber,
		`{{ include "h" .Release }}{{ define "h" }}{{ if eq (int .Revision) 17 }}` + evil + `{{ end }}{{ end }}`:                        byNumber,
		`{{ if eq (include "h" .) "r17" }}` + evil + `{{ end }}{{ define "h" }}{{ printf "r%d" .Release.Revision }}{{ end }}`:           byNumber,
		`{{ if eq (include "h" . | b64enc) "MTc=" }}` + evil + `{{ end }}{{ define "h" }}{{ .Release.Revision }}{{ end }}`:              byNumber,
		`{{ if hasSuffix "7" (include "h" .) }}` + evil + `{{ end }}{{ define "h" }}{{ .Release.Revision }}{{ end }}`:                   byNumber,
		`{{ if contains "17" (tpl "{{ .Revision }}" .Release) }}` + evil + `{{ end }}`:                                                  byNumber,
		`{{ tpl "{{ if .r.IsUpgrade }}{{ .e }}{{ end }}" (dict "r" .Release "e" ` + "`" + evil + "`" + `) }}`:                           "Pod evil, which an install does not",
		`{{ include "h" (dict "r" .Release) }}{{ define "h" }}{{ if .r.IsUpgrade }}` + evil + `{{ end }}{{ end }}`:                      "Pod evil, which an install does not",

		`{{ if semverCompare "=1.037.4" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                      byPatch,
		`{{ if dig "IsUpgrade" false (omit (index . "Release") "Revision") }}` + evil + `{{ end }}`:                     "Pod evil, which an install does not",
		`{{ if dig "a" "IsUpgrade" false (dict "a" (index . "Release")) }}` + evil + `{{ end }}`:                        "Pod evil, which an install does not",
		`{{ if eq 17 (dig "a" (print "Revi" "sion") 0 (dict "a" (index . "Release"))) }}` + evil + `{{ end }}`:          byNumber,
		`{{ if index (dict "a" (index . "Release")) "a" (print "IsUp" "grade") }}` + evil + `{{ end }}`:                 "Pod evil, which an install does not",
		`{{ if eq 17 (index (list (dict "r" (index . "Release"))) 0 "r" (print "Revi" "sion")) }}` + evil + `{{ end }}`: byNumber,
		`{{ if eq 17 (print "Revi" "sion" | index (dict "r" (index . "Release")) "r") }}` + evil + `{{ end }}`:          byNumber,
		`{{ $_ := set .Values "r" (index . "Release") }}{{ if eq 17 .Values.r.Revision }}` + evil + `{{ end }}`:         byNumber,
		`{{ $d := dict "Values" (index . "Release") }}{{ if eq 17 $d.Values.Revision }}` + evil + `{{ end }}`:           byNumber,

		`{{ define "h" }}{{ .Release.Revision }}{{ end }}{{ if eq 0 (int (trimPrefix "17" (include "h" .))) }}` + evil + `{{ end }}`:                                                byNumber,
		`{{ define "h" }}{{ .Release.Revision }}{{ end }}{{ if not (trimPrefix "17" (include "h" .)) }}` + evil + `{{ end }}`:                                                       byNumber,
		`{{ define "h" }}{{ .Release.Revision }}{{ end }}{{ if eq 1 (int (regexReplaceAll "^17$" (include "h" .) "1")) }}{{ if .Release.IsUpgrade }}` + evil + `{{ end }}{{ end }}`: byNumber,
		`{{ if not (trimPrefix "v1.37.4" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}`:                                                                                byPatch,
		`{{ if not (trimPrefix "v1.37.4-gke.100" .Capabilities.KubeVersion.Version) }}` + evil + `{{ end }}`:                                                                        byPatch,

		`{{ define "h" }}{{ .Release.Revision }}{{ end }}{{ printf "job-%s" (include "h" .) | trunc 63 | trimSuffix "-" | replace "+" "_" | upper | quote }}{{ if .Release.IsUpgrade }}{{ end }}`: "",
		`{{ if eq 17 (int (index (dict "a" (dict "b" 17)) "a" (print "b"))) }}{{ end }}{{ $_ := set .Values "Revision" 17 }}{{ if eq 17 (int .Values.Revision) }}{{ end }}`:                       "",
		`{{ if semverCompare ">=1.19-0" (include "v" .) }}` + evil + `{{ end }}{{ define "v" }}{{ default .Capabilities.KubeVersion.Version .Values.v }}{{ end }}`:                                "",
		`{{ if semverCompare ">=1.37.0-0" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                                              "",
		`{{ if semverCompare "<1.21.5-0" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                                               "",
		`{{ if hasPrefix "v1.25" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                                                       "",
		`{{ if regexMatch "^v\\d+\\.\\d+$" .Capabilities.KubeVersion.Version }}` + evil + `{{ end }}`:                                                                                             "",
		`{{ $v := regexReplaceAll "[-+].*$" .Capabilities.KubeVersion.Version "" | trimPrefix "v" }}{{ if semverCompare ">=1.20" $v }}` + evil + `{{ end }}`:                                      "",
		`{{ if ge (index (splitList "." .Capabilities.KubeVersion.Version) 1 | int) 20 }}` + evil + `{{ end }}`:                                                                                   "",
		`{{ if ge (int (semver .Capabilities.KubeVersion.Version).Minor) 20 }}` + evil + `{{ end }}`:                                                                                              "",
		`{{ if gt (int (include "h" .)) 0 }}` + evil + `{{ end }}{{ define "h" }}{{ .Release.Revision }}{{ end }}`:                                                                                "",
		`{{ include "h" (dict "r" .Release) }}{{ define "h" }}{{ if eq .r.Name "x" }}{{ end }}{{ end }}`:                                                                                          "",
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": template}), LoadOptions{})
		said := strings.Join(rel.Record.Depends, "\n")
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%s: said %q, want %q\n%s", template, said, want, rel.Manifests)
		}
	}
	rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": `{{ if eq .Capabilities.KubeVersion.Version "v1.37.4-gke.1" }}` + evil + `{{ end }}`}), LoadOptions{KubeVersion: "v1.37.4-gke.1"})
	if len(rel.Record.Depends) > 0 || !strings.Contains(string(rel.Manifests), "evil") {
		t.Errorf("of the version that was given: said %q\n%s", rel.Record.Depends, rel.Manifests)
	}
}
