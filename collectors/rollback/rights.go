package rollback

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/restmapper"

	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/internal/drillrun"
	"github.com/companyos/helmproof/internal/manifest"
)

// rights are those that Helm needs to upgrade and roll back this release: its own
// storage, the kinds of the release's objects, hooks among them, and what its
// waiting reads.
func (r *run) rights(set *manifest.ObjectSet) ([]drillrun.Right, error) {
	groups, err := restmapper.GetAPIGroupResources(r.in.Cluster.Discovery)
	if err != nil && len(groups) == 0 {
		return nil, fmt.Errorf("ask the API server what it serves: %w", err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	seen := map[drillrun.Right]bool{}
	var out []drillrun.Right
	add := func(ns, group, resource string, verbs ...string) {
		for _, v := range verbs {
			right := drillrun.Right{Verb: v, Group: group, Resource: resource, Namespace: ns}
			if !seen[right] {
				seen[right] = true
				out = append(out, right)
			}
		}
	}
	storage := "secrets"
	if r.ref.Storage == chart.StorageConfigMaps {
		storage = "configmaps"
	}
	out = append(out, drillrun.Right{Verb: "get", Resource: "namespaces", Name: r.ref.Namespace})
	add(r.ref.Namespace, "", storage, "get", "list", "create", "update")
	for i := range set.Objects {
		o := &set.Objects[i]
		if chart.IsCRDFile(o.File) {
			continue // Helm neither upgrades these nor rolls them back
		}
		gvk := o.GroupVersionKind()
		m, err := mapper.RESTMapping(schema.GroupKind{Group: gvk.Group, Kind: gvk.Kind}, gvk.Version)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", o.Target("").Object(), err)
		}
		ns := ""
		if m.Scope.Name() == meta.RESTScopeNameNamespace {
			ns = cmp.Or(o.GetNamespace(), r.ref.Namespace)
		}
		add(ns, m.Resource.Group, m.Resource.Resource, "get", "list", "watch", "patch")
		if len(o.Hooks()) > 0 {
			add(ns, m.Resource.Group, m.Resource.Resource, "create", "delete")
		}
		switch gvk.GroupKind() {
		case schema.GroupKind{Group: "apps", Kind: "Deployment"}, schema.GroupKind{Group: "apps", Kind: "StatefulSet"}, schema.GroupKind{Group: "apps", Kind: "DaemonSet"}:
			add(ns, "apps", "replicasets", "list", "watch")
			add(ns, "", "pods", "list", "watch")
		}
	}
	return out, nil
}
