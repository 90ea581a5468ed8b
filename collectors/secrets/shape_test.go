package secrets

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/internal/manifest"
)

// TestClass is what may be replaced everywhere, and what at its place alone.
func TestClass(t *testing.T) {
	t.Parallel()
	taken := newNameSet("my-release-postgresql-primary\x00app.kubernetes.io/managed-by", 1)
	for v, want := range map[string]class{
		"abc": local, "postgres": local, "deployments": local, "RuntimeDefault": local, "1.27.3-alpine": local, "autoscaling/v2": local, "changeme": local,
		"127.0.0.1": local, "10.0.0.0/8": local, "12345678": local, "2026-01-01": local, "deadbeef": local, "REDACTED": local, "500m": local,
		"my-release-postgresql-primary": local, "app.kubernetes.io/managed-by": local,
		"supersecretpassword": words, "correct-horse-battery-9": words, "networking.k8s.io": words, "1234567890123456": words,
		"hunter2hunter2": odd, "p4ssw0rd": odd, "kT8#vQ2!": odd, "S3cr3t!!": odd, "a b c d!": odd,
		"0123456789abcdef0123456789abcdef": odd, "AKIAQ3EGRTYUIOPLKJH2": odd,
	} {
		if got := classOf(v, taken); got != want {
			t.Errorf("%q is of class %d, want %d", v, got, want)
		}
	}
}

// TestAlias holds what an alias keeps of a name.
func TestAlias(t *testing.T) {
	t.Parallel()
	for v, want := range map[string]string{
		"hunter2hunter2":                              "redactedredact",
		"Hunter2Hunter2":                              "RedacteDredact",
		"2hunter-2hunter":                             "1edacte-1edacte",
		"hunter2_hunter!":                             "redacte_redact!",
		"r.example:5000/hunter2:latest":               "r.redacte:1111/redacte:latest",
		"app@sha256:" + strings.Repeat("0f1e2d3c", 8): "red@sha256:" + strings.Repeat("0", 63) + "1",
		"1234567890123456":                            "1111111111111111",
	} {
		if got := alias(v, 0); got != want {
			t.Errorf("alias of %q is %q, want %q", v, got, want)
		}
		seen := map[string]bool{}
		for n := range 1000 {
			a := alias(v, n)
			if len(a) != len(v) {
				t.Errorf("alias %d of %q is %q: of another length", n, v, a)
			}
			seen[a] = true
		}
		if len(seen) < 800 {
			t.Errorf("%q has %d aliases", v, len(seen))
		}
	}
}

// TestShaped is what stands for a whole text.
func TestShaped(t *testing.T) {
	t.Parallel()
	pem := "-----BEGIN RSA PRIVATE " + "KEY-----\nMIIE\nabcd\n-----END RSA PRIVATE " + "KEY-----\n"
	certificate := "-----BEGIN CERTIFICATE-----\nMIIC\n-----END CERTIFICATE-----\n"
	for name, tt := range map[string]struct{ in, want string }{
		"a word":         {"hunter2", "REDACTED"},
		"nothing":        {" ", " "},
		"lines":          {"a\nb\n", "REDACTED\n"},
		"a key":          {pem, strings.Replace(pem, "MIIE\nabcd", "REDACTED", 1)},
		"a chain":        {certificate + pem, strings.Replace(certificate, "MIIC", "REDACTED", 1) + strings.Replace(pem, "MIIE\nabcd", "REDACTED", 1)},
		"JSON":           {`{"auths":{"r":{"auth":"dTpw","n":3,"f":1.5,"b":true,"e":"","x":null}}}`, `{"auths":{"r":{"auth":"REDACTED","b":true,"e":"","f":0.5,"n":0,"x":null}}}`},
		"a list of JSON": {`["a"]`, `["REDACTED"]`},
		"nearly JSON":    {`{"a":`, "REDACTED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := shaped(tt.in); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			encoded := base64.StdEncoding.EncodeToString([]byte(tt.in))
			if got, err := strictBase64(shapedBase64(encoded)); err != nil || string(got) != tt.want {
				t.Errorf("in base64 %q, %v", got, err)
			}
		})
	}
	for _, bad := range []string{"hunter2!", "abc", "aHVudGVyMg", "a b"} {
		if _, err := strictBase64(shapedBase64(bad)); err == nil {
			t.Errorf("%q was no base64, and is now", bad)
		}
	}
}

// TestDocument is what becomes of objects: what differs, and what must not.
func TestDocument(t *testing.T) {
	t.Parallel()
	const secret, word = "hunter2hunter2", "deployments"
	head := "---\n# Source: a.yaml:1\n"
	pod := func(containers string) string {
		return head + "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n" + containers
	}
	for name, tt := range map[string]struct {
		in, from, to string // what of it is replaced by what; from "" means that nothing is
	}{
		"a word, where it was found": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: deployments}\nstringData: {password: deployments}\n", "password: deployments", "password: REDACTED"},
		"a word as a key, in base64": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {kind: ZGVwbG95bWVudHM=}\n", "ZGVwbG95bWVudHM=", `"UkVEQUNURUQ="`},
		"a word in rules": {
			head + "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r}\nrules: [{apiGroups: [apps], resources: [deployments], verbs: [get]}]\n", "", ""},
		"a number stays one": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pin: 12345678}\n", "12345678", "0"},
		"a number in quotes": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {pin: \"12345678\"}\n", `"12345678"`, `"REDACTED"`},
		"no base64 stays none": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {p: hunter2!hunter2}\n", "hunter2!hunter2", "(REDACTED)"},
		"an image's tag": {
			pod("  - name: a\n    image: r.example/a:hunter2hunter2\n"), secret, "redactedredact"},
		"an image's tag and digest": {
			pod("  - name: a\n    image: r.example/hunter2hunter2@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n"), secret, "redactedredact"},
		"a reference": {
			pod("  - name: a\n    image: i\n    env: [{name: A, valueFrom: {secretKeyRef: {name: x-hunter2hunter2, key: k}}}]\n"), secret, "redactedredact"},
		"an argument apart": {
			pod("  - name: a\n    image: i\n    args: [\"--password\", \"deployments\", \"deployments\"]\n"), `"--password", "deployments"`, `"--password", "REDACTED"`},
		"an argument": {
			pod("  - name: a\n    image: i\n    args: [--password=deployments, deployments]\n"), "--password=deployments", `"--password=REDACTED"`},
		"a variable": {
			pod("  - name: deployments\n    image: i\n    env: [{name: PASSWORD, value: deployments}, {name: MODE, value: deployments}]\n"), "PASSWORD, value: deployments", "PASSWORD, value: REDACTED"},
		"comments and style stay": {
			head + "apiVersion: v1 # one\nkind: ConfigMap\nmetadata: {name: 'c'}\n# two\ndata:\n  a: 'x hunter2hunter2 y' # three\n  b: \"1\"\n", "hunter2hunter2", "REDACTED"},
		"in a comment": {
			head + "apiVersion: v1\nkind: ConfigMap\n# hunter2hunter2\nmetadata: {name: c}\n", secret, "REDACTED"},
		"in a block": {
			head + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  f: |-\n    a\n      hunter2hunter2\n\n    b\n  g: h\n", secret, "REDACTED"},
		"in a folded block": {
			head + "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata:\n  f: >\n    a\n    hunter2hunter2\n  g: h\n", ">\n    a\n    hunter2hunter2", `"a REDACTED\n"`},
		"padded base64": {
			head + "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {host: " + base64.StdEncoding.EncodeToString([]byte(secret+"1")) + "}\n",
			base64.StdEncoding.EncodeToString([]byte(secret + "1")), base64.StdEncoding.EncodeToString([]byte("REDACTED1"))},
		"a list": {
			head + "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Secret\n  metadata: {name: a}\n  stringData: {kind: deployments}\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: deployments}\n", "kind: deployments}", "kind: REDACTED}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := release(tt.in, map[string]any{"a": map[string]any{"password": secret}, "b": map[string]any{"password": word}})
			_, r := mustScan(t, rel)
			got, n := r.Redact(rel.Manifests)
			want := tt.in
			if tt.from != "" {
				want = strings.ReplaceAll(tt.in, tt.from, tt.to)
			}
			if d := cmp.Diff(want, string(got)); d != "" || n > 0 != (tt.from != "") {
				t.Errorf("%d replaced (-want +got):\n%s", n, d)
			}
		})
	}
}

// TestFind is which secrets make a rule of the user's own unusable.
func TestFind(t *testing.T) {
	t.Parallel()
	_, r := mustScan(t, release("", map[string]any{"db": map[string]any{"password": "hunter2hunter2"}, "a": map[string]any{"token": "deployments"}, "b": map[string]any{"token": "requiredDuringSchedulingIgnoredDuringExecution"}}))
	known := []byte("affinity: requiredDuringSchedulingIgnoredDuringExecution")
	for text, want := range map[string]string{
		"a: hunter2hunter2": "db.password of values.yaml",
		"a: " + base64.StdEncoding.EncodeToString([]byte("x:hunter2hunter2")): "db.password of values.yaml",
		"resources: [deployments]":                          "",
		"requiredDuringSchedulingIgnoredDuringExecution: x": "",
	} {
		if where, _, found := r.Find([]byte(text), known); where != want || found != (want != "") {
			t.Errorf("in %q there is one of %q (%t), want %q", text, where, found, want)
		}
	}
}

// TestRedactionIsEdit holds that redacting any object changes nothing but scalars,
// whatever the style that it is written in.
func TestRedactionIsEdit(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.Just("hunter2!hunter2"), rapid.Just("x hunter2!hunter2\n  y\n"), rapid.Just("web"), rapid.StringMatching(`[a-z0-9 :#'"{}\\é-]{0,12}`), rapid.Just("password=web"))
	var tree func(depth int) *rapid.Generator[any]
	tree = func(depth int) *rapid.Generator[any] {
		leaf := rapid.OneOf(rapid.Map(text, func(s string) any { return s }), rapid.Just[any](int64(3)), rapid.Just[any](true), rapid.Just[any](nil))
		if depth == 0 {
			return leaf
		}
		return rapid.OneOf(leaf,
			rapid.Map(rapid.SliceOfN(tree(depth-1), 0, 3), func(l []any) any { return l }),
			rapid.Map(rapid.MapOfN(rapid.SampledFrom([]string{"a", "password", "b c", "hunter2!hunter2", "on", "1"}), tree(depth-1), 0, 3), func(m map[string]any) any { return m }))
	}
	rapid.Check(t, func(rt *rapid.T) {
		o := map[string]any{"apiVersion": "v1", "kind": "Thing", "metadata": map[string]any{"name": "web"}, "spec": tree(3).Draw(rt, "spec")}
		raw, err := yaml.Marshal(o)
		if rapid.Bool().Draw(rt, "as JSON") {
			raw, err = json.MarshalIndent(o, "", " ")
		}
		if err != nil {
			rt.Fatal(err)
		}
		rel := release("---\n# Source: a.yaml:1\n"+string(raw)+"\n", map[string]any{"a": map[string]any{"password": "hunter2!hunter2"}, "b": map[string]any{"password": "web"}})
		_, r := mustScan(t, rel)
		out, _ := r.Redact(rel.Manifests)
		set, err := manifest.Parse(out)
		if err != nil || len(set.Objects) != 1 || len(set.Broken) > 0 {
			rt.Fatalf("%v:\n%s", err, out)
		}
		before, err := rel.Objects()
		if err != nil {
			rt.Fatal(err)
		}
		if !alike(before.Objects[0].Object, set.Objects[0].Object) || set.Objects[0].GetName() != "web" {
			rt.Fatalf("another object:\n%s\nwas\n%s", out, rel.Manifests)
		}
		if strings.Contains(string(out), "hunter2!hunter2") {
			rt.Fatalf("still there:\n%s", out)
		}
	})
}

// alike is sameShape where keys may have been renamed, in order.
func alike(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && len(x) == len(y) && !slices.ContainsFunc(slices.Collect(maps.Keys(x)), func(k string) bool {
			e, same := y[k]
			return same && !alike(x[k], e)
		})
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, alike)
	}
	return reflect.TypeOf(a) == reflect.TypeOf(b)
}
