package helm

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/lint/support"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/bom"
)

// lintReport is what helm lint said: lint.json.
type lintReport struct {
	Messages []lintMessage `json:"messages"`
	Log      []string      `json:"log"`
	// Replaced are functions that generate keys, certificates and hashes, replaced in a copy
	// of the templates before linting: Helm would make new ones for nothing.
	Replaced []string `json:"replaced,omitempty"`
	// SkippedSchema says that a values schema was left out because it refers to the
	// network or to other files: Helm would follow that.
	SkippedSchema bool `json:"skippedSchema,omitempty"`
	// NotLinted are subcharts that do not render by themselves, only with the chart.
	NotLinted []notLinted `json:"notLinted,omitempty"`
}

type notLinted struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

type lintMessage struct {
	Severity string `json:"severity"` // INFO, WARNING, ERROR, as Helm says it
	Path     string `json:"path"`     // relative to the chart
	Message  string `json:"message"`
}

// prepareLint says in rep what was replaced, and returns the folder to lint, which
// done removes if it is a copy.
func prepareLint(rel *chart.Release, rep *lintReport) (dir string, done func() error, err error) {
	for _, function := range rel.Calls {
		if slices.Contains(keyFunctions, function) {
			rep.Replaced = append(rep.Replaced, function)
		}
	}
	slices.Sort(rep.Replaced)
	rep.Replaced = slices.Compact(rep.Replaced)
	rep.SkippedSchema = slices.ContainsFunc(rel.Files, func(f chart.File) bool {
		return path.Base(f.Name) == schemaFile && len(chart.SchemaReferences(f.Data)) > 0
	})
	// Helm follows symbolic links. What was loaded has none, and is what is judged,
	// whatever the folder holds by now.
	ownCopy := rel.Info.ArchiveDigest != "" || rel.Info.Source != chart.SourceChart
	if ownCopy && len(rep.Replaced) == 0 {
		// Helm says paths as they are given; an absolute one can be told from other text.
		dir, err = filepath.Abs(rel.Dir)
		return dir, func() error { return nil }, err
	}
	dir, err = copyChart(rel, len(rep.Replaced) > 0)
	return dir, func() error { return os.RemoveAll(dir) }, err
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

// keyFunctions generate keys, certificates and hashes that are meant to be slow: half of what Helm's linter would
// spend its time on.
var keyFunctions = []string{"bcrypt", "htpasswd", "genCA", "genCAWithKey", "genSelfSignedCert", "genSelfSignedCertWithKey", "genSignedCert", "genSignedCertWithKey", "genPrivateKey"}

var (
	action      = regexp.MustCompile(`(?s)\{\{.*?\}\}`)
	certificate = regexp.MustCompile(`\bgen(CA|SelfSignedCert|SignedCert)(WithKey)?\b`)
	privateKey  = regexp.MustCompile(`\b(genPrivateKey|bcrypt|htpasswd)\b`)
)

// copyChart copies the chart into a temporary directory. Where keys is set calls of
// keyFunctions are replaced.
func copyChart(rel *chart.Release, keys bool) (string, error) {
	if memory := inMemory(); memory != "" {
		if dir, err := copyInto(memory, rel, keys); err == nil {
			return dir, nil
		}
		// There is too little of it: the disk will do.
	}
	return copyInto("", rel, keys)
}

func copyInto(parent string, rel *chart.Release, keys bool) (string, error) {
	dir, err := os.MkdirTemp(parent, "helmproof-lint-")
	if err != nil {
		return "", err
	}
	for _, f := range rel.Files {
		data := f.Data
		if keys && strings.Contains(f.Name, "templates/") {
			data = withoutKeys(data)
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
	for i, n := range rep.NotLinted {
		f.chart(RuleLint, evidence.OutcomeNotChecked, "the subchart renders with the chart and not by itself, so that helm lint cannot judge it: "+n.Reason,
			"Have the subchart define what its templates include, and set what they need in its values.yaml.", f.Own(lintName, fmt.Sprintf("/notLinted/%d", i))).Target.File = n.Path
	}
	if bad+len(rep.NotLinted) == 0 {
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
	raw, err := io.ReadAll(io.LimitReader(bom.Reader(r), maxSchemaSize+1))
	if err == nil && len(raw) > maxSchemaSize {
		err = fmt.Errorf("larger than %d MiB", maxSchemaSize>>20)
	}
	return raw, err
}
