package main

import (
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

// top is the repository's root.
const top = "../.."

// ownPath is an address of a file of this project, as GitHub has them.
var ownPath = regexp.MustCompile(`^https://github\.com/companyos/helmproof/(?:blob|tree|raw)/[^/]+/(.+)$`)

// vendored is a chart's copy of another chart, which is linked from where it was copied.
var vendored = regexp.MustCompile(`(^|/)charts/[^/]+/charts/`)

// markdown lists the project's Markdown files by their paths in it. What a build or
// a run leaves behind is not the project's.
func markdown(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(top, func(file string, d fs.DirEntry, err error) error {
		switch name := d.Name(); {
		case err != nil:
			return err
		case d.IsDir() && file != top && (strings.HasPrefix(name, ".") || name == "bin" || name == "evidence-repo" || name == "testdata"):
			return fs.SkipDir
		case strings.HasSuffix(name, ".md"):
			rel, err := filepath.Rel(top, file)
			if !vendored.MatchString(filepath.ToSlash(rel)) {
				out = append(out, filepath.ToSlash(rel))
			}
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// page is what a Markdown file links to and can be linked to.
type page struct {
	links   []string
	anchors map[string]bool
	code    []string // its code spans
}

func readPage(raw []byte) page {
	p := page{anchors: map[string]bool{}}
	seen := map[string]int{}
	doc := goldmark.New(goldmark.WithExtensions(extension.GFM)).Parser().Parse(text.NewReader(raw))
	// The walk ends with an error only if the function returns one.
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Heading:
			id := anchor(plain(n, raw))
			if k := seen[id]; k > 0 {
				p.anchors[id+"-"+strconv.Itoa(k)] = true
			}
			seen[id]++
			p.anchors[id] = true
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.AutoLink:
			p.links = append(p.links, string(n.URL(raw)))
		case *ast.CodeSpan:
			p.code = append(p.code, plain(n, raw))
		}
		return ast.WalkContinue, nil
	})
	return p
}

// plain is a node's text without markup.
func plain(n ast.Node, raw []byte) string {
	var b strings.Builder
	for c := n.FirstChild(); c != nil; c = c.NextSibling() {
		if t, ok := c.(*ast.Text); ok {
			b.Write(t.Segment.Value(raw))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
			continue
		}
		b.WriteString(plain(c, raw))
	}
	return b.String()
}

// anchor is the name that GitHub gives a heading.
func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-', r == '_', unicode.IsLetter(r), unicode.IsNumber(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}

// dead says what is wrong with a link of a file, or nothing.
func dead(root fs.FS, pages map[string]page, file, link string) string {
	if m := ownPath.FindStringSubmatch(link); m != nil {
		file, link = "README.md", m[1]
	}
	u, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	if u.Scheme != "" || u.Host != "" {
		return ""
	}
	to := file
	if u.Path != "" {
		to = path.Join(path.Dir(file), u.Path)
		if _, err := fs.Stat(root, to); err != nil {
			return "there is no " + to
		}
	}
	if u.Fragment != "" && strings.HasSuffix(to, ".md") && !pages[to].anchors[u.Fragment] {
		return to + " has no heading #" + u.Fragment
	}
	return ""
}

// TestLinks holds every link of every Markdown file to a file and a heading that are there.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages, links := map[string]page{}, 0
	for _, file := range markdown(t) {
		raw, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			t.Fatal(err)
		}
		pages[file] = readPage(raw)
	}
	for file, p := range pages {
		for _, link := range p.links {
			links++
			if why := dead(os.DirFS(top), pages, file, link); why != "" {
				t.Errorf("%s: the link %s is dead: %s", file, link, why)
			}
		}
	}
	if len(pages) < 40 || links < 150 {
		t.Errorf("only %d files with %d links were found", len(pages), links)
	}
}

// TestDeadLinks holds that each kind of dead link is found.
func TestDeadLinks(t *testing.T) {
	t.Parallel()
	pages := map[string]page{
		"README.md":    readPage([]byte("# A `b`, C!\n\n## Twice\n\n## Twice\n")),
		"docs/gate.md": readPage([]byte("# The gate\n")),
	}
	for link, want := range map[string]string{
		"../README.md":         "",
		"../README.md#a-b-c":   "",
		"../README.md#twice-1": "",
		"../README.md#twice-2": "README.md has no heading #twice-2",
		"gate.md":              "",
		"#the-gate":            "",
		"#the-door":            "docs/gate.md has no heading #the-door",
		"cli":                  "",
		"door.md":              "there is no docs/door.md",
		"https://example.com/": "",
		"https://github.com/companyos/helmproof/blob/main/docs/gate.md": "",
		"https://github.com/companyos/helmproof/blob/main/docs/door.md": "there is no docs/door.md",
		"https://github.com/companyos/helmproof/tree/v1/README.md#a-b":  "README.md has no heading #a-b",
		"https://github.com/companyos/helmproof/evidence/v1":            "",
		"%zz": `parse "%zz": invalid URL escape "%zz"`,
	} {
		if got := dead(os.DirFS(top), pages, "docs/gate.md", link); got != want {
			t.Errorf("%s: %q, want %q", link, got, want)
		}
	}
}
