package helm

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/json"
	"fmt"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/companyos/helmproof/collectors/helm/internal/apiserver"
)

//go:generate go run ./internal/gencrds

//go:embed crds.json.gz
var publishedRaw []byte

// PublishedCRD is the schema of a custom resource as its project publishes it.
type PublishedCRD struct {
	Source       string                                      `json:"source"` // project and version
	Cluster      bool                                        `json:"cluster,omitempty"`
	Subresources *apiextensionsv1.CustomResourceSubresources `json:"subresources,omitempty"`
	Schema       *apiextensionsv1.CustomResourceValidation   `json:"schema"`
}

// publishedCRDs are the embedded ones by kindKey, undecoded: most releases need
// none or one of them.
var publishedCRDs = sync.OnceValues(func() (map[string]json.RawMessage, error) {
	z, err := gzip.NewReader(bytes.NewReader(publishedRaw))
	if err != nil {
		return nil, fmt.Errorf("published CRDs: %w", err)
	}
	text, err := readAll(z)
	if err != nil {
		return nil, fmt.Errorf("published CRDs: %w", err)
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("published CRDs: %w", err)
	}
	return all, nil
})

// published returns the embedded schema of a custom resource and where it is
// from; nil where there is none. Compiled ones are kept.
func published(gvk schema.GroupVersionKind) (*apiserver.Custom, string, error) {
	all, err := publishedCRDs()
	if err != nil {
		return nil, "", err
	}
	raw, ok := all[kindKey(gvk)]
	if !ok {
		return nil, "", nil
	}
	type compiled struct {
		crd    *apiserver.Custom
		source string
	}
	once, _ := compiledCRDs.LoadOrStore(gvk, sync.OnceValues(func() (compiled, error) {
		var p PublishedCRD
		if err := json.Unmarshal(raw, &p); err != nil {
			return compiled{}, fmt.Errorf("published CRD of %s: %w", kindKey(gvk), err)
		}
		v := apiextensionsv1.CustomResourceDefinitionVersion{Name: gvk.Version, Served: true, Schema: p.Schema, Subresources: p.Subresources}
		return compiled{&apiserver.Custom{Namespaced: !p.Cluster, Version: v}, p.Source}, nil
	}))
	c, err := once.(func() (compiled, error))()
	return c.crd, c.source, err
}

var compiledCRDs sync.Map // schema.GroupVersionKind → func() (compiled, error)
