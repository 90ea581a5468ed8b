// Dashboards writes what is made in templates/monitoring: Grafana's dashboards, and
// the rules as an object of the Prometheus operator. `make dashboards` runs it.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: dashboards FOLDER, which is templates/monitoring")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "dashboards:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate gives the files that are made, by their names in dir, which has the rules
// that they are made of.
func generate(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for name, b := range boards() {
		d, err := b.Build()
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		// Their order gives panels their numbers, so that links to one stay.
		id := uint32(0)
		for _, p := range d.Panels {
			id++
			if n := id; p.Panel != nil {
				p.Panel.Id = &n
			} else {
				p.RowPanel.Id = n
			}
		}
		out, err := marshal(d)
		if err != nil {
			return nil, fmt.Errorf("dashboard %s: %w", name, err)
		}
		files["dashboards/"+name+".json"] = out
	}
	rules, err := os.ReadFile(filepath.Join(dir, "rules.yaml"))
	if err != nil {
		return nil, err
	}
	files["prometheusrule.yaml"] = operatorRule(rules)
	return files, nil
}

func marshal(d dashboard.Dashboard) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(d)
	return b.Bytes(), err
}

// operatorRule wraps a file of rules as a PrometheusRule, as text, so that its
// comments stay.
func operatorRule(rules []byte) []byte {
	var b strings.Builder
	b.WriteString(`# Made from rules.yaml by ` + "`make dashboards`" + `: change that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: helmproof
  labels:
    app.kubernetes.io/name: helmproof
    app.kubernetes.io/component: watch
spec:
`)
	text := string(rules)
	if at := strings.Index(text, "groups:"); at > 0 {
		text = text[at:] // its head speaks of both files
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString("  ")
		}
		b.WriteString(line)
	}
	return []byte(b.String())
}
