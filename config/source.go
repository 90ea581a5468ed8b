package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/companyos/helmproof/internal/nearest"
	"github.com/companyos/helmproof/internal/strictyaml"
)

const (
	maxFileBytes   = 1 << 20
	configVariable = envPrefix + "CONFIG"
)

// otherVariables are HELMPROOF_ variables that are no keys: the configuration
// file's name, and what the project's own tests read.
var otherVariables = []string{configVariable, envPrefix + "COSIGN"}

const testPrefix = envPrefix + "TEST_"

// readEnv returns the HELMPROOF_ variables that are set to something.
func readEnv(environ []string) (map[string]string, error) {
	known := slices.Clone(otherVariables)
	for _, k := range keys() {
		known = append(known, k.env())
	}
	out := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || strings.HasPrefix(name, testPrefix) || value == "" {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, &Error{Key: name, Problem: "unknown variable", Allowed: oneOfKnown(name, known[len(otherVariables):])}
		}
		out[name] = value
	}
	return out, nil
}

// oneOfKnown names what may have been meant, and where all are listed.
func oneOfKnown(name string, known []string) string {
	meant := nearest.Of(name, known)
	if meant == "" {
		return "one of those that helmproof config show lists"
	}
	return meant + ", or another of those that helmproof config show lists"
}

// split turns text from the environment into what the key's kind needs.
func (k key) split(s string) any {
	if k.kind != list && k.kind != mapping {
		return s
	}
	var out []string
	for part := range strings.SplitSeq(s, ",") {
		out = append(out, strings.TrimSpace(part))
	}
	return out
}

// readFile reads helmproof.yaml: texts and lists of text by key. No file is an
// empty one.
func readFile(name string) (map[string]any, error) {
	if name == "" {
		return nil, nil
	}
	raw, err := readBounded(name, maxFileBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &Error{File: name, Problem: "there is no such file"}
	}
	if err != nil {
		return nil, err
	}
	out, err := parseFile(raw)
	if err != nil {
		return nil, inFile(name, err)
	}
	base := filepath.Dir(name)
	for _, k := range keys() {
		if k.path == nil {
			continue
		}
		switch v := out[k.name].(type) {
		case string:
			out[k.name] = k.resolve(base, v)
		case []string:
			for i := range v {
				v[i] = k.resolve(base, v[i])
			}
		}
	}
	return out, nil
}

func (k key) resolve(base, s string) string {
	if k.kind == mapping {
		name, value, _ := strings.Cut(s, "=")
		k.kind = text
		return name + "=" + k.resolve(base, value)
	}
	if s == "" || filepath.IsAbs(s) || !k.path(s) {
		return s
	}
	return filepath.Join(base, filepath.FromSlash(s))
}

// inFile turns an error of a strict YAML reader into one that names the file.
func inFile(name string, err error) error {
	var bad *strictyaml.Error
	if !errors.As(err, &bad) {
		return fmt.Errorf("%s: %w", name, err)
	}
	return &Error{File: name, Key: bad.Path, Value: bad.Value, Problem: bad.Problem}
}

func parseFile(raw []byte) (map[string]any, error) {
	root, err := strictyaml.Parse(raw, maxFileBytes)
	if err != nil {
		return nil, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, &strictyaml.Error{Line: root.Line, Problem: "want keys with values, like \"repo: ./evidence-repo\""}
	}
	all := keys()
	out := map[string]any{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		name, node := root.Content[i].Value, root.Content[i+1]
		at := slices.IndexFunc(all, func(k key) bool { return k.name == name })
		if at < 0 {
			names := make([]string, len(all))
			for i, k := range all {
				names[i] = k.name
			}
			return nil, &strictyaml.Error{Line: node.Line, Path: name, Problem: "unknown key: want " + oneOfKnown(name, names)}
		}
		v, ok := all[at].fromNode(node)
		if !ok {
			e := &strictyaml.Error{Line: node.Line, Path: name, Problem: "want " + all[at].want}
			if node.Kind == yaml.ScalarNode {
				e.Value = node.Value
			}
			return nil, e
		}
		out[name] = v
	}
	return out, nil
}

// fromNode accepts a node of the key's kind. A version without quotes is a
// number to YAML; its text is kept as written (1.30, not 1.3).
func (k key) fromNode(n *yaml.Node) (any, bool) {
	if k.kind == list {
		if n.Kind != yaml.SequenceNode {
			return nil, false
		}
		out := make([]string, 0, len(n.Content))
		for _, c := range n.Content {
			if c.Kind != yaml.ScalarNode || c.Tag != "!!str" {
				return nil, false
			}
			out = append(out, c.Value)
		}
		return out, true
	}
	if k.kind == mapping {
		return k.fromMapping(n)
	}
	if n.Kind != yaml.ScalarNode {
		return nil, false
	}
	switch {
	case k.kind == number:
		return n.Value, n.Tag == "!!int"
	case k.kind == boolean:
		return n.Value, n.Tag == "!!bool"
	case k.name == "kubeVersion":
		return n.Value, n.Tag == "!!str" || n.Tag == "!!float"
	}
	return n.Value, n.Tag == "!!str"
}

// fromMapping reads a mapping of lists as NAME=VALUE. A name without any value is a
// mistake: it would ask for nothing, without a word.
func (k key) fromMapping(n *yaml.Node) (any, bool) {
	if n.Kind != yaml.MappingNode {
		return nil, false
	}
	k.kind = list
	out := []string{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		values, ok := k.fromNode(n.Content[i+1])
		if !ok || strings.Contains(n.Content[i].Value, "=") || len(values.([]string)) == 0 { //nolint:forcetypeassert // of a list
			return nil, false
		}
		for _, v := range values.([]string) { //nolint:forcetypeassert // of a list
			out = append(out, n.Content[i].Value+"="+v)
		}
	}
	return out, true
}

func plain(v any) string {
	switch v := v.(type) {
	case *int:
		return fmt.Sprint(*v)
	case *bool:
		return fmt.Sprint(*v)
	}
	return fmt.Sprint(v)
}

// shortDuration reads 2m, where Duration.String has 2m0s.
func shortDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
