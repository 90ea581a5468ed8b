package chart

import (
	"bytes"
	"encoding/gob"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/evidence"
)

// TestAnswer holds that a child process answers with all of a release but what only
// the parent has use for: a field that is not sent is empty where charts are rendered
// by children, and not where one is rendered alone.
func TestAnswer(t *testing.T) {
	t.Parallel()
	rel := &Release{
		Info: evidence.Release{Chart: "demo"}, Record: Record{Modes: []string{modeInstall}}, Files: []File{{"Chart.yaml", []byte("name: demo")}},
		Values: map[string]any{"a": "b"}, UserValues: map[string]any{"c": "d"}, Manifests: []byte("kind: Pod\n"),
		Stored: &Stored{}, Dir: "/charts/demo", LintsWithin: true, Calls: []string{"genCA"}, SourceMap: []byte("{}"),
	}
	for i := range reflect.TypeFor[Release]().NumField() {
		if f := reflect.TypeFor[Release]().Field(i); f.IsExported() && reflect.ValueOf(rel).Elem().Field(i).IsZero() {
			t.Fatalf("%s is not tried here", f.Name)
		}
	}
	var wire bytes.Buffer
	if err := sendRelease(gob.NewEncoder(&wire), rel, nil); err != nil {
		t.Fatal(err)
	}
	dec, a, got := gob.NewDecoder(&wire), new(loadAnswer), new(Release)
	if err := dec.Decode(a); err != nil {
		t.Fatal(err)
	}
	got.Files = make([]File, a.Files)
	for i := range got.Files {
		if err := dec.Decode(&got.Files[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := got.receive(a); err != nil {
		t.Fatal(err)
	}
	got.LintsWithin = true // children lint in children
	for i := range reflect.TypeFor[Release]().NumField() {
		if f := reflect.TypeFor[Release]().Field(i); f.IsExported() {
			if diff := cmp.Diff(reflect.ValueOf(rel).Elem().Field(i).Interface(), reflect.ValueOf(got).Elem().Field(i).Interface()); diff != "" {
				t.Errorf("%s (-sent +received):\n%s", f.Name, diff)
			}
		}
	}
}
