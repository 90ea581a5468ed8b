package secrets

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/companyos/helmproof/internal/manifest"
)

// runs is what a container is told: what can hold secrets of its own. It is read from
// the manifest as it stands, since what the pod's Go types do not decode, and the
// fields that they do not have, is sealed all the same.
type runs struct {
	name      string
	variables []variable
	args      []string
	calls     [][]string // of probes and lifecycle hooks: their commands and headers
	script    string     // of Tekton
	source    string     // of Argo
	shell     bool       // a shell runs the script
	odd       []any      // what is of another type than it should be
}

type variable struct{ name, value string }

// containersOf lists what the containers of a workload are told. The error says what
// of it is in a shape that cannot be read as such; it is under odd then.
func containersOf(as *manifest.Object) (out []runs, err error) {
	at, ok := as.PodTemplatePath()
	if !ok {
		return nil, nil
	}
	var errs []error
	odd := func(what, want string, v any) {
		out = append(out, runs{odd: []any{v}})
		errs = append(errs, fmt.Errorf("%s is no %s", what, want))
	}
	var v any = as.Object
	for _, field := range append(at, "spec") {
		m, ok := v.(map[string]any)
		if !ok {
			break
		}
		v = m[field]
	}
	spec, ok := v.(map[string]any)
	if !ok {
		if v != nil {
			odd("the pod template", "object", v)
		}
		return out, errors.Join(errs...)
	}
	for _, field := range []string{"initContainers", "containers", "ephemeralContainers"} {
		list, ok := spec[field].([]any)
		if !ok && spec[field] != nil {
			odd(field, "list", spec[field])
		}
		for i, e := range list {
			if m, ok := e.(map[string]any); ok {
				c, err := runsOf(m)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s[%d].%w", field, i, err))
				}
				out = append(out, c)
			} else if e != nil {
				odd(fmt.Sprintf("%s[%d]", field, i), "object", e)
			}
		}
	}
	return out, errors.Join(errs...)
}

// runsOf reads one container.
func runsOf(m map[string]any) (c runs, err error) {
	var errs []error
	odd := func(what, want string, v any) {
		c.odd = append(c.odd, v)
		errs = append(errs, fmt.Errorf("%s is no %s", what, want))
	}
	c.name, _ = m["name"].(string)
	env, ok := m["env"].([]any)
	if !ok && m["env"] != nil {
		odd("env", "list", map[string]any{"env": m["env"]})
	}
	for i, e := range env {
		v, ok := e.(map[string]any)
		if !ok {
			if e != nil {
				odd(fmt.Sprintf("env[%d]", i), "object", e)
			}
			continue
		}
		name, _ := v["name"].(string)
		switch text, ok := scalar(v["value"]); {
		case ok:
			c.variables = append(c.variables, variable{name, text})
		case isNested(v["value"]):
			odd(fmt.Sprintf("env[%d].value", i), "text", map[string]any{name: v["value"]})
		}
	}
	for _, field := range []string{"command", "args"} {
		list, ok := m[field].([]any)
		if !ok && m[field] != nil {
			odd(field, "list", map[string]any{field: m[field]})
		}
		for i, e := range list {
			if text, ok := scalar(e); ok {
				c.args = append(c.args, text)
			} else if isNested(e) {
				odd(fmt.Sprintf("%s[%d]", field, i), "text", e)
			}
		}
	}
	for _, field := range []string{"lifecycle", "readinessProbe", "livenessProbe", "startupProbe"} {
		c.calls = append(c.calls, callsIn(m[field])...)
	}
	for field, to := range map[string]*string{"script": &c.script, "source": &c.source} {
		if text, ok := scalar(m[field]); ok {
			*to = text
		}
	}
	c.shell = len(c.args) == 0 || c.source == "" || strings.HasSuffix(path.Base(c.args[0]), "sh")
	return c, errors.Join(errs...)
}

// callsIn lists the commands and the headers below a probe or a lifecycle.
func callsIn(v any) (out [][]string) {
	m, ok := v.(map[string]any)
	if !ok {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(m)) {
		list, ok := m[k].([]any)
		if !ok {
			out = append(out, callsIn(m[k])...)
			continue
		}
		var call []string
		for _, e := range list {
			if text, ok := scalar(e); ok {
				call = append(call, text)
			}
			if header, ok := e.(map[string]any); ok {
				name, _ := header["name"].(string)
				value, _ := scalar(header["value"])
				out = append(out, []string{name + ": " + value})
			}
		}
		out = append(out, call)
	}
	return out
}

// isNested reports whether a value has values inside.
func isNested(v any) bool {
	switch v.(type) {
	case map[string]any, []any:
		return true
	}
	return false
}

// podEnv looks at literal variables, arguments and scripts of all containers. What
// cannot be read as such is told by Findings, from what is sealed.
func (s *scan) podEnv(o, as *manifest.Object) {
	list, _ := containersOf(as)
	for i := range list {
		s.container(o, &list[i])
	}
}

func (s *scan) container(o *manifest.Object, c *runs) {
	s.variables(o, c.name, c.variables, literalSecret)
	s.arguments(o, c.name, c.args)
	for _, call := range c.calls {
		s.arguments(o, c.name, call)
	}
	for _, script := range []string{c.script, c.source} {
		name := "script.sh"
		if strings.HasPrefix(script, "#!") {
			name = "" // its first line says it
		} else if !c.shell {
			name = "script.py"
		}
		for _, x := range insideOf(script, name) {
			s.addIn(o, spot{}, RuleEnv, "script", c.name, "script "+cmp.Or(x.key, "line"), x.text, x.also...)
		}
	}
	for _, v := range c.odd {
		s.anything(o, c.name, "", v, literalSecret, 0)
	}
}

func (s *scan) variables(o *manifest.Object, container string, env []variable, secret func(name, value string) bool) {
	env = slices.Clone(env)
	slices.SortStableFunc(env, func(a, b variable) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.value, b.value))
	})
	for _, v := range slices.Compact(env) {
		for _, x := range s.secretsOf(v.name, v.value, secret) {
			at := spot{}
			if x.key == "" {
				at.variable = v.name + "\x00" + strings.TrimSpace(x.text)
			}
			s.addIn(o, at, RuleEnv, "literal", container, "env "+v.name+x.beside(), x.text, x.also...)
		}
	}
}

// anything looks at what stands where a pod template should, in whatever shape: as
// variables by their names, and as containers where it has what those have. secret
// says of a field whether it is one: in a kind that nobody knows it may name a Secret.
func (s *scan) anything(o *manifest.Object, container, key string, v any, secret func(name, value string) bool, depth int) {
	if depth > maxDepth {
		return
	}
	switch x := v.(type) {
	case map[string]any:
		name, _ := x["name"].(string)
		if text, ok := scalar(x["value"]); ok && name != "" {
			s.variables(o, container, []variable{{name, text}}, literalSecret)
		}
		for _, k := range slices.Sorted(maps.Keys(x)) {
			if k != "value" || name == "" || isNested(x[k]) {
				s.anything(o, container, k, x[k], secret, depth+1)
			}
		}
	case []any:
		var args []string
		for _, e := range x {
			if text, ok := scalar(e); ok {
				args = append(args, text)
			} else {
				s.anything(o, container, key, e, secret, depth+1)
			}
		}
		s.arguments(o, container, args)
	default:
		text, ok := scalar(v)
		switch {
		case !ok:
		case slices.Contains([]string{"command", "args", "script", "source"}, key):
			s.arguments(o, container, []string{"-c", text})
		default:
			s.variables(o, container, []variable{{key, text}}, secret)
		}
	}
}
