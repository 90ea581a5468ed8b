package kubebench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"github.com/companyos/helmproof/collectors/internal/jobrun"
	"regexp"
	"strings"
)

// maxChecks bounds the checks of one node's result; kube-bench's largest
// benchmark has about 140.
const maxChecks = 5000

// result is kube-bench's JSON, of which only what is judged is read.
type result struct {
	controls []control
	totals   *totals // nil in a bare array (--nototals)
	prefix   string  // JSON pointer to the list of controls
}

type totals struct {
	Pass int `json:"total_pass"`
	Fail int `json:"total_fail"`
	Warn int `json:"total_warn"`
	Info int `json:"total_info"`
}

type control struct {
	ID       string  `json:"id"`
	Version  string  `json:"version"` // the benchmark
	Text     string  `json:"text"`
	NodeType string  `json:"node_type"` // the target: master, node, …
	Tests    []group `json:"tests"`
	totals
}

type group struct {
	Section string  `json:"section"`
	Desc    string  `json:"desc"`
	Pass    int     `json:"pass"`
	Fail    int     `json:"fail"`
	Warn    int     `json:"warn"`
	Info    int     `json:"info"`
	Results []check `json:"results"`
}

type check struct {
	ID          string `json:"test_number"`
	Desc        string `json:"test_desc"`
	Type        string `json:"type"`
	Remediation string `json:"remediation"`
	Status      string `json:"status"`
	Scored      bool   `json:"scored"`
	Expected    string `json:"expected_result"`
	Reason      string `json:"reason"`
}

// parse reads kube-bench's JSON: the object {"Controls","Totals"}, or the bare
// array of controls that --nototals prints.
func parse(raw []byte) (*result, error) {
	r := &result{}
	var err error
	switch trimmed := bytes.TrimSpace(raw); {
	case len(trimmed) > 0 && trimmed[0] == '[':
		err = json.Unmarshal(raw, &r.controls)
	default:
		var o struct {
			Controls []control
			Totals   *totals
		}
		err = json.Unmarshal(raw, &o)
		r.controls, r.totals, r.prefix = o.Controls, o.Totals, "/Controls"
		if err == nil && o.Totals == nil {
			err = fmt.Errorf("no Totals")
		}
	}
	if err != nil {
		return nil, fmt.Errorf("not kube-bench's JSON: %w", err)
	}
	n := 0
	for _, c := range r.controls {
		for _, g := range c.Tests {
			n += len(g.Results)
		}
	}
	switch {
	case n == 0:
		return nil, fmt.Errorf("no check in it")
	case n > maxChecks:
		return nil, fmt.Errorf("%d checks, more than the limit of %d", n, maxChecks)
	}
	return r, nil
}

func (t *totals) add(status string) bool {
	switch status {
	case "PASS":
		t.Pass++
	case "FAIL":
		t.Fail++
	case "WARN":
		t.Warn++
	case "INFO":
		t.Info++
	default:
		return false
	}
	return true
}

func (t totals) String() string {
	return fmt.Sprintf("%d pass, %d fail, %d warn, %d info", t.Pass, t.Fail, t.Warn, t.Info)
}

var idPattern = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.-]{0,31}$`)

// faults are the reasons for which a result cannot be relied on: numbers that do
// not add up, checks without a proper name (one of another rule would count for
// another control), twice there, or with a status that
// kube-bench does not have.
func (r *result) faults(benchmark string) []string {
	var out []string
	bad := func(format string, args ...any) {
		if len(out) < 20 {
			out = append(out, jobrun.OneLine(fmt.Sprintf(format, args...), 300))
		}
	}
	seen := map[string]bool{}
	var all totals
	for _, c := range r.controls {
		// A variant of a benchmark may say the benchmark's name: cis-1.24 in cis-1.24-microk8s.
		if c.Version != benchmark && !strings.HasPrefix(benchmark, c.Version+"-") {
			bad("section %s is of benchmark %q, not of %s", c.ID, c.Version, benchmark)
		}
		var inControl totals
		for _, g := range c.Tests {
			var inGroup totals
			for _, k := range g.Results {
				if _, own := rules[rulePrefix+k.ID]; own || !idPattern.MatchString(k.ID) {
					bad("a check of section %s is named %q", g.Section, k.ID)
				}
				if name := c.NodeType + " " + k.ID; seen[name] {
					bad("check %s is there twice", k.ID)
				} else {
					seen[name] = true
				}
				if !inGroup.add(k.Status) {
					bad("check %s has status %q, which kube-bench does not have", k.ID, k.Status)
				}
				inControl.add(k.Status)
				all.add(k.Status)
			}
			if said := (totals{g.Pass, g.Fail, g.Warn, g.Info}); said != inGroup {
				bad("section %s says %s; its checks are %s", g.Section, said, inGroup)
			}
		}
		if c.totals != inControl {
			bad("section %s says %s; its checks are %s", c.ID, c.totals, inControl)
		}
	}
	if r.totals != nil && *r.totals != all {
		bad("Totals say %s; the checks are %s", *r.totals, all)
	}
	return out
}
