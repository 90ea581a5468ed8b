package e2e

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/apicases"
	"github.com/companyos/helmproof/test/kube"
)

// apiExceptions are cases that CHT-3 and the API server judge differently, with the reason.
var apiExceptions = map[string]string{}

// TestAPICases asks a real API server to create objects of every kind, right ones and
// wrong ones, without keeping them, and holds CHT-3 to its answer.
func TestAPICases(t *testing.T) {
	t.Parallel()
	c := kube.Start(t, kube.TierA)
	cases, err := apicases.All()
	if err != nil {
		t.Fatal(err)
	}
	namespace(t, c, "elsewhere", "privileged")
	c.Apply(t, string(apicases.CRDs()))
	access, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	access.QPS = -1
	access.WarningHandler = rest.NoWarnings{}
	client := dynamic.NewForConfigOrDie(access)
	resources := discovery.NewDiscoveryClientForConfigOrDie(access)
	var groups []*restmapper.APIGroupResources
	kube.Eventually(t, 30*time.Second, "the custom kinds", func() bool {
		groups, err = restmapper.GetAPIGroupResources(resources)
		return err == nil && slices.ContainsFunc(groups, func(g *restmapper.APIGroupResources) bool {
			whole := 0 // subresources are none
			for _, r := range g.VersionedResources["v1"] {
				if !strings.Contains(r.Name, "/") {
					whole++
				}
			}
			return g.Group.Name == "cases.example.com" && whole >= 2
		})
	})
	mapper := restmapper.NewDiscoveryRESTMapper(groups)

	var mu sync.Mutex
	type count struct{ agree, all int }
	byKind, excepted := map[string]*count{}, map[string]bool{}
	var g errgroup.Group
	g.SetLimit(4)
	for _, a := range cases {
		g.Go(func() error {
			refused := createDry(t, client, mapper, a)
			said := checkManifest(t, a)
			mu.Lock()
			defer mu.Unlock()
			n := byKind[a.Kind]
			if n == nil {
				n = &count{}
				byKind[a.Kind] = n
			}
			n.all++
			switch {
			case (refused == nil) == (said == ""):
				n.agree++
				if a.Right != (refused == nil) {
					t.Errorf("%s: the case says right is %t, the API server: %v", a.Name, a.Right, refused)
				}
			case apiExceptions[a.Name] != "":
				excepted[a.Name] = true
			default:
				t.Errorf("%s:\n\tAPI server: %v\n\tCHT-3: %s", a.Name, refused, said)
			}
			return nil
		})
	}
	_ = g.Wait() // the functions return no error
	kinds := 0
	for kind, n := range byKind {
		kinds++
		t.Logf("%-60s %d of %d agree", kind, n.agree, n.all)
	}
	t.Logf("%d objects of %d kinds", len(cases), kinds)
	for name := range apiExceptions {
		if !excepted[name] {
			t.Errorf("an exception that is none: %s", name)
		}
	}
}

// createDry returns why the API server refuses an object; nil where it does not.
func createDry(t *testing.T, client dynamic.Interface, mapper meta.RESTMapper, a apicases.Case) error {
	u := &unstructured.Unstructured{Object: a.Object}
	gvk := u.GroupVersionKind()
	m, err := mapper.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return err // no matches for kind
	}
	options := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}, FieldValidation: metav1.FieldValidationStrict}
	var r dynamic.ResourceInterface = client.Resource(m.Resource)
	if m.Scope.Name() == "namespace" {
		r = client.Resource(m.Resource).Namespace(u.GetNamespace())
	}
	_, err = r.Create(t.Context(), u, options)
	if err != nil && !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
		t.Logf("%s: refused, but not by validation: %v", a.Name, err)
	}
	return err
}

// checkManifest returns what CHT-3 finds wrong with an object.
func checkManifest(t *testing.T, a apicases.Case) string {
	raw, err := json.Marshal(a.Object)
	if err != nil {
		t.Error(err)
		return ""
	}
	if strings.Contains(a.Kind, "cases.example.com") {
		raw = bytes.Join([][]byte{apicases.CRDs(), raw}, []byte("\n---\n"))
	}
	file := filepath.Join(t.TempDir(), "object.yaml")
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Error(err)
		return ""
	}
	rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{})
	if err != nil {
		return err.Error()
	}
	defer func() {
		if err := rel.Close(); err != nil {
			t.Error(err)
		}
	}()
	art := collectors.NewArtifacts(nil)
	for name, v := range map[string]any{collectors.ReleaseFile: rel.Info, collectors.ChartFile: rel.Record} {
		raw, err := json.Marshal(v)
		if err == nil {
			_, err = art.Put(name, raw)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := art.Put(collectors.ManifestsFile, rel.Manifests); err != nil {
		t.Error(err)
	}
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), helm.New(helm.Options{}))
	if err != nil {
		t.Error(err)
	}
	var out []string
	for _, f := range found {
		switch f.Rule {
		case helm.RuleParse, helm.RuleSchema, helm.RuleCRD:
			// What the API server creates, and Helm cannot apply, is only warned of.
			onlyApplied := f.Outcome == evidence.OutcomeWarn && strings.HasPrefix(f.Message, "the API server creates it, but server-side apply")
			if f.Outcome != evidence.OutcomePass && f.Outcome != evidence.OutcomeNotApplicable && !onlyApplied {
				out = append(out, string(f.Outcome)+": "+f.Message)
			}
		}
	}
	return strings.Join(out, "; ")
}
