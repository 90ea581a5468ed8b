package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/images"
	"github.com/companyos/helmproof/collectors/images/scan"
	"github.com/companyos/helmproof/collectors/images/trivy"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/internal/cluster"
	"github.com/companyos/helmproof/templates/rbac"
	"github.com/companyos/helmproof/test/kube"
)

// fakeTrivy stands in for Trivy: it prints a report about the image that it is
// given, or behaves as the image's name says.
const fakeTrivy = `#!/bin/sh
if [ "$1" = version ]; then
  echo '{"Version":"0.65.0","VulnerabilityDB":{"UpdatedAt":"%s"}}'
  exit
fi
for last; do :; done
case "$last" in
  */hangs@*) exec sleep 3600 ;;
  */fails@*) echo "INFO nothing" >&2; echo "FATAL unable to find the image" >&2; exit 1 ;;
  */noise@*) exec head -c 14000000 /dev/urandom ;;
esac
printf '{"SchemaVersion":2,"CreatedAt":"%s","ArtifactName":"x","ArtifactType":"container_image","Trivy":{"Version":"0.65.0"},"Metadata":{"OS":{"Family":"debian","Name":"12"},"RepoDigests":["x@%%s"],"ImageConfig":{"os":"linux","architecture":"amd64"}},' "${last##*@}"
echo '"Results":[{"Target":"x","Class":"os-pkgs","Type":"debian","Vulnerabilities":[{"VulnerabilityID":"CVE-2026-1","PkgName":"libssl3","InstalledVersion":"3.0.15","FixedVersion":"3.0.16","Severity":"CRITICAL","SeveritySource":"debian"}]}]}'
`

// trivyImage puts the image with fakeTrivy on both real nodes.
func trivyImage(t *testing.T, c *testCluster) string {
	t.Helper()
	box := c.Busybox()
	if box == "" {
		t.Skip("no static busybox to build an image with: `make kube` fetches it from the package busybox-static")
	}
	at := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	archive, digest := image(t, box, map[string][]byte{"usr/local/bin/trivy": fmt.Appendf(nil, fakeTrivy, at, at)})
	ref := "cluster.test/trivy@sha256:" + digest
	for _, name := range []string{"a", "b"} {
		socket := filepath.Join(c.Dir, "node-"+name, "containerd.sock")
		for _, args := range [][]string{{"import", archive}, {"tag", "--force", imageTag, ref}} {
			out, err := exec.CommandContext(t.Context(), "ctr", append([]string{"-a", socket, "-n", "k8s.io", "images"}, args...)...).CombinedOutput()
			if err != nil {
				t.Fatalf("ctr %v: %v: %s", args, err, out)
			}
		}
	}
	return ref
}

// TestTrivyJob scans images in Jobs on real kubelets, as the ServiceAccount of
// templates/rbac, in a namespace that enforces restricted.
func TestTrivyJob(t *testing.T) {
	c := needCluster(t, kube.TierC)
	image := trivyImage(t, c)
	apply(t, c, rbac.Trivy)
	proxy := newProxy(t, c.config)
	left := func() {
		t.Helper()
		list, err := c.kube.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=helmproof,app.kubernetes.io/component=trivy"})
		if err != nil || len(list.Items) > 0 {
			t.Errorf("left: %d namespaces, %v", len(list.Items), err)
		}
	}
	scanner := func(t *testing.T, account string, timeout time.Duration) *trivy.Job {
		t.Helper()
		cluster, err := cluster.ConnectConfig(t.Context(), proxy.as(token(t, c, "helmproof", account)))
		if err != nil {
			t.Fatal(err)
		}
		return trivy.NewJob(trivy.JobOptions{Kube: cluster.Kube, Image: image, Timeout: timeout, Now: time.Now, Warn: func(s string) { t.Errorf("warning: %s", s) }})
	}
	ref := func(name string, n byte) string {
		return "registry.test/" + name + "@sha256:" + strings.Repeat(string(n), 64)
	}

	t.Run("results", func(t *testing.T) {
		begun := time.Now()
		manifests := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: a, image: \"" + ref("one", 'a') + "\"}, {name: b, image: \"" + ref("two", 'b') + "\"}, {name: c, image: \"" + ref("fails", 'c') + "\"}]}\n"
		file := filepath.Join(t.TempDir(), "pod.yaml")
		if err := os.WriteFile(file, []byte(manifests), 0o600); err != nil {
			t.Fatal(err)
		}
		rel, err := chart.LoadManifests(t.Context(), file, chart.LoadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		policy := images.DefaultPolicy()
		policy.Controls = slices.Concat(config.RuleControls().Of(images.RuleScanned), config.RuleControls().Of(images.RuleScanFresh))
		o := images.Options{Policy: policy}
		if o.Gathered, err = images.Gather(t.Context(), images.Sources{Scanners: []scan.Scanner{scanner(t, "helmproof-trivy", 2*time.Minute)}, Platforms: policy.Platforms, Now: time.Now}); err != nil {
			t.Fatal(err)
		}
		defer o.Gathered.Close() //nolint:errcheck // a folder of this test
		counts, err := o.Gathered.Prepare(t.Context(), rel.Info.Images, nil)
		if err != nil || counts.Scanned != 2 || counts.Failed != 1 {
			t.Fatalf("%+v, %v", counts, err)
		}
		t.Logf("%d images in %s", counts.Images, time.Since(begun).Round(100*time.Millisecond))
		col, err := images.New(o)
		if err != nil {
			t.Fatal(err)
		}
		art := collectors.NewArtifacts(nil)
		info, err := json.Marshal(rel.Info)
		if err != nil {
			t.Fatal(err)
		}
		for name, raw := range map[string][]byte{collectors.ReleaseFile: info, collectors.ManifestsFile: rel.Manifests} {
			if _, err := art.Put(name, raw); err != nil {
				t.Fatal(err)
			}
		}
		if err := col.Collect(t.Context(), collectors.Input{Release: rel, Now: time.Now}, imageFolder{art}); err != nil {
			t.Fatal(err)
		}
		found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), col)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range found {
			if f.Rule == images.RuleScanned || strings.HasPrefix(f.Rule, images.RuleVulnerability) {
				got = append(got, fmt.Sprintf("%s %s: %s", f.Target.Name[:len("registry.test/two@")], f.Outcome, f.Message))
			}
		}
		slices.Sort(got)
		const flaw = "CVE-2026-1 (critical by debian): libssl3 3.0.15, fixed in 3.0.16; found by trivy"
		want := []string{
			"registry.test/fail not-checked: no scan report names its digest: the scan by trivy-job failed: trivy ended with exit code 1: FATAL unable to find the image",
			"registry.test/one@ fail: " + flaw, "registry.test/one@ pass: scanned by trivy 0.65.0: 1 reported (1 critical)",
			"registry.test/two@ fail: " + flaw, "registry.test/two@ pass: scanned by trivy 0.65.0: 1 reported (1 critical)",
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		left()
	})
	t.Run("no result", func(t *testing.T) {
		var got []string
		err := scanner(t, "helmproof-trivy", 20*time.Second).Scan(t.Context(), []scan.Target{{Reference: ref("hangs", 'a'), Platform: "linux/amd64"}, {Reference: ref("noise", 'b'), Platform: "linux/amd64"}}, func(_ int, r scan.Result) {
			got = append(got, fmt.Sprint(r.Err))
		})
		slices.Sort(got)
		// A kubelet that has already rotated the log gives its end, one that has not gives all of it: neither is whole.
		if err != nil || len(got) != 2 || !strings.HasPrefix(got[0], "no result within the Job's deadline") ||
			!strings.HasPrefix(got[1], "read what the program printed: too long") && !strings.HasPrefix(got[1], "read what the program printed: the log is not whole: it begins in the middle") {
			t.Errorf("%q, %v", got, err)
		}
		left()
	})
	t.Run("without rights", func(t *testing.T) {
		_, err := c.kube.CoreV1().ServiceAccounts("helmproof").Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "no-trivy"}}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		cluster, err := cluster.ConnectConfig(t.Context(), proxy.as(token(t, c, "helmproof", "no-trivy")))
		if err == nil {
			err = trivy.NewJob(trivy.JobOptions{Kube: cluster.Kube, Image: image, Timeout: time.Minute, Now: time.Now}).
				Scan(t.Context(), []scan.Target{{Reference: ref("one", 'a'), Platform: "linux/amd64"}}, func(int, scan.Result) { t.Error("a result") })
		}
		if !apierrors.IsForbidden(err) {
			t.Errorf("%v", err)
		}
		left()
	})
}

type imageFolder struct{ a *collectors.Artifacts }

func (f imageFolder) Write(name string, content []byte) error {
	_, err := f.a.Put("artifacts/"+images.Name+"/"+name, content)
	return err
}
