package helm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/lint/support"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/helmlog"
)

// lintReport is what helm lint said: lint.json.
type lintReport struct {
	Messages []lintMessage `json:"messages"`
	Log      []string      `json:"log"`
	// Replaced are functions that generate keys and certificates, replaced in a copy
	// of the templates before linting: Helm would make new ones for nothing.
	Replaced []string `json:"replaced,omitempty"`
	// SkippedSchema says that a values schema was left out because it refers to the
	// network or to other files: Helm would follow that.
	SkippedSchema bool `json:"skippedSchema,omitempty"`
}

type lintMessage struct {
	Severity string `json:"severity"` // INFO, WARNING, ERROR, as Helm says it
	Path     string `json:"path"`     // relative to the chart
	Message  string `json:"message"`
}

// prepareLint says in rep what was replaced, and returns the folder to lint, which
// done removes if it is a copy.
func prepareLint(rel *chart.Release, rep *lintReport) (dir string, done func() error, err error) {
	for _, g := range rel.Record.Generated {
		if slices.Contains(keyFunctions, g.Function) {
			rep.Replaced = append(rep.Replaced, g.Function)
		}
	}
	slices.Sort(rep.Replaced)
	rep.Replaced = slices.Compact(rep.Replaced)
	left := referringSchemas(rel)
	rep.SkippedSchema = len(left) > 0
	// Helm follows symbolic links and references of schemas. What was loaded has
	// none, and is what is judged, whatever the folder holds by now.
	ownCopy := rel.Info.ArchiveDigest != "" || rel.Info.Source != chart.SourceChart
	if ownCopy && len(rep.Replaced) == 0 && !rep.SkippedSchema {
		// Helm says paths as they are given; an absolute one can be told from other text.
		dir, err = filepath.Abs(rel.Dir)
		return dir, func() error { return nil }, err
	}
	dir, err = copyChart(rel, left, len(rep.Replaced) > 0)
	return dir, func() error { return os.RemoveAll(dir) }, err
}

// lintFolder runs Helm's own linter over a chart and its unpacked subcharts.
func lintFolder(ctx context.Context, q *inspection, rep *lintReport) error {
	shareScheme()
	kube, err := common.ParseKubeVersion(q.KubeVersion)
	if err != nil {
		return fmt.Errorf("lint: kubernetes version %s: %w", q.KubeVersion, err)
	}
	values := q.UserValues.Unpack()
	for _, sub := range q.Charts {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		root := filepath.Join(q.Dir, filepath.FromSlash(sub))
		var result support.Linter
		lines, err := helmlog.Capture(func() { result = lint.RunAll(root, values, q.Namespace, lint.WithKubeVersion(kube)) })
		if err != nil {
			return fmt.Errorf("lint: %w", err)
		}
		for _, m := range result.Messages {
			rep.Messages = append(rep.Messages, lintMessage{severityName(m.Severity), path.Join(sub, relative(m.Path, root)), clean(m.Err.Error(), root, q.Dir)})
		}
		for _, l := range lines {
			rep.Log = append(rep.Log, clean(l, root, q.Dir))
		}
	}
	return nil
}

func severityName(s int) string {
	switch s {
	case support.InfoSev:
		return "INFO"
	case support.WarningSev:
		return "WARNING"
	case support.ErrorSev:
		return "ERROR"
	}
	return "UNKNOWN"
}

// subcharts are the charts under charts/ that come as directories, as
// `helm lint --with-subcharts` finds them.
func subcharts(rel *chart.Release) []string {
	var out []string
	for _, f := range rel.Files {
		if path.Base(f.Name) == "Chart.yaml" && strings.HasPrefix(f.Name, "charts/") {
			sub := path.Dir(f.Name)
			if st, err := os.Stat(filepath.Join(rel.Dir, filepath.FromSlash(sub))); err == nil && st.IsDir() {
				out = append(out, sub)
			}
		}
	}
	return out
}

// relative keeps paths of the machine out of the evidence.
func relative(p, root string) string {
	if filepath.IsAbs(p) {
		if r, err := filepath.Rel(root, p); err == nil {
			return filepath.ToSlash(r)
		}
	}
	return filepath.ToSlash(p)
}

var spaces = regexp.MustCompile(`\s+`)

// missing matches messages that list names in the order of a Go map.
var missing = regexp.MustCompile(`^(chart (?:directory|metadata) is missing these dependencies: )(.+)$`)

func clean(text string, dirs ...string) string {
	if m := missing.FindStringSubmatch(text); m != nil {
		names := strings.Split(m[2], ",")
		slices.Sort(names)
		text = m[1] + strings.Join(names, ",")
	}
	for _, d := range dirs {
		text = strings.ReplaceAll(text, d+string(filepath.Separator), "")
		text = strings.ReplaceAll(text, d, ".")
	}
	return strings.TrimSpace(spaces.ReplaceAllString(text, " "))
}

// keyFunctions generate keys and certificates: half of what Helm's linter would
// spend its time on.
var keyFunctions = []string{"genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "genPrivateKey"}

var (
	action      = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	certificate = regexp.MustCompile(`\bgen(CA|SelfSignedCert|SignedCert)(WithKey)?\b`)
	privateKey  = regexp.MustCompile(`\bgenPrivateKey\b`)
)

// referringSchemas are the files of the chart and all its subcharts, switched off
// or not, that Helm would follow out of the chart to validate values.
func referringSchemas(rel *chart.Release) map[string]bool {
	out := map[string]bool{}
	for _, f := range rel.Files {
		if path.Base(f.Name) == "values.schema.json" && len(chart.SchemaReferences(f.Data)) > 0 {
			out[f.Name] = true
		}
	}
	return out
}

// copyChart copies the chart into a temporary directory, some files left out. Where
// keys is set calls of keyFunctions are replaced on their own lines: coalesce
// returns its first argument and ignores those of the call.
func copyChart(rel *chart.Release, leftOut map[string]bool, keys bool) (string, error) {
	if memory := inMemory(); memory != "" {
		if dir, err := copyInto(memory, rel, leftOut, keys); err == nil {
			return dir, nil
		}
		// There is too little of it: the disk will do.
	}
	return copyInto("", rel, leftOut, keys)
}

func copyInto(parent string, rel *chart.Release, leftOut map[string]bool, keys bool) (string, error) {
	dir, err := os.MkdirTemp(parent, "helmproof-lint-")
	if err != nil {
		return "", err
	}
	for _, f := range rel.Files {
		if leftOut[f.Name] {
			continue
		}
		data := f.Data
		if keys && strings.Contains(f.Name, "templates/") {
			data = action.ReplaceAllFunc(data, func(a []byte) []byte {
				a = certificate.ReplaceAll(a, []byte(`coalesce (dict "Cert" "certificate" "Key" "key")`))
				return privateKey.ReplaceAll(a, []byte(`coalesce "key"`))
			})
		}
		name := filepath.Join(dir, filepath.FromSlash(f.Name))
		err := os.MkdirAll(filepath.Dir(name), 0o700)
		if err == nil {
			err = os.WriteFile(name, data, 0o600)
		}
		if err != nil {
			return "", fmt.Errorf("copy the chart: %w", errors.Join(err, os.RemoveAll(dir)))
		}
	}
	return dir, nil
}

// inMemory is the folder of a file system in memory, for files of a moment; empty
// where there is none, or where the environment says where they go.
func inMemory() string {
	const shm = "/dev/shm"
	if st, err := os.Stat(shm); err != nil || !st.IsDir() || os.Getenv("TMPDIR") != "" {
		return ""
	}
	return shm
}

// lint decides CHT-1: no message above INFO, and no warning in the log.
func (f *findings) lint() error {
	var rep lintReport
	if err := f.Parse(lintName, &rep); err != nil {
		return err
	}
	bad := 0
	for i, m := range rep.Messages {
		if m.Severity == "INFO" {
			continue
		}
		bad++
		x := f.chart(RuleLint, evidence.OutcomeFail, strings.ToLower(m.Severity)+": "+m.Message, "Correct what helm lint says.", f.Own(lintName, fmt.Sprintf("/messages/%d", i)))
		x.Target.File = m.Path
		if m.Severity == "ERROR" {
			x.Severity = evidence.SeverityHigh
		}
	}
	if bad == 0 {
		f.chart(RuleLint, evidence.OutcomePass, "helm lint has no warning", "", f.Own(lintName, "/messages"))
	}
	bad = 0
	for i, l := range rep.Log {
		if strings.HasPrefix(l, "INFO ") {
			continue
		}
		bad++
		f.chart(RuleLintLog, evidence.OutcomeFail, "helm lint logs: "+l, "Correct the values or the chart so that Helm logs nothing.", f.Own(lintName, fmt.Sprintf("/log/%d", i)))
	}
	if bad == 0 {
		f.chart(RuleLintLog, evidence.OutcomePass, "helm lint logs no warning", "", f.Own(lintName, "/log"))
	}
	return nil
}

func readAll(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, maxSchemaSize+1))
	if err == nil && len(raw) > maxSchemaSize {
		err = fmt.Errorf("larger than %d MiB", maxSchemaSize>>20)
	}
	return raw, err
}
