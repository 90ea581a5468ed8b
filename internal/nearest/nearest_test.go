package nearest

import (
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	t.Parallel()
	known := []string{"check", "collect", "config", "gate", "image", "output", "profile", "db"}
	for word, want := range map[string]string{
		"chek": "check", "hceck": "check", "CHECK": "check", "collct": "collect", "outptu": "output", "profil": "profile", "imgae": "image", "gtae": "gate",
		"confgi": "config", "": "", "x": "", "ab": "db", "frobnicate": "", "tag": "", strings.Repeat("é", 40): "",
	} {
		if got := Of(word, known); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}
