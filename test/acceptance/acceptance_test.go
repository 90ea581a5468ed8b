// Package acceptance is the run that `make acceptance` does: a release is
// hardened, disturbed and proven on a real cluster with real controllers.
package acceptance

import (
	"os"
	"strings"
	"testing"

	"github.com/companyos/helmproof/test/kube"
)

func TestMain(m *testing.M) {
	if os.Getenv("HELMPROOF_ACCEPTANCE") == "" {
		os.Exit(0) // `make acceptance` runs it
	}
	kube.Main(m, kube.TierC)
}

func TestAcceptance(t *testing.T) {
	c := kube.Start(t, kube.TierC)
	for _, k := range controllers {
		k.install(t, c)
	}
	for _, k := range controllers {
		ns, name, _ := strings.Cut(k.deploy, "/")
		if out, err := c.TryKubectl(t.Context(), "", "-n", ns, "rollout", "status", "--timeout=150s", "deployment/"+name); err != nil {
			logs, _ := c.TryKubectl(t.Context(), "", "-n", ns, "describe", "pods")
			more, _ := c.TryKubectl(t.Context(), "", "-n", ns, "logs", "deployment/"+name, "--tail=30")
			t.Errorf("%s: %v\n%s\n%s\n%s", k.name, err, out, logs, more)
		}
	}
	t.Log(c.Kubectl(t, "top", "nodes"))
}
