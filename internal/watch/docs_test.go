package watch

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

var update = flag.Bool("update", false, "write the table of metrics instead of comparing it")

// TestDocs holds the table of docs/watch.md to the metrics that there are.
func TestDocs(t *testing.T) {
	t.Parallel()
	const file, head = "../../docs/watch.md", "| metric | type | labels | meaning |\n|---|---|---|---|\n"
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, m := range Metrics() {
		kind := "gauge"
		if m.Counter {
			kind = "counter"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", m.Name, kind, strings.Join(m.Labels, ", "), m.Help)
	}
	before, rest, ok := strings.Cut(string(raw), head)
	_, after, ok2 := strings.Cut(rest, "\nBesides, there are")
	if *update {
		if err := os.WriteFile(file, []byte(before+head+b.String()+"\nBesides, there are"+after), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if want := before + head + b.String() + "\nBesides, there are" + after; !ok || !ok2 || string(raw) != want {
		t.Errorf("%s does not have this table; go test ./internal/watch -run TestDocs -update writes it:\n%s", file, b.String())
	}
}

// TestDescribed holds the registry to the list of metrics: each is described once.
func TestDescribed(t *testing.T) {
	t.Parallel()
	described := make(chan *prometheus.Desc, 100)
	newStore(t).watch(nil).Describe(described)
	close(described)
	seen := map[string]bool{}
	for d := range described {
		seen[d.String()] = true
	}
	if len(seen) != len(Metrics()) {
		t.Errorf("%d metrics are described, want %d", len(seen), len(Metrics()))
	}
	for _, m := range Metrics() {
		if strings.HasSuffix(m.Name, "_total") != m.Counter {
			t.Errorf("%s: a counter ends in _total, and nothing else does", m.Name)
		}
	}
}
