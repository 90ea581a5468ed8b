package loadrecord

import (
	"strings"
	"testing"
	"time"
)

const (
	seenPod     = `{"at":1,"pod":{"namespace":"shop","name":"web-1","uid":"1","workload":"Deployment/web","containers":[{"name":"main","requests":{"cpu":"100m"},"limits":{"memory":"1Gi"},"restarts":0}]}}` + "\n"
	seenCounter = `{"at":2,"counter":{"source":"cadvisor","pod":"shop/web-1","container":"main","id":"a","time":5,"cpu":1.5,"memory":3}}` + "\n"
	seenMetric  = `{"at":3,"metric":{"pod":"shop/web-1","container":"main","time":5,"window":9,"cpu":"5m","memory":"3Mi"}}` + "\n"
)

func TestDecodeUsageRefuses(t *testing.T) {
	t.Parallel()
	if list, err := DecodeUsage([]byte(seenPod + seenCounter + seenMetric + "end\n")); err != nil || len(list) != 3 {
		t.Fatalf("%d lines, %v", len(list), err)
	}
	for text, want := range map[string]string{
		"":                                "the file is cut",
		seenPod:                           "ends after 1 lines",
		seenPod + "end\n" + seenPod:       "something stands after the last line",
		seenCounter + seenPod + "end\n":   "line 2: it was seen before the one above",
		`{"at":1}` + "\nend\n":            "want one thing that was seen",
		`{"at":1,"other":{}}` + "\nend\n": "unknown field",
		strings.Replace(seenCounter, "1.5", "-1", 1) + "end\n":         "a counter of -1",
		strings.Replace(seenCounter, "cadvisor", "guess", 1) + "end\n": `a counter from "guess"`,
		strings.Replace(seenMetric, "5m", "x", 1) + "end\n":            `an amount of "x"`,
		strings.Replace(seenPod, "1Gi", "-1Gi", 1) + "end\n":           `memory of "-1Gi"`,
	} {
		if _, err := DecodeUsage([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Whatever a record says, figures of it are numbers, and no suggestion is below what
// was seen, nor below a limit at which something was killed.
func FuzzContainers(f *testing.F) {
	f.Add([]byte(seenPod + seenCounter + seenMetric + "end\n"))
	f.Add([]byte(seenPod + seenCounter + strings.Replace(seenCounter, `"time":5,"cpu":1.5`, `"time":9,"cpu":1.6`, 1) + "end\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := DecodeUsage(raw)
		if err != nil {
			return
		}
		for _, c := range Containers(list, 0, time.Minute) {
			if s := c.Share(); !(s >= 0) {
				t.Errorf("throttled in %v of the periods", s)
			}
			s := c.Suggested
			if s.Limit.Memory != 0 && s.Limit.Memory < c.Peak.Memory {
				t.Errorf("%d suggested, and %d used", s.Limit.Memory, c.Peak.Memory)
			}
			if c.OOMKilled > 0 && s.Limit.Memory < c.Limit.Memory {
				t.Errorf("killed at %d, and %d suggested", c.Limit.Memory, s.Limit.Memory)
			}
		}
	})
}
