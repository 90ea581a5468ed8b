package drill_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/internal/drill"
	"github.com/companyos/helmproof/internal/drill/drilltest"
)

// What follows from a record takes no more time and memory than its size is worth,
// whatever it says of itself.
func TestRecordsAreBounded(t *testing.T) {
	t.Parallel()
	lines := func(n int, format string) []byte {
		var b bytes.Buffer
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i, i)
		}
		return b.Bytes()
	}
	for name, edit := range map[string]func(drilltest.Files){
		"budgets": func(f drilltest.Files) {
			f[folder+drill.TimelineFile] = slices.Concat(lines(5000, `{"at":0,"budget":{"name":"a/%d","selector":{"a":"b"},"desired":1,"healthy":%d}}`), lines(5000, `{"at":0,"pod":{"name":"a/%d","uid":"%d","ready":true,"labels":{"a":"b"}}}`))
		},
		"Services": func(f drilltest.Files) {
			f[folder+drill.TimelineFile] = lines(50_000, `{"at":0,"endpoints":{"service":"a/%d","ready":1,"serving":%d}}`)
		},
		"no end": func(f drilltest.Files) {
			delete(f, folder+drill.EndFile)
			f[folder+drill.TimelineFile] = []byte(`{"at":0,"mark":"before"}` + "\n" + `{"at":9000000000000000000,"mark":"fault"}` + "\n")
			head, _, _ := bytes.Cut(f[folder+drill.ProbeFile("web")], []byte("\n"))
			f[folder+drill.ProbeFile("web")] = []byte(strings.Replace(string(head), `"rate":20`, `"rate":0.01`, 1) + "\n" + strings.Repeat("0,0,\n", 20_000) + "end,20000\n")
		},
	} {
		files := drilltest.New(drill.PodKill).Files("chaos")
		edit(files)
		f := figures(t, files)
		if len(f.Problems) == 0 || len(f.Probes[0].Seconds) > 5*3600 {
			t.Errorf("%s: %q, %d seconds", name, f.Problems, len(f.Probes[0].Seconds))
		}
		if name != "no end" && !slices.ContainsFunc(f.Problems, func(p string) bool { return strings.Contains(p, "more than 1000 "+name) }) {
			t.Errorf("%s: %q", name, f.Problems)
		}
	}
}
