package kubebench

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// record makes output of kube-bench's form: per target two sections, statuses
// as given ("PASS FAIL WARN INFO"), one check each.
type record struct {
	benchmark string
	targets   map[string]string // target → statuses
	noTotals  bool
}

var sectionIDs = map[string]string{"master": "1", "etcd": "2", "controlplane": "3", "node": "4", "policies": "5"}

func (r record) bytes(t testing.TB) []byte {
	t.Helper()
	var all totals
	controls := []map[string]any{}
	names := []string{}
	for name := range r.targets {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		id := sectionIDs[name]
		var sum totals
		var groups []map[string]any // null for no checks, as kube-bench has it
		statuses := strings.Fields(r.targets[name])
		for section := 0; len(statuses) > 0; section++ {
			part := statuses[:(len(statuses)+1)/2]
			statuses = statuses[len(part):]
			var in totals
			results := []map[string]any{}
			for i, status := range part {
				in.add(status)
				sum.add(status)
				all.add(status)
				kind := ""
				if status == "INFO" {
					kind = "skip"
				}
				results = append(results, map[string]any{
					"test_number": fmt.Sprintf("%s.%d.%d", id, section+1, i+1), "test_desc": fmt.Sprintf("Thing %d of the %s is closed (Automated)", i+1, name),
					"audit": "/bin/sh -c 'stat -c permissions=%a /etc/thing'", "AuditEnv": "", "AuditConfig": "", "type": kind,
					"remediation": "Run chmod 600\non /etc/thing.\n", "test_info": []string{"Run chmod 600\non /etc/thing.\n"}, "status": status,
					"actual_value": "permissions=644", "scored": status != "WARN", "IsMultiple": false, "expected_result": "permissions has permissions 644, expected 600 or more restrictive",
				})
			}
			groups = append(groups, map[string]any{
				"section": fmt.Sprintf("%s.%d", id, section+1), "type": "", "pass": in.Pass, "fail": in.Fail, "warn": in.Warn, "info": in.Info, "desc": "Files", "results": results,
			})
		}
		controls = append(controls, map[string]any{
			"id": id, "version": r.benchmark, "detected_version": "none", "text": "Security of the " + name, "node_type": name, "tests": groups,
			"total_pass": sum.Pass, "total_fail": sum.Fail, "total_warn": sum.Warn, "total_info": sum.Info,
		})
	}
	var v any = controls
	if !r.noTotals {
		v = map[string]any{"Controls": controls, "Totals": map[string]int{"total_pass": all.Pass, "total_fail": all.Fail, "total_warn": all.Warn, "total_info": all.Info}}
	}
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
