package manifest

import (
	"strings"
	"testing"
)

// What looks like an image in a kind that nobody knows is not passed over, and what
// only bears the name of one is nothing.
func TestImageShapes(t *testing.T) {
	t.Parallel()
	const digest = "@sha256:0000000000000000000000000000000000000000000000000000000000000000"
	for title, tt := range map[string]struct {
		kind, spec string
		want       string // where the image is; empty: nowhere
	}{
		"a word":                         {"example.com/v1 Engine", "{image: nginx}", "spec.image"},
		"a tag":                          {"example.com/v1 Engine", "{a: [{image: 'quay.io/a/b:1'}]}", "spec.a[0].image"},
		"a digest":                       {"example.com/v1 Engine", "{image: 'a" + digest + "'}", "spec.image"},
		"of a sidecar":                   {"example.com/v1 Engine", "{sidecarImage: 'a:1'}", "spec.sidecarImage"},
		"without a tag, in a field":      {"example.com/v1 Engine", "{baseImage: quay.io/a/b, tag: v1}", "spec.baseImage"},
		"by its name":                    {"example.com/v1 Engine", "{imageName: 'a:1'}", "spec.imageName"},
		"a list":                         {"example.com/v1 Engine", "{images: ['a:1', 'b:1']}", "spec.images"},
		"in parts":                       {"example.com/v1 Engine", "{image: {repository: a, tag: 1.0.0}}", "spec.image"},
		"in parts with a name":           {"example.com/v1 Engine", "{image: {name: a, digest: 'sha256:1'}}", "spec.image"},
		"values of a chart":              {"helm.toolkit.fluxcd.io/v2 HelmRelease", "{values: {image: {repository: a, pullPolicy: Always}}}", "spec.values.image"},
		"beside fields that are known":   {"kafka.strimzi.io/v1 Kafka", "{kafka: {image: 'a:1'}, kafkaExporter: {image: 'b:1'}}", "spec.kafkaExporter.image"},
		"fields that are known":          {"kafka.strimzi.io/v1 Kafka", "{kafka: {image: 'a:1'}}", ""},
		"a disk of a virtual machine":    {"kubevirt.io/v1 VirtualMachine", "{template: {spec: {volumes: [{containerDisk: {image: 'a:1'}}]}}}", ""},
		"a pod template that is known":   {"argoproj.io/v1alpha1 Rollout", "{template: {spec: {containers: [{name: a, image: 'b:1'}], volumes: [{name: v, image: {reference: 'c:1'}}]}}}", ""},
		"containers are told of as such": {"example.com/v1 Engine", "{containers: [{name: a, image: 'b:1'}]}", ""},
		"empty":                          {"example.com/v1 Engine", "{image: ''}", ""},
		"a switch":                       {"example.com/v1 Engine", "{image: true}", ""},
		"a picture":                      {"example.com/v1 Engine", "{image: img/logo.png}", ""},
		"an address":                     {"example.com/v1 Engine", "{image: 'https://example.com/a'}", ""},
		"data":                           {"example.com/v1 Engine", "{image: 'data:image/png;base64,AAAA'}", ""},
		"a word in a field":              {"example.com/v1 Engine", "{osImage: ubuntu}", ""},
		"how it is pulled":               {"example.com/v1 Engine", "{imagePullPolicy: Always, imagePullSecrets: [{name: 'a/b'}]}", ""},
		"how it is pulled, in parts":     {"example.com/v1 Engine", "{image: {pullPolicy: Always}}", ""},
		"a repository that is watched":   {"image.toolkit.fluxcd.io/v1 ImageRepository", "{image: ghcr.io/a/b}", ""},
		"a machine":                      {"infrastructure.cluster.x-k8s.io/v1 GCPMachine", "{image: projects/a/b}", ""},
		"a policy":                       {"constraints.gatekeeper.sh/v1 Images", "{parameters: {images: ['a/b']}}", ""},
		"a built-in kind":                {"v1 ConfigMap", "{image: 'a:1'}", ""},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			version, kind, _ := strings.Cut(tt.kind, " ")
			o := parseOne(t, "apiVersion: "+version+"\nkind: "+kind+"\nmetadata: {name: x, annotations: {image: 'a:1'}}\nspec: "+tt.spec+"\nstatus: {image: 'a:1'}\n")
			got := ""
			for _, u := range o.FieldImages(nil) {
				if u.Problem != "" {
					got += u.Problem
				}
			}
			want := tt.want
			if want != "" {
				want = "images unknown: " + want + " looks like an image, and what " + kind + " makes of it is not known"
			}
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
	// Who names the images of a kind knows it.
	extra, err := ParseImageField("example.com/Engine:spec.image")
	if err != nil {
		t.Fatal(err)
	}
	o := parseOne(t, "apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: x}\nspec: {image: 'a:1', sidecarImage: 'b:1'}\n")
	if got := o.FieldImages([]ImageField{extra}); len(got) != 1 || got[0].Image != "a:1" {
		t.Errorf("%+v", got)
	}
}

// What secures a pod, or is the template of one, is not passed over where no containers
// are written; and it names no images.
func TestPodFieldShapes(t *testing.T) {
	t.Parallel()
	for title, tt := range map[string]struct {
		kind, spec string
		want       string // what of it looks like part of a pod; empty: nothing
	}{
		"the host's network":       {"example.com/v1 Engine", "{a: {hostNetwork: true}}", "spec.a.hostNetwork"},
		"not the host's network":   {"example.com/v1 Engine", "{hostNetwork: false}", ""},
		"the host as an address":   {"example.com/v1 Engine", "{hostNetwork: 10.0.0.0/8}", ""},
		"a security context":       {"example.com/v1 Engine", "{securityContext: {privileged: true}}", "spec.securityContext"},
		"one of the pod":           {"example.com/v1 Engine", "{podSecurityContext: {runAsUser: 0}}", "spec.podSecurityContext"},
		"an empty one":             {"example.com/v1 Engine", "{securityContext: {}}", ""},
		"one of something else":    {"example.com/v1 Engine", "{securityContext: {name: default}}", ""},
		"a template of pods":       {"elasticsearch.k8s.elastic.co/v1 Elasticsearch", "{nodeSets: [{podTemplate: {spec: {dnsPolicy: Default}}}]}", "spec.nodeSets[0].podTemplate"},
		"where images are known":   {"kafka.strimzi.io/v1 Kafka", "{kafka: {image: 'a:1', template: {pod: {securityContext: {runAsUser: 0}}}}}", "spec.kafka.template.pod.securityContext"},
		"of a kind that is known":  {"monitoring.coreos.com/v1 Prometheus", "{image: 'a:1', securityContext: {runAsUser: 1}}", ""},
		"of a policy":              {"kyverno.io/v1 ClusterPolicy", "{rules: [{validate: {pattern: {spec: {hostNetwork: true}}}}]}", ""},
		"of a policy of another":   {"constraints.gatekeeper.sh/v1 Hosts", "{parameters: {hostNetwork: true}}", ""},
		"of Kubernetes' own kinds": {"v1 ConfigMap", "{hostNetwork: true}", ""},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			version, kind, _ := strings.Cut(tt.kind, " ")
			o := parseOne(t, "apiVersion: "+version+"\nkind: "+kind+"\nmetadata: {name: x}\nspec: "+tt.spec+"\n")
			got := ""
			for _, w := range o.Workloads(nil) {
				got += w.Unknown
			}
			want := tt.want
			if want != "" {
				want += " looks like part of a pod, and what " + kind + " makes of it is not known"
			}
			if got != want {
				t.Errorf("%q, want %q", got, want)
			}
			for _, u := range o.ImageUses(nil) {
				if strings.Contains(u.Problem, "looks like") {
					t.Errorf("an image: %s", u.Problem)
				}
			}
		})
	}
}
