package secrets

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTools is the table of what tools are told: as a script, and as the words of a
// command where it is a single one.
func TestTools(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		text string
		want []string
	}{
		{"mysql -uroot -ppw1", []string{"pw1"}},
		{"mysql -uroot -p'pw 1' -e 'select 1'", []string{"pw 1"}},
		{"mysqladmin -p\"pw1\" ping", []string{"pw1"}},
		{"exec /usr/bin/mysqldump -ppw1 --all-databases", []string{"pw1"}},
		{"mysql -p$PW", nil},
		{"mysql -p\"${PW}\"", nil},
		{"mysql -p -u root", nil},
		{"mysql -P 3306 -h db", nil},
		{"redis-cli -h db -a pw1 ping", []string{"pw1"}},
		{"redis-cli -a \"$PW\" ping", nil},
		{"cp -a pw1 pw2", nil},
		{"x=$(redis-cli -a pw1 ping)", []string{"pw1"}},
		{"[ \"$(redis-cli -a pw1 ping)\" = PONG ]", []string{"pw1"}},
		{"x=`valkey-cli -a pw1 ping`", []string{"pw1"}},
		{"curl -u app:pw1 http://x", []string{"pw1"}},
		{"curl -sSu app:pw1 http://x", []string{"pw1"}},
		{"curl -uapp:pw1 http://x", []string{"pw1"}},
		{"curl --user=app:pw1 http://x", []string{"pw1"}},
		{"curl --proxy-user 'app:pw 1' http://x", []string{"pw 1"}},
		{"curl -u \"$U:$PW\" http://x", nil},
		{"curl -u app: http://x", nil},
		{"curl -u \"app:$(cat /run/pw)\" http://x", nil},
		{"curl -o /dev/null -w '%{http_code}' http://x:80", nil},
		{"docker login -u ci -p pw1 r.example.com", []string{"pw1"}},
		{"docker run -p 80:80 nginx", nil},
		{"echo pw1 | docker login -u ci --password-stdin", []string{"pw1"}},
		{"printf '%s' 'pw1' | helm registry login --password-stdin x", []string{"pw1"}},
		{"echo \"$PW\" | docker login --password-stdin", nil},
		{"echo pw1 | grep pw", nil},
		{"cat /run/pw | docker login --password-stdin", nil},
		{"echo 'root:pw1' | chpasswd", []string{"pw1"}},
		{"mongosh -u root -p pw1 --eval 'x()'", []string{"pw1"}},
		{"mongosh -u root -p --eval 'x()'", nil},
		{"ldapsearch -x -D cn=a -w pw1", []string{"pw1"}},
		{"psql -w -p 5432", nil},
		{"sqlcmd -S db -U sa -P pw1 -Q 'select 1'", []string{"pw1"}},
		{"openssl rsa -passin pass:pw1 -passout pass:pw2", []string{"pw1", "pw2"}},
		{"openssl rsa -passin pass:\"${PW}\" -passout env:PW", nil},
		{"openssl rsa -passin pass:\"/certs/tls.key\"", nil},
		{"mc alias set s3 http://minio user1 pw1", []string{"pw1"}},
		{"mc alias set s3 \"$URL\" \"$USER\" \"$PW\"", nil},
		{"rabbitmqctl add_user app pw1", []string{"pw1"}},
		{"rabbitmqctl set_permissions app a b c", nil},
		{"htpasswd -Bbn app pw1 > /auth", []string{"pw1"}},
		{"htpasswd -c /auth app", nil},
		{"smbclient //nas/x -U app%pw1 -c ls", []string{"pw1"}},
		{"aws configure set aws_secret_access_key pw1", []string{"pw1"}},
		{"aws configure set region eu-central-1", nil},
		{"sshpass -p pw1 ssh host", []string{"pw1"}},
		{"sshpass -e ssh -p 2222 host", nil},
		{"su app -c \"redis-cli -a pw1\"", []string{"pw1"}},
		{"echo usage: redis-cli -a pw1", nil},
		{"# redis-cli -a pw1\ntrue", nil},
		{"until mysqladmin ping -ppw1; do sleep 1; done", []string{"pw1"}},
		{"redis-cli \\\n  -a pw1 \\\n  ping", []string{"pw1"}},
		{"tool --password pword --x", []string{"pword"}},
		{"echo 'tool --password pword'", nil},
		{"  --password pword   the password", nil},
		{"tool --password PASSWORD", nil},
	} {
		var got []string
		for _, p := range parts(tt.text, "a.sh") {
			got = append(got, tt.text[p.from:p.to])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.text, diff)
		}
		if strings.ContainsAny(tt.text, "|;`'\"()\\\n#>=") || strings.HasPrefix(tt.text, "exec") || strings.Contains(tt.text, "tool ") || strings.Contains(tt.text, "  ") {
			continue
		}
		got = nil
		words := strings.Fields(tt.text)
		for _, a := range passwords(words) {
			got = append(got, words[a.word][a.from:a.to])
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("words of %s (-want +got):\n%s", tt.text, diff)
		}
	}
}

// TestTranslations is the table of files with words for people, and of those that only
// look like it.
func TestTranslations(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, text string
		secret     bool
	}{
		{"messages_de.properties", "login.password=Ihr Passwort\n", false},
		{"messages.properties", "login.password=Your password:\n", false},
		{"pt-br.json", `{"password": "Senha", "token": "Código"}`, false},
		{"i18n.yaml", "password: Choose a password\n", false},
		{"errors.properties", "password.bad=Wrong password\nuser.none=No such user\nmail.password=Your password\n", false},
		{"messages_de.properties", "smtp.password=hunter22\n", true},
		{"en.json", `{"password": "S3cret-9"}`, true},
		{"application.properties", "spring.datasource.password=Sommer\nserver.port=80\nspring.application.name=shop\n", true},
		{"application.properties", "mail.passphrase=correct horse battery staple\nserver.port=80\nserver.host=db\n", true},
		{"api.graphql", "type Q {\n  login(password: String!): Token\n}\n", false},
	} {
		if got := len(parts(tt.text, tt.name)) > 0; got != tt.secret {
			t.Errorf("%s %q holds a secret: %v", tt.name, tt.text, got)
		}
	}
}

// TestCommandsEnd draws texts out of what shells read in their own way.
func TestCommandsEnd(t *testing.T) {
	t.Parallel()
	pieces := rapid.SampledFrom([]string{"mysql ", "curl ", "-u a:b ", "-pq1 ", "'", `"`, "`", "$(", "${", "}", ")", "(", "\\", "\n", "|", ";", "&", "#", " ", "echo x ", "| chpasswd", "sh -c ", "é"})
	rapid.Check(t, func(t *rapid.T) {
		text := strings.Join(rapid.SliceOfN(pieces, 0, 40).Draw(t, "text"), "")
		last := 0
		for _, p := range parts(text, "a.sh") {
			if p.from < last || p.from >= p.to || p.to > len(text) {
				t.Fatalf("in %q is found [%d:%d] after %d", text, p.from, p.to, last)
			}
			last = p.to
		}
	})
}
