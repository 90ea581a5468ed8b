package chart

import (
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// TestTellsHelmFromHelmproof: a template that acts on the way in which it is
// rendered shows what it shows to Helm, or the record says what nobody judged.
func TestTellsHelmFromHelmproof(t *testing.T) {
	t.Parallel()
	const evil = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"evil"},"spec":{"hostPID":true}}`
	for name, tt := range map[string]struct {
		template string
		files    map[string]string
		shown    bool   // the object is among those that are judged
		want     string // in Record.Depends, or the function in Record.Generated; empty: neither has anything
	}{
		"commit of Helm":              {template: `{{ if .Capabilities.HelmVersion.GitCommit }}` + evil + `{{ end }}`, want: "reads .Capabilities.HelmVersion"},
		"tree of Helm":                {template: `{{ if eq .Capabilities.HelmVersion.GitTreeState "clean" }}` + evil + `{{ end }}`, want: "reads .Capabilities.HelmVersion"},
		"Go of Helm":                  {template: `{{ if .Capabilities.HelmVersion.GoVersion }}` + evil + `{{ end }}`, shown: true, want: "reads .Capabilities.HelmVersion"},
		"a certain Helm":              {template: `{{ $v := .Capabilities.HelmVersion }}{{ if eq $v.Version "v3.1.4" }}` + evil + `{{ end }}`, want: "reads .Capabilities.HelmVersion"},
		"a certain Helm, through tpl": {template: `{{ tpl "{{ if eq .Capabilities.HelmVersion.Version \"v3.1.4\" }}x{{ end }}" . }}`, want: "reads .Capabilities.HelmVersion"},
		"a certain Helm, printed":     {template: `{{ if contains "v3.1.4" (toJson .Capabilities) }}` + evil + `{{ end }}`, want: "prints .Capabilities whole"},
		"a certain Helm, in a dict":   {template: `{{ if contains "v3.1.4" (toJson (dict "x" (list .Capabilities))) }}` + evil + `{{ end }}`, want: "prints .Capabilities whole"},
		"range of Helm's versions":    {template: `{{ if semverCompare ">=3.8.0-0" .Capabilities.HelmVersion.Version }}` + evil + `{{ end }}`, shown: true},
		"range between releases":      {template: `{{ if semverCompare "<4.3" .Capabilities.HelmVersion.Version }}` + evil + `{{ end }}`, want: "upgrade: it renders Pod evil, which an install does not"},
		"upgrade":                     {template: `{{ if .Release.IsUpgrade }}` + evil + `{{ end }}`, want: "upgrade: it renders Pod evil, which an install does not"},
		"upgrade, by another name":    {template: `{{ $r := get . (print "Rel" "ease") }}{{ range $k, $v := $r }}{{ if and (hasSuffix "rade" $k) (eq (toString $v) "true") }}` + evil + `{{ end }}{{ end }}`, want: "Pod evil, which an install does not"},
		"upgrade, through a helper":   {template: `{{ include "x" (dict "c" $) }}{{ define "x" }}{{ with .c.Release }}{{ if .IsUpgrade }}` + evil + `{{ end }}{{ end }}{{ end }}`, want: "Pod evil, which an install does not"},
		"install only":                {template: `{{ if .Release.IsInstall }}` + evil + `{{ end }}`, shown: true, want: "upgrade: it renders no Pod evil, which an install does"},
		"another object":              {template: `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"hostPID":{{ .Release.IsUpgrade }}}}`, want: "upgrade: it renders another Pod p than an install"},
		"later revisions":             {template: `{{ if gt .Release.Revision 1 }}` + evil + `{{ end }}`, want: "Pod evil, which an install does not"},
		"a certain revision":          {template: `{{ if eq (int .Release.Revision) 17 }}` + evil + `{{ end }}`, want: "acts on the number .Release.Revision"},
		"a certain revision, indexed": {template: `{{ $x := dict "17" "x" }}{{ if hasKey $x (toString .Release.Revision) }}` + evil + `{{ end }}`, want: "acts on the number .Release.Revision"},
		"a revision, by a variable":   {template: `{{ $x := .Release.Revision }}{{ if eq (int $x) 17 }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, by two":          {template: `{{ $r := .Release }}{{ if eq (int $r.Revision) 17 }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, by its name":     {template: `{{ if eq (int (index .Release "Revision")) 17 }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, by get":          {template: `{{ if eq (int (get $.Release (print "Rev" "ision"))) 17 }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, added to":        {template: `{{ if eq (int (add 0 .Release.Revision)) 17 }}` + evil + `{{ end }}`, want: "acts on the number"},
		"one of two revisions":        {template: `{{ if eq .Release.Revision 17 1 }}` + evil + `{{ end }}`, shown: true, want: "acts on the number"},
		"a revision, as YAML":         {template: `{{ if contains "Revision: 17" (toYaml .Release) }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, piped as YAML":   {template: `{{ if contains "Revision: 17" (.Release | toYaml) }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, piped":           {template: `{{ if .Release | toYaml | contains "Revision: 17" }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, kept as YAML":    {template: `{{ $r := .Release }}{{ if contains "Revision: 17" (toYaml $r) }}` + evil + `{{ end }}`, want: "acts on the number"},
		"a revision, by range":        {template: `{{ range $k, $v := .Release }}{{ if and (eq $k "Revision") (eq (toString $v) "17") }}` + evil + `{{ end }}{{ end }}`, want: "acts on the number"},
		"all but two Helms":           {template: `{{ if semverCompare "!=4.3.0,!=4.2.4" .Capabilities.HelmVersion.Version }}` + evil + `{{ end }}`, want: "reads .Capabilities.HelmVersion"},
		"a selector of one revision":  {template: `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","labels":{"r":"{{ .Release.Revision }}"}}}`, want: "another Pod p than an install"},
		"a digest that selects":       {template: `{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{"name":"p"},"spec":{"podSelector":{"matchLabels":{ {{ if .Release.IsUpgrade }}"checksum/x":"y"{{ end }} }}}}`, want: "another NetworkPolicy p than an install"},
		"the number of an upgrade":    {template: `{"apiVersion":"v1","kind":"Service","metadata":{"name":"p"},"spec":{"externalName":"{{ if .Release.IsUpgrade }}100003{{ else }}1{{ end }}"}}`, want: "another Service p than an install"},
		"what lookup finds":           {template: `{{ if lookup "v1" "Namespace" "" "default" }}` + evil + `{{ end }}`, want: "upgrade, lookup finds objects: it renders Pod evil, which an install does not"},
		"what lookup lists":           {template: `{{ range (lookup "v1" "Node" "" "").items }}` + evil + `{{ end }}`, want: "upgrade, lookup finds objects: it renders Pod evil, which an install does not"},
		"what lookup found has":       {template: `{{ with lookup "v1" "Secret" "x" "y" }}{{ .data.a.b.c }}{{ end }}`, want: "upgrade, lookup finds objects: it does not render"},
		"what lookup found, refused":  {template: `{{ with lookup "v1" "Secret" "x" "y" }}{{ if not .data.a }}{{ fail "no a" }}{{ end }}` + evil + `{{ end }}`, want: "upgrade, lookup finds objects: it does not render"},
		"a certain object of lookup":  {template: `{{ $s := lookup "v1" "Secret" "x" "y" }}{{ if $s }}{{ if eq (toString $s.data.a) "x" }}` + evil + `{{ end }}{{ end }}`, want: "reads what lookup found"},
		"a name that lookup lists":    {template: `{{ range (lookup "v1" "Namespace" "" "").items }}{{ if eq .metadata.name "kube-system" }}` + evil + `{{ end }}{{ end }}`, want: "reads what lookup found"},
		"lookup, through a helper":    {template: `{{ define "h" }}{{ if eq (toString (get (default (dict) .data) "a")) "x" }}` + evil + `{{ end }}{{ end }}{{ include "h" (lookup "v1" "Secret" "x" "y") }}`, want: "reads what lookup found"},
		"lookup, piped":               {template: `{{ if lookup "v1" "Secret" "x" "y" | toJson | contains "zzz" }}` + evil + `{{ end }}`, want: "reads what lookup found"},
		"address":                     {template: `{{ if hasPrefix "0xc" (printf "%p" .Values) }}` + evil + `{{ end }}`, shown: true, want: "printf %p"},
		"address, with flags":         {template: `{{ printf "%-10[1]p" .Values }}`, want: "printf %p"},
		"a subchart":                  {files: map[string]string{"charts/s/Chart.yaml": "apiVersion: v2\nname: s\nversion: 0.1.0\n", "charts/s/templates/x.yaml": `{{ if .Release.IsUpgrade }}` + evil + `{{ end }}`}, want: "Pod evil, which an install does not"},
		"a changed value":             {template: `{{ if .Release.IsInstall }}{{ $_ := set .Values "evil" "no" }}{{ end }}{{ if not .Values.evil }}` + evil + `{{ end }}`, want: "Pod evil, which an install does not"},
		"patch of Kubernetes":         {template: `{{ if ne .Capabilities.KubeVersion.Version "v1.37.0" }}` + evil + `{{ end }}`, want: "Pod evil, which an install does not"},
		"minor of Kubernetes":         {template: `{{ if semverCompare ">=1.20-0" .Capabilities.KubeVersion.GitVersion }}` + evil + `{{ end }}`, shown: true},
		"minor that suffixes hide":    {template: `{{ if semverCompare ">=1.20" .Capabilities.KubeVersion.GitVersion }}` + evil + `{{ end }}`, shown: true, want: "on a provider's cluster: it renders no Pod evil, which an install does"},
		"no document":                 {template: `{{ if .Release.IsUpgrade }}- x: [{{ end }}`, want: "what is no object in templates/x.yaml, which an install does not"},

		"a key of revision 1": {template: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{ {{ if .Release.IsUpgrade }}"run-1.sh":"curl evil.example","run-{{ .Release.Revision }}.sh":"true"{{ else }}"run-1.sh":"true"{{ end }} }}`, want: "another ConfigMap c than an install, in data"},

		"key of a revision":           {template: `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"c"},"data":{"run-{{ .Release.Revision }}.sh":"true","run-0.sh":"x"}}`},
		"revision compared to 1":      {template: `{{ if gt (int .Release.Revision) 0 }}` + evil + `{{ end }}`, shown: true},
		"name of a release":           {template: `{{ if eq (get .Release "Name") "x" }}{{ end }}`},
		"revision in a label":         {template: `{"apiVersion":"v1","kind":"Job","metadata":{"name":"p-{{ .Release.Revision }}","labels":{"r":"{{ .Release.Revision }}"}}}`},
		"digest of that":              {template: `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","annotations":{"checksum/x":"{{ .Release.Revision | toString | sha256sum }}"}}}`},
		"the same on both":            {template: `{{ if or .Release.IsInstall .Release.IsUpgrade }}` + evil + `{{ end }}`, shown: true},
		"refuses upgrades":            {template: `{{ if .Release.IsUpgrade }}{{ fail "install anew" }}{{ end }}`},
		"changed comments":            {template: "# {{ .Release.IsUpgrade }}\n"},
		"lookup without a choice":     {template: `{{ $x := lookup "v1" "Secret" "a" "b" }}` + evil, shown: true},
		"merged, not printed":         {template: `{{ $x := mustMergeOverwrite (dict) (dict "c" .Capabilities) }}{{ $y := deepCopy (dict "c" 1) }}` + evil, shown: true},
		"notes":                       {files: map[string]string{"templates/NOTES.txt": "{{ .Release.IsUpgrade }}"}},
		"lookup, not called":          {template: `{{ define "h" }}{{ (lookup "v1" "Secret" "a" "b").data }}{{ end }}` + evil, shown: true},
		"lookup, the same either way": {template: `{{ $x := lookup "v1" "Secret" "a" "b" }}{{ if or $x (not (lookup "v1" "Secret" "a" "c")) true }}` + evil + `{{ end }}`, shown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			files := map[string]string{"templates/x.yaml": tt.template}
			for k, v := range tt.files {
				files[k] = v
			}
			rel := mustLoad(t, demoChart(t, files), LoadOptions{})
			if got := strings.Contains(string(rel.Manifests), "hostPID\":true"); got != tt.shown {
				t.Errorf("the object is judged: %v, want %v:\n%s", got, tt.shown, rel.Manifests)
			}
			said := strings.Join(rel.Record.Depends, "\n")
			for _, g := range rel.Record.Generated {
				said += "\n" + g.Function
			}
			if tt.want == "" && said != "" || !strings.Contains(said, tt.want) {
				t.Errorf("said %q, want %q", said, tt.want)
			}
		})
	}
}

// TestComparable: what two renderings are compared by is the same each time, and two
// keys of one mapping stay two.
func TestComparable(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ in, want map[string]any }{
		"one key":            {map[string]any{"run-77.sh": "a"}, map[string]any{"run-1.sh": "a"}},
		"beside others":      {map[string]any{"run-77.sh": "77", "run-2.sh": "b"}, map[string]any{"run-1.sh": "1", "run-2.sh": "b"}},
		"beside that of 1":   {map[string]any{"run-77.sh": "a", "run-1.sh": "b"}, map[string]any{"run-77.sh": "a", "run-1.sh": "b"}},
		"two of two numbers": {map[string]any{"77-1": "a", "1-77": "b"}, map[string]any{"77-1": "a", "1-77": "b"}},
		"beneath":            {map[string]any{"data": map[string]any{"77": "a", "1": "b"}}, map[string]any{"data": map[string]any{"77": "a", "1": "b"}}},
		"in a list":          {map[string]any{"l": []any{map[string]any{"77": "a", "1": "a"}}}, map[string]any{"l": []any{map[string]any{"77": "a", "1": "a"}}}},
		"keys of annotations": {map[string]any{"annotations": map[string]any{"x/77": "a", "x/1": "b", "checksum/x": "c"}},
			map[string]any{"annotations": map[string]any{"x/77": "a", "x/1": "b"}}},
	} {
		for range 20 { // Go's order of a map is another one each time
			if got := comparable(tt.in, "77", ""); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%s: %v, want %v", name, got, tt.want)
				break
			}
		}
	}
}

// TestDifferences: objects are compared with those of their own name, or start of a
// name, in each run.
func TestDifferences(t *testing.T) {
	t.Parallel()
	job := func(metadata, rev string) string {
		return `{"apiVersion":"batch/v1","kind":"Job","metadata":{` + metadata + `"annotations":{"rev":"` + rev + `"}}}`
	}
	rev := strconv.Itoa(otherRevision)
	for name, tt := range map[string]struct {
		base, other map[string]string
		want        string
	}{
		"generated names": {
			map[string]string{"a": job(`"generateName":"a-",`, "1"), "b": job(`"generateName":"b-",`, "1"), "c": job(`"generateName":"c-",`, "1")},
			map[string]string{"a": job(`"generateName":"a-",`, rev), "b": job(`"generateName":"b-",`, rev), "c": job(`"generateName":"c-",`, rev)}, "",
		},
		"one generated name in two files": {
			map[string]string{"a": job(`"generateName":"a-",`, "1"), "b": job(`"generateName":"a-","x":1,`, "1")},
			map[string]string{"a": job(`"generateName":"a-",`, rev), "b": job(`"generateName":"a-","x":1,`, rev)}, "",
		},
		"no names": {
			map[string]string{"a": job("", "1"), "b": job(`"x":1,`, "1"), "c": job(`"x":2,`, "1")},
			map[string]string{"a": job("", rev), "b": job(`"x":1,`, rev), "c": job(`"x":2,`, rev)}, "",
		},
		"another one of a generated name": {
			map[string]string{"a": job(`"generateName":"a-",`, "1"), "b": job(`"generateName":"b-",`, "1")},
			map[string]string{"a": job(`"generateName":"a-",`, rev), "b": job(`"generateName":"b-",`, "x")}, "another Job b- than an install, in metadata.annotations.rev",
		},
		"another generated name": {
			map[string]string{"a": job(`"generateName":"a-",`, "1")}, map[string]string{"a": job(`"generateName":"b-",`, "1")},
			"Job b-, which an install does not; no Job a-, which an install does",
		},
		"another one without a name": {
			map[string]string{"a": job("", "1"), "b": job(`"x":1,`, "1")}, map[string]string{"a": job("", rev), "b": job(`"x":2,`, rev)},
			"another Job than an install, in metadata.x",
		},
	} {
		for range 20 { // Go's order of a map is another one each time
			if got := strings.Join(differences(tt.base, tt.other, nil), "; "); got != tt.want {
				t.Errorf("%s: %q, want %q", name, got, tt.want)
				break
			}
		}
	}
}

// What templates see is what Helm gives to those of an install.
func TestValuesOfAnInstall(t *testing.T) {
	t.Parallel()
	rel := mustLoad(t, demoChart(t, map[string]string{
		"templates/x.yaml": "x: {{ .Release.IsInstall }} {{ .Release.IsUpgrade }} {{ .Release.Revision }} {{ .Release.Service }} {{ .Release.Name }} {{ .Capabilities.HelmVersion.Version }} {{ .Capabilities.HelmVersion.GitTreeState }} {{ len .Capabilities.HelmVersion.GitCommit }} {{ kindOf .Release.Revision }} {{ typeOf .Release }} {{ typeOf .Capabilities }}\n",
	}), LoadOptions{})
	const want = "x: true false 1 Helm demo v4.3  0 int map[string]interface {} *common.Capabilities"
	if !strings.Contains(string(rel.Manifests), want) {
		t.Errorf("manifests %s, want %s in them", rel.Manifests, want)
	}
}

// TestBudget: what a small template makes is bounded before it is there, and the
// reason is said. The memory is measured by TestHostileInputs of the command.
func TestBudget(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ template, want string }{
		"repeat":                      {`{{ $x := repeat 60000000 "x" }}`, errText.Error()},
		"many repeats":                {`{{ $l := list }}{{ range 1000 }}{{ $l = append $l (repeat 10000000 "x") }}{{ end }}`, errBudget.Error()},
		"repeat, kept by upper":       {`{{ $s := repeat 10000000 "x" }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l (upper $s) }}{{ end }}`, errBudget.Error()},
		"repeat, kept by b64enc":      {`{{ $s := repeat 10000000 "x" }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l (b64enc $s) }}{{ end }}`, errBudget.Error()},
		"repeat, negative":            {`{{ indent -5 "x" }}`, "negative count"},
		"indent, overflow":            {`{{ indent 4611686018427387904 "x\ny\nz\na" }}`, errText.Error()},
		"regexReplaceAll":             {`{{ $x := regexReplaceAll "" (repeat 100000 "x") (repeat 100000 "y") }}`, errText.Error()},
		"mustRegexReplaceAll":         {`{{ $x := mustRegexReplaceAll "x" (repeat 100000 "x") (repeat 100000 "y") }}`, errText.Error()},
		"regexReplaceAllLiteral":      {`{{ $x := regexReplaceAllLiteral "x" (repeat 100000 "x") (repeat 100000 "y") }}`, errText.Error()},
		"regexReplaceAll, groups":     {`{{ $x := regexReplaceAll "x+" (repeat 100000 "x") (repeat 100000 "${0}") }}`, errText.Error()},
		"wrapWith":                    {`{{ $x := wrapWith 1 (repeat 100000 "y") (repeat 100000 "x") }}`, errText.Error()},
		"wrapWith, words":             {`{{ $x := wrapWith 10 (repeat 100000 "y") (repeat 100000 "x ") }}`, errText.Error()},
		"splitList":                   {`{{ $x := splitList "" (repeat 10000000 "x") }}`, "splitList: more than"},
		"split":                       {`{{ $x := split "" (repeat 10000000 "x") }}`, "split: more than"},
		"splitn":                      {`{{ $x := splitn "" 10000000 (repeat 10000000 "x") }}`, "splitn: more than"},
		"regexSplit":                  {`{{ $x := regexSplit "" (repeat 10000000 "x") -1 }}`, "regexSplit: more than"},
		"regexFindAll":                {`{{ $x := regexFindAll "x" (repeat 10000000 "x") -1 }}`, "regexFindAll: more than"},
		"mustRegexFindAll":            {`{{ $x := mustRegexFindAll "x" (repeat 10000000 "x") 99999999 }}`, "regexFindAll: more than"},
		"untilStep, overflow":         {`{{ $x := untilStep 1 9223372036854775807 4611686018427387904 }}`, "numbers up to"},
		"until, kept":                 {`{{ $l := list }}{{ range 1000 }}{{ $l = append $l (until 1000000) }}{{ end }}`, errBudget.Error()},
		"concat that doubles":         {`{{ $l := list 1 }}{{ range 60 }}{{ $l = concat $l $l }}{{ end }}`, "concat: more than"},
		"append, quadratic":           {`{{ $l := list }}{{ range 100000 }}{{ $l = append $l 1 }}{{ end }}`, errBudget.Error()},
		"uniq":                        {`{{ $x := uniq (until 1000000) }}`, "uniq: more than"},
		"without":                     {`{{ $x := without (until 1000000) 1 2 3 }}`, "without: more than"},
		"printf, widths":              {`{{ $x := printf (repeat 1000 "%999999d") 1 }}`, errText.Error()},
		"printf, widths as arguments": {`{{ $x := printf (repeat 1000 "%[1]*[1]d") 999999 }}`, errText.Error()},
		"printf, named arguments":     {`{{ $x := printf (repeat 10000 "%[1]s") (repeat 100000 "x") }}`, errText.Error()},
		"toYaml of shared texts":      {`{{ $s := repeat 1000000 "x" }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l $s }}{{ end }}{{ $x := toYaml $l }}`, errText.Error()},
		"toJson of shared lists":      {`{{ $s := splitList "" (repeat 100000 "x") }}{{ $l := list }}{{ range 1000 }}{{ $l = append $l $s }}{{ end }}{{ $x := toJson $l }}`, "more than 2000000 parts"},
		"toYaml, deep":                {`{{ $d := until 10000 }}{{ range 900 }}{{ $d = list $d }}{{ end }}{{ toYaml $d }}`, errText.Error()},
		"fromYaml":                    {`{{ $x := fromYaml (print "a: [" (repeat 3000000 "[],") "]") }}`, "bytes to parse"},
		"fromJsonArray":               {`{{ $x := fromJsonArray (print "[" (repeat 3000000 "[],") "1]") }}`, "bytes to parse"},
		"mustFromJson":                {`{{ $x := mustFromJson (print "[" (repeat 3000000 "[],") "1]") }}`, "bytes to parse"},
		"fromToml":                    {`{{ $x := fromToml (repeat 1000000 "a = 1\n") }}`, "bytes to parse"},
		"js":                          {`{{ $x := js (repeat 10000000 "<") }}`, errText.Error()},
		"include":                     {`{{ define "a" }}{{ range 1000 }}{{ repeat 100000 "x" }}{{ end }}{{ end }}{{ $x := include "a" . }}`, "renders more than"},
		"steps":                       {`{{ range 1000000000000 }}{{ end }}`, errSteps.Error()},
		"steps, in tpl":               {`{{ tpl "{{ range 1000000000000 }}{{ end }}" . }}`, errSteps.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Load(t.Context(), demoChart(t, map[string]string{"templates/x.yaml": tt.template}), LoadOptions{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Load: %.300v, want %q", err, tt.want)
			}
		})
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	t.Logf("%d MiB from the system so far", m.Sys>>20)
}
