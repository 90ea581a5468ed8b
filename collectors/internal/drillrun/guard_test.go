package drillrun

import (
	"testing"
	"testing/synctest"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/companyos/helmproof/internal/cluster"
)

// TestLeaseKept: a Lease that was taken is renewed from then on, before the drill begins,
// until it is given up; nobody can take it over meanwhile.
func TestLeaseKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kube := fake.NewClientset()
		g, done, err := take(t.Context(), &cluster.Cluster{Kube: kube}, time.Now, func(string) {})
		if err != nil || len(done) > 0 {
			t.Fatal(done, err)
		}
		time.Sleep(2 * time.Minute)
		l, err := kube.CoordinationV1().Leases(Namespace).Get(t.Context(), LeaseName, metav1.GetOptions{})
		if err != nil || holderOf(l) != g.holder {
			t.Fatalf("%v, held by %q", err, holderOf(l))
		}
		if age := time.Since(l.Spec.RenewTime.Time); age > 2*renewEvery {
			t.Errorf("not renewed for %s", age)
		}
		if err := g.cleanRelease(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestPodsKept: what was touched is put back while the prober's pod, which holds what was
// measured, stays in the record.
func TestPodsKept(t *testing.T) {
	kube := fake.NewClientset()
	g := &guard{cluster: &cluster.Cluster{Kube: kube}, record: record{Holder: "a", Restore: Restore{Nodes: []string{"gone"}, Pods: []string{"shop/prober"}}}}
	if _, problems := g.restore(t.Context(), false); len(problems) > 0 || len(g.record.Nodes) > 0 || len(g.record.Pods) != 1 {
		t.Errorf("%v %+v", problems, g.record)
	}
	if _, problems := g.restore(t.Context(), true); len(problems) > 0 || !g.record.empty() {
		t.Errorf("%v %+v", problems, g.record)
	}
}
