package platform

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const (
	storeText    = "name: s, kind: ClusterSecretStore, namespaces: [apps], serviceAccount: {name: a, namespace: b}"
	gcpText      = "gcp: {projectID: p, clusterLocation: l, clusterName: c}"
	signedText   = "imageSignatures: {enabled: true, images: ['r.example.com/**'], authorities: [{name: a, "
	keylessStart = signedText + "keyless: {issuer: 'https://issuer.example.com', "
)

// TestRefused holds that what is insecure does not render, and that the message says why.
func TestRefused(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, values, says string }{
		{"privileged without a reason", "podSecurity: {enforce: privileged}", "pods there could take over their node"},
		{"baseline of one namespace", "namespaces: [{name: a, podSecurity: {enforce: baseline, reason: short}}]", "say why in namespaces[0].podSecurity.reason"},
		{"unknown level", "podSecurity: {enforce: none}", "must be one of 'privileged', 'baseline', 'restricted'"},
		{"latest standard", "podSecurity: {version: latest}", "could refuse pods that ran before"},
		{"level by label", "namespaces: [{name: a, labels: {pod-security.kubernetes.io/enforce: privileged}}]", "what is enforced is not set by a label"},
		{"no namespace", "namespaces: []", "nothing would be enforced anywhere"},
		{"kube-system", "namespaces: [{name: kube-system}]", "the cluster's own namespaces"},
		{"a namespace twice", "namespaces: [{name: a}, {name: a}]", "name a stands twice"},
		{"no default deny", "networkPolicy: {defaultDeny: false}", "every pod could be reached from every other"},
		{"no default deny of one namespace", "namespaces: [{name: a}, {name: b, networkPolicy: {defaultDeny: false}}]", "namespaces[1].networkPolicy.defaultDeny is false: every pod could be reached from every other. Leave it true; if that cannot be, say why in namespaces[1].networkPolicy.reason"},
		{"DNS range", "networkPolicy: {dns: {cidrs: [0.0.0.0/0]}}", "/networkPolicy/dns/cidrs/0"},
		{"policies off", "policies: {enabled: false}", "nothing would refuse an insecure object"},
		{"no policies bound", "policies: {validationActions: []}", "no policy would be bound"},
		{"only audit", "policies: {validationActions: [Audit]}", "insecure objects would be let in"},
		{"deny and warn", "policies: {validationActions: [Deny, Warn]}", "Kubernetes refuses Deny beside Warn"},
		{"every namespace", "policies: {namespaceSelector: {matchLabels: null}}", "kube-system would be held too"},
		{"exception without a reason", "policies: {except: {startup-probe: ''}}", "say why the rule is not bound"},
		{"unknown exception", "policies: {except: {nothing: because it is so}}", "there is no such rule"},
		{"exemption without a reason", "policies: {exemptions: [{name: a, expires: 2030-01-31, serviceAccount: a/b}]}", "exemptions[0].reason: say why the policies do not judge it"},
		{"exemption whose reason nobody sees", "policies: {exemptions: [{name: a, reason: \"because\\u200b\\u200b\\u200b\", expires: 2030-01-31, serviceAccount: a/b}]}", "exemptions[0].reason: say why the policies do not judge it"},
		{"exemption without an end", "policies: {exemptions: [{name: a, reason: because it is so, serviceAccount: a/b}]}", "an exemption without an end is forgotten"},
		{"exemption without a date", "policies: {exemptions: [{name: a, reason: because it is so, expires: never, serviceAccount: a/b}]}", "/policies/exemptions/0/expires"},
		{"exemption of a namespace", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, namespaces: [b]}]}", "a whole namespace is left out by policies.namespaceSelector"},
		{"exemption by a label alone", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, labels: {a: b}}]}", "anybody can write a label or choose a name"},
		{"exemption by a name alone", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, names: [b]}]}", "anybody can write a label or choose a name"},
		{"exemption twice", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, serviceAccount: a/b}, {name: a}]}", "name a stands twice"},
		{"exemption from an unknown rule", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, serviceAccount: a/b, rules: [nothing]}]}", "there is no rule nothing"},
		{"exemption with a quote", "policies: {exemptions: [{name: a, reason: because it is so, expires: 2030-01-31, namespaces: [b], labels: {a: \"x' || true || 'x\"}}]}", "/policies/exemptions/0/labels/a"},
		{"refresh interval 0", "secretStores: [{" + storeText + ", refreshInterval: 0, " + gcpText + "}]", "Set seconds above 0"},
		{"AWS keys", "secretStores: [{" + storeText + ", refreshInterval: 60, aws: {region: r}, accessKeyID: x, secretAccessKey: y}]", "credentials do not belong in values"},
		{"Vault token", "secretStores: [{" + storeText + ", refreshInterval: 60, vault: {server: 'https://v', path: p, role: r}, token: x}]", "credentials do not belong in values"},
		{"credentials of a provider", "secretStores: [{" + storeText + ", refreshInterval: 60, aws: {region: r, secretAccessKey: y}}]", "additional properties 'secretAccessKey' not allowed"},
		{"Vault without TLS", "secretStores: [{" + storeText + ", refreshInterval: 60, vault: {server: 'http://v', path: p, role: r}}]", "in the clear"},
		{"store for everyone", "secretStores: [{name: s, kind: ClusterSecretStore, refreshInterval: 60, serviceAccount: {name: a, namespace: b}, " + gcpText + "}]", "every namespace of the cluster could read"},
		{"store without an account", "secretStores: [{name: s, kind: SecretStore, namespace: a, refreshInterval: 60, " + gcpText + "}]", "never with a stored key"},
		{"store without a provider", "secretStores: [{" + storeText + ", refreshInterval: 60}]", "has 0 providers"},
		{"fake in earnest", "secretStores: [{" + storeText + ", refreshInterval: 60, fake: {data: []}}]", "in plain text"},
		{"signatures of nobody", "imageSignatures: {enabled: true, images: ['**']}", "which images, and who signs them"},
		{"wildcard issuer", signedText + "keyless: {issuer: 'https://*.example.com', subject: s}}]}", "anybody's issuer could vouch"},
		{"issuer by regular expression", signedText + "keyless: {issuer: 'https://i', issuerRegExp: '.*', subject: s}}]}", "additional properties 'issuerRegExp' not allowed"},
		{"issuer without TLS", signedText + "keyless: {issuer: 'http://i', subject: s}}]}", "want the https URL of one issuer"},
		{"any subject", keylessStart + "subjectRegExp: '.*'}}]}", "anyone the issuer knows could sign"},
		{"subject or anything", keylessStart + "subjectRegExp: '^https://github.com/a/|.*$'}}]}", "whose other side may match anybody"},
		{"wildcard subject", keylessStart + "subject: '*'}}]}", "Use subjectRegExp"},
		{"no subject", keylessStart + "}}]}", "exactly one of subject and subjectRegExp"},
		{"private key", signedText + "key: {data: '-----BEGIN PRIVATE KEY-----'}}]}", "whoever reads the release could sign"},
		{"keyless without a log", keylessStart + "subject: s}, noLogReason: there is no network}]}", "is proven by the transparency log alone"},
		{"no log, hardly a reason", signedText + "key: {data: '-----BEGIN PUBLIC KEY-----'}, noLogReason: none}]}", "say why signatures need not be in the transparency log"},
		{"no signer", signedText + "}]}", "exactly one of key and keyless"},
		{"Azure without TLS", "secretStores: [{" + storeText + ", refreshInterval: 60, azure: {vaultURL: 'http://v'}}]", "want the https:// address of the vault"},
		{"a certificate of no namespace", "secretStores: [{" + storeText + ", refreshInterval: 60, vault: {server: 'https://v', path: p, role: r, ca: {name: c}}}]", "its certificate needs one"},
		{"labels of another's namespace", "namespaces: [{name: a, create: false, labels: {b: c}}]", "are theirs to set"},
		{"a log without TLS", signedText + "key: {data: '-----BEGIN PUBLIC KEY-----'}, trustRootRef: t, rekorURL: 'http://r'}]}", "want an https URL"},
		{"a log without its key", signedText + "key: {data: '-----BEGIN PUBLIC KEY-----'}, rekorURL: 'https://r'}]}", "name it in trustRootRef"},
		{"a log, and none", signedText + "key: {data: '-----BEGIN PUBLIC KEY-----'}, trustRootRef: t, rekorURL: 'https://r', noLogReason: there is no network}]}", "in a log, or they are not"},
		{"an authority for a key", signedText + "key: {data: '-----BEGIN PUBLIC KEY-----'}, trustRootRef: t, fulcioURL: 'https://f'}]}", "only a keyless identity is certified"},
		{"kyverno's log without a key", "imageSignatures: {enabled: true, engine: kyverno, images: ['**'], authorities: [{name: a, key: {data: '-----BEGIN PUBLIC KEY-----'}, rekorURL: 'https://r'}]}", "rekorPubKey is missing"},
		{"misspelt", "podSecurty: {}", "additional properties 'podSecurty' not allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(tt.values), 0o600); err != nil {
				t.Fatal(err)
			}
			out, errs, code := helmproof(t, "check", chartDir, "-f", file)
			if code == 0 || !strings.Contains(errs, tt.says) {
				t.Errorf("exit %d, want %q in\n%s%s", code, tt.says, out, errs)
			}
		})
	}
}
