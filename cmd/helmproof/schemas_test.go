package main

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/imagetest"
	"github.com/companyos/helmproof/report"
)

// schemaOf is which published schema a command's `-o json` document follows.
var schemaOf = map[string]string{
	"collect": "report", "check": "report", "verify": "verify", "gate": "gate", "forecast": "forecast", "list": "list", "show": "show", "diff": "diff", "harden": "harden",
	"controls": "controls", "config check": "config-check", "config show": "config-show", "keygen": "keygen", "version": "version",
	"drill": "report", "drill restore": "drill-restore", "db update": "db", "db status": "db", "attach": "attach", "attest": "attest", "attest withdraw": "attest", "attest store": "attest", "list --reviews": "reviews", "readiness": "readiness",
}

// printed is the output of one command line.
type printed struct {
	schema, line string
	out          []byte
}

// publishOSV lays out an archive of vulnerabilities as it is published.
func publishOSV(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "npm"), 0o700); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	f, err := w.Create("GHSA-aaaa-bbbb-cccc.json")
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write([]byte(`{"id":"GHSA-aaaa-bbbb-cccc","modified":"2026-11-22T06:00:00Z"}`))
	if err = errors.Join(err, w.Close(), os.WriteFile(filepath.Join(dir, "npm", "all.zip"), b.Bytes(), 0o600)); err != nil {
		t.Fatal(err)
	}
	return "file://" + dir
}

// printAll runs every command in a new repository and returns what each printed.
func printAll(t *testing.T) []printed {
	t.Helper()
	dir := t.TempDir()
	key, pub, repo := filepath.Join(dir, "team.key"), filepath.Join(dir, "team.pub"), filepath.Join(dir, "repo")
	service, weak := filepath.Join("..", "..", "charts", "service"), filepath.Join("..", "..", "test", "charts", "weak")
	waivers := filepath.Join(dir, "waivers.yaml")
	if err := os.WriteFile(waivers, []byte(`waivers:
  - {control: SEC-7, target: {kind: Deployment, name: "*"}, reason: a mesh does it, approvedBy: ada@example.com, expiresAt: "2999-01-01T00:00:00Z"}
  - {control: AVL-4, target: {name: "*"}, reason: was decided once, approvedBy: ada@example.com, expiresAt: "2001-01-01T00:00:00Z"}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	profile := filepath.Join(dir, "short.yaml")
	if err := os.WriteFile(profile, []byte("name: short\ntitle: Few controls\nscope: release\nfailOn: low\nmaxAge: 24h\ncontrols:\n  - {id: AVL-1}\n  - {id: AVL-4}\n  - {id: SEC-7, optional: true}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var list []printed
	input := ""
	do := func(code int, schema string, args ...string) {
		t.Helper()
		var out, errs bytes.Buffer
		if got := run(t.Context(), append(args, "-o", "json"), stdio{in: strings.NewReader(input), out: &out, err: &errs}); got != code {
			t.Fatalf("helmproof %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, errs.String())
		}
		list = append(list, printed{schema, strings.Join(args, " "), out.Bytes()})
	}
	stored := []string{"--repo", repo, "--trust", pub}
	with := func(args ...string) []string { return slices.Concat(args, stored) }

	do(exitPass, "version", "version")
	do(exitPass, "keygen", "keygen", filepath.Join(dir, "team"))
	do(exitPass, "keygen", "keygen", filepath.Join(dir, "other"))
	do(exitPass, "controls", "controls")
	do(exitPass, "controls", "controls", "--profile", "release")
	do(exitPass, "controls", "controls", "SEC-1", "avl-2")
	do(exitPass, "config-check", "config", "check", "--waivers", waivers)
	do(exitPass, "config-show", "config", "show", "--repo", "gs://bucket/prefix")
	do(exitUsage, "error", "list", "--repo", repo)
	do(exitUsage, "error", "gate")
	do(exitPass, "db", "db", "update", "--db", filepath.Join(dir, "osv"), "--ecosystem", "npm", "--source", publishOSV(t))
	do(exitPass, "db", "db", "status", "--db", filepath.Join(dir, "osv"))
	do(exitPass, "harden", "harden", "--report", weak)
	input = "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {containers: [{name: app, image: x}]}\n"
	do(exitPass, "harden", "harden")
	do(exitPass, "forecast", "forecast", service, "--nodes", "6", "--zones", "3", "--node", "node-1")
	do(exitVerdict, "forecast", "forecast", weak)
	do(exitVerdict, "report", "check", service, weak)
	do(exitVerdict, "report", "check", service, "--registry-allow", "ghcr.io/other")
	do(exitUsage, "report", "check", service, filepath.Join(dir, "nothing"))
	do(exitPass, "report", "collect", service, "--repo", repo, "--key", key)
	do(exitVerdict, "report", "collect", weak, "--repo", repo, "--key", key, "--waivers", waivers)
	do(exitPass, "list", "list", "--repo", repo)
	do(exitPass, "verify", with("verify", "latest")...)
	do(exitPass, "verify", with("verify")...)
	do(exitIntegrity, "verify", "verify", "latest", "--repo", repo, "--trust", filepath.Join(dir, "other.pub"))
	do(exitPass, "show", with("show", "latest")...)
	do(exitPass, "gate", with("gate", "--chart", "service", "--seal", "--key", key)...)
	do(exitVerdict, "gate", with("gate", "--chart", "weak")...)
	do(exitVerdict, "gate", with("gate", "--chart", "nothing")...)
	do(exitPass, "gate", with("gate", service)...)
	do(exitVerdict, "gate", with("gate", service, "-n", "prod")...)
	do(exitVerdict, "gate", with("gate", "--image", "sha256:"+strings.Repeat("0a", 32))...)
	do(exitPass, "show", with("show", "latest")...)
	do(exitVerdict, "report", "collect", service, "--repo", repo, "--key", key, "--profile", profile, "--set", "replicaCount=1,singleReplicaReason=for-this-test", "--set", "autoscaling.enabled=false")

	// From the last bundle to the first, and back: another profile, other findings.
	var listed struct {
		Bundles []struct{ Bundle, Chart, Profile string }
	}
	do(exitPass, "list", "list", "--repo", repo)
	if err := json.Unmarshal(list[len(list)-1].out, &listed); err != nil {
		t.Fatal(err)
	}
	id := map[string]string{}
	for _, b := range listed.Bundles {
		name, _, _ := strings.Cut(strings.TrimPrefix(b.Profile, "file:"), "@")
		id[b.Chart+"/"+name] = strings.TrimPrefix(b.Bundle, "sha256:")
	}
	do(exitVerdict, "diff", with("diff", id["service/short"], id["weak/chart"])...)
	do(exitVerdict, "diff", with("diff", id["weak/chart"], id["service/short"])...)
	do(exitPass, "diff", with("diff", id["weak/chart"], id["weak/chart"])...)

	image := imagetest.Push(t, imagetest.Registry(t)+"/api:1", imagetest.Debian(t, nil))
	input = "apiVersion: v1\nkind: Pod\nmetadata: {name: bare}\nspec: {containers: [{name: app, image: " + image + "}, {name: other, image: x}]}\n"
	do(exitVerdict, "report", "collect", "--manifests", "-", "--repo", repo, "--key", key)
	do(exitFailure, "attach", with("attach", "latest", "--plain-http")...)
	do(exitPass, "attach", with("attach", "latest", "--plain-http", "--image", image)...)

	document, checklist := filepath.Join(dir, "runbook.md"), filepath.Join(dir, "checklist.yaml")
	if err := errors.Join(os.WriteFile(document, []byte("# Runbook\n"), 0o600), os.WriteFile(checklist, []byte(`{name: own, title: Own, items: [
  {id: charts, title: Charts, controls: [CHT-1], get: helmproof collect CHART},
  {id: reviewed, title: Reviewed, reviews: {role: security, files: [runbook.md]}},
  {id: trained, title: Trained, training: {role: security, file: runbook.md, people: 2}}]}`), 0o600)); err != nil {
		t.Fatal(err)
	}
	by := []string{"--repo", repo, "--key", key, "--role-key", "security=" + pub}
	do(exitPass, "reviews", "list", "--reviews", "--repo", repo)
	do(exitPass, "attest", slices.Concat([]string{"attest", document, "--role", "security", "--reason", "read", "--expires", "2999-01-01"}, by)...)
	do(exitPass, "attest", slices.Concat([]string{"attest", document, "--role", "security", "--completed", "ann", "--completed", "bob"}, by)...)
	do(exitPass, "attest", "attest", document, "--role", "sre", "--reason", "read", "--repo", repo, "--key", key)
	do(exitPass, "reviews", "list", "--reviews", "--repo", repo, "--role-key", "security="+pub)
	do(exitIntegrity, "reviews", "verify", "--reviews", "--repo", repo, "--role-key", "security="+pub)
	ready := with("readiness", "--checklist", checklist, "--documents", dir, "--role-key", "security="+pub)
	do(exitPass, "readiness", append(ready, "service")...)
	do(exitVerdict, "readiness", append(ready, "nothing")...)
	do(exitVerdict, "readiness", with("readiness", "service")...)

	var signed struct{ Review struct{ ID string } }
	do(exitPass, "attest", slices.Concat([]string{"attest", checklist, "--role", "security", "--reason", "read"}, by)...)
	if err := json.Unmarshal(list[len(list)-1].out, &signed); err != nil {
		t.Fatal(err)
	}
	do(exitPass, "attest", slices.Concat([]string{"attest", "withdraw", signed.Review.ID, "--reason", "not read"}, by)...)
	do(exitPass, "reviews", "list", "--reviews", "--repo", repo, "--role-key", "security="+pub)

	older := filepath.Join("..", "..", "internal", "pipeline", "testdata", "golden", "1", "chart-pass")
	do(exitPass, "verify", "verify", "latest", "--repo", older, "--trust", older)
	do(exitPass, "verify", "verify", copyOf(t, repo, id["weak/chart"], "evidence.zip", "evidence.sigstore.json"), "--trust", pub)
	do(exitIntegrity, "verify", "verify", copyOf(t, repo, id["weak/chart"], "evidence.zip", "evidence.sigstore.json", "report.md"), "--trust", pub)
	damage(t, repo, id["weak/chart"])
	do(exitIntegrity, "verify", with("verify", id["weak/chart"])...)
	do(exitIntegrity, "verify", with("verify")...)
	return list
}

// copyOf copies some files of a stored bundle, beside others that are none of it.
func copyOf(t *testing.T, repo, id string, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		raw, err := os.ReadFile(filepath.Join(repo, "bundles", id, name))
		if err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), raw, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600), os.Mkdir(filepath.Join(dir, "evidence"), 0o700)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// damage changes a byte of a stored evidence.zip.
func damage(t *testing.T, repo, id string) {
	t.Helper()
	name := filepath.Join(repo, "bundles", id, "evidence.zip")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.Chmod(name, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// schemas compiles all of docs/schemas; references between them resolve without a network.
func schemas(t *testing.T) map[string]*jsonschema.Schema {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "docs", "schemas", "*.schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	ids := map[string]string{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		root, ok := doc.(map[string]any)
		if !ok {
			t.Fatalf("%s is no object", file)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".schema.json")
		id := "https://github.com/companyos/helmproof/docs/schemas/" + filepath.Base(file)
		if root["$id"] != id || root["$schema"] != "https://json-schema.org/draft/2020-12/schema" || root["title"] == nil {
			t.Errorf("%s: $id %v, $schema %v, title %v", file, root["$id"], root["$schema"], root["title"])
		}
		if err := c.AddResource(id, doc); err != nil {
			t.Fatal(err)
		}
		ids[name] = id
	}
	out := map[string]*jsonschema.Schema{}
	for name, id := range ids {
		if out[name], err = c.Compile(id); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return out
}

// drillOutput is what drill prints where it judges nothing; test/e2e runs it on a cluster.
func drillOutput(t *testing.T) []printed {
	t.Helper()
	plan := drill.Plan{Experiment: drill.Eviction, Probes: []drill.Probe{{Address: "http://10.0.0.1:80/"}}, AllowNamespaces: []string{"shop"}}
	plan.Complete()
	if err := plan.Validate(); err != nil {
		t.Fatal(err)
	}
	marshal := func(v any) []byte {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	checks := []drill.Check{{Name: "rights", Reason: "may not patch nodes"}}
	return []printed{
		{"drill-plan", "drill eviction --dry-run", marshal(report.DrillDryRunJSON{Drills: []report.DrillPlanJSON{{Plan: plan, Preflight: checks}}})},
		{"drill-restore", "drill restore", marshal(report.DrillRestoredJSON{Restored: []string{"uncordoned node-a"}})},
	}
}

// TestSchemas runs every command for real, and holds what it prints to the
// published schema; then each schema must refuse whatever is changed in a document
// that it accepts, so that none of them allows anything.
func TestSchemas(t *testing.T) {
	t.Parallel()
	compiled := schemas(t)
	used := map[string]bool{}
	examples := map[string][]any{}
	for _, p := range append(printAll(t), drillOutput(t)...) {
		s := compiled[p.schema]
		if s == nil {
			t.Fatalf("no schema %s", p.schema)
		}
		dec := json.NewDecoder(bytes.NewReader(p.out))
		dec.UseNumber()
		var doc any
		if err := dec.Decode(&doc); err != nil {
			t.Fatalf("helmproof %s: %v in\n%s", p.line, err, p.out)
		}
		if _, err := dec.Token(); !errors.Is(err, io.EOF) {
			t.Errorf("helmproof %s prints more than one document", p.line)
		}
		if err := s.Validate(doc); err != nil {
			t.Errorf("helmproof %s: %v", p.line, err)
			continue
		}
		used[p.schema] = true
		if small := shorten(doc); s.Validate(small) == nil {
			examples[p.schema] = append(examples[p.schema], small)
		}
	}
	for _, name := range schemaOf {
		if !used[name] || len(examples[name]) == 0 {
			t.Errorf("schema %s holds no command's output", name)
		}
	}
	for name, docs := range examples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			changes := 0
			for _, doc := range docs {
				mutate(doc, "", func(set func(any), where string, was any) {
					if name == "harden" && strings.Contains(where, "/value") {
						return // what was put into a manifest may be anything
					}
					changes++
					set(wrong(was))
					if compiled[name].Validate(doc) == nil {
						t.Errorf("%s may be anything: %v for %v is accepted", where, wrong(was), was)
					}
					set(was)
				})
			}
			t.Logf("%d changes to %d documents refused", changes, len(docs))
			if changes < 3 {
				t.Errorf("only %d changes tried", changes)
			}
		})
	}
}

// shorten keeps the first items of every list: enough for each kind of thing.
func shorten(v any) any {
	switch v := v.(type) {
	case []any:
		out := []any{}
		for _, e := range v[:min(len(v), 8)] {
			out = append(out, shorten(e))
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = shorten(e)
		}
		return out
	}
	return v
}

// wrong is a value of another JSON type.
func wrong(v any) any {
	if _, ok := v.(bool); ok {
		return "true"
	}
	return true
}

// mutate calls change for every value in doc, and for a member that each object does not have.
func mutate(doc any, at string, change func(set func(any), where string, was any)) {
	switch v := doc.(type) {
	case map[string]any:
		const extra = "not a field"
		change(func(x any) {
			if x == nil {
				delete(v, extra)
				return
			}
			v[extra] = x
		}, at+"/"+extra, nil)
		for _, k := range slices.Sorted(maps.Keys(v)) {
			change(func(x any) { v[k] = x }, at+"/"+k, v[k])
			mutate(v[k], at+"/"+k, change)
		}
	case []any:
		for i := range v {
			change(func(x any) { v[i] = x }, fmt.Sprint(at, "/", i), v[i])
			mutate(v[i], fmt.Sprint(at, "/", i), change)
		}
	}
}

// TestSchemasRefuse is one wrong document for each rule that matters, with the reason.
func TestSchemasRefuse(t *testing.T) {
	t.Parallel()
	compiled := schemas(t)
	digest, key := "sha256:"+strings.Repeat("0a", 32), strings.Repeat("0a", 32)
	verdict := `{"outcome":"PASS","reason":"","profile":"chart","results":[],"evaluatedAt":"2026-11-23T12:00:00Z"}`
	release := func(bundle, rest string) string {
		return `{"releases":[{"chart":"a","version":"","namespace":"b","bundle":"` + bundle + `","findings":[],"runs":[]` + rest + `}]}`
	}
	bound, inputs := `,"bound":"manifests"`, `,"inputs":[{"bundle":"`+digest+`","scope":"release","evaluatedAt":"2026-11-23T12:00:00Z"}]`
	pointer := func(bundle, at string) string {
		return `{"repository":"r","bundles":[{"bundle":"` + bundle + `","scope":"release","chart":"a","release":"a","namespace":"b","profile":"chart","outcome":"PASS","evaluatedAt":"` + at + `"}]}`
	}
	result := func(outcome, rest, check string) string {
		return `{"bundle":"` + digest + `","outcome":"` + outcome + `",` + rest + `"checks":[{"name":"signature","outcome":"` + check + `","reason":"because"}]}`
	}
	signed := `"keyID":"` + key + `",`
	worse := `"rules":{"sealed":1,"this":2},"worse":[{"control":"SEC-1","sealed":"pass","now":"fail","reason":"r"}],`
	judged := `"verdict":{"outcome":"FAIL","profile":"chart","chart":"a","version":"1","namespace":"","evaluatedAt":"2026-11-23T12:00:00Z"},`
	side := `{"bundle":"` + digest + `","chart":"a","version":"1","outcome":"PASS"}`
	diff := func(controls string) string {
		return `{"a":` + side + `,"b":` + side + `,"controls":[` + controls + `],"new":[],"gone":[]}`
	}
	figures := func(list string) string {
		return strings.TrimSuffix(diff(""), "}") + `,"drill":{"differs":[],"figures":[` + list + `]}}`
	}
	control := func(id string) string {
		return `{"controls":[{"id":"` + id + `","group":"SEC","title":"t","statement":"s","severity":"high","collector":"c","rules":["c/r"],"remediation":"r"}]}`
	}
	for _, tt := range []struct{ schema, doc, why string }{
		{"report", release("", `,"verdict":`+verdict), ""},
		{"report", release("", `,"error":"no such chart"`), ""},
		{"report", release("", ""), "missing property 'verdict'"},
		{"report", release(strings.ToUpper(digest), `,"verdict":`+verdict), "/releases/0/bundle"},
		{"report", release("", `,"verdict":`+strings.Replace(verdict, "PASS", "pass", 1)), "/releases/0/verdict/outcome"},
		{"report", release("", `,"verdict":`+strings.Replace(verdict, "00Z", "00+01:00", 1)), "/releases/0/verdict/evaluatedAt"},
		{"report", release("", `,"verdict":`+strings.Replace(verdict, "11-23", "13-23", 1)), "/releases/0/verdict/evaluatedAt"},
		{"gate", release(digest, bound+inputs+`,"verdict":`+verdict), ""},
		{"gate", release("", bound+`,"reasons":["none"],"verdict":`+strings.Replace(verdict, "PASS", "INCOMPLETE", 1)), ""},
		{"gate", release(digest, inputs+`,"verdict":`+verdict), "missing property 'bound'"},
		{"gate", release(digest, bound+`,"verdict":`+verdict), "missing property 'inputs'"},
		{"gate", release("", bound+`,"verdict":`+strings.Replace(verdict, "PASS", "FAIL", 1)), "missing property 'reasons'"},
		{"gate", release(digest, strings.Replace(bound, "manifests", "hope", 1)+inputs+`,"verdict":`+verdict), "/releases/0/bound"},
		{"gate", release("", `,"error":"no such chart"`), "missing properties 'verdict', 'bound'"},
		{"gate", `{"releases":[]}`, "minItems"},
		{"show", release(digest, `,"verdict":`+verdict), ""},
		{"show", release("", `,"verdict":`+verdict), "/releases/0/bundle"},
		{"verify", result("pass", signed+judged, "pass"), ""},
		{"verify", result("pass", signed+judged+`"extra":["notes.txt"],`, "not-applicable"), ""},
		{"verify", result("pass", signed+judged+`"extra":[],`, "pass"), "/extra"},
		{"verify", result("pass", signed, "pass"), "missing property 'verdict'"},
		{"verify", result("pass", signed+strings.Replace(judged, "FAIL", "fail", 1), "pass"), "/verdict/outcome"},
		{"verify", result("fail", signed+judged, "fail"), "/verdict"},
		{"verify", result("pass", signed+judged+worse, "warn"), ""},
		{"verify", result("pass", signed+judged+strings.Replace(worse, `"sealed":1`, `"sealed":0`, 1), "warn"), "/rules/sealed"},
		{"verify", result("pass", signed+judged+strings.Replace(worse, `"now":"fail"`, `"now":"FAIL"`, 1), "warn"), "/worse/0/now"},
		{"verify", result("fail", "", "not-checked"), ""},
		{"verify", result("pass", signed+judged, "fail"), "/checks/0/outcome"},
		{"verify", result("pass", judged, "pass"), "missing property 'keyID'"},
		{"verify", result("fail", "", "pass"), "no items match contains schema"},
		{"verify", `{"outcome":"pass","bundles":[` + result("fail", "", "fail") + `]}`, "/bundles/0/outcome"},
		{"verify", `{"outcome":"pass","bundles":[]}`, "minItems"},
		{"list", pointer(digest, "2026-11-23T12:00:00.123456Z"), ""},
		{"list", pointer("sha256:12", "2026-11-23T12:00:00Z"), "/bundles/0/bundle"},
		{"list", pointer(digest, "2026-11-23 12:00"), "/bundles/0/evaluatedAt"},
		{"diff", diff(`{"control":"SEC-1","from":"","to":"pass"}`), ""},
		{"diff", diff(`{"control":"sec-1","from":"","to":"pass"}`), "/controls/0/control"},
		{"diff", diff(`{"control":"SEC-1","from":"PASS","to":"pass"}`), "/controls/0/from"},
		{"diff", figures(`{"figure":"recovery","unit":"seconds","a":1.5,"aText":"1.50 s","bText":"not within the drill","change":"worse"}`), ""},
		{"diff", figures(`{"figure":"recovery","unit":"seconds","aText":"1.50 s","bText":"2.00 s","change":"WORSE"}`), "/drill/figures/0/change"},
		{"diff", figures(`{"figure":"luck","unit":"seconds","aText":"1.50 s","bText":"2.00 s","change":"same"}`), "/drill/figures/0/figure"},
		{"controls", control("SEC-1"), ""},
		{"controls", control("SEC-01"), "/controls/0/id"},
		{"config-check", `{"outcome":"pass","profile":"chart","controls":32,"waivers":0}`, ""},
		{"config-check", `{"outcome":"fail","profile":"chart","controls":32,"waivers":0}`, "/outcome"},
		{"config-check", `{"outcome":"pass","profile":"chart","controls":0,"waivers":0}`, "/controls"},
		{"config-show", `{"settings":[{"key":"repo","value":"","source":"default"}]}`, ""},
		{"config-show", `{"settings":[{"key":"repo","value":""}]}`, "missing property 'source'"},
		{"keygen", `{"key":"a.key","publicKey":"a.pub","keyID":"` + key + `"}`, ""},
		{"keygen", `{"key":"a.key","publicKey":"a.pub","keyID":"` + digest + `"}`, "/keyID"},
		{"harden", `{"objects":0,"changes":[],"kept":[],"manifests":""}`, ""},
		{"harden", `{"objects":0,"changes":[],"kept":[]}`, "missing property 'manifests'"},
		{"harden", `{"objects":-1,"changes":[],"kept":[],"manifests":""}`, "/objects"},
		{"version", `{"version":"v1.0.0","go":"go1.26.0","platform":"linux/amd64"}`, ""},
		{"version", `{"version":"v1.0.0","go":"go1.26.0","platform":"linux"}`, "/platform"},
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(tt.doc))
		if err != nil {
			t.Fatalf("%s: %v", tt.doc, err)
		}
		err = compiled[tt.schema].Validate(doc)
		switch {
		case tt.why == "" && err != nil:
			t.Errorf("%s refuses %s: %v", tt.schema, tt.doc, err)
		case tt.why != "" && (err == nil || !strings.Contains(fmt.Sprintf("%#v", err), tt.why)):
			t.Errorf("%s: error %#v, want one about %q, for %s", tt.schema, err, tt.why, tt.doc)
		}
	}
}

// TestEveryCommandHasASchema: what takes -o json is documented.
func TestEveryCommandHasASchema(t *testing.T) {
	t.Parallel()
	compiled := schemas(t)
	var walk func(cmd *cobra.Command, path string)
	walk = func(cmd *cobra.Command, path string) {
		if o := cmd.Flags().Lookup("output"); o != nil && !cmd.HasSubCommands() {
			name, ok := schemaOf[path]
			if !ok {
				name = strings.ReplaceAll(path, " ", "-")
			}
			if compiled[name] == nil {
				t.Errorf("helmproof %s -o json: docs/schemas has no %s.schema.json", path, name)
			}
		}
		for _, c := range cmd.Commands() {
			walk(c, strings.TrimSpace(path+" "+c.Name()))
		}
	}
	walk(newRoot(stdio{}), "")
}
