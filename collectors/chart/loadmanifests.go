package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/bom"
	"github.com/companyos/helmproof/internal/manifest"
)

// LoadManifests loads rendered YAML: a file, a folder (all *.yaml, *.yml and
// *.json below it) or "-", o.Stdin. The source comments that `helm template`
// writes name the files of what comes from stdin. Of o, only ReleaseName,
// Namespace, KubeVersion and Stdin count. Errors are *LoadError, or ctx's cause.
func LoadManifests(ctx context.Context, ref string, o LoadOptions) (*Release, error) {
	l := &load{ref: ref, o: o}
	files, err := l.manifestFiles(ctx)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return nil, fmt.Errorf("load %s: %w", ref, cause)
		}
		return nil, l.fail(StageLoad, err, hintForManifests(err))
	}
	caps, err := l.capabilities()
	if err != nil {
		return nil, err
	}
	rel := new(Release)
	rel.addFiles(files)
	rel.Files = nil // the manifests hold all of it
	rel.UserValues, rel.Values = map[string]any{}, map[string]any{}
	rel.Record.APIVersions = slices.Sorted(slices.Values(l.o.APIVersions))
	rel.Record.Capabilities = map[string]string{"kubeVersion": caps.KubeVersion.Version}
	name := "stdin"
	if ref != "-" {
		abs, err := filepath.Abs(ref)
		if err != nil {
			return nil, l.fail(StageLoad, err, "")
		}
		name = filepath.Base(abs)
	}
	rel.Info = evidence.Release{
		Scope: evidence.ScopeRelease, Source: SourceManifests, Chart: name, ReleaseName: o.ReleaseName, Namespace: o.Namespace,
		KubeVersion: caps.KubeVersion.Major + "." + caps.KubeVersion.Minor, ChartDigest: rel.Info.ChartDigest,
	}
	if rel.Info.ReleaseName == "" {
		rel.Info.ReleaseName = name
	}
	if rel.Info.Namespace == "" {
		rel.Info.Namespace = "default"
	}
	if rel.Info.ValuesDigest, err = canonicalDigest(rel.Values); err != nil {
		return nil, l.fail(StageLoad, err, "")
	}
	if rel.Manifests, rel.SourceMap, err = manifestStream(files, ref == "-"); err != nil {
		return nil, l.fail(StageLoad, err, "")
	}
	rel.Info.ManifestsDigest = evidence.DigestOf(rel.Manifests)
	set, err := rel.Objects()
	if err != nil {
		return nil, l.fail(StageLoad, err, "")
	}
	if len(set.Objects)+len(set.Broken) == 0 {
		return nil, l.fail(StageLoad, errNoManifests, hintForManifests(errNoManifests))
	}
	rel.Info.Images = manifest.Images(set, l.o.ImageFields)
	return rel, nil
}

var errNoManifests = errors.New("no manifests in it")

func hintForManifests(err error) string {
	switch {
	case errors.Is(err, errNoManifests):
		return "give a file, a folder with *.yaml, *.yml or *.json files, or - for standard input"
	case errors.Is(err, errLink):
		return "put the file itself there"
	}
	return ""
}

func (l *load) manifestFiles(ctx context.Context) ([]chartFile, error) {
	if l.ref == "-" {
		if l.o.Stdin == nil {
			return nil, errors.New("there is no standard input")
		}
		b, err := io.ReadAll(io.LimitReader(l.o.Stdin, manifest.MaxSize+1))
		if err == nil && len(b) > manifest.MaxSize {
			err = errTooMuchInput
		}
		return []chartFile{{name: "stdin", data: b}}, err
	}
	fi, err := os.Stat(l.ref)
	if err != nil {
		return nil, err
	}
	if !fi.IsDir() {
		b, err := readLimited(l.ref, manifest.MaxSize)
		return []chartFile{{name: filepath.Base(l.ref), data: b}}, err
	}
	root, err := os.OpenRoot(l.ref)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return walkManifests(ctx, root)
}

var errTooMuchInput = fmt.Errorf("more than %d bytes of manifests", manifest.MaxSize)

func walkManifests(ctx context.Context, root *os.Root) ([]chartFile, error) {
	var files []chartFile
	total := 0
	err := fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		switch path.Ext(name) {
		case ".yaml", ".yml", ".json":
		default:
			return nil
		}
		if d.IsDir() {
			return nil
		}
		if err := checkName(name); err != nil {
			return err
		}
		if len(files) >= maxChartFiles {
			return fmt.Errorf("more than %d files", maxChartFiles)
		}
		fi, err := root.Stat(name)
		switch {
		case err != nil && d.Type()&fs.ModeSymlink != 0:
			return fmt.Errorf("%s: %w that leads nowhere, or out of the folder", name, errLink)
		case err != nil:
			return err
		case fi.IsDir():
			return nil
		case !fi.Mode().IsRegular():
			return fmt.Errorf("%s: neither a file nor a folder", name)
		}
		f, err := root.Open(name)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(f, int64(manifest.MaxSize-total)+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if total += len(b); total > manifest.MaxSize {
			return errTooMuchInput
		}
		files = append(files, chartFile{name: name, data: b})
		return nil
	})
	slices.SortFunc(files, func(a, b chartFile) int { return strings.Compare(a.name, b.name) })
	return files, err
}

// manifestStream joins the files, each document under its file and line there, and maps
// its lines to those of the files. With named the documents' own source comments name them
// where they have one: which lines those had is not known.
func manifestStream(files []chartFile, named bool) (stream, sourceMap []byte, err error) {
	var out bytes.Buffer
	var b manifest.MapBuilder
	line := 1 // of out, the next one
	for _, f := range files {
		for d := range manifest.Stream(bom.Decode(f.data)) {
			if d.Nothing() {
				continue
			}
			file, at := f.name, d.From
			theirs := named && d.File != "" && checkName(d.File) == nil
			if theirs {
				file, at = d.File, max(d.Line, 1)
			}
			before := out.Len()
			manifest.WriteDocument(&out, file, at, d)
			if out.Len() > manifest.MaxSize {
				return nil, nil, errTooMuchInput
			}
			lines := bytes.Count(d.Text, []byte("\n")) + 1
			line += bytes.Count(out.Bytes()[before:], []byte("\n"))
			if !theirs {
				b.Add(file, line-lines, lines, func(i int) (manifest.Origin, bool) {
					return manifest.Origin{At: manifest.Place{File: file, Line: d.From + i}}, true
				})
			}
		}
	}
	sourceMap, err = b.Bytes()
	return out.Bytes(), sourceMap, err
}

// Expand replaces glob patterns among args by what they match, in the order of
// names. Folders without Chart.yaml that a pattern matches are left out; a
// pattern that matches nothing is an error. An argument that exists, or has no
// pattern in it, stays as it is.
func Expand(args []string) ([]string, error) {
	var refs []string
	for _, arg := range args {
		if !strings.ContainsAny(arg, "*?[") || isURL(arg) {
			refs = append(refs, arg)
			continue
		}
		if _, err := os.Lstat(arg); err == nil {
			refs = append(refs, arg)
			continue
		}
		matches, err := filepath.Glob(arg)
		if err != nil {
			return nil, fmt.Errorf("pattern %q: %w", arg, err)
		}
		n := len(refs)
		for _, m := range slices.Sorted(slices.Values(matches)) {
			if fi, err := os.Stat(m); err == nil && fi.IsDir() {
				if _, err := os.Stat(filepath.Join(m, "Chart.yaml")); err != nil {
					continue
				}
			}
			refs = append(refs, m)
		}
		if len(refs) == n {
			return nil, fmt.Errorf("pattern %q matches no chart", arg)
		}
	}
	return refs, nil
}
