package load

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/internal/loadrecord"
)

var (
	id1    = strings.Repeat("ab12", 16)
	id2    = strings.Repeat("cd34", 16)
	tested = known{byID: map[string][2]string{id1: {"shop/web-1", "main"}, id2: {"shop/web-2", "main"}}, byName: map[[2]string]bool{{"shop/web-1", "main"}: true}}
)

const anyTime = 42

func TestCounters(t *testing.T) {
	t.Parallel()
	v := func(f float64) *float64 { return &f }
	one := func(c loadrecord.Counter) []loadrecord.Counter { return []loadrecord.Counter{c} }
	for _, tt := range []struct {
		name, source, text string
		want               []loadrecord.Counter
	}{
		{"cgroupfs, no labels of Kubernetes", loadrecord.Cadvisor, `# TYPE container_cpu_cfs_periods_total counter
container_cpu_cfs_periods_total{container="",id="/kubepods/burstable/podX/` + id1 + `",pod=""} 70 1000
container_cpu_cfs_throttled_periods_total{container="",id="/kubepods/burstable/podX/` + id1 + `",pod=""} 7 1000
container_memory_working_set_bytes{container="",id="/kubepods/burstable/podX/` + id1 + `",pod=""} 2.5e+06 1000
`, one(loadrecord.Counter{Source: "cadvisor", Pod: "shop/web-1", Container: "main", ID: id1[:12], Time: 1000, Periods: v(70), Throttled: v(7), Memory: v(2.5e6)})},
		{"systemd", loadrecord.Cadvisor, `container_oom_events_total{id="/kubepods.slice/kubepods-podX.slice/cri-containerd-` + id2 + `.scope",name="a\"b\\c\n"} 1` + "\n",
			one(loadrecord.Counter{Source: "cadvisor", Pod: "shop/web-2", Container: "main", ID: id2[:12], Time: anyTime, OOM: v(1)})},
		{"the pod's own group, somebody else's container", loadrecord.Cadvisor, `container_cpu_usage_seconds_total{id="/kubepods/podX",pod="web-1",namespace="shop"} 3 1000
container_cpu_usage_seconds_total{id="/kubepods/podX/` + strings.Repeat("0", 64) + `"} 3 1000
`, nil},
		{"resource", loadrecord.Resource, `container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web-1"} 0.5 2000
container_memory_working_set_bytes{container="main",namespace="shop",pod="web-1"} 100 2000
container_memory_working_set_bytes{container="main",namespace="other",pod="web-1"} 100 2000
pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 0.5 2000
`, one(loadrecord.Counter{Source: "resource", Pod: "shop/web-1", Container: "main", Time: 2000, CPU: v(0.5), Memory: v(100)})},
		{"nothing", loadrecord.Cadvisor, "", nil},
	} {
		got, err := counters(strings.NewReader(tt.text), tt.source, tested, anyTime)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: %s", tt.name, d)
		}
	}
}

func TestCountersRefused(t *testing.T) {
	t.Parallel()
	line := func(rest string) string { return `container_oom_events_total{id="/` + id1 + rest + "\n" }
	for text, want := range map[string]string{
		line(`"} NaN`):   `a value of "NaN"`,
		line(`"} +Inf`):  `a value of "+Inf"`,
		line(`"} -1`):    `a value of "-1"`,
		line(`"} 1 x`):   `a time of "x"`,
		line(`"} 1 2 3`): "is not a value and a time",
		line(`"`):        "labels without an end",
		line(`\`):        "a label without an end",
		line(``):         "a label without an end",
		line(`"} 1 1`) + strings.Replace(line(`"} 1 2`), "oom_events", "cpu_cfs_periods", 1): "at two times, 1 and 2",
		strings.Repeat("x", maxText+1): "token too long",
	} {
		if _, err := counters(strings.NewReader(text), loadrecord.Cadvisor, tested, anyTime); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80q: %v, want %q", text, err, want)
		}
	}
}

func FuzzCounters(f *testing.F) {
	f.Add(`container_oom_events_total{id="/`+id1+`",name="a\"b"} 1 2`+"\n", true)
	f.Add(`container_cpu_usage_seconds_total{container="main",namespace="shop",pod="web-1"} 0.5 2000`+"\n", false)
	f.Fuzz(func(t *testing.T, text string, cadvisor bool) {
		source := loadrecord.Resource
		if cadvisor {
			source = loadrecord.Cadvisor
		}
		list, err := counters(strings.NewReader(text), source, tested, anyTime)
		if err != nil {
			return
		}
		for i := range list {
			raw, err := loadrecord.EncodeSeen(&loadrecord.Seen{Counter: &list[i]})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := loadrecord.DecodeUsage(append(raw, "end\n"...)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
