package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// linked lists the packages that a program links, as make and the README build it.
func linked(t *testing.T, tags string) []string {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags="+tags, "./cmd/helmproof")
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	return strings.Fields(string(out))
}

// TestLinked holds what the program is compiled from, since the first command
// that anybody runs compiles all of it. Raise a limit when what is new is worth it.
func TestLinked(t *testing.T) {
	t.Parallel()
	// Helm's actions are 214 of them: informers and listers, which its waiting links by
	// way of controller-runtime, are 122, and its SQL storage 18. Kubernetes' own
	// validation of every kind, with the strategies of its API server, is 160, and 29
	// more are what a URL of a webhook is parsed beside.
	const limit, cloudLimit = 2165, 2590
	// The package that parses the URL of a webhook links the dialer of its client.
	const dialer = "k8s.io/apiserver/pkg/server/egressselector"
	cloud := []string{
		"cloud.google.com/go/storage", "cloud.google.com/go/kms", "google.golang.org/api", "github.com/googleapis/gax-go", "github.com/aws", "github.com/Azure/azure-sdk-for-go",
		"google.golang.org/grpc/xds", "github.com/envoyproxy/go-control-plane",
	}
	never := []struct {
		why  string
		what []string
	}{
		{"collectors/policy asks the API server's matcher and CEL, and decides itself", []string{
			"k8s.io/apiserver/pkg/admission/plugin/policy/validating", "k8s.io/apiserver/pkg/admission/plugin/policy/generic",
			"k8s.io/apiserver/pkg/server", "go.etcd.io/etcd",
		}},
		{"what is for tests", []string{"k8s.io/client-go/kubernetes/fake", "k8s.io/client-go/dynamic/fake", "pgregory.net/rapid", "github.com/fsouza/fake-gcs-server"}},
		{"internal/sqlite reads RPM's databases", []string{"modernc.org/sqlite", "modernc.org/libc", "github.com/google/osv-scalibr/extractor/filesystem/os/rpm"}},
		{"collectors/secrets runs gitleaks' rules itself", []string{"github.com/zricethezav/gitleaks/v8/detect", "github.com/zricethezav/gitleaks/v8/sources", "github.com/zricethezav/gitleaks/v8/report", "github.com/mholt/archives"}},
		{"collectors/internal/helmop upgrades and rolls back, and nothing of Helm's commands", []string{"helm.sh/helm/v4/pkg/cmd"}},
	}
	meets := func(list []string, root string) bool {
		return slices.ContainsFunc(list, func(p string) bool { return within(p, root) })
	}
	plain, all := linked(t, ""), linked(t, "cloud")
	for _, root := range cloud {
		if meets(plain, root) {
			t.Errorf("a build without the tag cloud links %s", root)
		}
		if !meets(all, root) {
			t.Errorf("a build with the tag cloud does not link %s: does the rule mean another?", root)
		}
	}
	for _, n := range never {
		for _, root := range n.what {
			for _, p := range all {
				if p == root || within(p, root) && !within(p, root+"/metadata") && !within(p, dialer) {
					t.Errorf("the program links %s: %s", p, n.why)
				}
			}
		}
	}
	if len(plain) > limit || len(all) > cloudLimit {
		t.Errorf("%d packages are linked, and %d with the tag cloud; at most %d and %d are meant to be", len(plain), len(all), limit, cloudLimit)
	}
}

// TestClusterVersions holds that the test cluster is built of the versions that the
// program is built of, so that what both link is compiled once.
func TestClusterVersions(t *testing.T) {
	t.Parallel()
	versions := func(file string) map[string]string {
		out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		var mod struct {
			Require []struct{ Path, Version string }
			Replace []struct {
				Old struct{ Path string }
				New struct{ Version string }
			}
		}
		if err := json.Unmarshal(out, &mod); err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, r := range mod.Require {
			m[r.Path] = r.Version
		}
		for _, r := range mod.Replace {
			if m[r.Old.Path] != "" {
				m[r.Old.Path] = r.New.Version
			}
		}
		return m
	}
	ours, same := versions("../go.mod"), 0
	for mod, v := range versions("cluster/go.mod") {
		// Helm wants an older one; Kubernetes is of one piece.
		if ours[mod] == "" || mod == "k8s.io/apiextensions-apiserver" {
			continue
		}
		same++
		if v != ours[mod] {
			t.Errorf("test/cluster/go.mod has %s %s, go.mod has %s: go get it in test/cluster", mod, v, ours[mod])
		}
	}
	if same < 100 {
		t.Errorf("only %d modules in common", same)
	}
}
