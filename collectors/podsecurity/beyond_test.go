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
