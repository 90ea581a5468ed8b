package secrets_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// load writes a chart and loads it.
func load(tb testing.TB, dir string, files map[string]string) *chart.Release {
	tb.Helper()
	files["Chart.yaml"] = "apiVersion: v2\nname: shop\nversion: 1.0.0\n"
	for name, text := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	rel, err := chart.Load(tb.Context(), dir, chart.LoadOptions{})
	if err != nil {
		tb.Fatal(err)
	}
	return rel
}

func scan(tb testing.TB, rel *chart.Release) (*secrets.Report, collectors.Redactor) {
	tb.Helper()
	rep, red, err := secrets.Scan(tb.Context(), rel)
	if err != nil {
		tb.Fatal(err)
	}
	return rep, red
}

const configMap = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n"

const secretHead = "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n"

// privateKey has the form of one.
var privateKey = "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7bq9c", 3) + "\n" + strings.Repeat("Zk3vQm1x8TnYp0LsRw2d", 3) + "\n" + "aG9yc2U3\n" + "-----END RSA PRIVATE " + "KEY-----\n"

func indent(s string, n int) string {
	p := strings.Repeat(" ", n)
	return p + strings.ReplaceAll(strings.TrimSuffix(s, "\n"), "\n", "\n"+p) + "\n"
}

func container(env string) string {
	return "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: app\n    image: i\n    env:\n" + env
}

// TestPlaces is the table of what is a secret and what only looks like one.
func TestPlaces(t *testing.T) {
	t.Parallel()
	none := []string{}
	env := func(name, value string) map[string]string {
		return map[string]string{"templates/p.yaml": container(fmt.Sprintf("    - name: %s\n      value: %q\n", name, value))}
	}
	values := func(text string) map[string]string { return map[string]string{"values.yaml": text} }
	for name, tt := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"secret data":            {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  pass: aHVudGVyMmh1bnRlcjI=\n"}, []string{secrets.RuleData}},
		"secret stringData":      {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  pass: hunter2hunter2\n"}, []string{secrets.RuleData}},
		"empty secret":           {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  pass: \"\"\n"}, none},
		"certificate only":       {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData:\n  ca.pem: |\n    -----BEGIN CERTIFICATE-----\n    AAAA\n    -----END CERTIFICATE-----\n"}, none},
		"generated password":     {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  pass: {{ randAlphaNum 20 | b64enc }}\n"}, none},
		"generated key":          {map[string]string{"templates/s.yaml": "{{ $c := genCA \"x\" 10 }}apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  tls.key: {{ $c.Key | b64enc }}\n"}, none},
		"external secret":        {map[string]string{"templates/s.yaml": "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: s}\nspec:\n  data:\n  - secretKey: password\n    remoteRef: {key: prod/db-password}\n"}, none},
		"env literal":            {env("DB_PASSWORD", "correct-horse-battery-9"), []string{secrets.RuleEnv}},
		"env token":              {env("API_TOKEN", "s3cr3tvalue99"), []string{secrets.RuleEnv}},
		"env short":              {env("PASSWORD", "abc"), []string{secrets.RuleEnv}},
		"env url":                {env("DATABASE_URL", "postgres://app:hunter2hunter2@db/x"), []string{secrets.RuleEnv}},
		"env url without":        {env("DATABASE_URL", "postgres://db/x"), none},
		"env file":               {env("DB_PASSWORD_FILE", "/run/secrets/db"), none},
		"env path":               {env("DB_PASSWORD", "/run/secrets/db"), none},
		"env bool":               {env("ALLOW_EMPTY_PASSWORD", "true"), none},
		"env expansion":          {env("DB_PASSWORD", "$(OTHER)"), none},
		"env empty":              {env("DB_PASSWORD", ""), none},
		"env name of secret":     {env("DB_SECRET_NAME", "db-credentials"), none},
		"env reference":          {map[string]string{"templates/p.yaml": container("    - name: DB_PASSWORD\n      valueFrom: {secretKeyRef: {name: db, key: password}}\n")}, none},
		"values password":        {values("db:\n  password: correct-horse-battery-9\n"), []string{secrets.RuleValuesKey}},
		"values default":         {values("db:\n  password: changeme\n"), []string{secrets.RuleValuesKey}},
		"values number":          {values("password: 12345678\n"), []string{secrets.RuleValuesKey}},
		"values empty":           {values("password: \"\"\n"), none},
		"values null":            {values("password: null\n"), none},
		"values existing":        {values("existingSecret: db-credentials\n"), none},
		"values secret name":     {values("tls:\n  secretName: shop-tls\n"), none},
		"values secret ref":      {values("tls:\n  secret: shop-tls\n"), none},
		"values secret keys":     {values("secretKeys:\n  adminPasswordKey: postgres-password\n"), none},
		"values key reference":   {values("auth:\n  secretKey: redis-password\n"), none},
		"values automount":       {values("automountServiceAccountToken: false\n"), none},
		"values flag":            {values("generatePassword: true\n"), none},
		"values client secret":   {values("oidc:\n  clientSecret: abcdefgh12345678\n"), []string{secrets.RuleValuesKey}},
		"values env list":        {values("env:\n- name: DB_PASSWORD\n  value: correct-horse-battery-9\n"), []string{secrets.RuleValuesKey}},
		"values vault":           {values("password: vault:secret/data/db#password\n"), none},
		"values image digest":    {values("image:\n  digest: sha256:0123456789012345678901234567890123456789012345678901234567890123\n"), none},
		"values checksum":        {map[string]string{"templates/c.yaml": configMap + "data:\n  checksum/config: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"}, none},
		"private key in file":    {map[string]string{"templates/c.yaml": configMap + "data:\n  key: |\n    -----BEGIN RSA PRIVATE KEY-----\n    " + strings.Repeat("MIIEpAIBAAKCAQEA7bq9c", 6) + "\n    " + strings.Repeat("Zk3vQm1x8TnYp0LsRw2d", 6) + "\n    -----END RSA PRIVATE KEY-----\n"}, []string{secrets.RuleGitleaks}},
		"public key":             {map[string]string{"templates/c.yaml": configMap + "data:\n  key: |\n    -----BEGIN PUBLIC KEY-----\n    MIIBIjANBgkq\n    -----END PUBLIC KEY-----\n"}, none},
		"readme example":         {map[string]string{"README.md": "password: correct-horse-battery-9\n"}, none},
		"template of a password": {map[string]string{"templates/c.yaml": configMap + "data:\n  a: {{ .Values.password | default \"\" | quote }}\n"}, none},
		// What charts really have, and what scanners like to report by mistake.
		"secret url in data":         {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  uri: mongodb://app:hunter2hunter2@db:27017\n"}, []string{secrets.RuleData}},
		"secret config with token":   {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  app.yaml: |\n    server:\n      port: 80\n      token: hunter2hunter2\n"}, []string{secrets.RuleData}},
		"secret config without":      {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  app.yaml: |\n    server:\n      port: 80\n      token: ${TOKEN}\n"}, none},
		"secret private key":         {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  tls.key: |\n" + indent(privateKey, 4)}, []string{secrets.RuleData}},
		"secret number":              {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  pin: \"12345678\"\n"}, []string{secrets.RuleData}},
		"secret without padding":     {map[string]string{"templates/s.yaml": secretHead + "data:\n  pass: aHVudGVyMmh1bnRlcjI\n"}, []string{secrets.RuleData}},
		"secret user name":           {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  username: admin\n"}, none},
		"secret switch":              {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  debug: \"true\"\n"}, none},
		"service account token":      {map[string]string{"templates/s.yaml": secretHead + "type: kubernetes.io/service-account-token\n"}, none},
		"sealed secret":              {map[string]string{"templates/s.yaml": "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}\nspec:\n  encryptedData:\n    mode: AgBy3i4OJSWK\n"}, none},
		"generated in key":           {map[string]string{"templates/s.yaml": secretHead + "data:\n  password: {{ randAlphaNum 10 | b64enc | quote }}\n  id: {{ uuidv4 | b64enc }}\n"}, none},
		"list of secrets":            {map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: s}\n  stringData: {pass: hunter2hunter2}\n"}, []string{secrets.RuleData}},
		"config map entry":           {map[string]string{"templates/c.yaml": configMap + "data:\n  DB_PASSWORD: hunter2\n"}, []string{secrets.RuleEnv}},
		"config map address":         {map[string]string{"templates/c.yaml": configMap + "data:\n  app.conf: |\n    a = 1\n    db = postgres://app:hunter2hunter2@db/x\n"}, []string{secrets.RuleEnv}},
		"config map key names":       {map[string]string{"templates/c.yaml": configMap + "data:\n  PASSWORD_FILE: /run/p\n  SECRET_NAME: db\n  TOKEN_TTL: 3600s\n"}, none},
		"config map example url":     {map[string]string{"templates/c.yaml": configMap + "data:\n  a: http://$(USER):$(PASSWORD)@db/\n"}, none},
		"argument":                   {map[string]string{"templates/p.yaml": container("      []\n    args: [\"--db-password=hunter2hunter2\"]\n")}, []string{secrets.RuleEnv}},
		"argument apart":             {map[string]string{"templates/p.yaml": container("      []\n    args: [\"--password\", \"hunter2\"]\n")}, []string{secrets.RuleEnv}},
		"argument reference":         {map[string]string{"templates/p.yaml": container("      []\n    args: [\"--db-password=$(DB_PASSWORD)\", \"--token-file=/run/t\", \"--secret-name=db\"]\n")}, none},
		"init container":             {map[string]string{"templates/p.yaml": strings.Replace(container("      []\n"), "  containers:", "  initContainers:\n  - name: i\n    image: i\n    env: [{name: API_KEY, value: hunter2hunter2}]\n  containers:", 1)}, []string{secrets.RuleEnv}},
		"env connection string":      {env("DB_CONNECTION_STRING", "Server=db;User=app;Password=hunter2hunter2;"), []string{secrets.RuleEnv}},
		"env connection reference":   {env("DB_CONNECTION_STRING", "Server=db;User=app;Password=$(DB_PASSWORD);"), none},
		"env key id":                 {env("AWS_ACCESS_KEY_ID_FILE", "/run/id"), none},
		"env token url":              {env("TOKEN_URL", "https://login.example.com/token"), none},
		"env secret ref":             {env("API_TOKEN", "vault:secret/data/api#token"), none},
		"env max tokens":             {env("MAX_TOKENS", "4096"), none},
		"env public key":             {env("JWT_PUBLIC_KEY", "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE"), none},
		"values number token":        {values("token: 1234\n"), []string{secrets.RuleValuesKey}},
		"values nested list":         {values("users:\n- name: a\n  password: hunter2\n"), []string{secrets.RuleValuesKey}},
		"values passwords":           {values("passwords: [hunter2, hunter3]\n"), []string{secrets.RuleValuesKey}},
		"values url":                 {values("databaseUrl: postgres://app:hunter2hunter2@db/x\n"), []string{secrets.RuleValuesKey}},
		"values camel":               {values("auth:\n  rootPassword: root\n"), []string{secrets.RuleValuesKey}},
		"values access key":          {values("accessKey: AKchangeme\n"), []string{secrets.RuleValuesKey}},
		"values key of a secret":     {values("auth:\n  passwordKey: adminPassword\n  existingSecretPasswordKey: mariadb-root-password\n"), none},
		"values client key name":     {values("oidc:\n  clientSecretKey: clientSecret\n"), none},
		"values create flag":         {values("createTokenSecret: true\nuseExistingSecret: false\nallowEmptyPassword: \"yes\"\n"), none},
		"values pull secret":         {values("imagePullSecret: regcred\nimagePullSecrets: [regcred]\n"), none},
		"values token path":          {values("tokenPath: /var/run/token\npasswordFile: /etc/p\n"), none},
		"values csrf":                {values("tokenExpiration: 3600\nmaxTokens: 10\npasswordMinLength: 12\n"), none},
		"values template":            {values("password: \"{{ .Values.global.password }}\"\n"), none},
		"values stars":               {values("password: \"********\"\nsecretKey: xxxxxxxx\n"), none},
		"values variable":            {values("password: ${DB_PASSWORD}\ntoken: $TOKEN\n"), none},
		"values in a comment":        {values("# password: changeme\na: b\n"), none},
		"values service account":     {values("serviceAccount:\n  automountToken: false\n  tokenAudience: sts\n"), none},
		"values public key":          {values("sshPublicKey: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7xq\n"), none},
		"values certificate":         {values("caCert: |\n" + indent("-----BEGIN CERTIFICATE-----\n"+strings.Repeat("MIIDdzCCAl+gAwIBAgIE", 3)+"\n-----END CERTIFICATE-----\n", 2)), none},
		"values private key":         {values("tls:\n  key: |\n" + indent(privateKey, 4)), []string{secrets.RuleGitleaks}},
		"values private key by name": {values("privateKey: |\n" + indent(privateKey, 2)), []string{secrets.RuleValuesKey}},
		"annotation checksum":        {map[string]string{"templates/p.yaml": strings.Replace(container("      []\n"), "{name: p}", "{name: p, annotations: {checksum/secret: {{ toYaml .Values | sha256sum }}}}", 1)}, none},
		"provider token in a file":   {map[string]string{"files/a.txt": "t = " + "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a" + "\n"}, []string{secrets.RuleGitleaks}},
		"allow comment is no waiver": {map[string]string{"files/a.cfg": "t = " + "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a" + " # gitleaks:allow\n"}, []string{secrets.RuleGitleaks}},
		"literal in a template":      {map[string]string{"templates/_a.tpl": "{{- define \"x\" }}api_key: 8f3Kq0vXz71LmNc5RtYw\n{{ end }}\n"}, []string{secrets.RuleGitleaks}},
		"digest of an image":         {map[string]string{"templates/p.yaml": strings.Replace(container("      []\n"), "image: i", "image: registry.example.com/key-manager@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", 1)}, none},
		"git revision":               {values("key:\n  commit: 3b18e512dba79e4c8300dd08aeb37f8e728b8dad\n"), none},
		"shortened key in docs":      {map[string]string{"README.md": "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA2iX3M4d3LHrRAoVUbeFZN3EaGzKhyBsz7GWwTg\n....\n-----END RSA PRIVATE KEY-----\n"}, none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), tt.files)
			rep, _ := scan(t, rel)
			got := []string{}
			for _, p := range rep.Places {
				if !slices.Contains(got, p.Rule) {
					got = append(got, p.Rule)
				}
			}
			slices.Sort(got)
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Errorf("rules (-want +got):\n%s\n%+v", d, rep.Places)
			}
		})
	}
}

// TestWhere holds file, line, object and key of each place, the same at each scan.
func TestWhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	token := "ghp" + "_" + "16C7e42F292c6912E7710c838347Ae178B4a"
	load(t, dir, map[string]string{
		"values.yaml":              "a: b\ndb:\n  # of the database\n  password: hunter2hunter2\nusers:\n- name: x\n- name: y\n  password: hunter3hunter3\ncache:\n  b: c\n",
		"charts/cache/Chart.yaml":  "apiVersion: v2\nname: cache\nversion: 1.0.0\n",
		"charts/cache/values.yaml": "b: d\nauth:\n  token: hunter4hunter4\n",
		"files/a.sh":               strings.Repeat("# nothing\n", 50) + "export T=" + token + "\n\n\nexport U=1\n",
		"templates/p.yaml":         "# a pod\n" + container("    - name: DB_PASSWORD\n      value: hunter5hunter5\n"),
	})
	rel, err := chart.Load(t.Context(), dir, chart.LoadOptions{Set: []string{"extra.password=hunter6hunter6"}, SetString: []string{"note=" + token + "x"}})
	if err != nil {
		t.Fatal(err)
	}
	rep, _ := scan(t, rel)
	var got []string
	for _, p := range rep.Places {
		got = append(got, fmt.Sprintf("%s %s:%d %s | %s | %s", p.Rule, p.Target.File, p.Target.Line, p.Target.Object(), p.Detail, p.Key))
	}
	slices.Sort(got)
	want := []string{
		`secrets/env-literal templates/p.yaml:2 Pod p container "app" | literal | env DB_PASSWORD`,
		"secrets/gitleaks :0 Chart shop | github-pat | note, given by the user",
		"secrets/gitleaks files/a.sh:51 Chart shop | github-pat | T",
		"secrets/values-key :0 Chart shop | key, given by the user | extra.password",
		"secrets/values-key charts/cache/values.yaml:3 Chart shop | key | cache.auth.token",
		"secrets/values-key values.yaml:4 Chart shop | key | db.password",
		"secrets/values-key values.yaml:8 Chart shop | key | users.1.password",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("places (-want +got):\n%s", d)
	}
	for range 5 {
		again, _ := scan(t, rel)
		if d := cmp.Diff(rep, again); d != "" {
			t.Fatalf("another scan, another report:\n%s", d)
		}
	}
}

// TestNeverInClear injects random secrets in many places and looks for them in
// everything that would be sealed.
func TestNeverInClear(t *testing.T) {
	t.Parallel()
	base := t.TempDir()
	rapid.Check(t, func(rt *rapid.T) {
		secret := rapid.StringMatching(`[a-zA-Z0-9!#%&*+./:;=?@^_|~" '-]{9,40}`).Filter(func(s string) bool {
			return strings.TrimSpace(s) == s && len(strings.Trim(s, " \"'")) > 8 && !strings.HasPrefix(s, "/") && !strings.Contains(s, "://") &&
				!strings.HasPrefix(s, "#") && strings.ContainsAny(s, "0123456789") && strings.ContainsAny(s, "!%&*+;=?^|~")
		}).Draw(rt, "secret")
		dir, err := os.MkdirTemp(base, "c")
		if err != nil {
			rt.Fatal(err)
		}
		quoted, err := json.Marshal(secret)
		if err != nil {
			rt.Fatal(err)
		}
		rel := load(t, dir, map[string]string{
			"values.yaml":      "db:\n  password: " + string(quoted) + "\n",
			"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata:\n  pass: {{ .Values.db.password | b64enc }}\nstringData:\n  again: {{ .Values.db.password | quote }}\n",
			"templates/c.yaml": configMap + "data:\n  conf: |\n    password = {{ .Values.db.password }}\n  json: {{ dict \"p\" .Values.db.password | toJson | quote }}\n",
			"templates/p.yaml": container("    - name: DB_PASSWORD\n      value: {{ .Values.db.password | quote }}\n"),
		})
		rep, red := scan(t, rel)
		raw, err := json.Marshal(rep)
		if err != nil {
			rt.Fatal(err)
		}
		values, err := json.Marshal(rel.Values)
		if err != nil {
			rt.Fatal(err)
		}
		for what, b := range map[string][]byte{"report": raw, "manifests": rel.Manifests, "values": values, "log": []byte("warning: value " + secret + " is odd")} {
			out := b
			if what != "report" {
				out, _ = red.Redact(b)
			}
			for _, form := range []string{secret, string(quoted[1 : len(quoted)-1]), base64.StdEncoding.EncodeToString([]byte(secret))} {
				if strings.Contains(string(out), form) {
					rt.Fatalf("%s still holds %q:\n%s", what, form, out)
				}
			}
		}
	})
}

// A secret that is also a name stays readable as a name, and is masked where it is a secret.
func TestNameAsSecret(t *testing.T) {
	t.Parallel()
	rel := load(t, t.TempDir(), map[string]string{
		"values.yaml": "password: postgres\n",
		"templates/p.yaml": strings.ReplaceAll(container("    - name: POSTGRES_PASSWORD\n      value: {{ .Values.password }}\n"), "name: app", "name: postgres") +
			"---\napiVersion: v1\nkind: Secret\nmetadata: {name: postgres}\nstringData:\n  password: {{ .Values.password }}\n",
	})
	rep, red := scan(t, rel)
	out, n := red.Redact(rel.Manifests)
	if n < 2 || strings.Contains(string(out), "value: postgres") || strings.Contains(string(out), "password: postgres") {
		t.Errorf("%d replaced:\n%s", n, out)
	}
	if !strings.Contains(string(out), "name: postgres") {
		t.Errorf("the name is gone:\n%s", out)
	}
	if !slices.ContainsFunc(rep.Places, func(p secrets.Place) bool { return p.Partial }) {
		t.Error("the report does not say that the redaction is partial")
	}
}

// Findings come from what is sealed alone, and a release without secrets passes.
func TestFindings(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		files map[string]string
		want  evidence.Outcome
	}{
		"clean":  {map[string]string{"templates/c.yaml": configMap}, evidence.OutcomePass},
		"secret": {map[string]string{"values.yaml": "password: correct-horse-battery-9\n", "templates/c.yaml": configMap}, evidence.OutcomeFail},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), tt.files)
			rep, red := scan(t, rel)
			art := collectors.NewArtifacts(red)
			runs, err := collectors.Run(t.Context(), collectors.Input{Release: rel}, []collectors.Collector{secrets.New(rep)}, art, collectors.RunOptions{Now: fixedTime})
			if err != nil || runs[0].Outcome != evidence.OutcomePass {
				t.Fatalf("run: %v %+v", err, runs)
			}
			for name, data := range map[string][]byte{collectors.ReleaseFile: []byte(`{"chart":"shop"}`), collectors.ManifestsFile: rel.Manifests} {
				if _, err := art.Put(name, data); err != nil {
					t.Fatal(err)
				}
			}
			found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), secrets.New(nil))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(found, func(f evidence.Finding) bool { return f.Outcome == tt.want }) {
				t.Errorf("no finding %s in %+v", tt.want, found)
			}
			if tt.want == evidence.OutcomePass && slices.ContainsFunc(found, func(f evidence.Finding) bool { return f.Outcome != evidence.OutcomePass }) {
				t.Errorf("something does not pass: %+v", found)
			}
		})
	}
}

func FuzzRedact(f *testing.F) {
	f.Add("correct-horse-battery-9", "x")
	f.Add("a: b\n\"'", "name: {a: b}")
	f.Fuzz(func(t *testing.T, secret, around string) {
		value, err := json.Marshal(secret)
		if err != nil || len(secret) > 1000 {
			t.Skip()
		}
		rel := &chart.Release{Values: map[string]any{"password": secret}, Manifests: []byte("---\n# Source: a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {password: " + string(value) + "}\n")}
		rel.Info.Chart = "fuzz"
		rep, red, err := secrets.Scan(t.Context(), rel)
		if err != nil {
			return // refused: nothing is sealed
		}
		if len(rep.Places) > 0 && len(secret) >= 9 && !rep.Places[0].Partial {
			if out, _ := red.Redact([]byte(around + " " + secret + " " + around)); strings.Contains(string(out), secret) && !strings.Contains("REDACTED", secret) {
				t.Errorf("%q is still in %q", secret, out)
			}
		}
	})
}

func fixedTime() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

func BenchmarkScan(b *testing.B) {
	rel := load(b, b.TempDir(), map[string]string{
		"values.yaml":      strings.Repeat("key: value # a comment with a token in it\n", 1) + strings.Repeat("# a line of documentation\n", 400),
		"templates/p.yaml": container("    - name: DB_PASSWORD\n      valueFrom: {secretKeyRef: {name: db, key: password}}\n"),
	})
	for b.Loop() {
		scan(b, rel)
	}
}
