package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/companyos/helmproof/test/kube"
)

// benchImage is what the Jobs run where nothing does: on simulated nodes.
const benchImage = "cluster.test/kube-bench@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// testCluster is the cluster of this test binary with clients for it.
type testCluster struct {
	*kube.Cluster
	config *rest.Config
	kube   kubernetes.Interface
}

func needCluster(t *testing.T, tier kube.Tier) *testCluster {
	t.Helper()
	c := &testCluster{Cluster: kube.Start(t, tier)}
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.config.QPS, c.config.Burst = 200, 400
	if c.kube, err = kubernetes.NewForConfig(c.config); err != nil {
		t.Fatal(err)
	}
	return c
}

var (
	buildOnce sync.Once
	errBuild  error
)

// helmproof builds the command once, into the folder that goes with the cluster.
func helmproof(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(kube.Start(t, kube.TierA).Dir, "helmproof")
	buildOnce.Do(func() {
		cmd := exec.Command("go", "build", "-o", bin, "../../cmd/helmproof")
		cmd.Stderr = os.Stderr
		errBuild = cmd.Run()
	})
	if errBuild != nil {
		t.Fatalf("build helmproof: %v", errBuild)
	}
	return bin
}

func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	kube.Eventually(t, limit, what, ok)
}
