package secrets

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/internal/manifest"
)

// release is a release that is nothing but manifests and values.
func release(manifests string, values map[string]any) *chart.Release {
	rel := &chart.Release{Manifests: []byte(manifests), Values: values}
	rel.Info.Chart, rel.Info.ReleaseName, rel.Info.Namespace = "shop", "shop", "default"
	return rel
}

func mustScan(tb testing.TB, rel *chart.Release) (*Report, *Redactor) {
	tb.Helper()
	rep, red, err := Scan(tb.Context(), rel)
	if err != nil {
		tb.Fatal(err)
	}
	return rep, red
}

// TestRedactText is what becomes of one long and two short secrets in texts of
// any kind.
func TestRedactText(t *testing.T) {
	t.Parallel()
	const long = `horse "battery" & 9'staple`
	values := map[string]any{"db": map[string]any{"password": long}, "admin": map[string]any{"password": "abc"}, "user": map[string]any{"password": "shop"}}
	_, r := mustScan(t, release("", values))
	js, err := json.Marshal(long)
	if err != nil {
		t.Fatal(err)
	}
	inner := string(js[1 : len(js)-1])
	twice, err := json.Marshal(inner)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ in, want string }{
		"nothing":        {"all is well", "all is well"},
		"raw":            {"x " + long + " y", "x REDACTED y"},
		"json":           {`{"m":"` + inner + `"}`, `{"m":"REDACTED"}`},
		"json in json":   {`{"m":"{\"p\":\"` + string(twice[1:len(twice)-1]) + `\"}"}`, `{"m":"{\"p\":\"REDACTED\"}"}`},
		"yaml quoted":    {"p: '" + strings.ReplaceAll(long, "'", "''") + "'\n", "p: 'REDACTED'\n"},
		"yaml folded":    {"p: \"horse \\\"battery\\\" \\\n  & 9'staple\"\n", "p: \"REDACTED\"\n"},
		"yaml escaped":   {"p: \"\\x68orse \\\"battery\\\" & 9'staple\"\n", "p: \"REDACTED\"\n"},
		"query":          {"?p=" + url.QueryEscape(long), "?p=REDACTED"},
		"path":           {"/" + url.PathEscape(long), "/REDACTED"},
		"base64":         {"p: " + base64.StdEncoding.EncodeToString([]byte(long)), `p: "UkVEQUNURUQ="`},
		"base64 raw url": {base64.RawURLEncoding.EncodeToString([]byte(long)), "UkVEQUNURUQ"},
		"short beside":   {"password: abc\nabc: 1\n", "password: REDACTED\nabc: 1\n"},
		"short equals":   {"ADMIN_PASSWORD=abc abcd", "ADMIN_PASSWORD=REDACTED abcd"},
		"short flag":     {"run --admin-password abc --name abc", "run --admin-password REDACTED --name abc"},
		"short json":     {`{"adminPassword":"abc","name":"abc"}`, `{"adminPassword":"REDACTED","name":"abc"}`},
		"short variable": {"- name: ADMIN_PASSWORD\n  value: abc\n- name: MODE\n  value: abc\n", "- name: ADMIN_PASSWORD\n  value: REDACTED\n- name: MODE\n  value: abc\n"},
		"value first":    {`[{"value":"abc","name":"ADMIN_PASSWORD"}]`, `[{"value":"REDACTED","name":"ADMIN_PASSWORD"}]`},
		"short in url":   {"postgres://app:abc@db/abc", "postgres://app:REDACTED@db/abc"},
		"short block":    {"password: |\n  abc\nname: abc\n", "password: |\n  REDACTED\nname: abc\n"},
		"name":           {"chart: shop\nuser: {password: shop}\n", "chart: shop\nuser: {password: REDACTED}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, n := r.Redact([]byte(tt.in))
			if string(got) != tt.want || (n > 0) != (tt.in != tt.want) {
				t.Errorf("%d replaced:\n got %q\nwant %q", n, got, tt.want)
			}
		})
	}
	t.Run("inside base64", func(t *testing.T) {
		t.Parallel()
		for pad := range 4 {
			in := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("a", pad) + `{"user":"a","password":"` + long + `","x":1}`))
			got, _ := r.Redact([]byte(in))
			plain, err := base64.StdEncoding.DecodeString(string(got))
			if err != nil {
				t.Fatalf("%s is no base64: %v", got, err)
			}
			for i := range len(long) - 3 {
				if bytes.Contains(plain, []byte(long[i:i+4])) {
					t.Errorf("%q still holds %q", plain, long[i:i+4])
				}
			}
		}
	})
}

// Without secrets nothing is copied.
func TestRedactNothing(t *testing.T) {
	t.Parallel()
	rel := release("---\n# Source: a.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", map[string]any{"a": "b"})
	rep, r := mustScan(t, rel)
	if len(rep.Places) > 0 {
		t.Fatalf("found %+v", rep.Places)
	}
	if out, n := r.Redact(rel.Manifests); n != 0 || &out[0] != &rel.Manifests[0] {
		t.Error("the manifests were copied")
	}
}

// TestRedactManifests holds that comments and lines stay where they can, and
// that a document that text cannot redact is written anew.
func TestRedactManifests(t *testing.T) {
	t.Parallel()
	const easy = "---\n# Source: templates/a.yaml:1\n# a comment\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  pass: hunter2hunter2\n"
	for name, tt := range map[string]struct{ in, want string }{
		"plain": {easy, strings.Replace(easy, "hunter2hunter2", "REDACTED", 1)},
		"data and text": {
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {pass: aHVudGVyMmh1bnRlcjI=}\n---\n# Source: b.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {x: \"p=hunter2hunter2\"}\n",
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\ndata: {pass: \"UkVEQUNURUQ=\"}\n---\n# Source: b.yaml:1\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {x: \"p=REDACTED\"}\n",
		},
		"escaped": {
			strings.Replace(easy, "hunter2hunter2", `"hunter2\x68unter2"`, 1) + "---\n# Source: b.yaml:1\n# kept\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
			"---\n# Source: templates/a.yaml:1\n# a comment\napiVersion: v1\nkind: Secret\nmetadata: {name: a}\nstringData:\n  pass: \"REDACTED\"\n---\n# Source: b.yaml:1\n# kept\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
		},
		"a name": {
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: postgres}\nstringData: {password: postgres}\n",
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: postgres}\nstringData: {password: REDACTED}\n",
		},
		"a name beside a name": {
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: api}\nstringData: {name: api}\n",
			"---\n# Source: a.yaml:1\napiVersion: v1\nkind: Secret\nmetadata: {name: api}\nstringData: {name: api}\n",
		},
		"broken": {
			"---\n# Source: a.yaml:1\npassword: hunter2hunter2\n  x: [\n" + easy,
			"---\n# Source: a.yaml:1\npassword: REDACTED\n  x: [\n" + strings.Replace(easy, "hunter2hunter2", "REDACTED", 1),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rel := release(tt.in, nil)
			_, r := mustScan(t, rel)
			got, n := r.Redact(rel.Manifests)
			if name == "a name beside a name" {
				// The entry is masked, the object's name is not.
				set, err := manifest.Parse(got)
				if err != nil || len(set.Objects) != 1 || set.Objects[0].Object["stringData"].(map[string]any)["name"] == "api" {
					t.Errorf("%v:\n%s", err, got)
				}
				return
			}
			if string(got) != tt.want || n == 0 {
				t.Errorf("%d replaced:\n%s", n, cmp.Diff(tt.want, string(got)))
			}
		})
	}
}

// A private key is masked line by line wherever it stands.
func TestRedactPrivateKey(t *testing.T) {
	t.Parallel()
	key := "-----BEGIN RSA PRIVATE " + "KEY-----\n" + strings.Repeat("MIIEpAIBAAKCAQEA7bq9c", 3) + "\n" + strings.Repeat("Zk3vQm1x8TnYp0LsRw2d", 3) + "\n-----END RSA PRIVATE " + "KEY-----\n"
	cm, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "c"}, "data": map[string]any{"a": key, "b": base64.StdEncoding.EncodeToString([]byte(key))}})
	if err != nil {
		t.Fatal(err)
	}
	rel := release("---\n# Source: c.yaml:1\n"+string(cm), map[string]any{"tls": map[string]any{"privateKey": key}})
	rep, r := mustScan(t, rel)
	if len(rep.Places) < 2 {
		t.Errorf("found %+v", rep.Places)
	}
	js, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range [][]byte{rel.Manifests, []byte(key), js, []byte(base64.StdEncoding.EncodeToString([]byte(key)))} {
		got, _ := r.Redact(in)
		if bytes.Contains(got, []byte("MIIEpAIBAAKC")) || bytes.Contains(got, []byte("Zk3vQm1x8T")) || bytes.Contains(got, []byte("TUlJRXBBSUJBQUtD")) {
			t.Errorf("still there:\n%s", got)
		}
	}
}

// TestNothingLeaks injects a random secret in random spots and looks for it in
// all that a run writes: raw, escaped, and in base64.
func TestNothingLeaks(t *testing.T) {
	t.Parallel()
	spots := []func(secret string) (manifest, values map[string]any){
		func(s string) (m, v map[string]any) { return nil, map[string]any{"db": map[string]any{"password": s}} },
		func(s string) (m, v map[string]any) {
			return map[string]any{"kind": "Secret", "stringData": map[string]any{"x": s}}, nil
		},
		func(s string) (m, v map[string]any) {
			return map[string]any{"kind": "Secret", "data": map[string]any{"x": base64.StdEncoding.EncodeToString([]byte(s))}}, nil
		},
		func(s string) (m, v map[string]any) {
			return map[string]any{"kind": "Pod", "spec": map[string]any{"containers": []any{map[string]any{"name": "a", "env": []any{map[string]any{"name": "API_TOKEN", "value": s}}}}}}, nil
		},
		func(s string) (m, v map[string]any) {
			return map[string]any{"kind": "Pod", "spec": map[string]any{"containers": []any{map[string]any{"name": "a", "args": []any{"--db-password=" + s}}}}}, nil
		},
		func(s string) (m, v map[string]any) {
			return map[string]any{"kind": "ConfigMap", "data": map[string]any{"DB_PASSWORD": s}}, nil
		},
	}
	// Carriers hold the secret where nothing alone would say that it is one.
	carriers := func(s string) map[string]any {
		js, err := json.Marshal(map[string]any{"p": s})
		if err != nil {
			t.Fatal(err)
		}
		return map[string]any{"kind": "ConfigMap", "data": map[string]any{"plain": s, "json": string(js), "conf": "a=1\nb=" + s + "\n", "url": "http://x/?q=" + url.QueryEscape(s),
			"b64": base64.StdEncoding.EncodeToString([]byte("zz" + s + "zz"))}}
	}
	rapid.Check(t, func(rt *rapid.T) {
		secret := rapid.StringMatching(`[a-zA-Z0-9!#%&*+,./:;=?@^_|~" '<>é-]{9,60}`).Filter(func(s string) bool {
			return strings.TrimSpace(s) == s && !isReference(s) && !strings.HasPrefix(s, "/") && !strings.Contains(s, "://") && !strings.HasPrefix(s, "-") &&
				strings.Trim(s, "abcdef0123456789") != "" && !keyReference.MatchString(s)
		}).Draw(rt, "secret")
		var b bytes.Buffer
		values := map[string]any{"other": "x"}
		write := func(m map[string]any) {
			m["apiVersion"], m["metadata"] = "v1", map[string]any{"name": "n"}
			raw, err := yaml.Marshal(m)
			if err != nil {
				rt.Fatal(err)
			}
			fmt.Fprintf(&b, "---\n# Source: templates/x.yaml:1\n%s", raw)
		}
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(spots)-1), 1, 3, rapid.ID[int]).Draw(rt, "spots") {
			m, v := spots[i](secret)
			if m != nil {
				write(m)
			}
			maps.Copy(values, v)
		}
		write(carriers(secret))
		rel := release(b.String(), values)
		rep, r := mustScan(t, rel)
		if len(rep.Places) == 0 {
			rt.Fatalf("nothing found in\n%s%v", rel.Manifests, values)
		}
		if r.isPartial(secret) {
			rt.Skip("it is a name by chance")
		}
		report, err := json.Marshal(rep)
		if err != nil {
			rt.Fatal(err)
		}
		vals, err := yaml.Marshal(values)
		if err != nil {
			rt.Fatal(err)
		}
		for what, in := range map[string][]byte{"manifests": rel.Manifests, "values": vals, "log": []byte(`level=WARN msg="cannot use ` + secret + `"`), "report": report} {
			out := in
			if what != "report" {
				out, _ = r.Redact(in)
			}
			js, err := json.Marshal(secret)
			if err != nil {
				rt.Fatal(err)
			}
			for _, form := range []string{secret, string(js[1 : len(js)-1]), strings.ReplaceAll(secret, "'", "''"), url.QueryEscape(secret), base64.RawStdEncoding.EncodeToString([]byte(secret))[:len(secret)/3*4]} {
				if bytes.Contains(out, []byte(form)) {
					rt.Fatalf("%s still holds %q:\n%s", what, form, out)
				}
			}
			if what == "manifests" {
				set, err := manifest.Parse(out)
				before, err2 := rel.Objects()
				if err != nil || err2 != nil || len(set.Objects) != len(before.Objects) {
					rt.Fatalf("other objects: %v %v\n%s", err, err2, out)
				}
				for i := range set.Objects {
					if !r.clean(set.Objects[i].Object) || !sameShape(before.Objects[i].Object, set.Objects[i].Object) {
						rt.Fatalf("object %d is not what it was:\n%s", i, out)
					}
				}
			}
		}
	})
}

// FuzzRedactor: whatever the secret and the text around it are, nothing panics
// and no long secret is left.
func FuzzRedactor(f *testing.F) {
	f.Add("correct-horse-battery-9", "key: ", "\n")
	f.Add("abc", "password: ", "\nname: abc")
	f.Add("a\nb: \"c\"\n", "{\"x\":\"", "\"}")
	f.Add("REDACTED", "REDA", "CTED")
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		if len(secret) > 4096 {
			t.Skip()
		}
		_, r := mustScan(t, release("", map[string]any{"password": secret, "list": []any{before, after}}))
		out, n := r.Redact([]byte(before + secret + after))
		if v := strings.TrimSpace(secret); n > 0 && len(v) >= 16 && !strings.Contains(v, "\n") && strings.Contains(string(out), v) && !strings.Contains(before+after, v) && !r.isPartial(v) {
			t.Errorf("%q is left in %q", v, out)
		}
		if again, _ := r.Redact(out); len(out) > 0 && len(again) == 0 {
			t.Errorf("%q becomes nothing", out)
		}
	})
}

func BenchmarkRedact(b *testing.B) {
	var text bytes.Buffer
	for i := range 20_000 {
		fmt.Fprintf(&text, "  key-%d: some value of a usual length, number %d\n", i, i*7)
	}
	_, r := mustScan(b, release("", map[string]any{"password": "correct-horse-battery-9", "admin": map[string]any{"password": "abc"}}))
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		r.text(text.Bytes())
	}
}
