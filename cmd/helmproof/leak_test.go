package main

import (
	"archive/zip"
	"bytes"
	"compress/zlib"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// privateKey has the form of one.
var privateKey = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7bq9c", 3) + "\n" + strings.Repeat("Zk3vQm1x8TnYp0LsRw2d", 3) + "\n-----END RSA PRIVATE " + "KEY-----\n"

// leakSecrets are the secrets of leakChart, by where it has them.
var leakSecrets = map[string]string{
	"values":       `tr0ub4dor&3 "horse" \ ü`,
	"data":         "kT8#vQ2!mZ5$xL9",
	"stringData":   "plainly-7hidden7-here",
	"env":          "envHunter2Hunter2",
	"argument":     "argHunter4Hunter4",
	"url":          "urlHunter5Hunter5",
	"registry":     "regHunter6Hunter6",
	"key":          strings.Repeat("MIIEpAIBAAKCAQEA7bq9c", 3),
	"image tag":    "tag7hunter8tag9x",
	"digest":       strings.Repeat("0f1e2d3c4b5a6978", 4),
	"object name":  "nam3hunter5nam7y",
	"key name":     "k3yn4me5hunter6z",
	"release name": "rel3hunter4rel5w",
	"version":      "v3rs10nhunter7q",
	"file name":    "f1l3hunter9nam3",
	"subchart":     "subHunter7!Hunter7",
	"set":          "setHunter8!Hunter8",
	"values file":  "filHunter9!Hunter9",
	"words":        "supersecretpassphrase",
}

// writeFiles writes files below dir.
func writeFiles(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// leakChart is a chart with secrets in many places, each of them again where nothing
// says that it is one: in notes, comments, annotations, files, names.
func leakChart() map[string]string {
	s := leakSecrets
	q := func(v string) string { return fmt.Sprintf("%q", v) }
	return map[string]string{
		"Chart.yaml": "apiVersion: v2\nname: leaky\nversion: 1.2.3-" + s["version"] + "\nappVersion: " + q(s["image tag"]) + "\ndescription: " + q("with "+s["values"]+" and "+s["env"]) + "\n",
		"values.yaml": "db:\n  # the password is " + s["stringData"] + "\n  password: " + q(s["values"]) + "\nregistry: {password: " + q(s["registry"]) + "}\n" +
			"imageToken: " + q(s["image tag"]) + "\ndigestToken: " + q(s["digest"]) + "\nnameToken: " + q(s["object name"]) + "\nkeyToken: " + q(s["key name"]) + "\nreleaseToken: " + q(s["release name"]) +
			"\nversionToken: " + q(s["version"]) + "\nfileToken: " + q(s["file name"]) + "\nwordsPassword: " + q(s["words"]) + "\ntls:\n  key: |\n" + indentBy(privateKey, "    ") + "extra: {password: \"\"}\nmore: {token: \"\"}\n",
		"charts/sub/Chart.yaml":       "apiVersion: v2\nname: sub\nversion: 1.0.0\n",
		"charts/sub/values.yaml":      "auth: {password: " + q(s["subchart"]) + "}\n",
		"charts/sub/templates/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: sub}\ndata:\n  conf: {{ printf \"pw=%s\" .Values.auth.password | quote }}\n",
		"templates/NOTES.txt":         "The password is {{ .Values.db.password }}, the release {{ .Release.Name }}.\n",
		"templates/secrets.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata:\n  pass: " + base64.StdEncoding.EncodeToString([]byte(s["data"])) + "\n  both: {{ printf \"app:%s\" .Values.db.password | b64enc }}\nstringData:\n  plain: " + q(s["stringData"]) +
			"\n  tls.key: |\n{{ .Values.tls.key | indent 4 }}\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: pull}\ntype: kubernetes.io/dockerconfigjson\ndata:\n  .dockerconfigjson: {{ printf `{\"auths\":{\"r.example\":{\"username\":\"u\",\"password\":\"%s\",\"auth\":\"%s\"}}}` .Values.registry.password (printf \"u:%s\" .Values.registry.password | b64enc) | b64enc }}\n",
		"templates/" + s["file name"] + ".yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: cache-{{ .Values.nameToken }}\n  annotations:\n    note: {{ printf \"first %s then " + s["env"] + " %s\" .Values.db.password .Values.wordsPassword | quote }}\ndata:\n  {{ .Values.keyToken }}: x\n" +
			"  file.conf: |\n    # {{ .Values.db.password }}\n    line = {{ .Values.registry.password }}\n    json = {{ dict \"p\" .Values.db.password | toJson }}\n    query = {{ .Values.db.password | urlquery }}\n    more = {{ .Values.extra.password }} {{ .Values.more.token }}\n    {{ .Values.wordsPassword }}\n    case = {{ upper .Values.db.password }} {{ lower .Values.registry.password }}\n    hex = {{ printf \"%x\" .Values.db.password }} {{ printf \"%X\" .Values.more.token }}\n    b32 = {{ b32enc .Values.db.password }} {{ printf \"app:%s;\" .Values.db.password | b32enc }}\n    twice = {{ .Values.db.password | b64enc | b64enc }}, {{ printf \"app:%s;\" .Values.db.password | b64enc | b64enc }}\n" +
			"  blob: {{ printf \"some text before %s and after\" .Values.db.password | b64enc }}\n  key: {{ .Values.tls.key | b64enc }}\n",
		"templates/web.yaml": "# {{ .Values.db.password }}\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, labels: {release: {{ .Release.Name }}, v: {{ .Chart.Version }} }}\nspec:\n  selector: {matchLabels: {app: web}}\n  template:\n    metadata: {labels: {app: web}}\n    spec:\n" +
			"      containers:\n      - name: web\n        image: r.example/web:{{ .Values.imageToken }}\n        args: [\"--db-password=" + s["argument"] + "\", \"--other\", \"" + s["argument"] + "\"]\n        env:\n        - {name: API_TOKEN, value: " + q(s["env"]) + "}\n        - {name: DATABASE_URL, value: \"postgres://app:" + s["url"] + "@db/x\"}\n" +
			"        - name: FROM\n          valueFrom: {configMapKeyRef: {name: cache-{{ .Values.nameToken }}, key: {{ .Values.keyToken }} }}\n      - name: pinned\n        image: r.example/pinned@sha256:{{ .Values.digestToken }}\n",
	}
}

func indentBy(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n"+by) + "\n"
}

// leakForms are the ways in which a secret is looked for.
func leakForms(secret string) []string {
	forms := []string{secret, fmt.Sprintf("%q", secret), url.QueryEscape(secret), strings.ReplaceAll(secret, "&", "&amp;")}
	forms = append(forms, strings.ToUpper(secret), strings.ToLower(secret), hex.EncodeToString([]byte(secret)), fmt.Sprintf("%X", secret),
		base32.StdEncoding.EncodeToString([]byte(secret)), base64.StdEncoding.EncodeToString([]byte(base64.StdEncoding.EncodeToString([]byte(secret)))))
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
		for skip := range 3 {
			b := []byte(secret)[skip:]
			forms = append(forms, enc.EncodeToString(b[:len(b)/3*3]))
		}
	}
	forms[1] = strings.Trim(forms[1], `"`)
	return forms
}

// holdNoLeak holds that no text shows a secret.
func holdNoLeak(t *testing.T, texts map[string][]byte, secrets map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		for what, secret := range secrets {
			for _, form := range leakForms(secret) {
				if i := bytes.Index(texts[name], []byte(form)); i >= 0 {
					t.Errorf("%s shows the secret of %s as %q:\n…%s…", name, what, form, texts[name][max(0, i-80):min(len(texts[name]), i+len(form)+80)])
					break
				}
			}
		}
	}
}

// everyByte is every file below dir by name, with the members of zip files and the
// text of PDF files; the names are a text as well.
func everyByte(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	var names []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		names = append(names, p)
		raw, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		out[p] = raw
		switch filepath.Ext(p) {
		case ".zip":
			z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
			if err != nil {
				return err
			}
			for _, f := range z.File {
				r, err := f.Open()
				if err != nil {
					return err
				}
				if out[p+"!"+f.Name], err = io.ReadAll(r); err != nil {
					return err
				}
				names = append(names, f.Name)
			}
		case ".pdf":
			out[p+"!streams"] = pdfStreams(raw)
			if tool, err := exec.LookPath("pdftotext"); err == nil {
				if out[p+"!text"], err = exec.CommandContext(t.Context(), tool, p, "-").Output(); err != nil {
					return err
				}
			}
		case ".json":
			// The payload of a signature.
			for part := range bytes.SplitSeq(raw, []byte(`"`)) {
				if plain, err := base64.StdEncoding.DecodeString(string(part)); err == nil && len(plain) > 100 {
					out[p+"!payload"] = append(out[p+"!payload"], plain...)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out["the names of files"] = []byte(strings.Join(names, "\n"))
	return out
}

// pdfStreams unpacks what is packed in a PDF file.
func pdfStreams(raw []byte) []byte {
	var out bytes.Buffer
	for part := range bytes.SplitSeq(raw, []byte("stream\n")) {
		if r, err := zlib.NewReader(bytes.NewReader(part)); err == nil {
			_, _ = io.Copy(&out, r) // until its end
		}
	}
	return out.Bytes()
}

// TestNoSecretLeaves collects a chart full of secrets and looks for each of them in
// every byte of what any command writes.
func TestNoSecretLeaves(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	writeFiles(t, filepath.Join(dir, "chart"), leakChart())
	writeFiles(t, dir, map[string]string{"mine.yaml": fmt.Sprintf("more:\n  token: %q\n", leakSecrets["values file"])})
	repo, key := filepath.Join(dir, "repo"), filepath.Join(dir, "test.key")
	texts := map[string][]byte{}
	command := func(want int, args ...string) string {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, stdio{in: strings.NewReader(""), out: &out, err: &errs}); code != want {
			t.Fatalf("%v: exit %d, want %d: %s%s", args, code, want, out.String(), errs.String())
		}
		name := strings.Join(args, " ")
		texts[name+": output"], texts[name+": errors"] = out.Bytes(), errs.Bytes()
		return out.String()
	}
	command(exitPass, "keygen", key)
	chart := []string{filepath.Join(dir, "chart"), "--set", "extra.password=" + leakSecrets["set"], "-f", filepath.Join(dir, "mine.yaml"), "--release-name", leakSecrets["release name"]}
	mine := []string{"--repo", repo, "--trust", filepath.Join(dir, "test.pub")}
	said := command(exitVerdict, append([]string{"collect", "--repo", repo, "--key", key}, chart...)...)
	if !strings.Contains(said, "SCR-1") {
		t.Errorf("no secret was found: %s", said)
	}
	command(exitVerdict, append([]string{"collect", "-o", "json", "--repo", repo, "--key", key}, chart...)...)
	for _, format := range []string{"md", "html", "json", "sarif", "junit", "github", "pdf"} {
		command(exitVerdict, append([]string{"check", "--format", format}, chart...)...)
		command(exitPass, append([]string{"report", "latest", "--format", format}, mine...)...)
	}
	command(exitVerdict, append([]string{"check"}, chart...)...)
	command(exitVerdict, append([]string{"check", "-v"}, chart...)...)
	command(exitVerdict, append([]string{"check", "--format", "md", "--summary"}, chart...)...)
	command(exitVerdict, append([]string{"check", "--write-baseline", filepath.Join(dir, "known.yaml")}, chart...)...)
	known, err := os.ReadFile(filepath.Join(dir, "known.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	texts["the baseline"] = known
	for _, args := range [][]string{{"verify"}, {"show", "latest"}, {"gate", "--chart", "leaky"}} {
		for _, form := range []string{"text", "json"} {
			want := exitPass
			if args[0] == "gate" {
				want = exitVerdict
			}
			command(want, slices.Concat(args, mine, []string{"-o", form})...)
		}
	}
	command(exitPass, "list", "--repo", repo, "-o", "json")
	ids := regexp.MustCompile(`bundles/[0-9a-f]{64}`).FindAllString(strings.Join(slices.Sorted(maps.Keys(everyByte(t, repo))), "\n"), -1)
	slices.Sort(ids)
	if ids = slices.Compact(ids); len(ids) != 2 {
		t.Fatalf("%d bundles, want 2", len(ids))
	}
	command(exitPass, append([]string{"diff", strings.TrimPrefix(ids[0], "bundles/"), strings.TrimPrefix(ids[1], "bundles/")}, mine...)...)
	maps.Copy(texts, everyByte(t, repo))
	for name := range texts {
		if strings.HasSuffix(name, "runs.json") && bytes.Contains(texts[name], []byte(`"outcome":"error"`)) {
			t.Errorf("a collector failed: %s", texts[name])
		}
	}
	// Arguments are the user's own.
	for name, b := range texts {
		if i := strings.LastIndex(name, ": "); i > 0 {
			delete(texts, name)
			texts[strings.SplitN(name, " ", 2)[0]+name[i:]+fmt.Sprint(len(texts))] = b
		}
	}
	holdNoLeak(t, texts, leakSecrets)
}

// TestNoSecretInErrors is the same for charts that do not load, and for rules of the
// user's own that hold a secret of the chart.
func TestNoSecretInErrors(t *testing.T) {
	t.Parallel()
	const secret = "hunter2!Hunter2?"
	values := "db:\n  password: " + secret + "\n"
	configMap := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n"
	for name, tt := range map[string]struct {
		files map[string]string
		args  []string
		says  string
	}{
		"fail":                         {map[string]string{"templates/a.yaml": `{{ fail (printf "no: %s" .Values.db.password) }}`}, nil, "REDACTED"},
		"fail, long":                   {map[string]string{"templates/a.yaml": `{{ fail (printf "no: ` + strings.Repeat("x", 775) + ` %s" .Values.db.password) }}`}, nil, "the chart refuses"},
		"fail, encoded":                {map[string]string{"templates/a.yaml": `{{ fail (printf "app:%s" .Values.db.password | b64enc) }}`}, nil, "the chart refuses"},
		"a wrong type":                 {map[string]string{"templates/a.yaml": `{{ range $a, $b := .Values.db.password.x }}{{ end }}`}, nil, "templates/a.yaml"},
		"not YAML":                     {map[string]string{"templates/a.yaml": "kind: ConfigMap\n{{ .Values.db.password }}: [\n"}, []string{"--profile", "chart"}, ""},
		"a schema":                     {map[string]string{"templates/a.yaml": configMap, "values.schema.json": `{"properties": {"db": {"properties": {"password": {"pattern": "^[0-9]+$"}}}}}`}, nil, "values do not meet"},
		"a set value":                  {map[string]string{"templates/a.yaml": configMap}, []string{"--set", "x.password=abc," + secret}, "values"},
		"an own value":                 {map[string]string{"templates/a.yaml": `{{ fail .Values.x.token }}`}, []string{"--set-string", "x.token=" + secret}, "REDACTED"},
		"upper case":                   {map[string]string{"templates/a.yaml": `{{ fail (upper .Values.db.password) }}`}, nil, "REDACTED"},
		"base32":                       {map[string]string{"templates/a.yaml": `{{ fail (b32enc .Values.db.password) }}`}, nil, "REDACTED"},
		"twice encoded":                {map[string]string{"templates/a.yaml": `{{ fail (.Values.db.password | b64enc | b64enc) }}`}, nil, "the chart refuses"},
		"hexadecimal":                  {map[string]string{"templates/a.yaml": `{{ fail (printf "%x %X" .Values.db.password .Values.db.password) }}`}, nil, "REDACTED REDACTED"},
		"required":                     {map[string]string{"templates/a.yaml": `{{ required (printf "not %s" .Values.db.password) nil }}`}, nil, "a value is required: not REDACTED"},
		"tpl":                          {map[string]string{"templates/a.yaml": `{{ tpl (printf "{{ %q | nothing }}" .Values.db.password) . }}`}, nil, "templates/a.yaml"},
		"not a number":                 {map[string]string{"templates/a.yaml": `{{ int64 .Values.db.password | fail }}`}, nil, "templates/a.yaml"},
		"a schema, of no known secret": {map[string]string{"templates/a.yaml": configMap, "values.schema.json": `{"properties": {"motto": {"pattern": "^[0-9]+$"}}}`}, []string{"--set", "motto=" + secret}, "at '/motto': the value does not match pattern"},
		"an own JSON value":            {map[string]string{"templates/a.yaml": configMap}, []string{"--set-json", `x={"motto": "` + secret + `"`}, "values"},
		"an own values file":           {map[string]string{"templates/a.yaml": configMap, "mine.yaml": "*" + secret + "\n"}, []string{"--values", "mine.yaml"}, "values"},
		"waivers":                      {map[string]string{"templates/a.yaml": configMap, "w.yaml": "waivers:\n- control: RES-1\n  target: {name: \"*\"}\n  reason: the password is " + secret + "\n  approvedBy: me\n  expiresAt: 2999-01-01T00:00:00Z\n"}, []string{"--waivers", "w.yaml"}, "w.yaml holds a secret of the chart, db.password of values.yaml"},
		"encoded waivers":              {map[string]string{"templates/a.yaml": configMap, "w.yaml": "waivers:\n- control: RES-1\n  target: {name: \"*\"}\n  reason: " + base64.StdEncoding.EncodeToString([]byte("it is "+secret)) + "\n  approvedBy: me\n  expiresAt: 2999-01-01T00:00:00Z\n"}, []string{"--waivers", "w.yaml"}, "holds a secret of the chart"},
		"a profile":                    {map[string]string{"templates/a.yaml": configMap, "p.yaml": "name: mine\ntitle: " + secret + "\nscope: release\nfailOn: medium\nmaxAge: 24h\ncontrols:\n- {id: RES-1}\n"}, []string{"--profile", "p.yaml"}, "p.yaml holds a secret of the chart"},
		"a policy":                     {map[string]string{"templates/a.yaml": configMap, "own/p.yaml": ownPolicy("object.metadata.name != '" + secret + "'")}, []string{"--policies", "own"}, "p.yaml holds a secret of the chart"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			files := maps.Clone(tt.files)
			files["Chart.yaml"], files["values.yaml"] = "apiVersion: v2\nname: failing\nversion: 1.0.0\n", values
			writeFiles(t, dir, files)
			args := slices.Clone(tt.args)
			for i, a := range args {
				if _, err := os.Stat(filepath.Join(dir, a)); err == nil && i > 0 {
					args[i] = filepath.Join(dir, a)
				}
			}
			for _, form := range []string{"text", "json"} {
				var out, errs bytes.Buffer
				code := run(t.Context(), append([]string{"check", dir, "-o", form}, args...), stdio{in: strings.NewReader(""), out: &out, err: &errs})
				if want := exitUsage; tt.says != "" && (code != want || !strings.Contains(errs.String(), tt.says)) {
					t.Errorf("exit %d, want %d and %q: %s", code, want, tt.says, errs.String())
				}
				holdNoLeak(t, map[string][]byte{"output": out.Bytes(), "errors": errs.Bytes()}, map[string]string{"the chart": secret, "its start": secret[:9]})
			}
			if slices.ContainsFunc(args, func(a string) bool { return a == "--waivers" || a == "--policies" }) {
				return
			}
			// The gate renders as well.
			var out, errs bytes.Buffer
			in := stdio{in: strings.NewReader(""), out: &out, err: &errs}
			if code := run(t.Context(), []string{"keygen", filepath.Join(dir, "k")}, in); code != exitPass {
				t.Fatal(errs.String())
			}
			code := run(t.Context(), append([]string{"gate", dir, "--repo", filepath.Join(dir, "repo"), "--trust", filepath.Join(dir, "k.pub")}, args...), in)
			if tt.says != "" && strings.HasPrefix(tt.says, "the chart") && (code != exitUsage || !strings.Contains(errs.String(), tt.says)) {
				t.Errorf("gate: exit %d: %s", code, errs.String())
			}
			holdNoLeak(t, map[string][]byte{"output": out.Bytes(), "errors": errs.Bytes()}, map[string]string{"the chart": secret, "its start": secret[:9]})
		})
	}
}

// ownPolicy is a policy of a user's own.
func ownPolicy(expression string) string {
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: mine}\nspec:\n  matchConstraints:\n    resourceRules:\n    - {apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}\n  validations:\n  - {expression: \"" + expression + "\", message: no}\n" +
		"---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: mine}\nspec: {policyName: mine, validationActions: [Deny]}\n"
}
