package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/companyos/helmproof/internal/bom"
	"github.com/companyos/helmproof/internal/manifest"
	"github.com/companyos/helmproof/templates/policies"
)

// Limits on the user's policies.
const (
	maxFileBytes  = 1 << 20
	maxTotalBytes = 8 << 20
	maxFiles      = 1000
	maxEntries    = 20_000 // directory entries looked at
)

// builtinDir is where policies.yaml says that a built-in policy comes from.
const builtinDir = "builtin/"

// Bundle returns what is sealed as policies.yaml: the built-in policies, then
// every *.yaml and *.yml below dir, sorted by path; hidden files and
// directories are left out. With dir "" there are only the built-in ones. Each
// document says by a "# Source:" comment which file and line it comes from.
// The bytes depend on the files' relative names and content alone. They are
// not yet checked: New does that.
func Bundle(dir string) ([]byte, error) {
	var out bytes.Buffer
	names, err := fs.Glob(policies.FS, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("list built-in policies: %w", err)
	}
	for _, name := range names { // Glob sorts
		raw, err := policies.FS.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read built-in policy: %w", err)
		}
		writeDocuments(&out, builtinDir+name, raw)
	}
	if dir == "" {
		return out.Bytes(), nil
	}
	builtin := out.Len()
	files, err := policyFiles(dir)
	if err != nil {
		return nil, fmt.Errorf("policies %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("policies %s: no *.yaml file below it", dir)
	}
	for _, name := range files {
		if strings.HasPrefix(name, builtinDir) {
			return nil, fmt.Errorf("policies %s: %s: the directory name %s is helmproof's own; rename it", dir, name, strings.TrimSuffix(builtinDir, "/"))
		}
		raw, err := readFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, fmt.Errorf("policies %s: %w", dir, err)
		}
		if out.Len()-builtin+len(raw) > maxTotalBytes {
			return nil, fmt.Errorf("policies %s: more than %d bytes", dir, maxTotalBytes)
		}
		writeDocuments(&out, name, raw)
	}
	return out.Bytes(), nil
}

// policyFiles lists the YAML files below dir, slash-separated, relative, sorted.
func policyFiles(dir string) ([]string, error) {
	var files []string
	entries := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entries++; entries > maxEntries {
			return fmt.Errorf("more than %d directory entries", maxEntries)
		}
		if path == dir {
			if info, err := os.Stat(path); err != nil {
				return err
			} else if !info.IsDir() {
				return errors.New("want a directory of ValidatingAdmissionPolicies")
			}
			return nil
		}
		if strings.HasPrefix(d.Name(), ".") {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if ext := filepath.Ext(path); d.IsDir() || ext != ".yaml" && ext != ".yml" {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		if strings.ContainsAny(rel, "\n\r") {
			return fmt.Errorf("file %q: line break in the name", rel)
		}
		if files = append(files, rel); len(files) > maxFiles {
			return fmt.Errorf("more than %d files", maxFiles)
		}
		return nil
	})
	slices.Sort(files)
	return files, err
}

func readFile(name string) ([]byte, error) {
	// A named pipe would block the open itself.
	if info, err := os.Stat(name); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(bom.Reader(f), maxFileBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(raw) > maxFileBytes {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxFileBytes)
	}
	return raw, nil
}

// writeDocuments appends the YAML documents of raw, each after a separator and
// a comment that names file and line.
func writeDocuments(out *bytes.Buffer, file string, raw []byte) {
	start := func(line int) {
		out.WriteString("---\n# Source: " + file + ":" + strconv.Itoa(line) + "\n")
	}
	line := 0
	for text := range bytes.Lines(raw) {
		line++
		rest, separator := separated(text)
		switch {
		case separator:
			start(line)
			text = rest
		case line == 1:
			start(line)
		}
		out.Write(text)
	}
	if n := out.Len(); n > 0 && out.Bytes()[n-1] != '\n' {
		out.WriteByte('\n')
	}
}

// separated reports whether a line starts a document, and what follows the
// separator on it.
func separated(line []byte) (rest []byte, ok bool) {
	rest, ok = bytes.CutPrefix(line, []byte("---"))
	if !ok || len(rest) > 0 && !bytes.ContainsAny(rest[:1], " \t\r\n") {
		return nil, false
	}
	return rest, true
}

// Renewed returns a sealed policies.yaml with this version's built-in policies in
// the place of those that were sealed; the user's own stay as they are.
func Renewed(sealed []byte) ([]byte, error) {
	out, err := Bundle("")
	if err != nil {
		return nil, err
	}
	ours := map[string]bool{}
	for d := range manifest.Documents(out) {
		ours[nameOf(d.Text)] = true
	}
	for d := range manifest.Documents(sealed) {
		if name := nameOf(d.Text); !strings.HasPrefix(d.File, builtinDir) || name == "" || !ours[name] {
			out = append(out, fmt.Sprintf("---\n%s%s:%d\n%s\n", manifest.SourcePrefix, d.File, d.Line, d.Text)...)
		}
	}
	return out, nil
}

// nameOf is "kind/name" of a document; empty where it is no object.
func nameOf(text []byte) string {
	v, err := manifest.Decode(text)
	if err != nil {
		return ""
	}
	m, _ := v.(map[string]any)
	meta, _ := m["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	if kind, _ := m["kind"].(string); kind != "" && name != "" {
		return kind + "/" + name
	}
	return ""
}
