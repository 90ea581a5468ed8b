package workload_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/workload"
)

func scaledObject(name, target, rest string) string {
	return fmt.Sprintf("apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {name: %s}\nspec: {scaleTargetRef: {name: %s}%s}", name, target, rest)
}

func httpScaled(rest string) string {
	return "apiVersion: http.keda.sh/v1alpha1\nkind: HTTPScaledObject\nmetadata: {name: s}\nspec: {hosts: [a], scaleTargetRef: {name: web, service: web, port: 80}" + rest + "}"
}

func unknownScaler(target string) string {
	return "apiVersion: example.com/v1\nkind: Scaler\nmetadata: {name: s}\nspec: {scaleTargetRef: {" + target + "}}"
}

func rollout(replicas int, body string) string {
	return strings.NewReplacer("apps/v1", "argoproj.io/v1alpha1", "kind: Deployment", "kind: Rollout").Replace(pods("Deployment", "web", replicas, "app: web", body))
}

// saying lists the findings of a rule as "outcome object: message".
func saying(t *testing.T, rule, manifests string) []string {
	t.Helper()
	var out []string
	for _, f := range findings(t, manifests) {
		if f.Rule == rule {
			out = append(out, fmt.Sprintf("%s %s: %s", f.Outcome, f.Target.Object(), f.Message))
		}
	}
	slices.Sort(out)
	return out
}

func TestScaledObjects(t *testing.T) {
	t.Parallel()
	web := func(n int) string { return pods("Deployment", "web", n, "app: web", "") }
	const cpu = ", triggers: [{type: cpu, metricType: Utilization, metadata: {value: '70'}}]"
	watch := vpa("w", "web", ", updatePolicy: {updateMode: Auto}")
	budget := pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")
	paused := func(annotation string) string {
		return strings.Replace(scaledObject("s", "web", ", minReplicaCount: 2, maxReplicaCount: 5"), "name: s}", "name: s, annotations: {autoscaling.keda.sh/"+annotation+"}}", 1)
	}
	for title, tt := range map[string]struct {
		rule, manifests string
		want            []string
	}{
		"to zero by default":         {workload.RuleReplicas, docs(web(3), scaledObject("s", "web", "")), []string{"fail Deployment web: fewer than 2 replicas: ScaledObject s scales to zero, by minReplicaCount"}},
		"a floor":                    {workload.RuleReplicas, docs(web(-1), scaledObject("s", "web", ", minReplicaCount: 2")), []string{"pass Deployment web: ScaledObject s keeps at least 2"}},
		"a floor from zero":          {workload.RuleReplicas, docs(web(0), scaledObject("s", "web", ", minReplicaCount: 2")), []string{"pass Deployment web: ScaledObject s keeps at least 2"}},
		"an autoscaler leaves zero":  {workload.RuleReplicas, docs(web(0), hpa("h", "web", ", minReplicas: 2")), []string{"fail Deployment web: fewer than 2 replicas: spec.replicas is 0"}},
		"idle":                       {workload.RuleReplicas, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 3, idleReplicaCount: 0")), []string{"fail Deployment web: fewer than 2 replicas: ScaledObject s scales to zero, by idleReplicaCount"}},
		"a fallback":                 {workload.RuleReplicas, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 3, fallback: {failureThreshold: 1, replicas: 1}")), []string{"fail Deployment web: fewer than 2 replicas: ScaledObject s keeps at least 1"}},
		"paused":                     {workload.RuleReplicas, docs(web(-1), paused("paused: 'true'")), []string{"fail Deployment web: fewer than 2 replicas: spec.replicas is 1, and ScaledObject s scales nothing, by autoscaling.keda.sh/paused"}},
		"paused, no boolean":         {workload.RuleReplicas, docs(web(-1), paused("paused: 'yes'")), []string{"fail Deployment web: fewer than 2 replicas: spec.replicas is 1, and ScaledObject s scales nothing"}},
		"paused, at its own count":   {workload.RuleReplicas, docs(web(3), paused("paused: 'true'")), []string{"pass Deployment web: spec.replicas is 3, and ScaledObject s scales nothing"}},
		"paused, at zero":            {workload.RuleReplicas, docs(web(0), paused("paused: 'true'")), []string{"fail Deployment web: fewer than 2 replicas: spec.replicas is 0"}},
		"paused, with a budget":      {workload.RulePDBAllows, docs(web(1), paused("paused: 'true'"), budget), []string{"pass PodDisruptionBudget web: with Deployment web (one replica) it allows 1 at once"}},
		"not paused":                 {workload.RuleReplicas, docs(web(-1), paused("paused: 'false'")), []string{"pass Deployment web: ScaledObject s keeps at least 2"}},
		"paused at a number":         {workload.RuleReplicas, docs(web(-1), paused("paused: 'true', autoscaling.keda.sh/paused-replicas: '3'")), []string{"pass Deployment web: ScaledObject s keeps at least 3"}},
		"paused at one":              {workload.RuleReplicas, docs(web(-1), paused("paused: 'true', autoscaling.keda.sh/paused-replicas: '1'")), []string{"fail Deployment web: fewer than 2 replicas: ScaledObject s keeps at least 1"}},
		"never down":                 {workload.RuleReplicas, docs(web(-1), paused("paused-scale-in: 'true'")), []string{"pass Deployment web: ScaledObject s keeps at least 2"}},
		"never up":                   {workload.RuleReplicas, docs(web(-1), paused("paused-scale-out: 'true'")), []string{"pass Deployment web: ScaledObject s keeps at least 2"}},
		"never up from zero":         {workload.RuleReplicas, docs(web(0), paused("paused-scale-out: 'true'")), []string{"fail Deployment web: fewer than 2 replicas: spec.replicas is 0"}},
		"paused beside another":      {workload.RuleConflict, docs(web(3), hpa("h", "web", ""), paused("paused: 'true'")), []string{"fail Deployment web: HorizontalPodAutoscaler h and ScaledObject s scale it"}},
		"of another":                 {workload.RuleReplicas, docs(web(3), scaledObject("s", "api", "")), []string{"pass Deployment web: spec.replicas is 3"}},
		"of another namespace":       {workload.RuleReplicas, docs(web(3), strings.Replace(scaledObject("s", "web", ""), "name: s}", "name: s, namespace: far}", 1)), []string{"pass Deployment web: spec.replicas is 3"}},
		"of a rollout":               {workload.RuleReplicas, docs(rollout(3, ""), strings.Replace(scaledObject("s", "web", ""), "{name: web}", "{name: web, kind: Rollout, apiVersion: argoproj.io/v1alpha1}", 1)), []string{"fail Rollout web: fewer than 2 replicas: ScaledObject s scales to zero, by minReplicaCount"}},
		"below zero":                 {workload.RuleReplicas, docs(web(3), scaledObject("s", "web", ", minReplicaCount: -1")), []string{"not-checked Deployment web: minReplicaCount of ScaledObject s is negative: see CHT-3"}},
		"unreadable":                 {workload.RuleConflict, docs(web(3), scaledObject("s", "web", ", minReplicaCount: many")), []string{"not-checked ScaledObject s: it does not decode, see CHT-3: unrecognized type: int32"}},
		"beside an autoscaler":       {workload.RuleConflict, docs(web(3), hpa("h", "web", ""), scaledObject("s", "web", "")), []string{"fail Deployment web: HorizontalPodAutoscaler h and ScaledObject s scale it, and KEDA makes a HorizontalPodAutoscaler of its own: they undo each other"}},
		"two of them":                {workload.RuleConflict, docs(web(3), scaledObject("r", "web", ""), scaledObject("s", "web", "")), []string{"fail Deployment web: ScaledObject r and ScaledObject s scale it, and KEDA makes a HorizontalPodAutoscaler of its own: they undo each other"}},
		"taking over":                {workload.RuleConflict, docs(web(3), hpa("h", "web", ""), strings.Replace(scaledObject("s", "web", ", advanced: {horizontalPodAutoscalerConfig: {name: h}}"), "name: s}", "name: s, annotations: {scaledobject.keda.sh/transfer-hpa-ownership: 'true'}}", 1)), []string{"pass Deployment web: its autoscalers do not work on one metric"}},
		"taking over another":        {workload.RuleConflict, docs(web(3), hpa("h", "web", ""), strings.Replace(scaledObject("s", "web", ", advanced: {horizontalPodAutoscalerConfig: {name: g}}"), "name: s}", "name: s, annotations: {scaledobject.keda.sh/transfer-hpa-ownership: 'true'}}", 1)), []string{"fail Deployment web: HorizontalPodAutoscaler h and ScaledObject s scale it, and KEDA makes a HorizontalPodAutoscaler of its own: they undo each other"}},
		"on cpu, with a VPA":         {workload.RuleConflict, docs(web(3), scaledObject("s", "web", cpu), watch), []string{"fail Deployment web: ScaledObject s scales on cpu, and VerticalPodAutoscaler w (updateMode Auto) changes its request"}},
		"on a queue, with a VPA":     {workload.RuleConflict, docs(web(3), scaledObject("s", "web", ", triggers: [{type: kafka}]"), watch), []string{"pass Deployment web: its autoscalers do not work on one metric"}},
		"of nothing in the release":  {workload.RuleConflict, docs(web(3), scaledObject("s", "api", "")), []string{"warn ScaledObject s: scales apps/v1 Deployment api, which is not in the release"}},
		"a budget with its floor":    {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 2"), budget), []string{"pass PodDisruptionBudget web: with Deployment web (2 replicas) it allows 1 at once"}},
		"a budget from zero":         {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ""), pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")), []string{"pass PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows 1 at once"}},
		"a share of what runs":       {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 0, maxReplicaCount: 20"), pdb("web", "minAvailable: 100%, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows no disruption: no node"}},
		"one that must stay":         {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 0"), pdb("web", "minAvailable: 1, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows no disruption"}},
		"none may go":                {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ""), pdb("web", "maxUnavailable: 0, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows no disruption"}},
		"a budget from idle":         {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 3, idleReplicaCount: 0"), pdb("web", "minAvailable: 2, selector: {matchLabels: {app: web}}")), []string{"pass PodDisruptionBudget web: with Deployment web (3 replicas when it is not scaled to zero) it allows 1 at once"}},
		"all from idle":              {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 3, idleReplicaCount: 0"), pdb("web", "maxUnavailable: 3, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (3 replicas when it is not scaled to zero) it allows 3 at once: all pods of a workload"}},
		"a fallback below":           {workload.RulePDBAllows, docs(web(3), scaledObject("s", "web", ", minReplicaCount: 3, idleReplicaCount: 0, fallback: {failureThreshold: 1, replicas: 1}"), pdb("web", "minAvailable: 1, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows no disruption"}},
		"paused at zero":             {workload.RulePDBAllows, docs(web(3), strings.Replace(scaledObject("s", "web", ""), "name: s}", "name: s, annotations: {autoscaling.keda.sh/paused-replicas: '0'}}", 1), budget), []string{"not-applicable PodDisruptionBudget web: with Deployment web (0 replicas) there is nothing to disrupt"}},
		"an autoscaler from zero":    {workload.RulePDBAllows, docs(web(3), hpa("h", "web", ", minReplicas: 0"), pdb("web", "minAvailable: 100%, selector: {matchLabels: {app: web}}")), []string{"fail PodDisruptionBudget web: with Deployment web (one replica when it is not scaled to zero) it allows no disruption"}},
		"an autoscaler that is off":  {workload.RulePDBAllows, docs(web(0), hpa("h", "web", ", minReplicas: 2"), pdb("web", "minAvailable: 100%, selector: {matchLabels: {app: web}}")), []string{"not-applicable PodDisruptionBudget web: with Deployment web (0 replicas) there is nothing to disrupt"}},
		"beside another, at zero":    {workload.RulePDBAllows, docs(web(2), pods("Deployment", "api", 1, "app: web", ""), scaledObject("s", "api", ""), pdb("web", "minAvailable: 2, selector: {}")), []string{"fail PodDisruptionBudget web: with Deployment web (2 replicas), Deployment api (0 replicas) it allows no disruption"}},
		"beside another, above zero": {workload.RulePDBAllows, docs(web(2), pods("Deployment", "api", 1, "app: web", ""), scaledObject("s", "api", ", minReplicaCount: 4, idleReplicaCount: 0"), pdb("web", "maxUnavailable: 50%, selector: {}")), []string{"fail PodDisruptionBudget web: with Deployment web (2 replicas), Deployment api (4 replicas when it is not scaled to zero) it allows 3 at once: all"}},
		"a budget of a floor":        {workload.RulePDBSelects, docs(web(1), scaledObject("s", "web", ", minReplicaCount: 2")), []string{"fail Deployment web: no PodDisruptionBudget selects its pods"}},
		"of HTTP, by default":        {workload.RuleReplicas, docs(web(3), httpScaled("")), []string{"fail Deployment web: fewer than 2 replicas: HTTPScaledObject s scales to zero, by replicas.min"}},
		"of HTTP, a floor":           {workload.RuleReplicas, docs(web(-1), httpScaled(", replicas: {min: 2, max: 9}")), []string{"pass Deployment web: HTTPScaledObject s keeps at least 2"}},
		"of HTTP, made elsewhere":    {workload.RuleReplicas, docs(web(3), strings.Replace(httpScaled(""), "name: s}", "name: s, annotations: {httpscaledobject.keda.sh/skip-scaledobject-creation: 'true'}}", 1)), []string{"pass Deployment web: spec.replicas is 3"}},
		"of HTTP, and another":       {workload.RuleConflict, docs(web(3), httpScaled(", replicas: {min: 2}"), hpa("h", "web", "")), []string{"fail Deployment web: HTTPScaledObject s and HorizontalPodAutoscaler h scale it"}},
		"unknown":                    {workload.RuleReplicas, docs(web(3), unknownScaler("apiVersion: apps/v1, kind: Deployment, name: web")), []string{"not-checked Deployment web: Scaler s scales web, and by what bounds is not known"}},
		"unknown, with a budget":     {workload.RulePDBAllows, docs(web(3), unknownScaler("kind: Deployment, name: web"), budget), []string{"not-checked PodDisruptionBudget web: Deployment web: Scaler s scales web"}},
		"unknown, asked for one":     {workload.RulePDBSelects, docs(web(3), unknownScaler("name: web"), budget), []string{"not-checked Deployment web: Scaler s scales web"}},
		"unknown, alone":             {workload.RuleConflict, docs(web(3), unknownScaler("name: web")), []string{"pass Deployment web: its autoscalers do not"}},
		"unknown, and another":       {workload.RuleConflict, docs(web(3), unknownScaler("name: web"), hpa("h", "web", "")), []string{"not-checked Deployment web: Scaler s scales web, and by what bounds is not known, nor on what"}},
		"unknown, of another":        {workload.RuleReplicas, docs(web(3), unknownScaler("name: api")), []string{"pass Deployment web: spec.replicas is 3"}},
		"unknown, never made":        {workload.RuleReplicas, docs(web(3), strings.Replace(unknownScaler("name: web"), "name: s}", "name: s, annotations: {helm.sh/hook: never}}", 1)), []string{"pass Deployment web: spec.replicas is 3"}},
		"of Datadog":                 {workload.RuleReplicas, docs(web(3), "apiVersion: datadoghq.com/v1alpha2\nkind: DatadogPodAutoscaler\nmetadata: {name: s}\nspec: {targetRef: {apiVersion: apps/v1, kind: Deployment, name: web}}"), []string{"not-checked Deployment web: DatadogPodAutoscaler s scales web"}},
		"a route to it":              {workload.RuleReplicas, docs(web(3), "apiVersion: example.com/v1\nkind: Route\nmetadata: {name: s}\nspec: {targetRef: {kind: Deployment, name: web}}"), []string{"pass Deployment web: spec.replicas is 3"}},
		"an autoscaler of a rollout": {workload.RuleReplicas, docs(rollout(1, ""), strings.Replace(hpa("h", "web", ", minReplicas: 2"), "apiVersion: apps/v1, kind: Deployment", "apiVersion: argoproj.io/v1alpha1, kind: Rollout", 1)), []string{"pass Rollout web: HorizontalPodAutoscaler h keeps at least 2"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := saying(t, tt.rule, tt.manifests)
			if len(got) != len(tt.want) || !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}

// What selects pods, and what pods refer to, counts for custom kinds as well.
func TestCustomPods(t *testing.T) {
	t.Parallel()
	budget := pdb("web", "maxUnavailable: 1, selector: {matchLabels: {app: web}}")
	closed := netpol("web", "podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress, Egress]")
	const engine = "apiVersion: example.com/v1\nkind: Engine\nmetadata: {name: e}\nspec: {pod: {containers: [{name: c, image: i}]}}"
	const prometheus = "apiVersion: monitoring.coreos.com/v1\nkind: Prometheus\nmetadata: {name: p}\nspec: {replicas: 2, secrets: [login]}"
	const task = "apiVersion: tekton.dev/v1\nkind: Task\nmetadata: {name: t}\nspec: {steps: [{image: i}]}"
	for title, tt := range map[string]struct {
		rule, manifests string
		want            []string
	}{
		"a budget of a rollout":      {workload.RulePDBSelects, docs(rollout(3, ""), budget), []string{"pass Rollout web: PodDisruptionBudget web selects its pods"}},
		"a rollout without":          {workload.RulePDBSelects, docs(rollout(3, "")), []string{"fail Rollout web: no PodDisruptionBudget selects its pods"}},
		"how many it allows":         {workload.RulePDBAllows, docs(rollout(1, ""), budget), []string{"pass PodDisruptionBudget web: with Rollout web (one replica) it allows 1 at once"}},
		"a budget beside pods":       {workload.RulePDBAllows, docs(engine, budget), []string{"not-checked PodDisruptionBudget web: a pod template of its namespace cannot be read"}},
		"a policy for a rollout":     {workload.RuleNetworkPolicy, docs(rollout(3, ""), closed), []string{"pass Rollout web: restricted by NetworkPolicy web"}},
		"a rollout on the host":      {workload.RuleNetworkPolicy, docs(rollout(3, "hostNetwork: true"), closed), []string{"fail Rollout web: its pods use the host's network"}},
		"a task":                     {workload.RuleNetworkPolicy, docs(task), []string{"not-checked Task t: its containers run in pods that something else writes"}},
		"a secret of a rollout":      {workload.RuleSecret, docs(rollout(3, "imagePullSecrets: [{name: pull}]")), []string{"fail Rollout web: imagePullSecrets refers to Secret pull, which nothing"}},
		"a secret of an operator":    {workload.RuleSecret, docs(prometheus), []string{"fail Prometheus p: volume secret-login refers to Secret login, which nothing"}},
		"labels of an operator":      {workload.RulePDBSelects, docs(prometheus, pdb("p", "maxUnavailable: 1, selector: {matchLabels: {app.kubernetes.io/name: prometheus, operator.prometheus.io/name: p}}")), []string{"pass Prometheus p: PodDisruptionBudget p selects its pods"}},
		"replicas of nonsense":       {workload.RuleReplicas, docs(strings.Replace(rollout(3, ""), "replicas: 3", "replicas: many", 1)), []string{"not-checked Rollout web: spec.replicas is not a whole number of zero or more: see CHT-3"}},
		"replicas of an unknown":     {workload.RuleReplicas, docs(engine), []string{"not-checked Engine e: spec.pod.containers looks like part of a pod template"}},
		"secrets of an unknown":      {workload.RuleSecret, docs(engine), []string{"not-checked Engine e: spec.pod.containers looks like part of a pod template"}},
		"a template that is no such": {workload.RuleNetworkPolicy, docs("apiVersion: argoproj.io/v1alpha1\nkind: Rollout\nmetadata: {name: r}\nspec: {template: {spec: {containers: 3}}}"), []string{"not-checked Rollout r: it does not decode, see CHT-3: Rollout r: pod template"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			got := saying(t, tt.rule, tt.manifests)
			if len(got) != len(tt.want) || !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("%q\nwant %q", got, tt.want)
			}
		})
	}
}
