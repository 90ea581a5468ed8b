package podsecurity_test

import (
	"fmt"
	"testing"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

// TestDeclared holds that the reason of an agent of the nodes goes with the node's
// network and with paths in which the node is observed, and with nothing else, and that
// SEC-1 fails all the same.
func TestDeclared(t *testing.T) {
	t.Parallel()
	const reason = "it exports what the kernel counts"
	const apps = "apps/v1"
	// The pod is restricted but for what the case adds.
	pod := func(spec, container string) string {
		return "{securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}, " + spec +
			"containers: [{name: c, image: i, " + container + "securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}]}"
	}
	path := func(path, more, mount string) string {
		return pod("volumes: [{name: v, hostPath: {path: "+path+more+"}}, {name: t, emptyDir: {}}], ", "volumeMounts: [{name: v, mountPath: /v"+mount+"}, {name: t, mountPath: /t}], ")
	}
	const ro = ", readOnly: true"
	for _, tt := range []struct {
		name, version, kind, pod, reason string
		fails, declared                  int
	}{
		{"a path", apps, "DaemonSet", path("/proc", "", ro), " " + reason + " ", 2, 2},
		{"a directory", apps, "DaemonSet", path("/var/log", ", type: Directory", ro), reason, 2, 2},
		{"a file", apps, "DaemonSet", path("/etc/machine-id", ", type: File", ro), reason, 2, 2},
		{"network", apps, "DaemonSet", pod("hostNetwork: true, ", ""), reason, 1, 1},
		{"no reason", apps, "DaemonSet", path("/proc", "", ro), "", 2, 0},
		{"hardly a reason", apps, "DaemonSet", path("/proc", "", ro), "metrics", 2, 0},
		{"no agent", apps, "Deployment", path("/proc", "", ro), reason, 2, 0},
		{"on the network, no agent", apps, "StatefulSet", pod("hostNetwork: true, ", ""), reason, 1, 0},
		{"to be written", apps, "DaemonSet", path("/proc", "", ""), reason, 2, 0},
		{"a part", apps, "DaemonSet", path("/proc", "", ro+", subPath: 1/root"), reason, 2, 0},
		{"a part by variables", apps, "DaemonSet", path("/proc", "", ro+", subPathExpr: $(A)"), reason, 2, 0},
		{"the root", apps, "DaemonSet", path("/", "", ro), reason, 2, 0},
		{"the root by a link", apps, "DaemonSet", path("/proc/1/root", "", ro), reason, 2, 0},
		{"the root by dots", apps, "DaemonSet", path("/proc/..", "", ro), reason, 2, 0},
		{"a slash more", apps, "DaemonSet", path("/proc/", "", ro), reason, 2, 0},
		{"the kubelet", apps, "DaemonSet", path("/var/lib/kubelet", "", ro), reason, 2, 0},
		{"sockets", apps, "DaemonSet", path("/run", "", ro), reason, 2, 0},
		{"a socket", apps, "DaemonSet", path("/var/log", ", type: Socket", ro), reason, 2, 0},
		{"a path that is made", apps, "DaemonSet", path("/var/log", ", type: DirectoryOrCreate", ro), reason, 2, 0},
		{"processes", apps, "DaemonSet", pod("hostNetwork: true, hostPID: true, ", ""), reason, 1, 0},
		{"memory", apps, "DaemonSet", pod("hostIPC: true, ", ""), reason, 1, 0},
		{"a port of the node", apps, "DaemonSet", pod("", "ports: [{containerPort: 80, hostPort: 80}], "), reason, 1, 0},
		{"privileged too", apps, "DaemonSet", pod("hostNetwork: true, initContainers: [{name: i, image: i, securityContext: {privileged: true, capabilities: {drop: [ALL]}}}], ", ""), reason, 3, 1},
		{"written by another container", apps, "DaemonSet", pod("volumes: [{name: v, hostPath: {path: /proc}}], initContainers: [{name: i, image: i, volumeMounts: [{name: v, mountPath: /v}], securityContext: {allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}}], ", "volumeMounts: [{name: v, mountPath: /v, readOnly: true}], "), reason, 2, 0},
		{"another path too", apps, "DaemonSet", pod("volumes: [{name: v, hostPath: {path: /proc}}, {name: w, hostPath: {path: /etc}}], ", ""), reason, 2, 0},
		{"a volume of another kind", apps, "DaemonSet", pod("volumes: [{name: v, hostPath: {path: /proc}}, {name: w, nfs: {server: s, path: /p}}], ", ""), reason, 2, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			fails, declared := 0, 0
			for _, f := range findings(t, "1.37", fmt.Appendf(nil, "---\n# Source: a.yaml:1\napiVersion: %s\nkind: %s\nmetadata: {name: x, annotations: {%sSEC-1: '%s'}}\nspec: {template: {spec: %s}}\n", tt.version, tt.kind, manifest.DeclaredAnnotation, tt.reason, tt.pod)) {
				if f.Outcome != evidence.OutcomeFail {
					t.Errorf("%s %s", f.Outcome, f.Message)
					continue
				}
				fails++
				if f.Declared == reason {
					declared++
				} else if f.Declared != "" {
					t.Errorf("declared as %q", f.Declared)
				}
			}
			if fails != tt.fails || declared != tt.declared {
				t.Errorf("%d fail and %d are declared, want %d and %d", fails, declared, tt.fails, tt.declared)
			}
		})
	}
}
