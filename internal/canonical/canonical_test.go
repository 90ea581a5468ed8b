package canonical

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/cyberphone/json-canonicalization/go/src/webpki.org/jsoncanonicalizer"
)

// FuzzJSON compares with the reference implementation of RFC 8785.
func FuzzJSON(f *testing.F) {
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
		got, err := JSON(v)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("JSON(%q): error %v, the reference's is %v", text, err, wantErr)
		}
		if err == nil && string(got) != string(want) {
			t.Errorf("JSON(%q) = %q, want %q", text, got, want)
		}
	})
}

// TestManyKeys: the reference sorts the keys of an object by insertion, which
// takes minutes for the values of a hostile chart.
func TestManyKeys(t *testing.T) {
	t.Parallel()
	m := map[string]any{}
	for i := range 150_000 {
		m[fmt.Sprintf("k%06d", i)] = i
	}
	done := make(chan error, 1)
	go func() {
		_, err := JSON(map[string]any{"values": m})
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(20 * time.Second):
		t.Error("150,000 keys take more than 20 s")
	}
}
