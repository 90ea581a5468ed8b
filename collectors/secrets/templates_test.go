package secrets_test

import "testing"

// TestTemplatesOfSecrets: objects that say where secrets are hold none, but for what is
// written out in the Secrets that they say how to make.
func TestTemplatesOfSecrets(t *testing.T) {
	t.Parallel()
	object := func(apiVersion, kind, spec string) string {
		return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x}\nspec: " + spec + "\n"
	}
	external := func(template string) string {
		return object("external-secrets.io/v1", "ExternalSecret", "{refreshInterval: 1h, secretStoreRef: {name: s}, target: {template: "+template+"}, data: [{secretKey: password, remoteRef: {key: shop, property: password}}]}")
	}
	vault := func(text string) string {
		return object("secrets.hashicorp.com/v1beta1", "VaultStaticSecret", "{mount: kv, path: shop/password, type: kv-v2, destination: {name: d, transformation: {templates: {password: {text: '"+text+"'}}}}}")
	}
	named := func(name, text string) string {
		return object("secrets.hashicorp.com/v1beta1", "VaultStaticSecret", "{mount: kv, path: shop, type: kv-v2, destination: {name: d, transformation: {templates: {a: {name: "+name+", text: "+text+"}}}}}")
	}
	for name, tt := range map[string]struct {
		text   string
		secret bool
	}{
		"a literal":                      {external("{data: {password: hunter2}}"), true},
		"a file with one":                {external(`{data: {a.ini: "[db]\npassword = hunter2\n"}}`), true},
		"an address with one":            {external("{data: {url: 'postgres://app:hunter2@db/app'}}"), true},
		"a template as text":             {external(`{templateFrom: [{literal: "password: hunter2\n"}]}`), true},
		"what is filled in":              {external("{data: {user: shop, host: db.example.com, password: '{{ \"{{ .password }}\" }}', url: 'postgres://app:{{ \"{{ .password }}\" }}@db/app'}}"), false},
		"names, types and labels":        {external("{type: kubernetes.io/basic-auth, metadata: {labels: {password: shop-db}}, data: {}}"), false},
		"of a ClusterExternalSecret":     {object("external-secrets.io/v1", "ClusterExternalSecret", "{externalSecretSpec: {target: {template: {data: {password: hunter2}}}}}"), true},
		"of a PushSecret":                {object("external-secrets.io/v1alpha1", "PushSecret", "{template: {data: {password: hunter2}}}"), true},
		"a store of its own":             {object("external-secrets.io/v1", "SecretStore", "{provider: {fake: {data: [{key: /shop/password, value: hunter2}]}}}"), true},
		"two of one name in a store":     {object("external-secrets.io/v1", "SecretStore", "{provider: {fake: {data: [{key: /a/password, value: hunter2}, {key: /b/password, value: '{{ \"{{ p }}\" }}'}]}}}"), true},
		"a mapping in a store":           {object("external-secrets.io/v1beta1", "ClusterSecretStore", "{provider: {fake: {data: [{key: shop, valueMap: {password: hunter2}}]}}}"), true},
		"a mapping without one":          {object("external-secrets.io/v1beta1", "ClusterSecretStore", "{provider: {fake: {data: [{key: shop, valueMap: {user: shop}}]}}}"), false},
		"a generator":                    {object("generators.external-secrets.io/v1alpha1", "Fake", "{data: {password: hunter2}}"), true},
		"a generator of the cluster":     {object("generators.external-secrets.io/v1alpha1", "ClusterGenerator", "{kind: Fake, generator: {fakeSpec: {data: {password: hunter2}}}}"), true},
		"a generator without one":        {object("generators.external-secrets.io/v1alpha1", "Fake", "{data: {user: shop}}"), false},
		"another generator":              {object("generators.external-secrets.io/v1alpha1", "Password", "{length: 42, symbolCharacters: '-_$'}"), false},
		"another store":                  {object("external-secrets.io/v1", "SecretStore", "{provider: {vault: {server: 'https://vault.example.com', path: secret, auth: {tokenSecretRef: {name: vault-token, key: token}}}}}"), false},
		"of Vault's operator":            {vault("hunter2"), true},
		"filled in by Vault's operator":  {vault("{{ \"{{ get .Secrets \\\"p\\\" }}\" }}"), false},
		"named of Vault's operator":      {named("db-password", "hunter2"), true},
		"named something else":           {named("db-user", "shop"), false},
		"a transformation":               {object("secrets.hashicorp.com/v1beta1", "SecretTransformation", "{templates: {a: {name: password, text: hunter2}}}"), true},
		"a source of a transformation":   {object("secrets.hashicorp.com/v1beta1", "SecretTransformation", "{sourceTemplates: [{name: a, text: '{{ \"{{ define \\\"a\\\" }}{{ end }}\" }}'}, {text: 'postgres://app:hunter2@db/app'}]}"), true},
		"a named source":                 {object("secrets.hashicorp.com/v1beta1", "SecretTransformation", "{sourceTemplates: [{name: password, text: hunter2}]}"), true},
		"a source that is filled in":     {object("secrets.hashicorp.com/v1beta1", "SecretTransformation", "{sourceTemplates: [{name: password, text: '{{ \"{{ get .Secrets \\\"p\\\" }}\" }}'}]}"), false},
		"a password by its type":         {object("k8s.keycloak.org/v2alpha1", "KeycloakRealmImport", "{realm: {users: [{username: a, credentials: [{type: password, value: hunter2}]}]}}"), true},
		"another type":                   {object("k8s.keycloak.org/v2alpha1", "KeycloakRealmImport", "{realm: {users: [{username: a, credentials: [{type: otp, value: hunter2}]}]}}"), false},
		"a password by its type, a file": {configMap + "data:\n  realm.json: |\n    {\"users\": [{\"username\": \"a\",\n      \"credentials\": [{\"type\": \"password\", \"value\": \"hunter2\"}]}]}\n", true},
		"a field of a form":              {configMap + "data:\n  form.json: |\n    {\"fields\": [{\"type\": \"password\",\n      \"label\": \"Your password\"}]}\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/x.yaml": tt.text})
			if rep, _ := scan(t, rel); len(rep.Places) > 0 != tt.secret {
				t.Errorf("want %v: %+v", tt.secret, rep.Places)
			}
		})
	}
	for name, secret := range map[string]bool{
		"FLOWER_BASIC_AUTH, value: 'admin:hunter2'":                  true,
		"BASIC_AUTH_USERS, value: 'admin:hunter2'":                   true,
		"HTTP_AUTH, value: 'shop:p4ss'":                              true,
		"BASIC_AUTH, value: " + encode("admin:hunter2"):              true,
		"NPM_CONFIG__AUTH, value: " + encode("shop:hunter2"):         true,
		"B_BASIC_AUTH, value: 'admin:12345678'":                      true,
		"BASIC_AUTH, value: 'admin:65536'":                           true,
		"BASIC_AUTH, value: 'auth:65535'":                            false,
		"BASIC_AUTH, value: 'admin:000123'":                          true,
		"BASIC_AUTH, value: enabled":                                 false,
		"BASIC_AUTH, value: 'admin:$(PASSWORD)'":                     false,
		"BASIC_AUTH, value: 'http://auth.example.com:80'":            false,
		"HTTP_AUTH, value: 'auth:8080'":                              false,
		"SMTP_AUTH, value: 'login:plain'":                            false,
		"BASIC_AUTH_FILE, value: '/etc/nginx/htpasswd:ro'":           false,
		"NGINX_BASIC_AUTH, value: '{{ \"{{ user }}:{{ pass }}\" }}'": false,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/p.yaml": container("    - {name: " + name + "}\n")})
			if rep, _ := scan(t, rel); len(rep.Places) > 0 != secret {
				t.Errorf("want %v: %+v", secret, rep.Places)
			}
		})
	}
}
