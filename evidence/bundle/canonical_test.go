package bundle

import (
	"encoding/json"
	"testing"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// FuzzCanonicalJSON compares with the reference implementation of RFC 8785.
func FuzzCanonicalJSON(f *testing.F) {
	for _, s := range []string{
		`{}`, `[]`, `{"b":1,"a":{"d":[true,false,null],"c":"x"}}`, `{"€":1,"\r":2,"דּ":3,"1":4,"😀":5,"\u0080":6,"ö":7}`,
		`[333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001, -0, 9007199254740993, 1e21]`,
		`"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/<>&\u2028\u2029\b\f\u007f"`, `{"a\nb":"\u001f","a":"\ud83d\ude00"}`, ` { "z" : [ 1 , 2 ] , "a" : "" } `,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		var v any
		if json.Unmarshal([]byte(text), &v) != nil {
			return
		}
		v = []any{v} // the reference wants an object or array
		raw, err := json.Marshal(v)
		if err != nil {
			return
		}
		want, wantErr := jsoncanonicalizer.Transform(raw)
		got, err := CanonicalJSON(v)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("CanonicalJSON(%q): error %v, the reference's is %v", text, err, wantErr)
		}
		if err == nil && string(got) != string(want) {
			t.Errorf("CanonicalJSON(%q) = %q, want %q", text, got, want)
		}
	})
}
