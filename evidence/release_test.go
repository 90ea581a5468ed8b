package evidence

import "testing"

func TestSameManifests(t *testing.T) {
	t.Parallel()
	a, b := DigestOf([]byte("a")), DigestOf([]byte("b"))
	of := func(source string, manifests, objects Digest) *Release {
		return &Release{Source: source, ManifestsDigest: manifests, ObjectsDigest: objects}
	}
	for _, tt := range []struct {
		name string
		x, y *Release
		want bool
	}{
		{"by digest", of("chart", a, ""), of("release", a, ""), true},
		{"neither", of("release", a, ""), of("chart", b, ""), false},
		{"nothing", of("release", "", ""), of("chart", "", ""), false},
		{"stored and rendered", of("release", a, a), of("chart", b, a), true},
		{"other objects", of("release", a, a), of("chart", b, b), false},
		{"rendered twice", of("chart", a, a), of("chart", b, a), false},
		{"stored twice", of("release", a, a), of("release", b, a), false},
	} {
		if got := tt.x.SameManifests(tt.y); got != tt.want || tt.y.SameManifests(tt.x) != got {
			t.Errorf("%s: %v, want %v, both ways", tt.name, got, tt.want)
		}
	}
}
