package chart

import (
	"bytes"
	"encoding/gob"
	"slices"
	"strings"
	"testing"
)

// TestGeneratedOnlyWhereItCounts: a generated value that nothing depends on is not
// recorded, and one that decides is, whatever it happens to decide here.
func TestGeneratedOnlyWhereItCounts(t *testing.T) {
	t.Parallel()
	const data = `{"apiVersion":"v1","kind":"Secret","metadata":{"name":"x"},"stringData":{"v":"`
	for name, tt := range map[string]struct {
		template string
		want     bool
		files    map[string]string
	}{
		"fallback":                     {template: `{{ default (randAlphaNum 10) .Values.given }}`},
		"fallback, piped":              {template: `{{ .Values.given | default (randAlphaNum 10) | b64enc | quote | trimAll "\"" }}`},
		"fallback, made from another":  {template: `{{ .Values.given | default (randAlphaNum 10 | sha256sum | trunc 5 | b64enc) }}`},
		"coalesced":                    {template: `{{ coalesce .Values.missing .Values.given (randAlphaNum 3) }}`},
		"ternary":                      {template: `{{ ternary .Values.given (uuidv4) true }}`},
		"in a variable":                {template: `{{ $p := randAlphaNum 12 }}{{ if .Values.given }}{{ $p = .Values.given }}{{ end }}{{ $p }}`},
		"the time, unused":             {template: `{{ $now := now }}{{ $day := now | date "2006-01-02" }}x`},
		"a certificate, unused":        {template: `{{ $ca := genCA "x" 10 }}{{ $c := genSignedCert "y" nil nil 10 $ca }}{{ .Values.given }}`},
		"through a helper":             {template: `{{ include "p" . }}{{ define "p" }}{{ default (randAlphaNum 16) .Values.given }}{{ end }}`},
		"a condition on the value":     {template: `{{ if eq (default (randAlphaNum 3) .Values.given) "given" }}x{{ end }}`},
		"in a comment":                 {template: `x`, files: map[string]string{"templates/y.yaml": "# {{ now }}\n"}},
		"through tpl":                  {template: `{{ tpl "{{ default (randAlpha 4) .Values.given }}" . }}`},
		"put where nothing reads":      {template: `{{ $_ := set .Values "key" (randAlphaNum 32) }}x`},
		"fallback that is used":        {want: true, template: `{{ default (randAlphaNum 10) .Values.missing }}`},
		"short":                        {want: true, template: `{{ randAlpha 1 }}`},
		"behind a digest":              {want: true, template: `{{ randAlphaNum 10 | sha256sum | trunc 4 }}`},
		"a condition on chance":        {want: true, template: `{{ if gt (randInt 0 100) 50 }}x{{ end }}`},
		"the other way round":          {want: true, template: `{{ if lt (randInt 0 100) 0 }}x{{ end }}`},
		"a condition piped":            {want: true, template: `{{ if randAlpha 3 | eq "abc" }}x{{ end }}`},
		"in a negation":                {want: true, template: `{{ if not (eq (randAlpha 3) "abc") }}x{{ end }}`},
		"on the year":                  {want: true, template: `{{ if eq (now | date "2006") "2030" }}x{{ end }}`},
		"on the year, by method":       {want: true, template: `{{ if eq now.Year 2030 }}x{{ end }}`},
		"after a day":                  {want: true, template: `{{ if now.After (toDate "2006-01-02Z07:00" "2099-01-01Z") }}x{{ end }}`},
		"before a day":                 {want: true, template: `{{ $n := now }}{{ if $n.Before (toDate "2006-01-02Z07:00" "1999-01-01Z") }}x{{ end }}`},
		"on seconds":                   {want: true, template: `{{ if gt (now | unixEpoch | int64) 9900000000 }}x{{ end }}`},
		"on a character":               {want: true, template: `{{ if contains "%" (randAlphaNum 1) }}x{{ end }}`},
		"on a pattern":                 {want: true, template: `{{ if regexMatch "^zzz" (randAlphaNum 9) }}x{{ end }}`},
		"on a remainder":               {want: true, template: `{{ if mod (randInt 1 100) 7 }}x{{ end }}`},
		"on what is no number":         {want: true, template: `{{ if int (randAlphaNum 2) }}x{{ end }}`},
		"one of three":                 {want: true, template: `{{ index (list "a" "b" "a") (randInt 0 3) }}`},
		"one of a mapping":             {want: true, template: `{{ get (dict "a" "b") (randAlpha 1) }}`},
		"on zero":                      {want: true, template: `{{ if randInt -1 2 }}x{{ else }}y{{ end }}`},
		"in a variable, decides":       {want: true, template: `{{ $n := randInt 0 100 }}{{ if and .Values.given (ge $n 101) }}x{{ end }}`},
		"in a helper, decides":         {want: true, template: `{{ if eq (include "p" .) "zz" }}x{{ end }}{{ define "p" }}{{ randAlpha 2 }}{{ end }}`},
		"in a dict, decides":           {want: true, template: `{{ include "p" (dict "n" (randInt 0 9)) }}{{ define "p" }}{{ if eq .n 5 }}x{{ end }}{{ end }}`},
		"tpl decides":                  {want: true, template: `{{ tpl "{{ if eq (randInt 0 9) 5 }}x{{ end }}" . }}`},
		"on an upgrade alone":          {want: true, template: `{{ $n := randInt 0 9 }}{{ if .Release.IsUpgrade }}{{ if eq $n 5 }}x{{ end }}{{ end }}`},
		"as a digest of the manifests": {want: true, template: `x`, files: map[string]string{"templates/y.yaml": `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":{"checksum/x":"{{ randAlpha 3 }}"}}}`}},
		"refuses by chance":            {want: true, template: `{{ if eq (randAlpha 3) "abc" }}{{ fail "no" }}{{ end }}`},
		"kept for another":             {want: true, template: `{{ .Values.kept }}`, files: map[string]string{"templates/z.yaml": `{{ $_ := set .Values "kept" (randAlpha 3) }}`}},
		"shuffled":                     {want: true, template: `{{ shuffle "aba" | trunc 1 }}`},
		"length of a list":             {want: true, template: `{{ if gt (len (until (randInt 1 9))) 20 }}x{{ end }}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"templates/x.yaml": data + tt.template + `"}}`, "values.yaml": "given: given\nkept: \"\"\n"}
			for f, text := range tt.files {
				files[f] = text
			}
			rel := mustLoad(t, demoChart(t, files), LoadOptions{})
			if got := len(rel.Record.Generated) > 0; got != tt.want {
				t.Errorf("records %+v, want any: %v\n%s", rel.Record.Generated, tt.want, rel.Manifests)
			}
			for _, d := range rel.Record.Depends {
				if !strings.Contains(tt.template, "IsUpgrade") {
					t.Errorf("it depends on something else: %s", d)
				}
			}
		})
	}
}

// TestTimeZone: what depends on the time zone of the machine is not taken at its word.
func TestTimeZone(t *testing.T) {
	t.Parallel()
	const (
		calls = "depends on the time zone of the machine"
		asks  = "asks a date for the time zone"
	)
	for template, want := range map[string]string{
		`{{ date "2006-01-02" 1704067200 }}`:                                                                                    calls,
		`{{ date "2006" 1704067200 }}`:                                                                                          calls, // to the west of UTC
		`{{ date "2006" 1735687800 }}`:                                                                                          calls, // to the east
		`{{ date "2006" 946684800 }}`:                                                                                           calls, // what stands for now
		`{{ $n := now }}{{ date "2006" 946684800 }}`:                                                                            calls,
		`{{ toDate "2006-01-02T15:04:05Z07:00" "2000-01-01T00:00:00Z" | date "2006" }}`:                                         calls,
		`{{ htmlDate 1704067200 }}`:                                                                                             calls,
		`{{ dateInZone "15" 1704067200 "Local" }}`:                                                                              calls,
		`{{ dateInZone "15" 1704067200 "Europe/Berlin" }}`:                                                                      calls, // UTC where there is no list of zones
		`{{ toDate "2006-01-02" "2024-01-01" | unixEpoch }}`:                                                                    calls,
		`{{ (mustToDate "2006-01-02" "2024-01-01").Unix }}`:                                                                     calls,
		`{{ toDate "2006-01-02" "2024-06-01" }}`:                                                                                calls,
		`{{ if eq (date "15" 1704067200) "07" }}x{{ end }}`:                                                                     calls,
		`{{ if ne (toDate "2006-01-02 15:04" "2024-03-31 02:30" | date "15:04") "02:30" }}x{{ end }}`:                           calls, // no such hour in Berlin
		`{{ if eq "x" (include "z" .) }}x{{ end }}{{ define "z" }}{{ htmlDate 0 }}{{ end }}`:                                    calls,
		`{{ (toDate "2006" "2024").Local.Hour }}`:                                                                               asks,
		`{{ if (toDate "2006" "2024").IsDST }}x{{ end }}`:                                                                       asks,
		`{{ if eq (toDate "2006" "2024").Location.String "Europe/Berlin" }}x{{ end }}`:                                          calls,
		`{{ if eq ((toDate "2006-01-02T15:04:05Z07:00" "2024-01-01T00:00:00Z").Local.Format "MST") "CET" }}x{{ end }}`:          asks,
		`{{ $_ := set .Values "t" (toDate "2006Z07:00" "2024Z") }}{{ if contains "CET" (toString .Values.t.Local) }}x{{ end }}`: asks,
		`{{ if eq ((toDate "2006-01-02T15:04:05-07:00" "2024-01-01T00:00:00+01:00").Format "MST") "CET" }}x{{ end }}`:           calls,
		`{{ (toDate "2006-01-02 07" "2024-01-01 07").Unix }}`:                                                                   calls, // 07 without a sign is no zone

		`{{ toDate "2006-01-02T15:04:05Z07:00" "2024-01-01T00:00:00Z" | unixEpoch }}`: "",
		`{{ dateInZone "2006-01-02" 1704067200 "UTC" }}`:                              "",
		`{{ dateInZone "2006-01-02" 1704067200 "" }}`:                                 "",
		`{{ toDate "2006-01-02" "2024-06-15" | date "2006" }}`:                        "",
		`{{ $x := date "2006" 0 }}{{ default $x "given" }}`:                           "",
		`{{ .Values.Local }}`: "",
	} {
		rel := mustLoad(t, demoChart(t, map[string]string{
			"templates/x.yaml": `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"v":"` + template + `"}}`, "values.yaml": "Local: x\n",
		}), LoadOptions{})
		said := strings.Join(rel.Record.Depends, "\n")
		if want == "" && said != "" || !strings.Contains(said, want) {
			t.Errorf("%s: said %q, want %q\n%s", template, said, want, rel.Manifests)
		}
		if len(rel.Record.Generated) > 0 {
			t.Errorf("%s: records %+v", template, rel.Record.Generated)
		}
	}
}

// TestCallsOfAChild: what is called and not used is known where a child process has
// rendered the chart: the linter would make keys otherwise.
func TestCallsOfAChild(t *testing.T) {
	t.Parallel()
	rel := mustLoad(t, demoChart(t, map[string]string{"templates/x.yaml": `{{ $ca := genCA "x" 10 }}{{ $n := now }}`}), LoadOptions{})
	if len(rel.Record.Generated) > 0 {
		t.Errorf("records %+v", rel.Record.Generated)
	}
	var wire bytes.Buffer
	if err := sendRelease(gob.NewEncoder(&wire), rel, nil); err != nil {
		t.Fatal(err)
	}
	a, got := new(loadAnswer), new(Release)
	if err := gob.NewDecoder(&wire).Decode(a); err != nil {
		t.Fatal(err)
	}
	if err := got.receive(a); err != nil || !slices.Equal(got.Calls, []string{"genCA", "now"}) {
		t.Errorf("calls %q, %v", got.Calls, err)
	}
}
