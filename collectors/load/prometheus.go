package load

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/internal/loadrecord"
)

const (
	maxPage = 64 << 20 // of a kubelet's metrics, bytes
	maxText = 64 << 10 // of a line of them
)

// known are the containers of the release.
type known struct {
	byID   map[string][2]string // the runtime's ID → pod (namespace/name), container
	byName map[[2]string]bool
}

// families are the metrics that are read, by source.
var families = map[string]map[string]func(c *loadrecord.Counter, v *float64){
	loadrecord.Cadvisor: {
		"container_cpu_usage_seconds_total":         func(c *loadrecord.Counter, v *float64) { c.CPU = v },
		"container_memory_working_set_bytes":        func(c *loadrecord.Counter, v *float64) { c.Memory = v },
		"container_cpu_cfs_periods_total":           func(c *loadrecord.Counter, v *float64) { c.Periods = v },
		"container_cpu_cfs_throttled_periods_total": func(c *loadrecord.Counter, v *float64) { c.Throttled = v },
		"container_oom_events_total":                func(c *loadrecord.Counter, v *float64) { c.OOM = v },
	},
	loadrecord.Resource: {
		"container_cpu_usage_seconds_total":  func(c *loadrecord.Counter, v *float64) { c.CPU = v },
		"container_memory_working_set_bytes": func(c *loadrecord.Counter, v *float64) { c.Memory = v },
	},
}

// The ID of a container stands in the name of its cgroup, whatever the driver:
// …/pod<UID>/<ID>, …/cri-containerd-<ID>.scope.
var idPattern = regexp.MustCompile(`([0-9a-f]{64})(?:\.scope)?$`)

// counters reads a page of Prometheus' text format and keeps what is about known
// containers. now, in milliseconds, is for lines that have no time of their own.
func counters(page io.Reader, source string, of known, now int64) ([]loadrecord.Counter, error) {
	limited := &io.LimitedReader{R: page, N: maxPage + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(make([]byte, 0, 16<<10), maxText)
	found := map[[3]string]*loadrecord.Counter{}
	for lines.Scan() {
		name, text, ok := strings.Cut(lines.Text(), "{")
		set := families[source][name]
		if !ok || set == nil {
			continue
		}
		labels, rest, err := parseLabels(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		key, ok := of.which(source, labels)
		if !ok {
			continue
		}
		value, at, err := parseValue(rest, now)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		c := found[key]
		if c == nil {
			c = &loadrecord.Counter{Source: source, Pod: key[0], Container: key[1], ID: key[2], Time: at}
			found[key] = c
		}
		if c.Time != at {
			return nil, fmt.Errorf("%s: values of one container at two times, %d and %d", name, c.Time, at)
		}
		set(c, &value)
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if limited.N == 0 {
		return nil, fmt.Errorf("more than %d bytes of metrics", maxPage)
	}
	var out []loadrecord.Counter
	for _, c := range found {
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b loadrecord.Counter) int {
		return cmp.Or(cmp.Compare(a.Pod, b.Pod), cmp.Compare(a.Container, b.Container), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (k known) which(source string, labels map[string]string) (key [3]string, ok bool) {
	if source == loadrecord.Resource {
		name := [2]string{labels["namespace"] + "/" + labels["pod"], labels["container"]}
		return [3]string{name[0], name[1]}, k.byName[name]
	}
	m := idPattern.FindStringSubmatch(labels["id"])
	if m == nil {
		return key, false
	}
	name, ok := k.byID[m[1]]
	return [3]string{name[0], name[1], m[1][:12]}, ok
}

// parseLabels reads name="value",… up to the brace, and returns what is behind it.
func parseLabels(s string) (labels map[string]string, rest string, err error) {
	labels = map[string]string{}
	for {
		s = strings.TrimLeft(s, ", ")
		if rest, ok := strings.CutPrefix(s, "}"); ok {
			return labels, rest, nil
		}
		name, value, ok := strings.Cut(s, `="`)
		if !ok {
			return nil, "", errors.New("labels without an end")
		}
		var text strings.Builder
		for {
			i := strings.IndexAny(value, `"\`)
			if i < 0 || value[i] == '\\' && i+1 == len(value) {
				return nil, "", errors.New("a label without an end")
			}
			text.WriteString(value[:i])
			if value[i] == '"' {
				s = value[i+1:]
				break
			}
			if c := value[i+1]; c == 'n' {
				text.WriteByte('\n')
			} else {
				text.WriteByte(c)
			}
			value = value[i+2:]
		}
		labels[name] = text.String()
	}
}

func parseValue(s string, now int64) (value float64, at int64, err error) {
	f := strings.Fields(s)
	if len(f) != 1 && len(f) != 2 {
		return 0, 0, fmt.Errorf("%.40q is not a value and a time", s)
	}
	if value, err = strconv.ParseFloat(f[0], 64); err != nil || !(value >= 0) || value > 1<<62 {
		return 0, 0, fmt.Errorf("a value of %.40q", f[0])
	}
	if len(f) == 1 {
		return value, now, nil
	}
	if at, err = strconv.ParseInt(f[1], 10, 64); err != nil || at < 0 {
		return 0, 0, fmt.Errorf("a time of %.40q", f[1])
	}
	return value, at, nil
}
