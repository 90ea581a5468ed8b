package policy

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// files is a sealed bundle in memory.
type files map[string]string

func (f files) Read(name string) ([]byte, error) {
	s, ok := f[name]
	if !ok {
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	}
	return []byte(s), nil
}

func (f files) Names() []string { return slices.Sorted(maps.Keys(f)) }

// seal returns what Findings works on.
func seal(tb testing.TB, policies []byte, manifests string) *collectors.Sealed {
	tb.Helper()
	release, err := json.Marshal(evidence.Release{Scope: evidence.ScopeRelease, Source: "chart", Chart: "shop", Namespace: "payments"})
	if err != nil {
		tb.Fatal(err)
	}
	return collectors.NewSealed(files{
		collectors.PoliciesFile:  string(policies),
		collectors.ManifestsFile: manifests,
		collectors.ReleaseFile:   string(release),
	}, config.RuleControls())
}

// builtin returns policies.yaml without policies of the user.
func builtin(tb testing.TB) []byte {
	tb.Helper()
	raw, err := Bundle("")
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func findings(tb testing.TB, policies []byte, manifests string) []evidence.Finding {
	tb.Helper()
	out, err := collectors.Findings(seal(tb, policies, manifests), collector{})
	if err != nil {
		tb.Fatal(err)
	}
	return evidence.NormalizeFindings(out)
}

// summary lists a rule's findings: "fail Deployment/api[web]: message".
func summary(list []evidence.Finding, rule string) []string {
	var out []string
	for _, f := range list {
		if f.Rule != rule {
			continue
		}
		name := f.Target.Kind + "/" + f.Target.Name
		if f.Target.Container != "" {
			name += "[" + f.Target.Container + "]"
		}
		out = append(out, fmt.Sprintf("%s %s: %s", f.Outcome, name, f.Message))
	}
	return out
}

const weakDeployment = `---
# Source: templates/deployment.yaml:1
apiVersion: apps/v1
kind: Deployment
metadata: {name: api}
spec:
  replicas: 3
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      securityContext:
      containers:
        - name: api
          image: nginx:1
          resources: {limits: {cpu: 0.5, memory: 64Mi}, requests: {cpu: 1, memory: 128Mi}}
          livenessProbe: &p {httpGet: {path: /, port: 80}}
          readinessProbe: *p
          securityContext: {privileged: true, capabilities: {add: [SYS_ADMIN]}, seccompProfile: {type: Unconfined}, runAsUser: 0}
        - name: side
          image: x
          resources:
`

const weak = weakDeployment + `---
# Source: templates/hpa.yaml:1
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: api}
spec: {minReplicas: 1, maxReplicas: 1, behavior: {scaleDown: {stabilizationWindowSeconds: 0}}}
---
apiVersion: autoscaling.k8s.io/v1
kind: VerticalPodAutoscaler
metadata: {name: api}
spec: {updatePolicy: {updateMode: Off}, resourcePolicy: {containerPolicies: [{containerName: "*", minAllowed: {cpu: 1}}]}}
---
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata: {name: db}
spec: {refreshInterval: 0, refreshPolicy: OnChange}
`
