package workload_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/workload"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

func sortBy[T any](less func(a, b T) bool) cmp.Option { return cmpopts.SortSlices(less) }

// TestSecretReferences is every place in a pod where a Secret can be named.
func TestSecretReferences(t *testing.T) {
	t.Parallel()
	manifests := docs(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  template:
    spec:
      imagePullSecrets: [{name: s-pull}]
      initContainers:
        - {name: init, image: x, env: [{name: A, valueFrom: {secretKeyRef: {name: s-init, key: k}}}]}
        - {name: sidecar, image: x, restartPolicy: Always, envFrom: [{secretRef: {name: s-sidecar}}]}
      containers:
        - name: app
          image: x
          env:
            - {name: B, valueFrom: {secretKeyRef: {name: s-env, key: k, optional: true}}}
            - {name: C, valueFrom: {configMapKeyRef: {name: config, key: k}}}
          envFrom: [{configMapRef: {name: config}}, {secretRef: {name: s-from}}]
      volumes:
        - {name: a, secret: {secretName: s-volume}}
        - {name: b, projected: {sources: [{configMap: {name: config}}, {secret: {name: s-projected}}]}}
        - {name: c, csi: {driver: d, nodePublishSecretRef: {name: s-csi}}}
        - {name: d, azureFile: {secretName: s-azure, shareName: x}}
        - {name: e, cephfs: {monitors: [m], secretRef: {name: s-ceph}}}
        - {name: f, iscsi: {targetPortal: p, iqn: q, lun: 0, secretRef: {name: s-iscsi}}}
        - {name: g, configMap: {name: config}}
`)
	got := map[string]string{}
	for _, f := range findings(t, manifests) {
		if f.Rule != workload.RuleSecret {
			continue
		}
		_, rest, _ := strings.Cut(f.Message, "Secret ")
		name, _, _ := strings.Cut(rest, ",")
		got[name] = f.Target.Container
		outcome := evidence.OutcomeFail
		if name == "s-env" {
			outcome = evidence.OutcomeWarn // optional
		}
		if f.Outcome != outcome || f.Target.File != "templates/0.yaml" {
			t.Errorf("%s: %s in %s", f.Message, f.Outcome, f.Target.File)
		}
	}
	want := map[string]string{
		"s-pull": "", "s-init": "init", "s-sidecar": "sidecar", "s-env": "app", "s-from": "app", "s-volume": "", "s-projected": "",
		"s-csi": "", "s-azure": "", "s-ceph": "", "s-iscsi": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("references by container (-want +got):\n%s", diff)
	}
}

// TestBroken: a document that cannot be read may be anything, so that no rule passes for the chart as a whole.
func TestBroken(t *testing.T) {
	t.Parallel()
	rules := map[string]bool{}
	for _, f := range findings(t, docs(pods("Deployment", "web", 2, "app: web", ""), "kind: [unclosed")) {
		if f.Outcome == evidence.OutcomeNotChecked && strings.Contains(f.Message, "no Kubernetes object: see CHT-3") {
			rules[f.Rule] = true
		}
	}
	for _, rule := range []string{workload.RulePDBSelects, workload.RulePDBAllows, workload.RuleReplicas, workload.RuleNetworkPolicy, workload.RuleConflict, workload.RuleSecret} {
		if !rules[rule] {
			t.Errorf("%s says nothing of the broken document", rule)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	manifests := docs(pods("Deployment", "web", 1, "app: web", ""), pods("StatefulSet", "db", 1, "app: db", ""))
	var got []evidence.Target
	for _, f := range findings(t, manifests) {
		if f.Rule == workload.RuleReplicas {
			got = append(got, f.Target)
			if p := f.Evidence[0]; p.Artifact != collectors.ManifestsFile || p.Lines == "" || p.Digest != evidence.DigestOf([]byte(manifests)) {
				t.Errorf("evidence %+v", p)
			}
		}
	}
	want := []evidence.Target{
		{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", File: "templates/0.yaml", Line: 1},
		{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", File: "templates/1.yaml", Line: 11},
	}
	if diff := cmp.Diff(want, got, sortBy(func(a, b evidence.Target) bool { return a.Name > b.Name })); diff != "" {
		t.Errorf("targets (-want +got):\n%s", diff)
	}
}

func TestMissingArtifacts(t *testing.T) {
	t.Parallel()
	for _, have := range []string{collectors.ManifestsFile, collectors.ReleaseFile} {
		art := collectors.NewArtifacts(nil)
		if _, err := art.Put(have, []byte("{}")); err != nil {
			t.Fatal(err)
		}
		if found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), workload.New()); err == nil {
			t.Errorf("with %s alone: %d findings and no error", have, len(found))
		}
	}
}

// FuzzFindings: whatever stands in the manifests, the rules answer the same
// twice, and every one of them.
func FuzzFindings(f *testing.F) {
	f.Add(docs(pods("Deployment", "web", 2, "app: web", ""), pdb("web", "maxUnavailable: 1, selector: {}"), externalSecret))
	f.Add(docs(hpa("a", "web", ""), vpa("b", "web", ""), netpol("n", "podSelector: {}")))
	f.Add("---\nkind: [")
	f.Fuzz(func(t *testing.T, manifests string) {
		first, err := collectors.Findings(seal(t, manifests), workload.New())
		if err != nil {
			return
		}
		again, err := collectors.Findings(seal(t, manifests), workload.New())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(first, again); diff != "" {
			t.Fatalf("not the same twice:\n%s", diff)
		}
		rules := map[string]bool{}
		for _, x := range first {
			rules[x.Rule] = true
			if err := x.Outcome.Validate(); err != nil {
				t.Fatal(err)
			}
		}
		if len(rules) != len(workload.New().Rules()) {
			t.Fatalf("findings of %v only", rules)
		}
	})
}

func BenchmarkFindings(b *testing.B) {
	var list []string
	for i := range 100 {
		name := fmt.Sprintf("w%d", i)
		list = append(list, pods("Deployment", name, 3, "app: "+name, ""), pdb(name, "maxUnavailable: 1, selector: {matchLabels: {app: "+name+"}}"),
			netpol(name, "podSelector: {matchLabels: {app: "+name+"}}"))
	}
	sealed := seal(b, docs(list...))
	if _, err := sealed.Objects(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := collectors.Findings(sealed, workload.New()); err != nil {
			b.Fatal(err)
		}
	}
}

// TestPure: Findings changes nothing of what it is given, and answers the same
// to callers at the same time.
func TestPure(t *testing.T) {
	t.Parallel()
	sealed := seal(t, docs(pods("Job", "once", -1, "app: web", "volumes: [{name: v}, {name: s, secret: {secretName: db-login}}]"), pods("Deployment", "web", 2, "app: web", ""),
		pdb("web", "minAvailable: 1, selector: {}"), netpol("web", "podSelector: {}"), hpa("web", "web", ""), vpa("web", "web", ""), externalSecret, "kind: [unclosed"))
	set, err := sealed.Objects()
	if err != nil {
		t.Fatal(err)
	}
	var before []map[string]any
	for i := range set.Objects {
		before = append(before, set.Objects[i].DeepCopy().Object)
	}
	want, err := collectors.Findings(sealed, workload.New())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			got, err := collectors.Findings(sealed, workload.New())
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("another answer (-first +later):\n%s", diff)
			}
		})
	}
	wg.Wait()
	for i := range set.Objects {
		if diff := cmp.Diff(before[i], set.Objects[i].Object); diff != "" {
			t.Errorf("Findings changed the manifests (-before +after):\n%s", diff)
		}
	}
}
