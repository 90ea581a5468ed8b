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
