package release

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/package-url/packageurl-go"
)

// bomType is CycloneDX's media type.
const bomType = "application/vnd.cyclonedx+json"

// bom is the part of CycloneDX 1.6 that a program of Go modules fills
// (https://cyclonedx.org/docs/1.6/json/).
type bom struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	PURL       string     `json:"purl,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// SBOM lists what a program is built from, as the compiler noted it in the program:
// the modules, with their checksums of go.sum, and Go's standard library.
func SBOM(info *debug.BuildInfo, version string, p Platform, when time.Time) ([]byte, error) {
	if len(info.Deps) == 0 {
		return nil, fmt.Errorf("the program for %s says nothing of what it is built from", p)
	}
	self := purl(info.Main.Path, version)
	out := bom{Format: "CycloneDX", Spec: "1.6", Version: 1, Metadata: metadata{
		Timestamp: when.UTC().Format(time.RFC3339),
		Component: component{Type: "application", Ref: self, Name: "helmproof", Version: version, PURL: self, Properties: []property{{"helmproof:platform", p.String()}}},
	}}
	std := strings.TrimPrefix(info.GoVersion, "go")
	out.Components = []component{{Type: "library", Ref: purl("std", std), Name: "std", Version: std, PURL: purl("std", std)}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component{Type: "library", Ref: purl(m.Path, m.Version), Name: m.Path, Version: m.Version, PURL: purl(m.Path, m.Version)}
		if m.Sum != "" {
			c.Properties = []property{{"go:sum", m.Sum}} // h1: is no digest of a file, which CycloneDX's hashes are
		}
		out.Components = append(out.Components, c)
	}
	slices.SortFunc(out.Components, func(a, b component) int { return strings.Compare(a.Ref, b.Ref) })
	out.Components = slices.CompactFunc(out.Components, func(a, b component) bool { return a.Ref == b.Ref })
	all := dependency{Ref: self}
	for _, c := range out.Components {
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	out.Dependencies = []dependency{all}
	return indented(out)
}

func purl(module, version string) string {
	namespace, name := "", module
	if i := strings.LastIndexByte(module, '/'); i >= 0 {
		namespace, name = module[:i], module[i+1:]
	}
	return packageurl.NewPackageURL(packageurl.TypeGolang, namespace, name, version, nil, "").ToString()
}

// indented is v in JSON as people read it.
func indented(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return b.Bytes(), err
}
