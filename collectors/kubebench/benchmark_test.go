package kubebench

import (
	"strings"
	"testing"
)

func TestChooseBenchmark(t *testing.T) {
	t.Parallel()
	tests := []struct{ platform, version, pinned, want, why string }{
		{"kubernetes", "v1.34.1", "", "cis-1.12", "kubernetes 1.34"},
		{"kubernetes", "v1.37.2", "", "cis-1.12", "newer than kube-bench 0.15 knows (1.34)"},
		{"kubernetes", "v1.31.0", "", "cis-1.11", ""},
		{"kubernetes", "v1.28.15", "", "cis-1.10", ""},
		{"kubernetes", "v1.15.0", "", "cis-1.5", ""},
		{"gke", "v1.33.4-gke.100", "", "gke-1.9.0", "gke 1.33"},
		{"gke", "v1.29.1-gke.5", "", "gke-1.6.0", ""},
		{"eks", "v1.32.3-eks-4096722", "", "eks-1.8.0", ""},
		{"aks", "v1.30.9", "", "aks-1.7", ""},
		{"aks", "v1.33.0", "", "aks-1.8", ""},
		{"openshift", "v1.30.4+6", "", "rh-1.8", "newer than kube-bench"},
		{"openshift", "v1.24.6", "", "rh-1.4", ""},
		{"rke2", "v1.31.4+rke2r1", "", "rke2-cis-1.8", ""},
		{"k3s", "v1.27.9+k3s1", "", "k3s-cis-1.9", ""},
		{"kubernetes", "unheard of", "cis-1.9", "cis-1.9", "pinned"},
	}
	for _, tt := range tests {
		got, why, err := chooseBenchmark(tt.platform, tt.version, tt.pinned)
		if err != nil || got != tt.want || !strings.Contains(why, tt.why) {
			t.Errorf("%s %s: %s (%s), %v; want %s (%s)", tt.platform, tt.version, got, why, err, tt.want, tt.why)
		}
	}
	for _, tt := range []struct{ platform, version, pinned, want string }{
		{"kubernetes", "v1.14.3", "", "none is known for kubernetes 1.14"},
		{"kubernetes", "", "", "is not understood; pin one with --benchmark"},
		{"nomad", "v1.34.0", "", `platform "nomad"`},
		{"kubernetes", "v1.34.0", "cis 1.12; reboot", "want a name like cis-1.12"},
	} {
		if got, _, err := chooseBenchmark(tt.platform, tt.version, tt.pinned); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%v: %q, %v", tt, got, err)
		}
	}
}

func TestTargets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ benchmark, want string }{
		{"rh-0.7", "master,node"}, {"gke-1.9.0", "controlplane,master,node"}, {"rh-1.8", "controlplane,etcd,master,node"},
	} {
		if got := strings.Join(targetsFor("control-plane,etcd", "kubernetes", tt.benchmark), ","); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.benchmark, got, tt.want)
		}
	}
	for _, tt := range []struct{ roles, platform, want string }{
		{"worker", "kubernetes", "node"},
		{"control-plane", "kubernetes", "controlplane,etcd,master,node"},
		{"control-plane,etcd", "rke2", "controlplane,etcd,master,node"},
		{"etcd", "kubernetes", "etcd,node"},
		{"control-plane", "gke", "node"},
		{"gpu", "eks", "node"},
	} {
		if got := strings.Join(targetsFor(tt.roles, tt.platform, "cis-1.12"), ","); got != tt.want {
			t.Errorf("%s on %s: %s, want %s", tt.roles, tt.platform, got, tt.want)
		}
	}
}

func TestCheckImage(t *testing.T) {
	t.Parallel()
	digest := "@sha256:" + strings.Repeat("0a", 32)
	for image, ok := range map[string]bool{
		"docker.io/aquasec/kube-bench" + digest: true, "registry:5000/a/b:v1" + digest: true, "": false, "docker.io/aquasec/kube-bench:v0.15.6": false,
		"kube-bench" + digest + "0": false, "kube-bench@sha256:0a": false, "kube bench" + digest: false, digest: false,
	} {
		if err := CheckImage(image); (err == nil) != ok {
			t.Errorf("%q: %v", image, err)
		}
	}
}
