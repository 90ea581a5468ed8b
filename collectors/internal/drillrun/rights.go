package drillrun

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/internal/drill"
)

// String is "patch nodes", "create pods/eviction in namespace shop".
func (r Right) String() string {
	s := r.Verb + " " + r.Resource
	if r.Subresource != "" {
		s += "/" + r.Subresource
	}
	if r.Group != "" {
		s += "." + r.Group
	}
	if r.Namespace != "" {
		s += " in namespace " + r.Namespace
	}
	return s
}

// need is what the drill must be allowed to do.
func (s *Session) need() []Right {
	var out []Right
	add := func(ns, group, resource, sub string, verbs ...string) {
		for _, v := range verbs {
			out = append(out, Right{Verb: v, Group: group, Resource: resource, Subresource: sub, Namespace: ns})
		}
	}
	add("", "", "nodes", "", "list", "watch")
	for _, ns := range s.namespaces() {
		add(ns, "", "pods", "", "get", "list", "watch")
		add(ns, "policy", "poddisruptionbudgets", "", "list", "watch")
		add(ns, "discovery.k8s.io", "endpointslices", "", "list", "watch")
		add(ns, "apps", "deployments", "", "get", "list", "watch")
		add(ns, "apps", "statefulsets", "", "get", "list", "watch")
	}
	add(Namespace, "coordination.k8s.io", "leases", "", "create")
	for _, verb := range []string{"get", "update"} {
		out = append(out, Right{Verb: verb, Group: "coordination.k8s.io", Resource: "leases", Namespace: Namespace, Name: LeaseName})
	}
	if s.Plan.Prober.Image != "" {
		add(s.Release.Namespace, "", "pods", "", "create", "delete")
		add(s.Release.Namespace, "", "pods", "log", "get")
	}
	touched := []string{s.Release.Namespace}
	for _, n := range s.own("Deployment", "StatefulSet") {
		touched = append(touched, n.namespace)
	}
	if drains(s.Plan.Experiment) {
		touched = append(touched, s.Plan.AllowNamespaces...)
		add("", "", "nodes", "", "get", "patch")
		add("", "", "pods", "", "list")
		add("", "policy", "poddisruptionbudgets", "", "list")
	}
	slices.Sort(touched)
	for _, ns := range slices.Compact(touched) {
		switch s.Plan.Experiment {
		case drill.PodKill:
			add(ns, "", "pods", "", "delete")
		case drill.Eviction, drill.NodeDrain, drill.ZoneDrain:
			add(ns, "", "pods", "eviction", "create")
		case drill.RollingRestart:
			add(ns, "apps", "deployments", "", "patch")
			add(ns, "apps", "statefulsets", "", "patch")
		case drill.ContainerKill:
			add(ns, "", "pods", "exec", "create")
		case drill.Rollback, drill.Load: // they say themselves what they need
		}
	}
	return append(out, s.Rights...)
}

// rights asks the API server for each right that the drill needs.
func (s *Session) rights(ctx context.Context) (string, error) {
	need := s.need()
	lacks := make([]bool, len(need))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for i, r := range need {
		g.Go(func() error {
			a, err := s.Cluster.Kube.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, &authorizationv1.SelfSubjectAccessReview{
				Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
					Verb: r.Verb, Group: r.Group, Resource: r.Resource, Subresource: r.Subresource, Namespace: r.Namespace, Name: r.Name,
				}},
			}, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("could not be answered: may we %s: %w", r, err)
			}
			lacks[i] = !a.Status.Allowed
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return "", err
	}
	var missing []string
	for i, r := range need {
		if lacks[i] {
			missing = append(missing, r.String())
		}
	}
	if len(missing) > 0 {
		where := "templates/rbac/drill.yaml has"
		if s.Plan.Experiment == drill.Rollback {
			where = "templates/rbac/drill.yaml and rollback.yaml have"
		}
		return "", fmt.Errorf("rights are missing, which %s: %s", where, strings.Join(missing, ", "))
	}
	return fmt.Sprintf("all %d rights that it needs", len(need)), nil
}
