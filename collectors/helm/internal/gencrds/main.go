// Gencrds writes crds.json.gz: the schemas of the custom resources that
// charts most often use, from the CustomResourceDefinitions that their projects
// publish in their own Go modules. It needs the Go module proxy; run it by go
// generate. Descriptions are left out.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"github.com/companyos/helmproof/collectors/helm"
)

// sources are modules, at the versions that the schemas were taken from.
var sources = []struct{ name, module, version, files string }{
	{"external-secrets", "github.com/external-secrets/external-secrets", "v1.3.2", "config/crds/bases/*external-secrets.io_*.yaml"},
	{"vertical-pod-autoscaler", "k8s.io/autoscaler/vertical-pod-autoscaler", "v1.8.1", "deploy/vpa-v1-crd-gen.yaml"},
	{"prometheus-operator", "github.com/prometheus-operator/prometheus-operator", "v0.85.0", "example/prometheus-operator-crd/monitoring.coreos.com_[psr]*[ers]s.yaml"},
	{"gateway-api", "sigs.k8s.io/gateway-api", "v1.6.0", "config/crd/standard/gateway.networking.k8s.io_*s.yaml"},
	{"keda", "github.com/kedacore/keda/v2", "v2.18.1", "config/crd/bases/keda.sh_scaledobjects.yaml"},
	{"policy-controller", "github.com/sigstore/policy-controller", "v0.13.1", "config/300-clusterimagepolicy.yaml"},
	{"kyverno", "github.com/kyverno/api", "v0.0.1-alpha.3.0.20260723090831-fb2785727f98", "config/crds/policies.kyverno.io_imagevalidatingpolicies.yaml"},
}

// left out: operators' own objects, which charts hardly ever hold, and whose
// schemas are larger than all others together.
var leftOut = []string{"Prometheus", "PrometheusAgent"}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gencrds:", err)
		os.Exit(1)
	}
}

func run() error {
	all := map[string]helm.PublishedCRD{}
	for _, s := range sources {
		out, err := exec.Command("go", "mod", "download", "-json", s.module+"@"+s.version).Output()
		if err != nil {
			return fmt.Errorf("download %s: %w", s.module, err)
		}
		var mod struct{ Dir string }
		if err := json.Unmarshal(out, &mod); err != nil {
			return err
		}
		files, err := filepath.Glob(filepath.Join(mod.Dir, filepath.FromSlash(s.files)))
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s %s: no %s", s.module, s.version, s.files)
		}
		for _, f := range files {
			if err := read(f, s.name+" "+s.version, all); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
	}
	text, err := json.Marshal(all) // sorted by key
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Println(k, "from", all[k].Source)
	}
	fmt.Println(b.Len(), "bytes")
	return os.WriteFile("crds.json.gz", b.Bytes(), 0o644)
}

// read takes the versions that a file's definitions serve.
func read(file, source string, all map[string]helm.PublishedCRD) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, doc := range bytes.Split(raw, []byte("\n---")) {
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(doc, &crd); err != nil {
			return err
		}
		if crd.Kind != "CustomResourceDefinition" || slices.Contains(leftOut, crd.Spec.Names.Kind) {
			continue
		}
		for _, v := range crd.Spec.Versions {
			if !v.Served || v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
				continue
			}
			strip(v.Schema.OpenAPIV3Schema)
			all[crd.Spec.Group+"/"+v.Name+" "+crd.Spec.Names.Kind] = helm.PublishedCRD{
				Source: source, Cluster: crd.Spec.Scope == apiextensionsv1.ClusterScoped, Subresources: v.Subresources, Schema: v.Schema,
			}
		}
	}
	return nil
}

func strip(s *apiextensionsv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description, s.Example, s.ExternalDocs = "", nil, nil
	for _, m := range []map[string]apiextensionsv1.JSONSchemaProps{s.Properties, s.PatternProperties} {
		for k, p := range m {
			strip(&p)
			m[k] = p
		}
	}
	for _, l := range [][]apiextensionsv1.JSONSchemaProps{s.AllOf, s.AnyOf, s.OneOf} {
		for i := range l {
			strip(&l[i])
		}
	}
	strip(s.Not)
	if s.Items != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		strip(s.AdditionalProperties.Schema)
	}
}
