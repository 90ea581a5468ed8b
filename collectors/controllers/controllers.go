// Package controllers asks a cluster whether the controllers that controls rely on
// are there: an ExternalSecret without its operator, an autoscaler without metrics,
// or a signature policy without its webhook is a manifest and nothing more. For each
// it looks at the API that is served, at what serves it, and at an answer.
package controllers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

// Name is the collector's name in the catalog.
const Name = "controllers"

// The rules.
const (
	RuleExternalSecrets = "controllers/external-secrets" //nolint:gosec // a name
	RuleMetrics         = "controllers/resource-metrics"
	RuleCustomMetrics   = "controllers/custom-metrics"
	RuleExternalMetrics = "controllers/external-metrics"
	RuleVPA             = "controllers/vertical-pod-autoscaler"
	RuleSignatures      = "controllers/signature-admission"
	RuleNetwork         = "controllers/network-policy"
	RuleAPIService      = "controllers/api-service"
	RuleWebhook         = "controllers/webhook"
)

var rules = collectors.Rules{
	RuleExternalSecrets: evidence.SeverityMedium, RuleMetrics: evidence.SeverityMedium, RuleCustomMetrics: evidence.SeverityMedium,
	RuleExternalMetrics: evidence.SeverityMedium, RuleVPA: evidence.SeverityMedium, RuleSignatures: evidence.SeverityMedium,
	RuleNetwork: evidence.SeverityMedium, RuleAPIService: evidence.SeverityMedium, RuleWebhook: evidence.SeverityMedium,
}

const (
	file = "controllers.json"
	// maxItems bounds what is read of one kind.
	maxItems = 10_000
	page     = 500
)

// API groups that controllers serve.
const (
	groupSecrets  = "external-secrets.io"
	groupMetrics  = "metrics.k8s.io"
	groupCustom   = "custom.metrics.k8s.io"
	groupExternal = "external.metrics.k8s.io"
	groupVPA      = "autoscaling.k8s.io"
	groupSigstore = "policy.sigstore.dev"
	groupKyverno  = "kyverno.io"
	groupKyverno2 = "policies.kyverno.io"
)

var groups = []string{groupSecrets, groupMetrics, groupCustom, groupExternal, groupVPA, groupSigstore, groupKyverno, groupKyverno2}

// definitions are the CustomResourceDefinitions that must be established.
var definitions = []string{
	"externalsecrets." + groupSecrets, "secretstores." + groupSecrets, "clustersecretstores." + groupSecrets,
	"verticalpodautoscalers." + groupVPA, "clusterimagepolicies." + groupSigstore, "clusterpolicies." + groupKyverno, "imagevalidatingpolicies." + groupKyverno2,
}

// Seen is what the cluster said, and when it was asked. Of objects that are many
// only what is judged is kept, without their names.
type Seen struct {
	At time.Time `json:"at"`
	// ServerTime is the API server's own clock, in the same minute: times in the
	// cluster are compared with it, not with the clock of who asks.
	ServerTime      time.Time `json:"serverTime"`
	ServerTimeError string    `json:"serverTimeError,omitempty"`

	// Groups are the API groups that are served, with their versions, the preferred one first.
	Groups      map[string][]string `json:"groups"`
	GroupsError string              `json:"groupsError,omitempty"`

	Definitions      []Definition `json:"definitions"`
	APIServices      []APIService `json:"apiServices"` // that something in the cluster answers for
	APIServicesError string       `json:"apiServicesError,omitempty"`
	Webhooks         []Webhook    `json:"webhooks"`
	WebhooksError    string       `json:"webhooksError,omitempty"`
	Backends         []Backend    `json:"backends"`  // services of APIServices and webhooks
	Workloads        []Workload   `json:"workloads"` // those that are known
	WorkloadsError   string       `json:"workloadsError,omitempty"`

	ExternalSecrets Listing   `json:"externalSecrets"`
	Refreshes       []Refresh `json:"refreshes"`
	Stores          Listing   `json:"stores"`
	StoresReady     int       `json:"storesReady"`

	HPAs        Listing       `json:"hpas"`
	Uses        MetricUses    `json:"uses"`
	NodeMetrics Listing       `json:"nodeMetrics"`
	Metrics     []NodeMetrics `json:"metrics"`

	VPAs        Listing     `json:"vpas"`
	Recommended []VPA       `json:"recommended"`
	Checkpoints Listing     `json:"checkpoints"`
	Written     []time.Time `json:"written"` // when each checkpoint was

	SigstorePolicies Listing `json:"sigstorePolicies"`
	KyvernoPolicies  Listing `json:"kyvernoPolicies"` // that verify images, of all kinds
	NetworkPolicies  Listing `json:"networkPolicies"`
}

// Listing is what listing all objects of a kind came to.
type Listing struct {
	Served bool   `json:"served"` // the cluster knows the kind
	Count  int    `json:"count"`
	Error  string `json:"error,omitempty"` // why they could not be listed, the missing right included
}

// Definition is a CustomResourceDefinition.
type Definition struct {
	Name        string `json:"name"`
	Found       bool   `json:"found"`
	Established bool   `json:"established"`
	Error       string `json:"error,omitempty"`
}

// APIService is an API that a service in the cluster answers for.
type APIService struct {
	Name      string `json:"name"` // version.group
	Group     string `json:"group"`
	Service   string `json:"service"`   // namespace/name
	Available string `json:"available"` // status of the condition; empty: nobody has looked yet
	Reason    string `json:"reason,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Webhook is one webhook of a configuration.
type Webhook struct {
	Kind          string `json:"kind"`
	Configuration string `json:"configuration"`
	Name          string `json:"name"`
	FailurePolicy string `json:"failurePolicy"`
	Service       string `json:"service,omitempty"` // namespace/name
	Host          string `json:"host,omitempty"`    // where it is asked outside of the cluster
	Pods          bool   `json:"pods"`              // it is asked about new pods
}

// Backend is a service with its endpoints.
type Backend struct {
	Service  string            `json:"service"` // namespace/name
	Found    bool              `json:"found"`
	External string            `json:"external,omitempty"` // an ExternalName
	Selector map[string]string `json:"selector,omitempty"`
	Ready    int               `json:"ready"`    // endpoints
	NotReady int               `json:"notReady"` // likewise
	Error    string            `json:"error,omitempty"`
}

// Workload is one that is known to be a controller, by labels or image.
type Workload struct {
	Component string            `json:"component"`
	Kind      string            `json:"kind"`
	Namespace string            `json:"namespace"`
	Name      string            `json:"name"`
	Images    []string          `json:"images"`
	Labels    map[string]string `json:"labels,omitempty"` // of its pods
	Desired   int32             `json:"desired"`
	Ready     int32             `json:"ready"`
}

// Refresh is how an ExternalSecret stands.
type Refresh struct {
	At       string `json:"at,omitempty"` // status.refreshTime
	Interval string `json:"interval,omitempty"`
	Policy   string `json:"policy,omitempty"`
}

// MetricUses counts the HorizontalPodAutoscalers that need each metrics API.
type MetricUses struct {
	Resource int `json:"resource"`
	Custom   int `json:"custom"`
	External int `json:"external"`
}

// NodeMetrics is the usage of one node: when it was measured, not how much it is.
type NodeMetrics struct {
	Node string    `json:"node"`
	At   time.Time `json:"at"`
}

// VPA is a VerticalPodAutoscaler.
type VPA struct {
	Created    time.Time `json:"created"`
	Recommends bool      `json:"recommends"`
}

type collector struct{}

// New returns the collector.
func New() collectors.Collector { return collector{} }

func (collector) Name() string { return Name }

func (collector) Rules() []string { return rules.Names() }

type looker struct {
	cluster *cluster.Cluster
	seen    *Seen
}

// Collect looks at the controllers, and at what needs them.
func (collector) Collect(ctx context.Context, in collectors.Input, out evidence.ArtifactWriter) error {
	if in.Cluster == nil {
		return collectors.ErrNoCluster
	}
	seen := &Seen{
		At: in.Now().UTC(), Groups: map[string][]string{}, Definitions: []Definition{}, APIServices: []APIService{}, Webhooks: []Webhook{}, Backends: []Backend{},
		Workloads: []Workload{}, Refreshes: []Refresh{}, Metrics: []NodeMetrics{}, Recommended: []VPA{}, Written: []time.Time{},
	}
	l := looker{in.Cluster, seen}
	for _, look := range []func(context.Context){l.time, l.served, l.apiServices, l.webhooks, l.backends, l.workloads, l.externalSecrets, l.metrics, l.vpas, l.policies} {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		look(ctx)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return collectors.WriteJSON(out, file, seen)
}

// time asks the API server for its clock: the header Date of an answer.
func (l looker) time(ctx context.Context) {
	at, err := serverTime(ctx, l.cluster.Config)
	if err != nil {
		l.seen.ServerTimeError = err.Error()
		return
	}
	l.seen.ServerTime = at
}

func serverTime(ctx context.Context, cfg *rest.Config) (time.Time, error) {
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return time.Time{}, err
	}
	base, _, err := rest.DefaultServerUrlFor(cfg)
	if err != nil {
		return time.Time{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("version").String(), http.NoBody)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return time.Time{}, fmt.Errorf("the API server's answer has no time: %w", err)
	}
	return at.UTC(), nil
}

// served asks which API groups there are, and whether the definitions of custom
// resources are established.
func (l looker) served(ctx context.Context) {
	list, err := l.cluster.Discovery.ServerGroups()
	if err != nil {
		l.seen.GroupsError = err.Error()
	} else {
		for _, g := range list.Groups {
			if slices.Contains(groups, g.Name) {
				versions := []string{g.PreferredVersion.Version}
				for _, v := range g.Versions {
					if v.Version != g.PreferredVersion.Version {
						versions = append(versions, v.Version)
					}
				}
				l.seen.Groups[g.Name] = versions
			}
		}
	}
	crds := l.cluster.Dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, name := range definitions {
		d := Definition{Name: name}
		o, err := crds.Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			status, _, _ := condition(o, "Established")
			d.Found, d.Established = true, status == "True"
		case !apierrors.IsNotFound(err):
			d.Error = err.Error()
		}
		l.seen.Definitions = append(l.seen.Definitions, d)
	}
}

// apiServices lists the APIs that services of the cluster answer for.
func (l looker) apiServices(ctx context.Context) {
	gvr := schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	got := l.list(ctx, gvr, func(o *unstructured.Unstructured) bool {
		service := text(o, "spec", "service", "name")
		if service == "" {
			return false
		}
		a := APIService{Name: o.GetName(), Group: text(o, "spec", "group"), Service: text(o, "spec", "service", "namespace") + "/" + service}
		a.Available, a.Reason, a.Message = condition(o, "Available")
		l.seen.APIServices = append(l.seen.APIServices, a)
		return true
	})
	l.seen.APIServicesError = got.Error
	slices.SortFunc(l.seen.APIServices, func(a, b APIService) int { return cmp.Compare(a.Name, b.Name) })
}

func (l looker) webhooks(ctx context.Context) {
	client := l.cluster.Kube.AdmissionregistrationV1()
	validating, err := client.ValidatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err == nil {
		for i := range validating.Items {
			c := &validating.Items[i]
			for k := range c.Webhooks {
				w := &c.Webhooks[k]
				l.webhook("ValidatingWebhookConfiguration", c.Name, w.Name, w.FailurePolicy, &w.ClientConfig, w.Rules)
			}
		}
	}
	mutating, err2 := client.MutatingWebhookConfigurations().List(ctx, metav1.ListOptions{})
	if err2 == nil {
		for i := range mutating.Items {
			c := &mutating.Items[i]
			for k := range c.Webhooks {
				w := &c.Webhooks[k]
				l.webhook("MutatingWebhookConfiguration", c.Name, w.Name, w.FailurePolicy, &w.ClientConfig, w.Rules)
			}
		}
	}
	if err := errors.Join(err, err2); err != nil {
		l.seen.WebhooksError = err.Error()
	}
	slices.SortFunc(l.seen.Webhooks, func(a, b Webhook) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Configuration, b.Configuration), cmp.Compare(a.Name, b.Name))
	})
}

func (l looker) webhook(kind, configuration, name string, policy *admissionv1.FailurePolicyType, c *admissionv1.WebhookClientConfig, rules []admissionv1.RuleWithOperations) {
	w := Webhook{Kind: kind, Configuration: configuration, Name: name, FailurePolicy: string(admissionv1.Fail), Pods: slices.ContainsFunc(rules, aboutPods)}
	if policy != nil {
		w.FailurePolicy = string(*policy)
	}
	switch {
	case c.Service != nil:
		w.Service = c.Service.Namespace + "/" + c.Service.Name
	case c.URL != nil:
		w.Host = "?"
		if u, err := url.Parse(*c.URL); err == nil {
			w.Host = u.Host // the rest may be secret
		}
	}
	l.seen.Webhooks = append(l.seen.Webhooks, w)
}

// aboutPods says that the rule has new pods judged.
func aboutPods(r admissionv1.RuleWithOperations) bool {
	has := func(list []string, any ...string) bool {
		return slices.ContainsFunc(list, func(s string) bool { return slices.Contains(any, s) })
	}
	return has(r.APIGroups, "", "*") && has(r.Resources, "pods", "*", "*/*") &&
		slices.ContainsFunc(r.Operations, func(o admissionv1.OperationType) bool {
			return o == admissionv1.Create || o == admissionv1.OperationAll
		})
}

// backends looks at the services of APIServices and webhooks.
func (l looker) backends(ctx context.Context) {
	var names []string
	for _, a := range l.seen.APIServices {
		names = append(names, a.Service)
	}
	for _, w := range l.seen.Webhooks {
		if w.Service != "" {
			names = append(names, w.Service)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		l.seen.Backends = append(l.seen.Backends, l.backend(ctx, name))
	}
}

func (l looker) backend(ctx context.Context, service string) Backend {
	b := Backend{Service: service}
	namespace, name := split(service)
	o, err := l.cluster.Kube.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return b
	case err != nil:
		b.Error = err.Error()
		return b
	}
	b.Found, b.Selector = true, o.Spec.Selector
	if o.Spec.Type == corev1.ServiceTypeExternalName {
		b.External = o.Spec.ExternalName
		return b
	}
	slices, err := l.cluster.Kube.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + name, Limit: page})
	if err != nil {
		b.Error = err.Error()
		return b
	}
	for i := range slices.Items {
		for _, e := range slices.Items[i].Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				b.Ready++
			} else {
				b.NotReady++
			}
		}
	}
	return b
}

// workloads finds those that are known among all Deployments and DaemonSets.
func (l looker) workloads(ctx context.Context) {
	add := func(kind string, m *metav1.ObjectMeta, t *corev1.PodTemplateSpec, desired, ready int32) bool {
		component := componentOf(kind, t)
		if component == "" {
			return false
		}
		w := Workload{Component: component, Kind: kind, Namespace: m.Namespace, Name: m.Name, Labels: t.Labels, Desired: desired, Ready: ready, Images: []string{}}
		for i := range t.Spec.Containers {
			w.Images = append(w.Images, t.Spec.Containers[i].Image)
		}
		l.seen.Workloads = append(l.seen.Workloads, w)
		return true
	}
	apps := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	var unread error
	deployments := l.list(ctx, apps, func(o *unstructured.Unstructured) bool {
		var d appsv1.Deployment
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
			unread = err
			return false
		}
		desired := int32(1)
		if d.Spec.Replicas != nil {
			desired = *d.Spec.Replicas
		}
		return add("Deployment", &d.ObjectMeta, &d.Spec.Template, desired, d.Status.ReadyReplicas)
	})
	apps.Resource = "daemonsets"
	daemons := l.list(ctx, apps, func(o *unstructured.Unstructured) bool {
		var d appsv1.DaemonSet
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &d); err != nil {
			unread = err
			return false
		}
		return add("DaemonSet", &d.ObjectMeta, &d.Spec.Template, d.Status.DesiredNumberScheduled, d.Status.NumberReady)
	})
	l.seen.WorkloadsError = cmp.Or(deployments.Error, daemons.Error)
	if unread != nil && l.seen.WorkloadsError == "" {
		l.seen.WorkloadsError = unread.Error()
	}
	slices.SortFunc(l.seen.Workloads, func(a, b Workload) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
}

func (l looker) externalSecrets(ctx context.Context) {
	l.seen.ExternalSecrets = l.listGroup(ctx, groupSecrets, "externalsecrets", func(o *unstructured.Unstructured) bool {
		l.seen.Refreshes = append(l.seen.Refreshes, Refresh{text(o, "status", "refreshTime"), text(o, "spec", "refreshInterval"), text(o, "spec", "refreshPolicy")})
		return true
	})
	ready := func(o *unstructured.Unstructured) bool {
		if status, _, _ := condition(o, "Ready"); status == "True" {
			l.seen.StoresReady++
		}
		return true
	}
	l.seen.Stores = sum(l.listGroup(ctx, groupSecrets, "secretstores", ready), l.listGroup(ctx, groupSecrets, "clustersecretstores", ready))
}

func (l looker) metrics(ctx context.Context) {
	gvr := schema.GroupVersionResource{Group: "autoscaling", Version: "v2", Resource: "horizontalpodautoscalers"}
	l.seen.HPAs = l.list(ctx, gvr, func(o *unstructured.Unstructured) bool {
		uses := map[string]bool{}
		list, _, err := unstructured.NestedSlice(o.Object, "spec", "metrics")
		if err != nil || len(list) == 0 {
			uses[string(autoscalingv2.ResourceMetricSourceType)] = true // the API server's default
		}
		for _, m := range list {
			if m, ok := m.(map[string]any); ok {
				uses[fmt.Sprint(m["type"])] = true
			}
		}
		u := &l.seen.Uses
		if uses[string(autoscalingv2.ResourceMetricSourceType)] || uses[string(autoscalingv2.ContainerResourceMetricSourceType)] {
			u.Resource++
		}
		if uses[string(autoscalingv2.PodsMetricSourceType)] || uses[string(autoscalingv2.ObjectMetricSourceType)] {
			u.Custom++
		}
		if uses[string(autoscalingv2.ExternalMetricSourceType)] {
			u.External++
		}
		return true
	})
	l.seen.NodeMetrics = l.listGroup(ctx, groupMetrics, "nodes", func(o *unstructured.Unstructured) bool {
		at, err := time.Parse(time.RFC3339, text(o, "timestamp"))
		if err != nil {
			at = time.Time{} // it is judged as old as can be
		}
		l.seen.Metrics = append(l.seen.Metrics, NodeMetrics{o.GetName(), at.UTC()})
		return true
	})
	slices.SortFunc(l.seen.Metrics, func(a, b NodeMetrics) int { return cmp.Compare(a.Node, b.Node) })
}

func (l looker) vpas(ctx context.Context) {
	l.seen.VPAs = l.listGroup(ctx, groupVPA, "verticalpodautoscalers", func(o *unstructured.Unstructured) bool {
		list, _, err := unstructured.NestedSlice(o.Object, "status", "recommendation", "containerRecommendations")
		l.seen.Recommended = append(l.seen.Recommended, VPA{o.GetCreationTimestamp().UTC(), err == nil && len(list) > 0})
		return true
	})
	l.seen.Checkpoints = l.listGroup(ctx, groupVPA, "verticalpodautoscalercheckpoints", func(o *unstructured.Unstructured) bool {
		at, err := time.Parse(time.RFC3339, text(o, "status", "lastUpdateTime"))
		if err != nil {
			at = time.Time{}
		}
		l.seen.Written = append(l.seen.Written, at.UTC())
		return true
	})
}

// policies counts what asks for signatures or for filtered networks.
func (l looker) policies(ctx context.Context) {
	all := func(*unstructured.Unstructured) bool { return true }
	l.seen.SigstorePolicies = l.listGroup(ctx, groupSigstore, "clusterimagepolicies", all)
	verifies := func(o *unstructured.Unstructured) bool {
		rules, _, err := unstructured.NestedSlice(o.Object, "spec", "rules")
		return err == nil && slices.ContainsFunc(rules, func(r any) bool {
			m, ok := r.(map[string]any)
			return ok && m["verifyImages"] != nil
		})
	}
	l.seen.KyvernoPolicies = sum(l.listGroup(ctx, groupKyverno, "clusterpolicies", verifies), l.listGroup(ctx, groupKyverno, "policies", verifies),
		l.listGroup(ctx, groupKyverno2, "imagevalidatingpolicies", all))
	l.seen.NetworkPolicies = l.list(ctx, schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "networkpolicies"}, all)
}

// listGroup is list in the first version of the group that has the kind.
func (l looker) listGroup(ctx context.Context, group, resource string, each func(*unstructured.Unstructured) bool) Listing {
	versions := l.seen.Groups[group]
	if l.seen.GroupsError != "" {
		versions = []string{"v1", "v1beta1"}
	}
	for _, v := range versions {
		if out := l.list(ctx, schema.GroupVersionResource{Group: group, Version: v, Resource: resource}, each); out.Served {
			return out
		}
	}
	return Listing{}
}

// list pages through all objects of a kind, and counts those that each says yes to.
func (l looker) list(ctx context.Context, gvr schema.GroupVersionResource, each func(*unstructured.Unstructured) bool) Listing {
	var out Listing
	opts := metav1.ListOptions{Limit: page}
	for seen := 0; ; {
		list, err := l.cluster.Dynamic.Resource(gvr).List(ctx, opts)
		switch {
		case err != nil && (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)):
			return out
		case err != nil:
			out.Served, out.Error = true, err.Error()
			return out
		}
		out.Served = true
		for i := range list.Items {
			if each(&list.Items[i]) {
				out.Count++
			}
		}
		if opts.Continue = list.GetContinue(); opts.Continue == "" {
			return out
		}
		if seen += len(list.Items); seen >= maxItems {
			out.Error = fmt.Sprintf("more than %d %s", maxItems, gvr.Resource)
			return out
		}
	}
}

func sum(list ...Listing) Listing {
	var out Listing
	for _, x := range list {
		out.Served, out.Count, out.Error = out.Served || x.Served, out.Count+x.Count, cmp.Or(out.Error, x.Error)
	}
	return out
}

// text is a field of an object as it stands.
func text(o *unstructured.Unstructured, path ...string) string {
	v, ok, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if err != nil || !ok || v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

func condition(o *unstructured.Unstructured, name string) (status, reason, message string) {
	list, _, err := unstructured.NestedSlice(o.Object, "status", "conditions")
	if err != nil {
		return "", "", ""
	}
	field := func(m map[string]any, name string) string {
		s, ok := m[name].(string)
		if !ok {
			return ""
		}
		return s
	}
	for _, c := range list {
		if m, ok := c.(map[string]any); ok && m["type"] == name {
			return field(m, "status"), field(m, "reason"), field(m, "message")
		}
	}
	return "", "", ""
}
