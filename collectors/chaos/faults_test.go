package chaos

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubectl/pkg/drain"
)

// TestDrainsOnly: a drain evicts what it was allowed to, and nothing that came since.
func TestDrainsOnly(t *testing.T) {
	filter := only([]string{"shop"})
	for _, tt := range []struct {
		namespace string
		phase     corev1.PodPhase
		evict     bool
		reason    string
	}{
		{"shop", corev1.PodRunning, true, drain.PodDeleteStatusTypeOkay},
		{"shop", corev1.PodPending, true, drain.PodDeleteStatusTypeOkay},
		{"shop", corev1.PodSucceeded, false, drain.PodDeleteStatusTypeSkip},
		{"other", corev1.PodRunning, false, drain.PodDeleteStatusTypeError},
		{"other", corev1.PodSucceeded, false, drain.PodDeleteStatusTypeSkip},
		{"other", corev1.PodFailed, false, drain.PodDeleteStatusTypeSkip},
	} {
		got := filter(corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: tt.namespace}, Status: corev1.PodStatus{Phase: tt.phase}})
		if got.Delete != tt.evict || got.Reason != tt.reason {
			t.Errorf("%s pod of %s: %+v", tt.phase, tt.namespace, got)
		}
	}
}
