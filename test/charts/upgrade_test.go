package charts

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// notRendered are values that chart 0.2 rendered and this version refuses, by the
// row of the README that says so.
var notRendered = map[string]struct{ values, says string }{
	"an image of your own with the default digest":                                                                           {"image: {repository: registry.example.com/a}", "image.digest is missing"},
	"an Ingress whose controller the NetworkPolicy would not let in":                                                         {"ingress: {enabled: true, host: a.example.com}", "name its pods in ingress.from"},
	"metrics that nobody may ask for":                                                                                        {"{metrics: {enabled: true, from: []}, networkPolicy: {ingress: {sameNamespace: false}}}", "name Prometheus' pods in metrics.from"},
	"a ServiceMonitor of kind StatefulSet, which asked each pod twice":                                                       {"{kind: StatefulSet, autoscaling: {enabled: false}, metrics: {enabled: true, kind: ServiceMonitor}}", "Use PodMonitor"},
	"a variable both in `env` and in `externalSecret.env`, of which the first was lost":                                      {"{env: {A: b}, externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}]}}", "Leave one of them out"},
	"two entries of `externalSecret.env` of one name":                                                                        {"externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}, {name: A, key: l}]}", "Rename one"},
	"two mounts of one path, or a path that begins with two slashes":                                                         {"writableDirectories: [{path: //tmp, sizeLimit: 1Mi}]", "'//tmp' does not match pattern"},
	"two tokens of one path":                                                                                                 {"serviceAccount: {tokens: [{audience: a, path: /t/x/a}, {audience: b, path: /t/x/a}]}", "Give each a path of its own"},
	"a writable directory of the name of a claim":                                                                            {"{kind: StatefulSet, autoscaling: {enabled: false}, volumeClaims: [{name: tmp, path: /data, size: 1Gi}], writableDirectories: [{name: tmp, path: /tmp, sizeLimit: 1Mi}]}", "rename the writable directory"},
	"entries of `externalSecret` without `enabled`, of which nothing was made":                                               {"externalSecret: {store: {name: s}, env: [{name: A, key: k}]}", "enabled is not set"},
	"writable directories that may hold more than `resources.limits.ephemeral-storage`, at which the kubelet evicts the pod": {"writableDirectories: [{path: /tmp, sizeLimit: 1Gi}]", "may hold 1024Mi together, and resources.limits.ephemeral-storage is 256Mi"},
}

// TestUpgradeNotes holds what the README says of the way from chart 0.2: each row of
// what is refused is refused with the advice, and what a note says of the rendering
// is what renders.
func TestUpgradeNotes(t *testing.T) {
	t.Parallel()
	_, notes, ok := strings.Cut(tree(t, serviceDir)["README.md"], "\n## From 0.2 to 0.3\n")
	notes, _, closed := strings.Cut(notes, "\n## ")
	if !ok || !closed {
		t.Fatal("the README has no such section")
	}
	rows := 0
	for _, m := range regexp.MustCompile(`(?m)^\| (.*?) \| .* \|$`).FindAllStringSubmatch(notes, -1) {
		if m[1] == "0.2 rendered" {
			continue
		}
		rows++
		row, known := notRendered[m[1]]
		if !known {
			t.Errorf("no values stand for the row %q", m[1])
			continue
		}
		if _, err := render(service(t), "shop", parse(t, row.values)); err == nil || !strings.Contains(err.Error(), row.says) {
			t.Errorf("%s: want %q: %v", m[1], row.says, err)
		}
	}
	if rows != len(notRendered) {
		t.Errorf("%d rows, and values for %d", rows, len(notRendered))
	}
	prose := strings.Join(strings.Fields(notes), " ")
	for _, tt := range []struct{ note, values, file, has string }{
		{"it is in their label `helm.sh/chart`", "{}", "workload", "        helm.sh/chart: service-"},
		{"0 by default, which keeps a finished Job", "kind: Job", "workload", "!ttlSecondsAfterFinished"},
		{"write 1 for that", "{kind: Job, job: {ttlSecondsAfterFinished: 1}}", "workload", "ttlSecondsAfterFinished: 1"},
		{"the controller of an Ingress of a known class", "ingress: {enabled: true, className: nginx, host: a.example.com}", "networkpolicy", "kubernetes.io/metadata.name: ingress-nginx"},
		{"the pods of the Gateways of `httpRoute.parentRefs`", "httpRoute: {enabled: true, hostnames: [a.example.com], parentRefs: [{name: public, namespace: gateways}]}", "networkpolicy", "gateway-name: public"},
		{"Prometheus in the namespace monitoring by default", "metrics: {enabled: true}", "networkpolicy", "kubernetes.io/metadata.name: monitoring"},
		{"end in a digest", "{nameOverride: a-rather-long-name-of-an-application-that-is-called}", "workload", "\n  name: shop-a-rather-long-name-of-an-[a-z-]+-[0-9a-f]{8}\n"},
		{"An application that becomes one of `workloads` has other names and selectors", "workloads: {web: {}}", "workload", "app.kubernetes.io/component: web"},
	} {
		if !strings.Contains(prose, tt.note) {
			t.Errorf("the notes do not say %q", tt.note)
		}
		files, err := render(service(t), "shop", parse(t, tt.values))
		if err != nil {
			t.Errorf("%s: %v", tt.note, err)
			continue
		}
		text := files[filepath.Join("service", "templates", tt.file+".yaml")]
		if has, not := strings.CutPrefix(tt.has, "!"); regexp.MustCompile(has).MatchString(text) == not {
			t.Errorf("%s: %q in\n%s", tt.note, tt.has, text)
		}
	}
}
