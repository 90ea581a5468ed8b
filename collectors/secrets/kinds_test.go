package secrets_test

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/secrets"
	"github.com/companyos/helmproof/internal/manifest"
)

// key is a private key of a kind, in the form of one.
func key(kind string) string {
	return strings.ReplaceAll(privateKey, "RSA ", kind)
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// wrap breaks a text into lines of 64.
func wrap(s string, indent int) string {
	var b strings.Builder
	for chunk := range slices.Chunk([]byte(s), 64) {
		b.WriteString(strings.Repeat(" ", indent) + string(chunk) + "\n")
	}
	return b.String()
}

// TestKinds is the table of kinds that a value in a text or file can be taken for by
// mistake, or missed: each with what it is and with what only looks like it.
func TestKinds(t *testing.T) {
	t.Parallel()
	values := func(text string) map[string]string { return map[string]string{"values.yaml": text} }
	config := func(data string) map[string]string {
		return map[string]string{"templates/c.yaml": configMap + data}
	}
	sealed := func(data string) map[string]string {
		return map[string]string{"templates/s.yaml": "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: s}\nspec:\n  encryptedData:\n" + data}
	}
	argo := func(data string) map[string]string {
		return map[string]string{"templates/s.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: s, labels: {argocd.argoproj.io/secret-type: repository}}\nstringData:\n" + data}
	}
	cipher := "AgBy3i4OJSWK" + strings.Repeat("PiTySYZZA9rO43cGDEq", 20)
	random := "8f3Kq0vXz71LmNc5RtYw"
	for name, tt := range map[string]struct {
		files  map[string]string
		secret bool
	}{
		"base64 key in values":                 {values("server:\n  identity: " + encode(key("RSA ")) + "\n"), true},
		"base64 key of OpenSSH":                {values("deploy: " + encode(key("OPENSSH ")) + "\n"), true},
		"base64 key as PKCS #8":                {config("data:\n  pem: " + encode(key("")) + "\n"), true},
		"base64 EC key in lines":               {config("data:\n  pem: |\n" + wrap(encode(key("EC ")), 4)), true},
		"base64 key in binaryData":             {config("binaryData:\n  server.key: " + encode(key("RSA ")) + "\n"), true},
		"base64 twice":                         {values("deploy: " + encode(encode(key("RSA "))) + "\n"), true},
		"base64 key in a template":             {map[string]string{"templates/_a.tpl": "{{- define \"a\" }}" + encode(key("RSA ")) + "{{ end }}\n"}, true},
		"base64 key in a custom resource":      {map[string]string{"templates/x.yaml": "apiVersion: example.com/v1\nkind: X\nmetadata: {name: x}\nspec: {pem: " + encode(key("RSA ")) + "}\n"}, true},
		"base64 certificate":                   {values("ca: " + encode("-----BEGIN CERTIFICATE-----\n"+strings.Repeat("MIIDdzCCAl+gAwIBAgIE", 6)+"\n-----END CERTIFICATE-----\n") + "\n"), false},
		"base64 public key":                    {values("pub: " + encode("-----BEGIN PUBLIC KEY-----\n"+strings.Repeat("MIIDdzCCAl+gAwIBAgIE", 6)+"\n-----END PUBLIC KEY-----\n") + "\n"), false},
		"base64 key without a body":            {values("pem: " + encode("-----BEGIN RSA PRIVATE "+"KEY-----\n<your key>\n-----END RSA PRIVATE "+"KEY-----\n") + "\n"), false},
		"java key store in binaryData":         {config("binaryData:\n  store: " + encode("\xfe\xed\xfe\xed\x00\x00\x00\x02\x00\x00\x00\x01") + "\n"), true},
		"image in binaryData":                  {config("binaryData:\n  logo.png: " + encode("\x89PNG\r\n\x1a\n") + "\n"), false},
		"XML in a Secret":                      {argo("  core-site.xml: |\n    <?xml version=\"1.0\"?>\n    <configuration>\n    <property>\n    <name>dremio.s3.compat</name>\n    <value>true</value>\n    </property>\n    </configuration>\n"), false},
		"XML with one in a Secret":             {argo("  core-site.xml: |\n    <?xml version=\"1.0\"?>\n    <configuration>\n    <property>\n    <name>fs.s3a.secret.key</name>\n    <value>hunter2zeta</value>\n    </property>\n    </configuration>\n"), true},
		"the key of a reference":               {map[string]string{"templates/d.yaml": "{{- if .Values.on }}\nenv:\n  - name: A\n    valueFrom:\n      secretKeyRef:\n        name: a\n        key: rfc2136_tsig_secret\n{{- end }}\n"}, false},
		"a random key":                         {map[string]string{"templates/d.yaml": "{{- if .Values.on }}\napi:\n  key: " + random + "\n{{- end }}\n"}, true},
		"empty key, another line":              {values("env: |\n  SMTP_PASSWORD=\n  SMTP_SECURITY=starttls4\n"), false},
		"empty keys of an example":             {map[string]string{"files/env.example": "STRIPE_SECRET_KEY=\nSTRIPE_WEBHOOK_PATH_V2=hooks/a1\nAPI_KEY=\nAPI_VERSION_DATE=2024-01-01\n"}, false},
		"empty key of YAML":                    {map[string]string{"files/a.yaml": "auth_token:\nauth_retries_2: 10x\n"}, false},
		"empty key, indented":                  {config("data:\n  a.ini: |\n    [db]\n      password =\n      pool_size_max1 = 10\n"), false},
		"empty token before a comment":         {config("data:\n  a.conf: |\n    api_token=\n    # use_rotation_2=1\n"), false},
		"a value after an empty key":           {config("data:\n  a.env: |\n    A_TOKEN=\n    B_TOKEN=hunter2hunter2\n"), true},
		"sealed":                               {sealed("    password: " + cipher + "\n"), false},
		"sealed, several":                      {sealed("    api-key: " + cipher + "\n    token: AQ" + cipher + "\n"), false},
		"sealed by value":                      {map[string]string{"values.yaml": "encryptedData:\n  api_token: " + cipher + "\n", "templates/s.yaml": sealed("    api_token: {{ .Values.encryptedData.api_token }}\n")["templates/s.yaml"]}, false},
		"not sealed":                           {sealed("    api_key: " + random + "\n"), true},
		"sealed name, another object":          {map[string]string{"templates/s.yaml": sealed("    a: " + cipher + "\n")["templates/s.yaml"] + "---\n" + configMap + "data:\n  api_key: Ag" + random + "\n"}, true},
		"argo repository":                      {argo("  type: git\n  url: https://git.example.com/shop.git\n  project: shop\n"), false},
		"argo registry":                        {argo("  type: helm\n  name: charts\n  url: oci://registry.example.com/charts\n  enableOCI: \"true\"\n"), false},
		"argo over ssh":                        {argo("  url: git@git.example.com:shop/shop.git\n"), true},
		"argo ssh address":                     {argo("  url: ssh://git@git.example.com/shop.git\n"), false},
		"argo cluster":                         {argo("  name: prod\n  server: https://10.0.0.1:6443\n  config: '{\"tlsClientConfig\":{\"insecure\":false}}'\n"), false},
		"argo cluster with token":              {argo("  name: prod\n  config: '{\"bearerToken\":\"abc.def\"}'\n"), true},
		"argo with password":                   {argo("  url: https://git.example.com/shop.git\n  username: ci\n  password: deploy\n"), true},
		"argo address with password":           {argo("  url: https://ci:deploy@git.example.com/shop.git\n"), true},
		"placeholder of a key in a comment":    {values("# key: |\n#   -----BEGIN EC PRIVATE " + "KEY-----\n#   ...\n#   -----END EC PRIVATE " + "KEY-----\na: b\n"), false},
		"two placeholders of keys":             {values("# -----BEGIN PRIVATE " + "KEY-----\n# <key>\n# -----END PRIVATE " + "KEY-----\nannotations: {}\n# -----BEGIN PRIVATE " + "KEY-----\n# <key>\n# -----END PRIVATE " + "KEY-----\n"), false},
		"hook address that is crossed out":     {values("# url: https://hooks.slack.com/services/Txxxxxxxx/Bxxxxxxxx/XXXXXXXXXXXXXXXXXXXXXXXX\na: b\n"), false},
		"hook address":                         {values("url: https://hooks.slack.com/services/T0" + "1AB2CD3E/B01AB2CD3E4/" + "a8B7c6D5e4F3g2H1i0J9k8L7\n"), true},
		"name of a Secret of the release":      {map[string]string{"templates/c.yaml": configMap + "data:\n  a.yaml: |\n    x:\n      signerSecret: shop-signer-ca\n"}, false},
		"name that a variable has":             {map[string]string{"templates/p.yaml": container("    - {name: WEBHOOK_SECRET, value: hook-certs}\n    volumeMounts: []\n  volumes:\n  - name: c\n    secret: {secretName: hook-certs}\n")}, false},
		"generated password in a flow":         {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  a.conf: |\n    users: [\n      { user: a, password: \"{{ randAlpha 1 }}{{ randAlphaNum 9 }}\" },\n    ]\n"}, false},
		"literal in a flow":                    {map[string]string{"templates/s.yaml": secretHead + "stringData:\n  a.conf: |\n    users: [\n      { user: a, password: \"nuts\" },\n    ]\n"}, true},
		"backtick, command and regexp":         {config("data:\n  a.sh: |\n    #!/bin/sh\n    PASSWORD=`cat /p`\n    TOKEN=$(jq -r .token)\n    grep -oP '\"password\": \"\\K.+'\n"), false},
		"verbs of a role":                      {values("rbac:\n  secrets: [get, list, delete]\n"), false},
		"tokens in a list":                     {values("secrets: [get, hunter2]\n"), true},
		"key without a body in the values":     {values("privateKey: |\n  -----BEGIN RSA PRIVATE " + "KEY-----\n  -----END RSA PRIVATE " + "KEY-----\n"), false},
		"placeholder in a Secret, in base64":   {map[string]string{"templates/s.yaml": secretHead + "data:\n  api_key: " + encode("<change-me-now>") + "\n"}, false},
		"proxy_pass":                           {config("data:\n  nginx.conf: |\n    location / { proxy_pass http://$backend:80; }\n    fastcgi_pass php:9000;\n"), false},
		"ephemeral container and init":         {map[string]string{"templates/p.yaml": strings.Replace(container("      []\n"), "  containers:", "  initContainers:\n  - {name: i, image: i, command: [sh, -c, \"PGPASSWORD=init-pw psql\"]}\n  containers:", 1)}, true},
		"user variable in the values":          {values("env:\n- name: USER_PASSWORD\n  value: user-password\n"), true},
		"list of options in the values":        {values("extraArgs:\n- --db-password=listed-pw\n"), true},
		"list of harmless options in values":   {values("extraArgs:\n- --db-password-file=/etc/secrets/p\n- --token-ttl=1h\n"), false},
		"name and address of a secret's store": {values("store:\n  url: https://vault.example.com/v1/secret\n  secretName: shop-db\n  passwordPath: secret/data/shop\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), tt.files)
			rep, _ := scan(t, rel)
			if found := len(rep.Places) > 0; found != tt.secret {
				t.Errorf("secret: %v, want %v: %+v", found, tt.secret, rep.Places)
			}
		})
	}
}

// TestAddresses holds which addresses in a Secret are public: those without a user,
// a password or a path that nobody could guess, whatever their ports and hosts are.
func TestAddresses(t *testing.T) {
	t.Parallel()
	for address, secret := range map[string]bool{
		"redis://r:6379":                                                   false,
		"redis://harbor-redis:6379":                                        false,
		"redis://harbor-redis:6379/0":                                      false,
		"rediss://harbor-redis:6379?db=1":                                  false,
		"amqp://rabbitmq-headless:5672":                                    false,
		"amqp://rabbitmq-headless:5672//":                                  false,
		"https://minio-console.example.com:9443":                           false,
		"mongodb://mongo-a.mongodb:27017,mongo-b.mongodb:27017/shop":       false,
		"redis://harbor-redis-a:6379,redis://harbor-redis-b:6379":          false,
		"https://login.example.com/?back=https://shop.example.com:8443":    false,
		"postgres://shop@harbor-postgres:5432/shop":                        false,
		"redis://ip-10-0-12-34.ec2.internal:6379":                          false,
		"redis://[fd00:1234:5678:abcd::1]:6379":                            false,
		"jdbc:postgresql://harbor-postgres:5432/shop":                      false,
		"jdbc:sqlserver://sql-server-main:1433;databaseName=shop":          false,
		"jdbc:oracle:thin:@oracle-db-host:1521:ORCL1":                      false,
		"jdbc:oracle:thin:@//oracle-db-host:1521/shop":                     false,
		"redis://:hunter2@harbor-redis:6379":                               true,
		"redis://app:6379@harbor-redis:6379":                               true,
		"redis://harbor-redis-a:6379,redis://:hunter2@harbor-redis-b:6379": true,
		"https://8f3Kq0vXz71LmNc5RtYw@sentry.example.com:9000/1":           true,
		"https://abcd1234efgh@git.example.com:8443":                        true,
		"https://8f3Kq0vXz71LmNc5RtYw.example.com:8443":                    true,
		"https://8f3kq0vxz71lmnc5rtyw.example.com":                         true,
		"https://harbor-core:8443/8f3Kq0vXz71LmNc5RtYw":                    true,
		"https://harbor-core:8443/?x=8f3Kq0vXz71LmNc5RtYw":                 true,
		"redis://harbor-redis:8f3Kq0vXz71L":                                true,
		"redis://harbor-redis:6379,8f3Kq0vXz71LmNc5RtYw":                   true,
		"https://chat.example.com:8443/hooks/T0":                           true,
		"jdbc:oracle:thin:shop/hunter2@oracle-db-host:1521:ORCL1":          true,
		"jdbc:mysql://harbor-mysql:3306/shop?user=a&password=nuts":         true,
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/s.yaml": secretHead + "stringData: {url: \"" + address + "\"}\n"})
			rep, _ := scan(t, rel)
			if found := len(rep.Places) > 0; found != secret {
				t.Fatalf("secret: %v, want %v: %+v", found, secret, rep.Places)
			}
			if secret && rep.Places[0].Rule != secrets.RuleData {
				t.Errorf("rule %s, want %s", rep.Places[0].Rule, secrets.RuleData)
			}
		})
	}
}

// TestRedactionKeepsMeaning holds that what is redacted decodes as before, in the same
// shape, whatever a secret is: a word of the API, part of an encoded text, a number.
func TestRedactionKeepsMeaning(t *testing.T) {
	t.Parallel()
	word := func(v string) map[string]string {
		return map[string]string{"templates/a.yaml": secretHead + "stringData: {password: " + v + "}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\nspec:\n  template:\n    spec:\n      containers: [{name: app, image: i, imagePullPolicy: Always}]\n"}
	}
	for name, tt := range map[string]struct {
		files      map[string]string
		stays, not []string
	}{
		"word of the rules":            {word("deployments"), []string{"Deployment"}, []string{"password: deployments"}},
		"kind":                         {word("Deployment"), []string{"kind: Deployment"}, []string{"password: Deployment"}},
		"field":                        {word("containers"), []string{"containers:"}, []string{"password: containers"}},
		"word of an enumeration":       {word("Always"), []string{"imagePullPolicy: Always"}, []string{"password: Always"}},
		"version":                      {word("apps/v1"), []string{"apiVersion: apps/v1"}, []string{"password: apps/v1"}},
		"padded base64, two signs":     {map[string]string{"templates/a.yaml": secretHead + "stringData: {password: batterystaplehorse}\ndata: {host: " + encode("batterystaplehorse-a") + "}\n"}, nil, []string{"batterystaplehorse", encode("batterystaplehorse-a")}},
		"padded base64, one sign":      {map[string]string{"templates/a.yaml": secretHead + "stringData: {password: batterystaplehorse}\ndata: {host: " + encode("xbatterystaplehorse9") + "}\n"}, nil, []string{"batterystaplehorse"}},
		"inside of JSON":               {map[string]string{"templates/a.yaml": configMap + "data:\n  a.json: '{\"db\":{\"password\":\"nuts\",\"host\":\"nuts\"}}'\n"}, []string{`"host":"nuts"`}, []string{`"password":"nuts"`}},
		"number in JSON":               {map[string]string{"templates/a.yaml": configMap + "data:\n  a.json: '{\"password\":4815,\"port\":4815}'\n"}, []string{`"port":4815`}, []string{`"password":4815`, `:REDACTED`}},
		"inside of XML":                {map[string]string{"templates/a.yaml": configMap + "data:\n  a.xml: <a><password>nuts</password><name>nuts</name></a>\n"}, []string{"<name>nuts</name>"}, []string{"<password>nuts"}},
		"inside of properties":         {map[string]string{"templates/a.yaml": configMap + "data:\n  a.properties: |\n    db.password=nuts\n    db.name=nuts\n"}, []string{"db.name=nuts"}, []string{"password=nuts"}},
		"inside of a .netrc":           {map[string]string{"templates/a.yaml": configMap + "data:\n  .netrc: machine nuts login nuts password nuts\n"}, []string{"machine nuts login nuts"}, []string{"password nuts"}},
		"inside of .pgpass":            {map[string]string{"templates/a.yaml": configMap + "data:\n  .pgpass: |\n    nuts:5432:nuts:nuts:nuts\n"}, []string{"nuts:5432:nuts:nuts:REDACTED"}, nil},
		"inside of a variable":         {map[string]string{"templates/a.yaml": container("    - {name: DSN, value: \"nuts:nuts@tcp(nuts:3306)/nuts\"}\n")}, []string{"nuts:REDACTED@tcp(nuts:3306)/nuts"}, nil},
		"inside of JAAS":               {map[string]string{"templates/a.yaml": container("    - {name: JAAS, value: 'a.b.C required username=\"nuts\" password=\"nuts\";'}\n")}, []string{`username="nuts" password="REDACTED"`}, nil},
		"inside of JDBC":               {map[string]string{"templates/a.yaml": container("    - {name: URL, value: \"jdbc:mysql://nuts/nuts?user=nuts&password=nuts\"}\n")}, []string{"jdbc:mysql://nuts/nuts?user=nuts&password=REDACTED"}, nil},
		"inside of an option":          {map[string]string{"templates/a.yaml": container("    - {name: OPTS, value: \"-Dname=nuts -Da.password=nuts\"}\n")}, []string{"-Dname=nuts -Da.password=REDACTED"}, nil},
		"inside of a script":           {map[string]string{"templates/a.yaml": container("      []\n    command: [sh, -c, \"export A=nuts DB_PASSWORD=nuts; nuts\"]\n")}, []string{"export A=nuts DB_PASSWORD=REDACTED; nuts"}, nil},
		"percent-encoded and decoded":  {map[string]string{"templates/a.yaml": container("    - {name: URL, value: \"postgres://a:p%40ssW0rd9x@db/x\"}\n    - {name: NOTE, value: \"p@ssW0rd9x\"}\n")}, []string{"postgres://a:REDACTED@db/x"}, []string{"p%40ssW0rd9x", "p@ssW0rd9x"}},
		"base64 of a file with secret": {map[string]string{"templates/a.yaml": configMap + "binaryData:\n  a.properties: " + encode("password=nuts\n") + "\n"}, nil, []string{encode("password=nuts\n")}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), tt.files)
			rep, red := scan(t, rel)
			if len(rep.Places) == 0 {
				t.Fatal("nothing was found")
			}
			out, _ := red.Redact(rel.Manifests)
			for _, s := range tt.stays {
				if !strings.Contains(string(out), s) {
					t.Errorf("%q is gone:\n%s", s, out)
				}
			}
			for _, s := range tt.not {
				if strings.Contains(string(out), s) {
					t.Errorf("%q is there still:\n%s", s, out)
				}
			}
			set, err := manifest.Parse(out)
			if err != nil || len(set.Broken) > 0 {
				t.Fatalf("%v %+v", err, set.Broken)
			}
			for i := range set.Objects {
				o := &set.Objects[i]
				for _, field := range []string{"data", "binaryData"} {
					if o.GetKind() != "Secret" && field == "data" {
						continue
					}
					m, _ := o.Object[field].(map[string]any)
					for k, v := range m {
						if _, err := base64.StdEncoding.DecodeString(v.(string)); err != nil {
							t.Errorf("%s is no base64 any more: %v", k, err)
						}
					}
				}
			}
		})
	}
}

// TestLongTexts: how long a text or a line is keeps nothing from being found.
func TestLongTexts(t *testing.T) {
	t.Parallel()
	const secret = "hunter2zeta"
	token := "AQoDYXdzEJr" + strings.Repeat("x7Kq0vXz71LmNc5RtYw2", 17)
	for name, entry := range map[string]string{
		"a file of more than a MiB":       "  app.conf: |\n" + strings.Repeat("    # nothing to be seen here\n", 40000) + "    password: " + secret + "\n",
		"a line of many words":            "  dash.json: '[" + strings.Repeat(`{"panel":"a"},`, 20000) + `{"password":"` + secret + `"},` + strings.Repeat(`{"panel":"a"},`, 2000) + "{}]'\n",
		"a token that begins as a cipher": "  aws.env: |\n    AWS_SESSION_TOKEN=" + token + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n" + entry})
			rep, red := scan(t, rel)
			if len(rep.Places) == 0 {
				t.Error("nothing is found")
			}
			if out, _ := red.Redact(rel.Manifests); bytes.Contains(out, []byte(secret)) || bytes.Contains(out, []byte(token)) {
				t.Error("it is sealed in clear")
			}
		})
	}
}
