package report

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/companyos/helmproof/evidence"
)

// GitHub writes the failed and warned findings, and what could not be checked, as
// workflow commands, which GitHub Actions shows at the lines of the files. pathPrefix is
// the chart's folder in its repository. Waived findings and passes are left out. GitHub
// shows ten annotations of each kind for a step: the worst come first.
// https://docs.github.com/actions/reference/workflows-and-actions/workflow-commands
func GitHub(w io.Writer, d *Document, pathPrefix string) error {
	out := bufio.NewWriter(w)
	sealed := make(map[string]*evidence.Finding, len(d.in.Findings))
	for i := range d.in.Findings {
		sealed[d.in.Findings[i].ID] = &d.in.Findings[i]
	}
	for _, level := range []string{"error", "warning", "notice"} {
		for i := range d.Sections {
			for j := range d.Sections[i].Findings {
				f := &d.Sections[i].Findings[j]
				if f.Waiver == nil && gitHubLevel(f) == level {
					gitHubCommand(out, level, gitHubPlace(&sealed[f.ID].Target, d.in.Release.Source, pathPrefix), gitHubTitle(f), sarifMessage(f))
				}
			}
		}
		if level == "warning" {
			for _, n := range d.NotChecked {
				gitHubCommand(out, level, nil, "not checked", Visible(n.What+": "+n.Why))
			}
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write annotations: %w", err)
	}
	return nil
}

// gitHubLevel is the command for a finding, as SARIF's level.
func gitHubLevel(f *Finding) string {
	if f.Mark.Key == MarkWarn.Key {
		return "warning"
	}
	switch level := sarifLevelOf(f.Severity); level {
	case "note":
		return "notice"
	default:
		return level
	}
}

func gitHubTitle(f *Finding) string {
	title := f.Rule
	if len(f.Controls) > 0 {
		title = f.Controls[0].ID + " " + title
	}
	return Visible(title)
}

type gitHubProperty struct{ name, value string }

func gitHubPlace(t *evidence.Target, source, prefix string) []gitHubProperty {
	file := t.File
	if file == "" && source != "manifests" && t.Kind == kindOfCharts {
		file = chartMeta
	}
	if file == "" {
		return nil
	}
	p := []gitHubProperty{{"file", strings.TrimPrefix(path.Join("/", prefix, path.Join("/", file)), "/")}, {"line", fmt.Sprint(max(t.Line, 1))}}
	if t.EndLine > t.Line { // GitHub takes columns of one line only
		return append(p, gitHubProperty{"endLine", fmt.Sprint(t.EndLine)})
	}
	if t.Column > 0 {
		p = append(p, gitHubProperty{"col", fmt.Sprint(t.Column)})
	}
	return p
}

// Escaped as @actions/core does it, in this order: what stands first would be escaped again.
var (
	gitHubData  = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A")
	gitHubValue = strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C")
)

func gitHubCommand(w *bufio.Writer, level string, place []gitHubProperty, title, message string) {
	properties := make([]string, 0, len(place)+1)
	for _, p := range append(place, gitHubProperty{"title", title}) {
		properties = append(properties, p.name+"="+gitHubValue.Replace(p.value))
	}
	fmt.Fprintf(w, "::%s %s::%s\n", level, strings.Join(properties, ","), gitHubData.Replace(message))
}
