package monitoring

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDocs: docs/monitoring.md lists every alert with its severities and how long what
// it is about has to last.
func TestDocs(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	got, want := map[string][2]string{}, map[string][2]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| \[(\w+)\]\(runbooks/(\w+)\.md\) \| ([^|]+) \|[^|]+\|([^|]*)\|$`).FindAllStringSubmatch(string(raw), -1) {
		got[m[1]] = [2]string{m[3], strings.TrimSpace(m[4])}
		if m[1] != m[2] {
			t.Errorf("%s links to the runbook of %s", m[1], m[2])
		}
	}
	join := func(list, more string) string {
		all := strings.Split(list, ", ")
		if list == "" {
			return more
		}
		if more == "" || slices.Contains(all, more) {
			return list
		}
		return list + ", " + more
	}
	for _, r := range readRules(t).alerts() {
		w := want[r.Alert]
		want[r.Alert] = [2]string{join(w[0], r.Labels["severity"]), join(w[1], r.For)}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("alerts, severities, for (-rules +docs):\n%s", d)
	}
}
