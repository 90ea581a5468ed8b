package secrets_test

import (
	"strings"
	"testing"
)

// TestFallbacks: what stands in for a variable that is not set is a password as if it
// stood there alone; a reference without such a literal is none.
func TestFallbacks(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		file, text string
		secret     bool
	}{
		{"a.properties", "db.password=${DB_PASSWORD:hunter2}", true},
		{"a.properties", "db.password=${db.password:hunter2}", true},
		{"a.properties", "db.password=${DB_CRED:-hunter2}", true},
		{"a.properties", "db.password=${SOMETHING-hunter2}", true},
		{"a.properties", "db.password=${DB_PASSWORD:}", false},
		{"a.properties", "db.password=${DB_PASSWORD}", false},
		{"a.properties", "db.password=${db-password}", false},
		{"a.yml", "password: ${DB_PASSWORD:changeme}", true},
		{"a.yml", "password: \"${DB_PASSWORD:-hunter2}\"", true},
		{"a.yml", "password: ${env:DB_PASSWORD:-hunter2}", true},
		{"a.yml", "url: jdbc:x://db/shop?password=${DB_PASSWORD:-hunter2}", true},
		{"a.yml", "password: ${env:DB_PASSWORD}", false},
		{"a.yml", "password: ${env:DB_PASSWORD:-}", false},
		{"a.yml", "password: ${file:UTF-8:/etc/password}", false},
		{"a.yml", "password: ${vault:db_password:field}", false},
		{"a.yml", "password: ${DB_PASSWORD:?has to be set}", false},
		{"a.yml", "password: ${DB_PASSWORD:-${OTHER_PASSWORD}}", false},
		{"a.yml", "password: ${DB_PASSWORD:-/run/secrets/db}", false},
		{"a.yml", "enabled: ${AUTH_TOKEN_ENABLED:true}", false},
		{"a.yml", "name: ${TOKEN_HEADER_NAME:x-token}", false},
		{"a.yml", "password: '{{ env \"DB_PASSWORD\" | default \"hunter2\" }}'", true},
		{"a.yml", "password: '{{ env \"DB_PASSWORD\" | default \"\" }}'", false},
		{"a.sh", "export DB_PASSWORD=${DB_PASSWORD:-hunter2}", true},
		{"a.sh", ": \"${DB_PASSWORD:=hunter2}\"", true},
		{"a.sh", "export DB_PASSWORD=${DB_PASSWORD:-}", false},
		{"a.sh", "export DB_PASSWORD=\"${DB_PASSWORD:-$(cat /p)}\"", false},
		{"a.sh", "psql \"password=${DB_PASSWORD:-$DEFAULT_PASSWORD}\"", false},
		{"a.sh", "echo ${DB_PASSWORD:0:8}", false},
		{"a.sh", "[ -n \"${DB_PASSWORD:-}\" ]", false},
		{"a.py", "PASSWORD = os.environ.get('DB_PASSWORD', 'hunter2')", true},
		{"a.py", "PASSWORD = os.getenv(\"DB_PASSWORD\", default=\"password\")", true},
		{"a.py", "PASSWORD = os.environ.get('DB_PASSWORD') or 'hunter2'", true},
		{"a.py", "PASSWORD = os.environ.get('DB_PASSWORD', '')", false},
		{"a.py", "PASSWORD = os.environ.get('DB_PASSWORD', DEFAULT)", false},
		{"a.py", "field.get('password', 'string')", false},
		{"a.py", "# os.environ.get('DB_PASSWORD', 'hunter2')", false},
		{"a.js", "const p = process.env.DB_PASSWORD || 'hunter2'", true},
		{"a.js", "const p = process.env['DB_PASSWORD'] ?? \"hunter2\"", true},
		{"a.js", "const p = process.env.DB_PASSWORD || ''", false},
		{"a.js", "const p = process.env.DB_PASSWORD || fail('no password')", false},
		{"a.rb", "password: ENV.fetch('DB_PASSWORD', 'hunter2')", true},
		{"a.rb", "password: ENV.fetch('DB_PASSWORD')", false},
		{"a.php", "'password' => env('DB_PASSWORD', 'hunter2'),", true},
		{"a.java", "getenv().getOrDefault(\"DB_PASSWORD\", \"hunter2\")", true},
	} {
		t.Run(tt.file+" "+tt.text, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/c.yaml": configMap + "data:\n  " + tt.file + ": |\n    " + strings.NewReplacer("{{", "{{ \"{{\" }}", "}}", "{{ \"}}\" }}").Replace(tt.text) + "\n    x: y\n"})
			rep, red := scan(t, rel)
			if found := len(rep.Places) > 0; found != tt.secret {
				t.Fatalf("secret: %v, want %v: %+v", found, tt.secret, rep.Places)
			}
			if out, _ := red.Redact(rel.Manifests); strings.Contains(string(out), "hunter2") && tt.secret {
				t.Errorf("it is sealed in clear:\n%s", out)
			}
		})
	}
	for value, secret := range map[string]bool{"${DB_CRED:-hunter2}": true, "${DB_CRED:hunter2}": true, "${DB_CRED:-}": false, "${DB_CRED}": false, "${DB_CRED:-$(OTHER)}": false} {
		t.Run("variable "+value, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/p.yaml": container("    - {name: DB_PASSWORD, value: \"" + value + "\"}\n")})
			if rep, _ := scan(t, rel); len(rep.Places) > 0 != secret {
				t.Errorf("want %v: %+v", secret, rep.Places)
			}
		})
	}
}

// TestLastApplied: the object as somebody once applied it is in an annotation of many an
// exported manifest, with all that it held then.
func TestLastApplied(t *testing.T) {
	t.Parallel()
	for text, secret := range map[string]bool{
		`{"kind":"Secret","apiVersion":"v1","stringData":{"shop":"hunter2"}}`:                                                                        true,
		`{"kind":"Secret","apiVersion":"v1","data":{"shop":"aHVudGVyMg=="}}`:                                                                         true,
		`{"kind":"Secret","apiVersion":"v1","data":{"shop":""}}`:                                                                                     false,
		`{"kind":"ConfigMap","data":{"password":"hunter2"}}`:                                                                                         true,
		`{"kind":"Deployment","spec":{"containers":[{"env":[{"name":"DB_PASSWORD","value":"hunter2"}]}]}}`:                                           true,
		`{"kind":"Deployment","spec":{"containers":[{"env":[{"name":"DB","valueFrom":{"secretKeyRef":{"key":"password","name":"db-password"}}}]}]}}`: false,
		`{"kind":"Ingress","spec":{"tls":[{"hosts":["shop.example.com"],"secretName":"shop-tls"}]}}`:                                                 false,
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			rel := load(t, t.TempDir(), map[string]string{"templates/c.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\n  annotations:\n    kubectl.kubernetes.io/last-applied-configuration: |\n      " + text + "\n    kubectl.kubernetes.io/restartedAt: \"2024-01-01\"\n"})
			if rep, _ := scan(t, rel); len(rep.Places) > 0 != secret {
				t.Errorf("want %v: %+v", secret, rep.Places)
			}
		})
	}
}
