package podsecurity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors/podsecurity"
	"github.com/companyos/helmproof/evidence"
)

// of returns the findings of one rule, as text.
func of(t *testing.T, rule, manifests string) []string {
	t.Helper()
	var out []string
	for _, f := range findings(t, "1.30", []byte("---\n# Source: a.yaml:1\n"+manifests)) {
		if f.Rule != rule {
			continue
		}
		out = append(out, string(f.Outcome)+" "+f.Target.Object()+": "+f.Message)
		if f.Outcome == evidence.OutcomeFail && (f.Remediation == "" || len(f.Evidence) == 0) {
			t.Errorf("without remediation or evidence: %+v", f)
		}
	}
	return out
}

func TestNodePathByVolume(t *testing.T) {
	t.Parallel()
	for spec, want := range map[string]string{
		"hostPath: {path: /}":                           "fail PersistentVolume v: spec.hostPath is the node's own path /, which a pod reaches by a claim",
		"hostPath: {path: /var/run, type: Directory}":   "fail PersistentVolume v: spec.hostPath is the node's own path /var/run",
		"local: {path: /etc}":                           "fail PersistentVolume v: spec.local is the node's own path /etc",
		"csi: {driver: hostpath.csi.k8s.io}":            "fail PersistentVolume v: spec.csi of driver hostpath.csi.k8s.io is a directory of the node",
		"hostPath: text":                                "fail PersistentVolume v: spec.hostPath is the node's own path",
		"csi: {driver: d, volumeHandle: h}":             "",
		"nfs: {server: s, path: /}":                     "",
		"hostPath: , csi: {driver: d, volumeHandle: h}": "",
	} {
		got := of(t, podsecurity.RuleNodePath, "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: v}\nspec: {"+spec+"}")
		if want == "" && len(got) > 0 || want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], want)) {
			t.Errorf("%s: %q, want %q", spec, got, want)
		}
	}
}

func TestNodePathByClass(t *testing.T) {
	t.Parallel()
	for class, want := range map[string]string{
		"provisioner: rancher.io/local-path":                                      "warn StorageClass s: provisioner rancher.io/local-path gives directories of the node, which pods reach by claims",
		"provisioner: rancher.io/local-path, parameters: {nodePath: /etc}":        "fail StorageClass s: provisioner rancher.io/local-path gives directories of the node, at what parameters.nodePath says, which pods reach by claims",
		"provisioner: rancher.io/local-path, parameters: {pathPattern: '../etc'}": "fail StorageClass s: provisioner rancher.io/local-path gives directories of the node, at what parameters.pathPattern says, which pods reach by claims",
		"provisioner: ebs.csi.aws.com, parameters: {type: gp3}":                   "",
		"provisioner: nfs.csi.k8s.io, parameters: {path: /x}":                     "",
		"provisioner: kubernetes.io/no-provisioner":                               "",
	} {
		got := strings.Join(of(t, podsecurity.RuleNodePath, "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: s}\n"+strings.NewReplacer(", parameters", "\nparameters").Replace(class)), "\n")
		if got != want {
			t.Errorf("%s: %q, want %q", class, got, want)
		}
	}
	openEBS := "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: s, annotations: {cas.openebs.io/config: \"- name: BasePath\\n  value: /etc\"}}\nprovisioner: openebs.io/local"
	if got := of(t, podsecurity.RuleNodePath, openEBS); len(got) != 1 || !strings.Contains(got[0], "at what cas.openebs.io/config says") {
		t.Errorf("OpenEBS: %q", got)
	}
}

func TestNamespaceEnforcesLess(t *testing.T) {
	t.Parallel()
	const label = "pod-security.kubernetes.io/enforce: "
	for labels, want := range map[string]string{
		label + "privileged":                        "fail Namespace apps: label " + label + "privileged lets all pods in",
		label + "baseline":                          "warn Namespace apps: label " + label + "baseline lets pods in that restricted refuses",
		label + "none":                              "warn Namespace apps: label " + label + "none is no level of the Pod Security Standards",
		label + "restricted":                        "",
		"pod-security.kubernetes.io/warn: baseline": "",
		"": "",
	} {
		if got := strings.Join(of(t, podsecurity.RuleNamespace, "apiVersion: v1\nkind: Namespace\nmetadata: {name: apps, labels: {"+labels+"}}"), "\n"); got != want {
			t.Errorf("%s: %q, want %q", labels, got, want)
		}
	}
}

func TestPoliciesOutOfForce(t *testing.T) {
	t.Parallel()
	for object, want := range map[string]string{
		"ValidatingAdmissionPolicyBinding x {policyName: helmproof-seccomp, validationActions: [Audit]}":       "warn ValidatingAdmissionPolicyBinding x: binds policy helmproof-seccomp without Deny: what breaks it is let in",
		"ValidatingAdmissionPolicyBinding helmproof-seccomp {policyName: other, validationActions: [Audit]}":   "warn ValidatingAdmissionPolicyBinding helmproof-seccomp: binds policy other without Deny: what breaks it is let in",
		"ValidatingAdmissionPolicyBinding x {policyName: helmproof-seccomp, validationActions: [Deny, Audit]}": "",
		"ValidatingAdmissionPolicyBinding x {policyName: other, validationActions: [Audit]}":                   "",
		"ValidatingAdmissionPolicy helmproof-seccomp {validations: []}":                                        "warn ValidatingAdmissionPolicy helmproof-seccomp: has the name of a policy of helmproof and validates nothing",
		"ValidatingAdmissionPolicy helmproof-seccomp {failurePolicy: Ignore, validations: [{expression: x}]}":  "warn ValidatingAdmissionPolicy helmproof-seccomp: has the name of a policy of helmproof and lets in what it cannot evaluate (failurePolicy Ignore)",
		"ValidatingAdmissionPolicy helmproof-seccomp {failurePolicy: Fail, validations: [{expression: x}]}":    "",
		"ValidatingAdmissionPolicy other {failurePolicy: Ignore, validations: []}":                             "",
		"MutatingWebhookConfiguration helmproof-seccomp {}":                                                    "warn MutatingWebhookConfiguration helmproof-seccomp: has a name as the policies of helmproof have, and is none of them",
		"MutatingWebhookConfiguration other {}":                                                                "",
	} {
		part := strings.SplitN(object, " ", 3)
		text := fmt.Sprintf("apiVersion: admissionregistration.k8s.io/v1\nkind: %s\nmetadata: {name: %s}\nspec: %s", part[0], part[1], part[2])
		if got := strings.Join(of(t, podsecurity.RulePolicies, text), "\n"); got != want {
			t.Errorf("%s: %q, want %q", object, got, want)
		}
	}
}

// TestMetadataService: every spelling of an address is the address, wherever the
// kubelet is told to go or to run something.
func TestMetadataService(t *testing.T) {
	t.Parallel()
	for where, handler := range map[string]string{
		"livenessProbe":       "livenessProbe: {httpGet: {host: '%s', port: 80}}",
		"readinessProbe":      "readinessProbe: {tcpSocket: {host: '%s', port: 80}}",
		"startupProbe":        "startupProbe: {exec: {command: [sh, -c, 'curl -s http://%s/latest/meta-data/']}}",
		"lifecycle.postStart": "lifecycle: {postStart: {exec: {command: [wget, 'http://user@%s:80/']}}}",
		"lifecycle.preStop":   "lifecycle: {preStop: {httpGet: {host: '%s', port: 80}}}",
	} {
		for _, host := range []string{"169.254.169.254", "metadata.google.internal", "0xA9FEA9FE"} {
			for _, list := range []string{"containers", "initContainers"} {
				pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {%s: [{name: c, image: i, %s}]}", list, fmt.Sprintf(handler, host))
				want := `fail Pod p container "c": ` + where + " names " + host
				if got := of(t, podsecurity.RuleMetadata, pod); len(got) != 1 || !strings.HasPrefix(got[0], strings.Replace(want, ` container "c"`, "", 1)) && !strings.HasPrefix(got[0], want) {
					t.Errorf("%s of %s at %s: %q", where, list, host, got)
				}
			}
		}
	}
	for command, found := range map[string]bool{
		"curl http://169.254.169.254/":                          true,
		"curl 169.254.169.254:80":                               true,
		"curl http://2852039166/":                               true,
		"curl http://0xa9fea9fe/":                               true,
		"curl http://0xA9.0xFE.0xA9.0xFE/":                      true,
		"curl http://0251.0376.0251.0376/":                      true,
		"curl http://169.254.43518/":                            true,
		"curl http://169.16689662/":                             true,
		"curl http://169.254.169.254./":                         true,
		"curl http://[fd00:ec2::254]/":                          true,
		"curl http://[FD00:0EC2:0:0::0254]:80/":                 true,
		"curl http://[::ffff:169.254.169.254]/":                 true,
		"curl http://[::ffff:a9fe:a9fe]/":                       true,
		"curl http://169%2e254%2e169%2e254/":                    true,
		"curl http://169.254.169'.254'/":                        true,
		`curl http://169.254.169\.254/`:                         true,
		"curl --resolve x:80:169.254.169.254 http://x/":         true,
		"curl http://169.254.169.254.nip.io/":                   true,
		"curl http://a.169-254-169-254.sslip.io/":               true,
		"curl http://Metadata.Google.Internal./computeMetadata": true,
		"curl http://metadata.goog/":                            true,
		"curl http://168.63.129.16/machine":                     true,
		"curl http://100.100.100.200/latest/meta-data":          true,
		"curl http://169.254.170.2/v2/credentials":              true,
		"curl http://192.0.0.192/":                              true,
		"curl http://127.0.0.1:8080/metadata":                   false,
		"curl http://10.0.0.1/":                                 false,
		"curl http://169.254.169.253/":                          false, "chronyc -h 169.254.169.123": false,
		"curl http://169.254.20.10/health": false,
		"curl http://metadata/":            false,
		"grep -c 169 /proc/254":            false,
		"sleep 2852039165":                 false,
		"test 1.169.254.169 = 2":           false,
		"curl http://[fd00:ec3::254]/":     false,
	} {
		pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: i, lifecycle: {preStop: {exec: {command: [sh, -c, \"" + strings.ReplaceAll(command, `\`, `\\`) + "\"]}}}}]}"
		if got := of(t, podsecurity.RuleMetadata, pod); (len(got) == 1) != found {
			t.Errorf("%s: %q", command, got)
		}
	}
}
