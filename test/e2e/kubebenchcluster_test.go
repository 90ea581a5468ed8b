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
)

// benchImage is what the Jobs run; on simulated nodes nothing does.
const benchImage = "cluster.test/kube-bench@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

const (
	tierControllers = "b"
	tierNodes       = "c"
)

type testCluster struct {
	config     *rest.Config
	kube       kubernetes.Interface
	kubeconfig string
}

func needCluster(t *testing.T, tier string) *testCluster {
	t.Helper()
	c := &testCluster{kubeconfig: os.Getenv("HELMPROOF_TEST_KUBECONFIG")}
	if reached := os.Getenv("HELMPROOF_TEST_TIER"); c.kubeconfig == "" || reached < tier {
		t.Skipf("no cluster of tier %s (%q was reached) %s", tier, reached, os.Getenv("HELMPROOF_TEST_SKIP"))
	}
	var err error
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.kubeconfig); err != nil {
		t.Fatal(err)
	}
	c.config.QPS, c.config.Burst = 200, 400
	if c.kube, err = kubernetes.NewForConfig(c.config); err != nil {
		t.Fatal(err)
	}
	return c
}

var builtHelmproof = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "helmproof-e2e-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "helmproof")
	cmd := exec.Command("go", "build", "-o", bin, "../../cmd/helmproof")
	cmd.Stderr = os.Stderr
	return bin, cmd.Run()
})

func helmproof(t *testing.T) string {
	t.Helper()
	bin, err := builtHelmproof()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// eventually waits until ok.
func eventually(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", limit, what)
		}
	}
}
