package attest_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/evidence/attest"
)

func TestStatementRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		st := &attest.Statement{PredicateType: rapid.StringN(1, 40, -1).Draw(t, "type")}
		for range rapid.IntRange(1, 5).Draw(t, "subjects") {
			st.Subjects = append(st.Subjects, attest.Subject{
				Name: rapid.String().Draw(t, "name"), Digest: evidence.DigestOf(rapid.SliceOf(rapid.Byte()).Draw(t, "content")),
			})
		}
		predicate, err := json.Marshal(rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "predicate"))
		if err != nil {
			t.Fatal(err)
		}
		st.Predicate = predicate
		raw, err := st.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		got, err := attest.ParseStatement(raw)
		if err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		if got.PredicateType != st.PredicateType || !reflect.DeepEqual(got.Subjects, st.Subjects) {
			t.Errorf("got %+v, want %+v", got, st)
		}
		var is, was any
		if err := json.Unmarshal(got.Predicate, &is); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(st.Predicate, &was); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(is, was) {
			t.Errorf("predicate %v, want %v", is, was)
		}
	})
}
