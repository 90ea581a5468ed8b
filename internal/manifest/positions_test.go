package manifest

import "testing"

func TestPlaces(t *testing.T) {
	t.Parallel()
	p := templatePlaces("{{ if .x }}\n# Deployment\napiVersion: apps/v1\nkind: Deployment\nspec:\n  kind: Inner\n---\nkind: Service # the first\napiVersion: v1\n---\n{{ range .list }}\n---\napiVersion: v1\nkind: {{ .kind }}\n{{ end }}\n---\napiVersion: v1\nkind: \"Service\"\n{{ end }}\n")
	used := map[string]int{}
	for _, tt := range []struct {
		kind string
		line int
	}{{"Deployment", 3}, {"Service", 8}, {"Service", 13}, {"Service", 17}, {"Service", 17}, {"Job", 13}, {"Job", 13}} {
		if got := p.find(tt.kind, used); got != tt.line {
			t.Errorf("%s at line %d, want %d", tt.kind, got, tt.line)
		}
	}
	if got := templatePlaces("{{ include \"common\" . }}\n").find("Pod", map[string]int{}); got != 1 {
		t.Errorf("unknown place: line %d, want 1", got)
	}
}
