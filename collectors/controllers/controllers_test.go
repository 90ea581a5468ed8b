package controllers

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/cluster"
)

var at = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// whole is a cluster that has every controller, all of them needed and working.
func whole() *Seen {
	ago := func(d time.Duration) time.Time { return at.Add(-d) }
	crds := []Definition{}
	for _, name := range definitions {
		crds = append(crds, Definition{Name: name, Found: true, Established: true})
	}
	api := func(version, group, service string) APIService {
		return APIService{Name: version + "." + group, Group: group, Service: service, Available: "True", Reason: "Passed"}
	}
	hook := func(kind, name, service string) Webhook {
		return Webhook{Kind: kind, Configuration: name, Name: name, FailurePolicy: "Fail", Service: service, Pods: true}
	}
	run := func(component, kind, ns, name string) Workload {
		return Workload{Component: component, Kind: kind, Namespace: ns, Name: name, Images: []string{name}, Labels: map[string]string{"app": name}, Desired: 1, Ready: 1}
	}
	backend := func(service, app string) Backend {
		return Backend{Service: service, Found: true, Selector: map[string]string{"app": app}, Ready: 1}
	}
	versions := map[string][]string{}
	for _, g := range groups {
		versions[g] = []string{"v1"}
	}
	return &Seen{
		At: at.Add(time.Hour), ServerTime: at, Groups: versions, Definitions: crds,
		APIServices: []APIService{api("v1beta2", groupCustom, "mon/adapter"), api("v1beta1", groupExternal, "keda/keda"), api("v1beta1", groupMetrics, "kube-system/metrics")},
		Webhooks:    []Webhook{hook("MutatingWebhookConfiguration", "kyverno-resource", "kyverno/svc"), hook("ValidatingWebhookConfiguration", "policy.sigstore.dev", "cosign/webhook")},
		Backends:    []Backend{backend("cosign/webhook", "pc"), backend("keda/keda", "keda"), backend("kube-system/metrics", "ms"), backend("kyverno/svc", "kyverno"), backend("mon/adapter", "pa")},
		Workloads: []Workload{
			run("cilium", "DaemonSet", "kube-system", "cilium"), run(operator, "Deployment", "eso", "eso"), run(kyverno, "Deployment", "kyverno", "kyverno"),
			run(sigstore, "Deployment", "cosign", "pc"), run(recommender, "Deployment", "kube-system", "vpa-recommender"),
		},
		ExternalSecrets: Listing{Served: true, Count: 2}, Refreshes: []Refresh{{At: ago(time.Minute).Format(time.RFC3339), Interval: "1h"}, {Interval: "0"}},
		Stores: Listing{Served: true, Count: 2}, StoresReady: 2,
		HPAs: Listing{Served: true, Count: 3}, Uses: MetricUses{3, 1, 1}, NodeMetrics: Listing{Served: true, Count: 2},
		Metrics: []NodeMetrics{{"node-a", ago(20 * time.Second)}, {"node-b", ago(30 * time.Second)}},
		VPAs:    Listing{Served: true, Count: 1}, Recommended: []VPA{{ago(time.Hour), true}}, Checkpoints: Listing{Served: true, Count: 1}, Written: []time.Time{ago(2 * time.Minute)},
		SigstorePolicies: Listing{Served: true, Count: 1}, KyvernoPolicies: Listing{Served: true, Count: 2}, NetworkPolicies: Listing{Served: true, Count: 4},
	}
}

// nothing is a cluster that has none of it, and needs none.
func nothing() *Seen {
	s := &Seen{At: at, ServerTime: at, HPAs: Listing{Served: true}, NetworkPolicies: Listing{Served: true}}
	for _, name := range definitions {
		s.Definitions = append(s.Definitions, Definition{Name: name})
	}
	return s
}

const info = `{"fingerprint":"c","nodes":[{"name":"node-a","ready":true},{"name":"node-b","ready":true},{"name":"node-c","ready":false}]}`

func seal(tb testing.TB, artifact []byte) *collectors.Sealed {
	tb.Helper()
	art := collectors.NewArtifacts(nil)
	for name, b := range map[string][]byte{collectors.ReleaseFile: []byte(`{"scope":"cluster"}`), collectors.ClusterFile: []byte(info), collectors.Artifact(Name, file): artifact} {
		if _, err := art.Put(name, b); err != nil {
			tb.Fatal(err)
		}
	}
	return collectors.NewSealed(art, config.RuleControls())
}

func derive(tb testing.TB, s *Seen) []evidence.Finding {
	tb.Helper()
	raw, err := json.Marshal(s)
	if err != nil {
		tb.Fatal(err)
	}
	found, err := collectors.Findings(seal(tb, raw), New())
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// compare holds the findings of some outcomes to what is wanted: "outcome rule
// part of the message".
func compare(t *testing.T, found []evidence.Finding, want []string, leave ...evidence.Outcome) {
	t.Helper()
	var got []string
	for _, f := range found {
		if slices.Contains(leave, f.Outcome) {
			continue
		}
		line := fmt.Sprintf("%s %s %s", f.Outcome, strings.TrimPrefix(f.Rule, Name+"/"), f.Message)
		for _, w := range want {
			p := strings.SplitN(w, " ", 3)
			if string(f.Outcome) == p[0] && f.Rule == Name+"/"+p[1] && strings.Contains(f.Message, p[2]) && !slices.Contains(got, w) {
				line = w
				break
			}
		}
		got = append(got, line)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("findings (-want +got):\n%s", diff)
	}
}

func TestFindings(t *testing.T) {
	t.Parallel()
	drop := func(component string) func(*Seen) {
		return func(s *Seen) {
			s.Workloads = slices.DeleteFunc(s.Workloads, func(w Workload) bool { return w.Component == component })
		}
	}
	both := func(edits ...func(*Seen)) func(*Seen) {
		return func(s *Seen) {
			for _, e := range edits {
				e(s)
			}
		}
	}
	backend := func(i, ready int) func(*Seen) { return func(s *Seen) { s.Backends[i].Ready = ready } }
	const forbidden = `x is forbidden: User "u" cannot list resource "x"`
	for _, tt := range []struct {
		name string
		edit func(*Seen)
		want []string
	}{
		{"all there", func(*Seen) {}, nil},
		{"the clock of who asks counts for nothing", func(s *Seen) { s.At = at.Add(1000 * time.Hour) }, nil},
		{"operator gone", drop(operator), []string{"fail external-secrets its definitions are there and it is not"}},
		{"operator scaled to nothing", func(s *Seen) { s.Workloads[1].Desired, s.Workloads[1].Ready = 0, 0 }, []string{"fail external-secrets Deployment eso/eso has 0 of 0 pods Ready: nobody does its work; SCR-2 to SCR-4 rely on it"}},
		{"operator in part", func(s *Seen) { s.Workloads[1].Desired = 2 }, []string{"warn external-secrets 1 of 2 pods Ready"}},
		{"operator stopped, its conditions stay", func(s *Seen) { s.Refreshes[0].At = at.Add(-2 * time.Hour).Format(time.RFC3339) }, []string{"fail external-secrets no ExternalSecret of 1 was refreshed within its interval"}},
		{"refreshed in the future", func(s *Seen) { s.Refreshes[0].At = at.Add(2 * time.Hour).Format(time.RFC3339) }, []string{"fail external-secrets no ExternalSecret of 1 was refreshed"}},
		{"a time that is none", func(s *Seen) { s.Refreshes[0].At = "soon" }, []string{`error external-secrets refreshTime "soon" is no time`, "fail external-secrets no ExternalSecret of 1 was refreshed"}},
		{"an interval that is none", func(s *Seen) { s.Refreshes[0].Interval = "often" }, []string{`error external-secrets refreshInterval "often" is no duration`}},
		{"no store ready", func(s *Seen) { s.StoresReady = 0 }, []string{"fail external-secrets none of 2 stores is Ready"}},
		{"a store not ready", func(s *Seen) { s.StoresReady = 1 }, []string{"warn external-secrets 1 of 2 stores are Ready"}},
		{"stores not to be read", func(s *Seen) { s.Stores.Error = forbidden }, []string{`not-checked external-secrets cannot list resource "x"`}},
		{"definition not established", func(s *Seen) { s.Definitions[0].Established = false }, []string{"fail external-secrets externalsecrets.external-secrets.io is not established"}},
		{"definition not to be read", func(s *Seen) { s.Definitions[0].Error = forbidden }, []string{"not-checked external-secrets externalsecrets.external-secrets.io could not be read: x is forbidden"}},
		{"definition not asked about", func(s *Seen) { s.Definitions = s.Definitions[1:] }, []string{"not-checked external-secrets was not asked about"}},
		{"ExternalSecrets not to be read", func(s *Seen) { s.ExternalSecrets = Listing{Served: true, Error: forbidden} }, []string{"not-checked external-secrets what needs it could not be read: x is forbidden"}},
		{"nothing needs the operator", both(drop(operator), func(s *Seen) { s.ExternalSecrets.Count, s.Refreshes = 0, nil }),
			[]string{"not-applicable external-secrets the cluster has no ExternalSecret; of the controller is said: its definitions are there"}},
		{"metrics unavailable", both(backend(2, 0), func(s *Seen) {
			s.APIServices[2].Available, s.APIServices[2].Reason, s.APIServices[2].Message = "False", "MissingEndpoints", "no addresses"
			s.NodeMetrics.Error = "the server is currently unable to handle the request"
		}), []string{"fail resource-metrics APIService v1beta1.metrics.k8s.io is not Available: MissingEndpoints: no addresses; ASC-1, ASC-5 and RSL-4 rely on it", "fail api-service is not Available: MissingEndpoints: no addresses (Service kube-system/metrics has no ready endpoint"}},
		{"metrics say Available, and nobody is behind", backend(2, 0), []string{"fail api-service is said to be Available, but Service kube-system/metrics has no ready endpoint (0 not ready)"}},
		{"metrics without a condition", func(s *Seen) { s.APIServices[2].Available = "" }, []string{"fail resource-metrics it has no condition Available yet", "fail api-service it has no condition Available yet"}},
		{"metrics absent", both(func(s *Seen) { delete(s.Groups, groupMetrics) }, func(s *Seen) { s.APIServices, s.NodeMetrics, s.Metrics = s.APIServices[:2], Listing{}, nil }),
			[]string{"fail resource-metrics is not in the cluster, and 3 HorizontalPodAutoscalers need it; ASC-1"}},
		{"metrics absent, and not needed", both(func(s *Seen) { delete(s.Groups, groupMetrics) }, func(s *Seen) {
			s.APIServices, s.NodeMetrics, s.Metrics, s.Uses.Resource = s.APIServices[:2], Listing{}, nil, 0
		}),
			[]string{"not-applicable resource-metrics no HorizontalPodAutoscaler goes by cpu or memory"}},
		{"metrics of no node", func(s *Seen) { s.Metrics = nil }, []string{"fail resource-metrics it knows the usage of no node"}},
		{"metrics without the kind", func(s *Seen) { s.NodeMetrics, s.Metrics = Listing{}, nil }, []string{"fail resource-metrics the API server has no such kind"}},
		{"discovery still names what is gone", func(s *Seen) { s.APIServices, s.NodeMetrics, s.Metrics = s.APIServices[:2], Listing{}, nil }, []string{"fail resource-metrics is not in the cluster, and 3"}},
		{"metrics stale", func(s *Seen) { s.Metrics[0].At, s.Metrics[1].At = at.Add(-time.Hour), time.Time{} }, []string{"fail resource-metrics what it knows of 2 nodes is older than 5m0s"}},
		{"metrics of the future", func(s *Seen) { s.Metrics[0].At, s.Metrics[1].At = at.Add(time.Hour), at.Add(time.Hour) }, []string{"fail resource-metrics what it knows of 2 nodes"}},
		{"metrics of one node stale", func(s *Seen) { s.Metrics[0].At = at.Add(-time.Hour) }, []string{"warn resource-metrics it has no fresh usage of 1 node: node-a"}},
		{"metrics of one node missing", func(s *Seen) { s.Metrics = s.Metrics[:1] }, []string{"warn resource-metrics it has no fresh usage of 1 node: node-b"}},
		{"metrics not to be read", func(s *Seen) { s.NodeMetrics.Error = forbidden }, []string{"not-checked resource-metrics without an answer: x is forbidden"}},
		{"the API server has no clock", func(s *Seen) { s.ServerTime, s.ServerTimeError = time.Time{}, "no header" }, []string{
			"not-checked external-secrets time is not known, so that nothing can be said to be fresh: no header", "not-checked resource-metrics time is not known", "not-checked vertical-pod-autoscaler time is not known"}},
		{"no adapter", func(s *Seen) { delete(s.Groups, groupCustom); s.APIServices = s.APIServices[1:] }, []string{"fail custom-metrics is not in the cluster, and 1 HorizontalPodAutoscaler needs it"}},
		{"adapter down", func(s *Seen) { s.APIServices[1].Available = "Unknown" }, []string{"fail external-metrics is not Available", "fail api-service is not Available"}},
		{"recommender gone, checkpoints fresh: a provider runs it", drop(recommender), nil},
		{"recommender gone", both(drop(recommender), func(s *Seen) { s.Checkpoints, s.Written = Listing{}, nil }), []string{"fail vertical-pod-autoscaler its recommender is nowhere to be seen"}},
		{"recommender hangs", func(s *Seen) { s.Written[0] = at.Add(-time.Hour) }, []string{"fail vertical-pod-autoscaler the newest checkpoint of its recommender is of 2026-11-01T11:00:00Z, 1h0m0s before"}},
		{"no checkpoints are kept", func(s *Seen) { s.Checkpoints, s.Written = Listing{Served: true}, nil }, nil},
		{"checkpoints not to be read", func(s *Seen) { s.Checkpoints, s.Written = Listing{Served: true, Error: forbidden}, nil }, []string{"not-checked vertical-pod-autoscaler checkpoints could not be read"}},
		{"recommends nothing", func(s *Seen) { s.Recommended[0].Recommends = false }, []string{"fail vertical-pod-autoscaler none of 1 VerticalPodAutoscaler has a recommendation"}},
		{"recommends nothing yet", func(s *Seen) { s.Recommended[0] = VPA{at.Add(-time.Minute), false} }, []string{"warn vertical-pod-autoscaler has a recommendation yet"}},
		{"policy-controller gone", both(drop(sigstore), backend(0, 0)), []string{"fail signature-admission no Deployment of policy-controller is known",
			"fail webhook 1 webhook with failurePolicy Fail; Service cosign/webhook has no ready endpoint (0 not ready): what they match is refused"}},
		{"its webhook is asked about no pods", func(s *Seen) { s.Webhooks[1].Pods = false }, []string{"fail signature-admission no webhook that it answers is asked about new pods"}},
		{"its webhook lets pods through", func(s *Seen) { s.Webhooks[1].FailurePolicy = "Ignore" }, []string{"warn signature-admission let through (failurePolicy Ignore)"}},
		{"the webhook is somebody else's", func(s *Seen) { s.Backends[0].Selector = map[string]string{"app": "other"} }, []string{"fail signature-admission no webhook that it answers"}},
		{"Kyverno absent, policies left", both(drop(kyverno), func(s *Seen) { delete(s.Groups, groupKyverno) }), []string{"fail signature-admission is not in the cluster, and 2 image-verifying Kyverno policies need it; ADM-5"}},
		{"no signature is asked for", func(s *Seen) {
			s.Workloads = slices.Delete(s.Workloads, 2, 4)
			delete(s.Groups, groupKyverno)
			delete(s.Groups, groupSigstore)
			s.SigstorePolicies, s.KyvernoPolicies = Listing{}, Listing{}
		}, []string{"not-applicable signature-admission the cluster has no ClusterImagePolicy", "not-applicable signature-admission the cluster has no image-verifying Kyverno policy"}},
		{"dead webhook that lets through", func(s *Seen) {
			s.Webhooks[0].FailurePolicy, s.Webhooks[0].Pods, s.Webhooks[0].Service = "Ignore", false, "gone/svc"
			s.Backends = append(s.Backends, Backend{Service: "gone/svc"})
			s.KyvernoPolicies = Listing{Served: true}
		}, []string{"fail webhook failurePolicy Ignore; Service gone/svc is not in the cluster: what they match is let through unjudged",
			"not-applicable signature-admission the cluster has no image-verifying Kyverno policy; of the controller is said: no webhook"}},
		{"webhook outside of the cluster", func(s *Seen) {
			s.Webhooks = append(s.Webhooks, Webhook{Kind: "ValidatingWebhookConfiguration", Configuration: "cloud", Name: "cloud", FailurePolicy: "Fail", Host: "hooks.example.com"})
		}, []string{"warn webhook asked at hooks.example.com, outside of the cluster"}},
		{"service of a webhook not to be read", func(s *Seen) { s.Backends[3].Error = forbidden }, []string{"not-checked webhook Service kyverno/svc could not be read: x is forbidden", "not-checked signature-admission Service kyverno/svc could not be read"}},
		{"service not asked about", func(s *Seen) { s.Backends = s.Backends[:4] }, []string{"not-checked api-service Service mon/adapter was not asked about"}},
		{"service that leads outside", func(s *Seen) { s.Backends[4].External = "api.example.com" }, []string{"warn api-service leads to api.example.com, outside of the cluster"}},
		{"webhooks and APIServices not to be read", func(s *Seen) {
			s.Webhooks, s.WebhooksError, s.APIServices, s.APIServicesError = nil, forbidden, nil, forbidden
		}, []string{"not-checked webhook webhooks could not be read: x is forbidden", "not-checked api-service APIServices could not be read", "not-checked signature-admission webhooks could not be read",
			"not-checked signature-admission webhooks could not be read: x", "not-checked resource-metrics APIServices", "not-checked custom-metrics APIServices", "not-checked external-metrics APIServices"}},
		{"workloads not to be read", func(s *Seen) { s.Workloads, s.WorkloadsError = nil, forbidden }, []string{"not-checked external-secrets workloads could not be read: x is forbidden", "not-checked vertical-pod-autoscaler workloads",
			"not-checked signature-admission workloads", "not-checked signature-admission workloads could", "not-checked network-policy workloads"}},
		{"discovery broken", func(s *Seen) { s.Groups, s.GroupsError = nil, "no answer" }, []string{
			"not-checked external-secrets which APIs are served could not be read: no answer", "not-checked resource-metrics which APIs", "not-checked custom-metrics which APIs", "not-checked external-metrics which APIs",
			"not-checked vertical-pod-autoscaler which APIs", "not-checked signature-admission which APIs", "not-checked signature-admission which APIs are"}},
		{"no network plugin that is known", drop("cilium"), []string{"not-applicable network-policy whether NetworkPolicies are enforced is not said"}},
		{"flannel alone", func(s *Seen) { s.Workloads[0].Component = flannel }, []string{"warn network-policy flannel, which enforces no NetworkPolicy"}},
		{"the network plugin is down", func(s *Seen) { s.Workloads[0].Ready = 0 }, []string{"fail network-policy DaemonSet kube-system/cilium has 0 of 1 pods Ready"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := whole()
			tt.edit(s)
			compare(t, derive(t, s), tt.want, evidence.OutcomePass)
		})
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	found := derive(t, nothing())
	compare(t, found, nil, evidence.OutcomeNotApplicable)
	seen := map[string]bool{}
	for _, f := range found {
		seen[f.Rule] = true
	}
	if diff := cmp.Diff(rules.Names(), slices.Sorted(maps.Keys(seen))); diff != "" {
		t.Errorf("rules with a finding (-want +got):\n%s", diff)
	}
}

func TestComponentOf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ kind, labels, image, args, want string }{
		{"Deployment", "app.kubernetes.io/name=external-secrets", "x", "", operator},
		{"Deployment", "", "registry:5000/mirror/external-secrets:v1@sha256:00", "", operator},
		{"Deployment", "app.kubernetes.io/name=external-secrets-webhook", "ghcr.io/external-secrets/external-secrets:v1", "webhook", ""},
		{"Deployment", "", "ghcr.io/external-secrets/external-secrets:v1", "certcontroller", ""},
		{"Deployment", "app.kubernetes.io/name=vpa,app.kubernetes.io/component=recommender", "x", "", recommender},
		{"Deployment", "app.kubernetes.io/name=vpa,app.kubernetes.io/component=updater", "x", "", ""},
		{"Deployment", "", "ghcr.io/sigstore/policy-controller/policy-controller", "", sigstore},
		{"DaemonSet", "k8s-app=cilium", "x", "", "cilium"},
		{"Deployment", "k8s-app=cilium", "x", "", ""},
	} {
		p := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{}}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Image: tt.image}}}}
		for l := range strings.SplitSeq(tt.labels, ",") {
			if k, v, ok := strings.Cut(l, "="); ok {
				p.Labels[k] = v
			}
		}
		if tt.args != "" {
			p.Spec.Containers[0].Args = []string{tt.args}
		}
		if got := componentOf(tt.kind, p); got != tt.want {
			t.Errorf("%+v: %q", tt, got)
		}
	}
}

// apiServer answers with objects by path, refuses some, and knows no others.
func apiServer(t *testing.T, objects map[string]string, refuse ...string) *cluster.Cluster {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", at.Format(http.TimeFormat))
		for _, p := range refuse {
			if strings.HasPrefix(r.URL.Path, p) {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":"%s is forbidden: User \"u\" cannot list resource"}`, p)
				return
			}
		}
		body, ok := objects[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"the server could not find the requested resource"}`)
			return
		}
		fmt.Fprint(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := cluster.ConnectConfig(t.Context(), &rest.Config{Host: s.URL})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

type written map[string][]byte

func (w written) Write(name string, content []byte) error { w[name] = content; return nil }

func collect(t *testing.T, c *cluster.Cluster) *Seen {
	t.Helper()
	out := written{}
	if err := New().Collect(t.Context(), collectors.Input{Cluster: c, Now: func() time.Time { return at.Add(time.Hour) }}, out); err != nil {
		t.Fatal(err)
	}
	s := new(Seen)
	if err := json.Unmarshal(out[file], s); err != nil {
		t.Fatal(err)
	}
	return s
}

func objects(apis string) map[string]string {
	return map[string]string{
		"/version": `{"gitVersion":"v1.37.0"}`, "/api": `{"kind":"APIVersions","versions":["v1"]}`,
		"/apis":                          `{"kind":"APIGroupList","apiVersion":"v1","groups":[` + apis + `]}`,
		"/api/v1/namespaces/kube-system": `{"kind":"Namespace","apiVersion":"v1","metadata":{"name":"kube-system","uid":"c"}}`,
		"/api/v1/nodes":                  `{"kind":"NodeList","apiVersion":"v1","items":[]}`,
		"/apis/autoscaling/v2/horizontalpodautoscalers": `{"kind":"HorizontalPodAutoscalerList","apiVersion":"autoscaling/v2","items":[
			{"metadata":{"name":"a"},"spec":{"metrics":[{"type":"Resource"},{"type":"External"}]}},{"metadata":{"name":"b"},"spec":{}},{"metadata":{"name":"c"},"spec":{"metrics":[{"type":"Pods"}]}}]}`,
		"/apis/networking.k8s.io/v1/networkpolicies":                                         `{"kind":"NetworkPolicyList","apiVersion":"networking.k8s.io/v1","items":[{"metadata":{"name":"a"}}]}`,
		"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations":                `{"kind":"MutatingWebhookConfigurationList","apiVersion":"admissionregistration.k8s.io/v1","items":[]}`,
		"/apis/apiregistration.k8s.io/v1/apiservices":                                        `{"kind":"APIServiceList","apiVersion":"apiregistration.k8s.io/v1","items":[{"metadata":{"name":"v1."},"spec":{"version":"v1"}},{"metadata":{"name":"v1beta1.metrics.k8s.io"},"spec":{"group":"metrics.k8s.io","service":{"namespace":"kube-system","name":"metrics"}},"status":{"conditions":[{"type":"Available","status":"True","reason":"Passed","message":"all checks passed"}]}}]}`,
		"/api/v1/namespaces/kube-system/services/metrics":                                    `{"kind":"Service","apiVersion":"v1","metadata":{"name":"metrics"},"spec":{"selector":{"k8s-app":"metrics-server"}}}`,
		"/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices":                    `{"kind":"EndpointSliceList","apiVersion":"discovery.k8s.io/v1","items":[{"endpoints":[{"addresses":["1.2.3.4"]},{"addresses":["1.2.3.5"],"conditions":{"ready":false}}]}]}`,
		"/apis/metrics.k8s.io/v1beta1/nodes":                                                 `{"kind":"NodeMetricsList","apiVersion":"metrics.k8s.io/v1beta1","items":[{"metadata":{"name":"node-a"},"timestamp":"2026-11-01T11:59:45Z","window":"20s","usage":{"cpu":"1"}},{"metadata":{"name":"node-b"},"timestamp":"soon"}]}`,
		"/apis/apps/v1/daemonsets":                                                           `{"kind":"DaemonSetList","apiVersion":"apps/v1","items":[]}`,
		"/apis/apps/v1/deployments":                                                          `{"kind":"DeploymentList","apiVersion":"apps/v1","items":[{"metadata":{"name":"web","namespace":"shop"},"spec":{"template":{"spec":{"containers":[{"image":"web"}]}}}},{"metadata":{"name":"ky","namespace":"kyverno"},"spec":{"replicas":3,"template":{"metadata":{"labels":{"a":"b"}},"spec":{"containers":[{"image":"r.example.com/kyverno:1"}]}}},"status":{"readyReplicas":2}}]}`,
		"/apis/kyverno.io/v1/clusterpolicies":                                                `{"kind":"ClusterPolicyList","apiVersion":"kyverno.io/v1","items":[{"metadata":{"name":"a"},"spec":{"rules":[{"verifyImages":[{}]}]}},{"metadata":{"name":"b"},"spec":{"rules":[{"validate":{}}]}}]}`,
		"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/clusterpolicies.kyverno.io": `{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","metadata":{"name":"clusterpolicies.kyverno.io"},"status":{"conditions":[{"type":"Established","status":"True"}]}}`,
		"/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations": `{"kind":"ValidatingWebhookConfigurationList","apiVersion":"admissionregistration.k8s.io/v1","items":[{"metadata":{"name":"w"},"webhooks":[
			{"name":"a","failurePolicy":"Ignore","clientConfig":{"url":"https://user:pass@hooks.example.com/secret"},"rules":[{"apiGroups":["apps"],"resources":["*"],"operations":["*"]}]},
			{"name":"b","clientConfig":{"service":{"namespace":"gone","name":"svc"}},"rules":[{"apiGroups":["*"],"resources":["*/*"],"operations":["CREATE"]}]}]}]}`,
	}
}

func group(name string, versions ...string) string {
	var list []string
	for _, v := range versions {
		list = append(list, fmt.Sprintf(`{"groupVersion":"%s/%s","version":%q}`, name, v, v))
	}
	return fmt.Sprintf(`{"name":%q,"versions":[%s],"preferredVersion":%s}`, name, strings.Join(list, ","), list[0])
}

func TestCollect(t *testing.T) {
	t.Parallel()
	got := collect(t, apiServer(t, objects(group("metrics.k8s.io", "v1beta1")+","+group("kyverno.io", "v2", "v1")+","+group("other.io", "v1"))))
	want := nothing()
	want.At, want.Groups = at.Add(time.Hour), map[string][]string{groupMetrics: {"v1beta1"}, groupKyverno: {"v2", "v1"}}
	want.Definitions[5] = Definition{Name: "clusterpolicies.kyverno.io", Found: true, Established: true}
	want.APIServices = []APIService{{Name: "v1beta1.metrics.k8s.io", Group: groupMetrics, Service: "kube-system/metrics", Available: "True", Reason: "Passed", Message: "all checks passed"}}
	want.Webhooks = []Webhook{
		{Kind: "ValidatingWebhookConfiguration", Configuration: "w", Name: "a", FailurePolicy: "Ignore", Host: "hooks.example.com"},
		{Kind: "ValidatingWebhookConfiguration", Configuration: "w", Name: "b", FailurePolicy: "Fail", Service: "gone/svc", Pods: true},
	}
	want.Backends = []Backend{{Service: "gone/svc"}, {Service: "kube-system/metrics", Found: true, Selector: map[string]string{"k8s-app": "metrics-server"}, Ready: 1, NotReady: 1}}
	want.Workloads = []Workload{{Component: kyverno, Kind: "Deployment", Namespace: "kyverno", Name: "ky", Images: []string{"r.example.com/kyverno:1"}, Labels: map[string]string{"a": "b"}, Desired: 3, Ready: 2}}
	want.HPAs, want.Uses = Listing{Served: true, Count: 3}, MetricUses{Resource: 2, Custom: 1, External: 1}
	want.NodeMetrics, want.Metrics = Listing{Served: true, Count: 2}, []NodeMetrics{{"node-a", at.Add(-15 * time.Second)}, {Node: "node-b"}}
	want.KyvernoPolicies, want.NetworkPolicies = Listing{Served: true, Count: 1}, Listing{Served: true, Count: 1}
	want.Refreshes, want.Recommended, want.Written = []Refresh{}, []VPA{}, []time.Time{}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("seen (-want +got):\n%s", diff)
	}
}

// TestWithoutRights: what may not be read is not checked, and the right is named.
func TestWithoutRights(t *testing.T) {
	t.Parallel()
	o := objects(group("metrics.k8s.io", "v1beta1") + "," + group("external-secrets.io", "v1") + "," + group("autoscaling.k8s.io", "v1") + "," + group("kyverno.io", "v1") + "," + group("policy.sigstore.dev", "v1beta1"))
	s := collect(t, apiServer(t, o, "/apis/apps", "/apis/autoscaling", "/apis/external", "/apis/policy", "/apis/networking", "/apis/admission", "/apis/apireg", "/apis/apiext", "/apis/metrics", "/apis/kyverno"))
	n := 0
	for _, f := range derive(t, s) {
		if n++; f.Outcome != evidence.OutcomeNotChecked || !strings.Contains(f.Message, "cannot list resource") {
			t.Errorf("%s %s: %s", f.Outcome, f.Rule, f.Message)
		}
	}
	if n < len(rules) {
		t.Errorf("%d findings", n)
	}
}

func TestDamaged(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{"", `{"groups":`, `{}`, `{"at":"2026-11-01T12:00:00Z","backends":{}}`} {
		if found, err := collectors.Findings(seal(t, []byte(raw)), New()); err == nil {
			t.Errorf("%q: %d findings and no error", raw, len(found))
		}
	}
}

func FuzzFindings(f *testing.F) {
	for _, s := range []*Seen{whole(), nothing()} {
		raw, err := json.Marshal(s)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"at":"2026-11-01T12:00:00Z"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if found, err := collectors.Findings(seal(t, raw), New()); err == nil && len(found) < len(rules)-1 {
			t.Errorf("%d findings of %d rules", len(found), len(rules))
		}
	})
}
