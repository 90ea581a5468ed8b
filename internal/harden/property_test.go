package harden

import (
	"encoding/json"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestProperty hardens releases put together at random, in block style, as JSON
// and with Windows line ends, with every combination of options: what holds for
// one holds for all.
func TestProperty(t *testing.T) {
	t.Parallel()
	changes := map[Rule]int{}
	for seed := range uint64(150) {
		g := generator{rand.New(rand.NewPCG(seed, 1))}
		stream := g.stream()
		o := Options{ReadOnlyRoot: g.IntN(2) == 0, RunAsNonRoot: g.IntN(2) == 0, DropCapabilities: g.IntN(2) == 0}
		if g.IntN(2) == 0 {
			o.Probes = ProbesTCP
		}
		for _, id := range Controls() {
			if g.IntN(2) == 0 {
				o.Controls = append(o.Controls, id)
			}
		}
		for _, options := range []Options{{}, o} {
			res, err := holds([]byte(stream), options)
			if err != nil {
				t.Fatalf("seed %d, %+v: %v\n%s", seed, options, err, stream)
			}
			for _, c := range res.Changes {
				changes[c.Rule]++
			}
			for _, k := range res.Kept {
				if k.Rule == "" && strings.Contains(k.Reason, "edited in place") {
					t.Errorf("seed %d: %s: %s\n%s", seed, k.Target.Object(), k.Reason, stream)
				}
			}
			// More on top of what is there: the annotation grows.
			if _, err := holds(res.Manifests, o); err != nil {
				t.Fatalf("seed %d, %+v on the hardened: %v\n%s", seed, o, err, res.Manifests)
			}
		}
	}
	for rule := range controls {
		if changes[rule] < 20 {
			t.Errorf("%s: only %d changes in all", rule, changes[rule])
		}
	}
}

type generator struct{ *rand.Rand }

// pick returns one of the values; nil is one that leaves the field out.
func (g generator) pick(values ...any) any { return values[g.IntN(len(values))] }

// fields is a mapping without what is nil.
func fields(pairs ...any) map[string]any {
	m := map[string]any{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != nil {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
	return m
}

func (g generator) stream() string {
	var docs []string
	for i := range 1 + g.IntN(4) {
		name := "w" + strconv.Itoa(i)
		docs = append(docs, g.write(g.workload(name)))
		if g.IntN(3) == 0 {
			docs = append(docs, g.write(fields("apiVersion", "v1", "kind", "ServiceAccount", "metadata", map[string]any{"name": name}, "automountServiceAccountToken", g.pick(nil, true, false))))
		}
		if g.IntN(4) == 0 {
			docs = append(docs, g.write(fields("apiVersion", "policy/v1", "kind", "PodDisruptionBudget", "metadata", map[string]any{"name": name + "-pdb"},
				"spec", map[string]any{"minAvailable": 1, "selector": map[string]any{"matchLabels": map[string]any{"app": g.pick(name, "other")}}})))
		}
	}
	text := "---\n" + strings.Join(docs, "---\n")
	if g.IntN(4) == 0 {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

func (g generator) write(m map[string]any) string {
	if g.IntN(5) == 0 {
		b, err := json.Marshal(m)
		if err != nil {
			panic(err) // maps of plain values
		}
		return string(b) + "\n"
	}
	var b strings.Builder
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2 + 2*g.IntN(2))
	if err := enc.Encode(m); err != nil {
		panic(err) // maps of plain values
	}
	return b.String()
}

func (g generator) workload(name string) map[string]any {
	labels := map[string]any{"app": name, "on": "yes"}
	template := fields("metadata", fields("labels", labels), "spec", g.podSpec(name))
	kind := g.pick("Deployment", "StatefulSet", "DaemonSet", "Job", "Pod").(string)
	meta := fields("name", name, "namespace", g.pick(nil, nil, "a"), "annotations", g.pick(nil, nil, map[string]any{}, map[string]any{"helm.sh/hook": "pre-install"}))
	switch kind {
	case "Pod":
		return fields("apiVersion", "v1", "kind", kind, "metadata", meta, "spec", template["spec"])
	case "Job":
		return fields("apiVersion", "batch/v1", "kind", kind, "metadata", meta, "spec", map[string]any{"template": template})
	}
	return fields("apiVersion", "apps/v1", "kind", kind, "metadata", meta, "spec", fields(
		"replicas", g.pick(nil, 1, 2, 3), "selector", map[string]any{"matchLabels": g.pick(labels, map[string]any{"app": name})}, "template", template))
}

func (g generator) podSpec(name string) map[string]any {
	var containers []any
	for i := range 1 + g.IntN(3) {
		containers = append(containers, fields("name", "c"+strconv.Itoa(i), "image", "example: # \"odd'\n", "args", g.pick(nil, nil, []any{"kubectl"}, []any{"sudo"}),
			"ports", g.pick(nil, []any{map[string]any{"containerPort": 80}}, []any{map[string]any{"containerPort": 8080}}),
			"readinessProbe", g.pick(nil, map[string]any{"httpGet": map[string]any{"port": 8080}}),
			"securityContext", g.pick(nil, map[string]any{}, fields(
				"runAsUser", g.pick(nil, 0, 1000), "runAsNonRoot", g.pick(nil, nil, true, false), "allowPrivilegeEscalation", g.pick(nil, true, false),
				"privileged", g.pick(nil, nil, nil, true), "readOnlyRootFilesystem", g.pick(nil, true, false),
				"capabilities", g.pick(nil, nil, map[string]any{}, map[string]any{"add": []any{"NET_ADMIN"}}, map[string]any{"drop": []any{"ALL"}}),
				"seccompProfile", g.pick(nil, nil, map[string]any{"type": "Unconfined"})))))
	}
	return fields("containers", containers, "initContainers", g.pick(nil, []any{map[string]any{"name": "init", "image": "é"}}),
		"serviceAccountName", g.pick(nil, name), "automountServiceAccountToken", g.pick(nil, nil, true, false), "hostPID", g.pick(nil, nil, nil, true), "hostNetwork", g.pick(nil, nil, nil, true),
		"securityContext", g.pick(nil, map[string]any{}, fields("runAsUser", g.pick(nil, 0, 1000), "runAsNonRoot", g.pick(nil, true, false), "seccompProfile", g.pick(nil, nil, map[string]any{"type": "RuntimeDefault"}))),
		"affinity", g.pick(nil, nil, map[string]any{"podAntiAffinity": map[string]any{}}))
}
