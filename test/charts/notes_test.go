package charts

import (
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// TestNotes holds that what is said after an install names the commands of the
// kind, and says which reason was given for a weak setting.
func TestNotes(t *testing.T) {
	t.Parallel()
	notes := func(v values) string {
		t.Helper()
		c, err := loader.Load(serviceDir)
		if err != nil {
			t.Fatal(err)
		}
		scope, err := util.ToRenderValues(c, v, common.ReleaseOptions{Name: "shop", Namespace: "prod", IsInstall: true}, nil)
		if err != nil {
			t.Fatal(err)
		}
		out, err := engine.Render(c, scope)
		if err != nil {
			t.Fatal(err)
		}
		return out["service/templates/NOTES.txt"]
	}
	for _, tt := range []struct{ values, want string }{
		{"{}", "kubectl -n prod rollout status deployment/shop-service"},
		{"{}", "port-forward service/shop-service 8080:80"},
		{"kind: StatefulSet", "rollout status statefulset/shop-service"},
		{"{kind: CronJob, cron: {schedule: '5 4 * * *'}}", `It runs by "5 4 * * *" (Etc/UTC)`},
		{"{kind: CronJob, cron: {schedule: '5 4 * * *'}}", "create job shop-service-now --from=cronjob/shop-service"},
		{"kind: Job", "--for=condition=complete --timeout=3600s"},
		{"ingress: {enabled: true, className: nginx, host: a.example.com}", "https://a.example.com/"},
		{"httpRoute: {enabled: true, hostnames: [b.example.com], parentRefs: [{name: gw}]}", "It is served at b.example.com/"},
		{"{metrics: {enabled: true, port: 9102}, networkPolicy: {ingress: {sameNamespace: false}}}", `to port 9102: [{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"monitoring"}}`},
		{"externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}]}", "get externalsecret shop-service"},
		{"externalSecret: {enabled: false, store: {name: s}, env: [{name: A, key: k}]}", "externalSecret.enabled is false"},
		{"kind: DaemonSet", "rollout status daemonset/shop-service"},
		{"{kind: DaemonSet, nodeAgent: {reason: it reads the node}}", "SEC-1 fails, but for profile node-agent. Reason given: it reads the node"},
		{"{kind: Job, hook: {by: helm}}", "logs job/shop-service"},
		{"workloads: {web: {}, nightly: {kind: CronJob, cron: {schedule: '5 4 * * *'}}}", "create job shop-service-nightly-now --from=cronjob/shop-service-nightly"},
		{"workloads: {web: {}}", "-l app.kubernetes.io/name=service,app.kubernetes.io/instance=shop,app.kubernetes.io/component=web"},
		{"{externalSecret: {enabled: true, store: {name: s}, env: [{name: A, key: k}]}, workloads: {web: {}}}", "get externalsecret shop-service\n"},
		{"{kind: StatefulSet, replicaCount: 3, autoscaling: {enabled: false}}", `"kind":"StatefulSet","metadata":{"name":"shop-service","namespace":"prod"},"spec":{"replicas":3}}' | kubectl apply --server-side`},
		{"autoscaling: {initialReplicas: 5}", `"spec":{"replicas":5}}' | kubectl apply --server-side`},
		{"verticalAutoscaling: {enabled: true}", "describe vpa shop-service"},
		{"{replicaCount: 1, autoscaling: {enabled: false}, singleReplicaReason: it holds a lock}", "Reason given: it holds a lock"},
		{"securityContext: {readOnlyRootFilesystem: false, writableRootReason: it updates itself}", "SEC-5 fails. Reason given: it updates itself"},
	} {
		got := notes(parse(t, tt.values))
		if !strings.Contains(got, tt.want) || strings.Contains(got, "<no value>") {
			t.Errorf("%s: no %q in:\n%s", tt.values, tt.want, got)
		}
	}
	if got := notes(nil); strings.Contains(got, "Reason given") || strings.Contains(got, "externalSecret") {
		t.Errorf("the defaults give no reason, and list no secret:\n%s", got)
	}
}
