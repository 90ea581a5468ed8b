package monitoring

import (
	"errors"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/test/monitoring/promtest"
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
	for _, r := range promtest.ReadRules(t).Alerts() {
		w := want[r.Alert]
		want[r.Alert] = [2]string{join(w[0], r.Labels["severity"]), join(w[1], r.For)}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("alerts, severities, for (-rules +docs):\n%s", d)
	}
}

// TestMetricsOfWatch: metrics.txt has of watch what docs/watch.md lists, which is held
// to the program.
func TestMetricsOfWatch(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/watch.md")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("there is no docs/watch.md")
	}
	list, errList := os.ReadFile("testdata/metrics.txt")
	if err = errors.Join(err, errList); err != nil {
		t.Fatal(err)
	}
	want, got := map[string]string{}, map[string]string{}
	words := func(s string) string {
		all := strings.Fields(s)
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| (gauge|counter) \\| ([^|]*) \\|").FindAllStringSubmatch(string(doc), -1) {
		want[m[1]] = m[2] + ": " + words(strings.ReplaceAll(m[3], ",", " "))
	}
	own, _, _ := strings.Cut(string(list), "# kube-state-metrics")
	for line := range strings.Lines(strings.ReplaceAll(own, "SCOPE", "kind chart release namespace profile")) {
		if f := strings.Fields(line); len(f) > 1 && !strings.HasPrefix(line, "#") {
			got[f[0]] = f[1] + ": " + words(strings.Join(f[2:], " "))
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("metrics (-docs/watch.md +metrics.txt):\n%s", d)
	}
}
