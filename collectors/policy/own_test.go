package policy

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

// write makes a directory of policies.
func write(tb testing.TB, content map[string]string) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range content {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// own is policies.yaml with the built-in policies and one file of the user's.
func own(tb testing.TB, text string) []byte {
	tb.Helper()
	raw, err := Bundle(write(tb, map[string]string{"own.yaml": text}))
	if err != nil {
		tb.Fatal(err)
	}
	if _, err := New(raw); err != nil {
		tb.Fatal(err)
	}
	return raw
}

// vap makes a policy about ConfigMaps from the rest of its spec.
func vap(spec string) string {
	return "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: own}\nspec:\n" +
		"  matchConstraints: {resourceRules: [{apiGroups: [''], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}]}\n" + spec
}

func binding(spec string) string {
	return "---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: own}\nspec: {policyName: own, " + spec + "}\n"
}

const configMap = "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {team: a}}\ndata: {size: '3'}\n"

func TestOwnPolicies(t *testing.T) {
	t.Parallel()
	param := "---\napiVersion: example.com/v1\nkind: Limit\nmetadata: {name: small, labels: {of: size}}\nspec: {max: 2}\n"
	withParam := "  paramKind: {apiVersion: example.com/v1, kind: Limit}\n  validations: [{expression: 'int(object.data.size) <= params.spec.max', messageExpression: \"'size ' + object.data.size + ' is above ' + string(params.spec.max)\"}]\n"
	deny := "  validations: [{expression: 'false', message: denied}]\n"
	for _, c := range []struct {
		name, policies, manifest string
		want                     []string
	}{
		{"pass", vap("  validations: [{expression: 'true'}]\n"), configMap, []string{"pass ConfigMap/x: own"}},
		{"deny without a message", vap("  validations: [{expression: \"has(object.data.a)\"}]\n"), configMap, []string{"fail ConfigMap/x: failed expression: has(object.data.a)"}},
		{"not its kind", vap(deny), "kind: Secret\napiVersion: v1\n", []string{notApplicable}},
		{"kind of another group", vap(deny), "kind: ConfigMap\napiVersion: example.com/v1\n", []string{notApplicable}},
		{"variables", vap("  variables: [{name: size, expression: 'int(object.data.size)'}, {name: m, expression: variables.size * 2}]\n  validations: [{expression: variables.m < 6, messageExpression: \"'twice is ' + string(variables.m)\"}]\n"), configMap, []string{"fail ConfigMap/x: twice is 6"}},
		{"match condition holds", vap("  matchConditions: [{name: team, expression: \"object.metadata.labels.team == 'a'\"}]\n" + deny), configMap, []string{"fail ConfigMap/x: denied"}},
		{"match condition excludes", vap("  matchConditions: [{name: team, expression: \"object.metadata.labels.team == 'b'\"}]\n" + deny), configMap, []string{notApplicable}},
		{"match condition breaks", vap("  matchConditions: [{name: team, expression: \"object.metadata.labels.group == 'b'\"}]\n" + deny), configMap, []string{"error ConfigMap/x: the policy could not be evaluated: expression 'object.metadata.labels.group == 'b'' resulted in error: no such key: group"}},
		{"run-time error", vap("  validations: [{expression: object.spec.a == 1}]\n"), configMap, []string{"error ConfigMap/x: the policy could not be evaluated: expression 'object.spec.a == 1' resulted in error: no such key: spec"}},
		{"run-time error, Ignore", vap("  failurePolicy: Ignore\n  validations: [{expression: object.spec.a == 1}]\n"), configMap, []string{"not-checked ConfigMap/x: the policy could not be evaluated, and its failurePolicy is Ignore: expression 'object.spec.a == 1' resulted in error: no such key: spec"}},
		{"one of two validations breaks", vap("  validations: [{expression: 'false', message: denied}, {expression: object.spec.a == 1}]\n"), configMap, []string{"error ConfigMap/x: the policy could not be evaluated: expression 'object.spec.a == 1' resulted in error: no such key: spec", "fail ConfigMap/x: denied"}},
		{"warn binding", vap(deny) + binding("validationActions: [Warn, Audit]"), configMap, []string{"warn ConfigMap/x: denied"}},
		{"audit binding", vap(deny) + binding("validationActions: [Audit]"), configMap, []string{"warn ConfigMap/x: denied"}},
		{"deny and audit binding", vap(deny) + binding("validationActions: [Deny, Audit]"), configMap, []string{"fail ConfigMap/x: denied"}},
		{"warn and deny bindings", vap(deny) + binding("validationActions: [Warn]") + strings.Replace(binding("validationActions: [Deny]"), "name: own", "name: other", 1), configMap, []string{"fail ConfigMap/x: denied"}},
		{"binding selects objects", vap(deny) + binding("validationActions: [Deny], matchResources: {objectSelector: {matchLabels: {team: b}}}"), configMap, []string{notApplicable}},
		{"binding selects the namespace by name", vap(deny) + binding("validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: payments}}}"), configMap, []string{"fail ConfigMap/x: denied"}},
		{"binding selects another namespace", vap(deny) + binding("validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: other}}}"), configMap, []string{notApplicable}},
		{"binding selects namespaces by unknown label", vap(deny) + binding("validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {env: prod}}}"), configMap, []string{`not-checked ConfigMap/x: the policy selects namespaces by label "env", and the labels of namespace payments are known only in a cluster`}},
		{"namespace rendered", vap(deny) + binding("validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {env: prod}}}"), configMap + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {env: prod}}\n", []string{"fail ConfigMap/x: denied"}},
		{"namespace rendered otherwise", vap(deny) + binding("validationActions: [Deny], matchResources: {namespaceSelector: {matchLabels: {env: prod}}}"), configMap + "---\napiVersion: v1\nkind: Namespace\nmetadata: {name: payments, labels: {env: dev}}\n", []string{notApplicable}},
		{"resource names", strings.Replace(vap(deny), "resources: [configmaps]", "resources: [configmaps], resourceNames: [z]", 1), configMap, []string{notApplicable}},
		{"cluster scope", strings.Replace(vap(deny), "resources: [configmaps]", "resources: ['*'], scope: Cluster", 1), configMap, []string{notApplicable}},
		{"excluded", strings.Replace(vap(deny), "resourceRules:", "excludeResourceRules: [{apiGroups: ['*'], apiVersions: ['*'], operations: ['*'], resources: ['*']}], resourceRules:", 1), configMap, []string{notApplicable}},
		{"only deletion", strings.Replace(vap(deny), "[CREATE]", "[DELETE]", 1), configMap, []string{notApplicable}},
		{"request and namespace", vap("  validations: [{expression: \"request.operation == 'CREATE' && request.namespace == 'payments' && object.metadata.namespace == 'payments' && request.resource.resource == 'configmaps' && request.kind.kind == 'ConfigMap' && request.name == 'x' && namespaceObject.metadata.name == 'payments' && namespaceObject.metadata.labels['kubernetes.io/metadata.name'] == 'payments' && oldObject == null && !request.dryRun\"}]\n"), configMap, []string{"pass ConfigMap/x: own"}},
		{"authorizer", vap("  validations: [{expression: \"authorizer.group('').resource('pods').check('get').allowed()\"}]\n"), configMap, []string{"not-checked ConfigMap/x: the policy asks the authorizer, which only a cluster has"}},
		{"authorizer in a condition", vap("  matchConditions: [{name: a, expression: \"authorizer.requestResource.check('get').allowed()\"}]\n" + deny), configMap, []string{"not-checked ConfigMap/x: the policy asks the authorizer, which only a cluster has"}},
		{"audit annotation", vap("  auditAnnotations: [{key: a, valueExpression: \"'b'\"}]\n"), configMap, []string{"pass ConfigMap/x: own"}},
		{"audit annotation breaks", vap("  auditAnnotations: [{key: a, valueExpression: 'string(object.a)'}]\n  validations: [{expression: 'true'}]\n"), configMap, []string{"error ConfigMap/x: the policy could not be evaluated: audit annotation \"a\": expression 'string(object.a)' resulted in error: no such key: a"}},
		{"message of several lines", vap("  validations: [{expression: 'false', message: fixed, messageExpression: \"'a\\\\nb'\"}]\n"), configMap, []string{"fail ConfigMap/x: fixed"}},
		{"message breaks", vap("  validations: [{expression: 'false', message: fixed, messageExpression: string(object.a)}]\n"), configMap, []string{"fail ConfigMap/x: fixed"}},
		{"params by name", vap(withParam) + binding("validationActions: [Deny], paramRef: {name: small, parameterNotFoundAction: Deny}") + param, configMap, []string{"fail ConfigMap/x: size 3 is above 2"}},
		{"params by selector", vap(withParam) + binding("validationActions: [Deny], paramRef: {selector: {matchLabels: {of: size}}, parameterNotFoundAction: Deny}") + param, configMap, []string{"fail ConfigMap/x: size 3 is above 2"}},
		{"params missing", vap(withParam) + binding("validationActions: [Deny], paramRef: {name: big, parameterNotFoundAction: Deny}") + param, configMap, []string{`error ConfigMap/x: the policy could not be evaluated: binding "own": no Limit found that its paramRef names; put it beside the policy`}},
		{"params missing, allowed", vap(withParam) + binding("validationActions: [Deny], paramRef: {name: big, parameterNotFoundAction: Allow}") + param, configMap, []string{notApplicable}},
		{"params of another namespace", vap(withParam) + binding("validationActions: [Deny], paramRef: {name: small, parameterNotFoundAction: Allow}") + strings.Replace(param, "name: small", "name: small, namespace: other", 1), configMap, []string{notApplicable}},
		{"by container", strings.NewReplacer("configmaps", "deployments", "apiGroups: ['']", "apiGroups: [apps]").Replace(vap("  validations: [{expression: 'false', message: 'container \"c\": bad; container \"i\": worse; much worse'}]\n")), deployment("{containers: [{name: c}], initContainers: [{name: i}]}"), []string{"fail Deployment/x[c]: bad", "fail Deployment/x[i]: worse; much worse"}},
		{"by unknown container", strings.NewReplacer("configmaps", "deployments", "apiGroups: ['']", "apiGroups: [apps]").Replace(vap("  validations: [{expression: 'false', message: 'container \"c\": bad; container \"z\": worse'}]\n")), deployment("{containers: [{name: c}]}"), []string{`fail Deployment/x: container "c": bad; container "z": worse`}},
		{"unreadable document", vap(deny), "a: [\n", []string{"not-checked Chart/shop: 1 rendered document is no Kubernetes object: see CHT-3"}},
		{"object that does not decode", strings.NewReplacer("configmaps", "deployments", "apiGroups: ['']", "apiGroups: [apps]").Replace(vap("  validations: [{expression: 'object.spec.replicas > 1'}]\n")), strings.Replace(deployment("{containers: [{name: c}]}"), "spec:", "spec: {replicas: two}\nspare:", 1), []string{"not-checked Deployment/x: it does not decode, see CHT-3: unrecognized type: int32"}},
		{"version that only a server converts", strings.NewReplacer("configmaps", "widgets", "apiGroups: ['']", "apiGroups: [example.com]").Replace(vap(deny)), "kind: Widget\napiVersion: example.com/v2\nmetadata: {name: x}\n", []string{"not-checked Widget/x: only the API server can convert example.com/v2 to the example.com/v1 that the policy is about"}},
		{"exact version", strings.NewReplacer("configmaps", "widgets", "apiGroups: ['']", "apiGroups: [example.com]", "{resourceRules", "{matchPolicy: Exact, resourceRules").Replace(vap(deny)), "kind: Widget\napiVersion: example.com/v2\nmetadata: {name: x}\n", []string{notApplicable}},
		{"plural of a CRD", strings.NewReplacer("configmaps", "widgetry", "apiGroups: ['']", "apiGroups: [example.com]").Replace(vap(deny)), "kind: Widget\napiVersion: example.com/v1\nmetadata: {name: x}\n---\napiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: w}\nspec: {group: example.com, scope: Namespaced, names: {kind: Widget, plural: widgetry}}\n", []string{"fail Widget/x: denied"}},
		{"guessed plural", strings.NewReplacer("configmaps", "gateways", "apiGroups: ['']", "apiGroups: [example.com]").Replace(vap(deny)), "kind: Gateway\napiVersion: example.com/v1\nmetadata: {name: x}\n", []string{"fail Gateway/x: denied"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got := summary(findings(t, own(t, c.policies), c.manifest), "policy/own")
			slices.Sort(got)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOwnPolicyLabels(t *testing.T) {
	t.Parallel()
	for _, f := range findings(t, own(t, vap("  validations: [{expression: 'false'}]\n")), configMap) {
		if f.Rule == "policy/own" && (!slices.Equal(f.Controls, config.RuleControls().Of(RuleOwn)) || f.Severity != "high" || f.Remediation != "Change the object as the policy's message says.") {
			t.Errorf("not labelled as a policy of one's own: %+v", f)
		}
	}
	annotated := strings.Replace(vap("  validations: [{expression: 'false'}]\n"), "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/controls: 'SEC-1, RES-2', helmproof.companyos.github.io/severity: low, helmproof.companyos.github.io/remediation: Do so.}}", 1)
	for _, f := range findings(t, own(t, annotated), configMap) {
		if f.Rule == "policy/own" && (!slices.Equal(f.Controls, []evidence.ControlID{"POL-1", "RES-2", "SEC-1"}) || f.Severity != "low" || f.Remediation != "Do so.") {
			t.Errorf("not labelled as annotated: %+v", f)
		}
	}
}

// TestControlOfOwnPolicies holds that POL-1 has a finding whatever was given.
func TestControlOfOwnPolicies(t *testing.T) {
	t.Parallel()
	none := []string{"not-applicable Chart/shop: no policies of your own were given"}
	if diff := cmp.Diff(none, summary(findings(t, builtin(t), configMap), RuleOwn)); diff != "" {
		t.Error(diff)
	}
	text := vap("  validations: [{expression: 'true'}]\n")
	if got := summary(findings(t, own(t, text), configMap), RuleOwn); got != nil {
		t.Errorf("with own policies: %v", got)
	}
	elsewhere := strings.Replace(text, "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/controls: RES-2}}", 1)
	if got := summary(findings(t, own(t, elsewhere), configMap), RuleOwn); got != nil {
		t.Errorf("with own policies that name a control: %v", got)
	}
}

// TestAnnotatedControls holds that an own policy can make a control stricter, and
// never satisfies one.
func TestAnnotatedControls(t *testing.T) {
	t.Parallel()
	annotated := func(spec string) string {
		return strings.Replace(vap(spec), "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/controls: 'IMG-2, IMG-3'}}", 1)
	}
	both, alone := []evidence.ControlID{"IMG-2", "IMG-3", "POL-1"}, []evidence.ControlID{"POL-1"}
	for _, c := range []struct {
		name, policies, manifests string
		outcome                   evidence.Outcome
		want                      []evidence.ControlID
	}{
		{"pass", annotated("  validations: [{expression: 'true'}]\n"), configMap, evidence.OutcomePass, alone},
		{"nothing of its kind", annotated("  validations: [{expression: 'true'}]\n"), deployment("{containers: [{name: c}]}"), evidence.OutcomeNotApplicable, alone},
		{"warning", annotated("  validations: [{expression: 'false'}]\n") + binding("validationActions: [Warn]"), configMap, evidence.OutcomeWarn, alone},
		{"failure", annotated("  validations: [{expression: 'false'}]\n"), configMap, evidence.OutcomeFail, both},
		{"error", annotated("  validations: [{expression: object.spec.a == 1}]\n"), configMap, evidence.OutcomeError, both},
		{"not checked", annotated("  failurePolicy: Ignore\n  validations: [{expression: object.spec.a == 1}]\n"), configMap, evidence.OutcomeNotChecked, both},
		{"unreadable document", annotated("  validations: [{expression: 'true'}]\n"), "a: [\n", evidence.OutcomeNotChecked, both},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := 0
			for _, f := range findings(t, own(t, c.policies), c.manifests) {
				if f.Rule != "policy/own" {
					continue
				}
				if n++; f.Outcome != c.outcome || !slices.Equal(f.Controls, c.want) {
					t.Errorf("%s for %v, want %s for %v", f.Outcome, f.Controls, c.outcome, c.want)
				}
			}
			if n != 1 {
				t.Errorf("%d findings, want one", n)
			}
		})
	}
}

// The example of docs/configuration.md is accepted, and decides.
func TestDocsExample(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("../../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(doc), "## Policies of your own")
	_, text, _ = strings.Cut(text, "```yaml\n")
	text, _, ok := strings.Cut(text, "```")
	if !ok {
		t.Fatal("no example")
	}
	for limit, want := range map[string]string{
		"4Gi": "pass Deployment/x: No container may use more than 4Gi",
		"5Gi": "fail Deployment/x: A container may use more than 4Gi of memory.",
	} {
		got := summary(findings(t, own(t, text), deployment("{containers: [{name: c, resources: {limits: {memory: "+limit+"}}}]}")), "policy/memory-limit")
		if !slices.Equal(got, []string{want}) {
			t.Errorf("%s: %v, want %s", limit, got, want)
		}
	}
}

// TestBadPolicies holds what New refuses, and the words it does so with.
func TestBadPolicies(t *testing.T) {
	t.Parallel()
	good := "  validations: [{expression: 'true'}]\n"
	param := "  paramKind: {apiVersion: example.com/v1, kind: Limit}\n"
	for _, c := range []struct{ name, policies, want string }{
		{"undeclared variable", vap("  validations: [{expression: 'objekt.spec.a == 1'}]\n"), "own.yaml:1: ValidatingAdmissionPolicy \"own\": spec.validations[0].expression: undeclared reference to 'objekt' (in container '') at 1:1\n\tin objekt.spec.a == 1"},
		{"not a boolean", vap("  validations: [{expression: '1'}]\n"), "spec.validations[0].expression: it is of type int, want bool"},
		{"syntax", vap("  validations: [{expression: 'a &&'}]\n"), "spec.validations[0].expression: Syntax error"},
		{"variable", vap("  variables: [{name: a, expression: nope}]\n" + good), "spec.variables[0] \"a\": undeclared reference to 'nope'"},
		{"variable used before", vap("  variables: [{name: a, expression: variables.b}, {name: b, expression: '1'}]\n" + good), "spec.variables[0] \"a\": undefined field 'b'"},
		{"condition with variables", vap("  variables: [{name: a, expression: 'true'}]\n  matchConditions: [{name: c, expression: variables.a}]\n" + good), "spec.matchConditions[0].expression: undeclared reference to 'variables'"},
		{"params without paramKind", vap("  validations: [{expression: params.a}]\n"), "undeclared reference to 'params'"},
		{"message with the authorizer", vap("  validations: [{expression: 'true', messageExpression: \"string(authorizer.path('/a').check('get').allowed())\"}]\n"), "spec.validations[0].messageExpression: the authorizer is not available here"},
		{"two errors", vap("  validations: [{expression: a}, {expression: b}]\n"), "spec.validations[1].expression: undeclared reference to 'b'"},
		{"audit annotation", vap("  auditAnnotations: [{key: a, valueExpression: '1'}]\n"), "spec.auditAnnotations[0].valueExpression: it is of type int, want string or null_type"},
		{"unknown field", vap("  validatons: []\n" + good), `unknown field "spec.validatons"`},
		{"word that YAML reads as a boolean", vap("  validations: [{expression: 'true', message: no}]\n"), `decode: json: cannot unmarshal bool into Go struct field Validation.spec.validations.message of type string`},
		{"reason", vap("  validations: [{expression: 'true', reason: Because}]\n"), `spec.validations[0].reason "Because": want Unauthorized, Forbidden, Invalid or RequestEntityTooLarge`},
		{"audit annotation twice", vap("  auditAnnotations: [{key: a, valueExpression: \"'1'\"}, {key: a, valueExpression: \"'1'\"}]\n"), `spec.auditAnnotations[1].key "a": used twice`},
		{"condition twice", vap("  matchConditions: [{name: a, expression: 'true'}, {name: a, expression: 'true'}]\n" + good), `spec.matchConditions[1].name "a": used twice`},
		{"no validations", vap("  failurePolicy: Fail\n"), "spec.validations: at least one is needed"},
		{"failure policy", vap("  failurePolicy: Maybe\n" + good), `spec.failurePolicy "Maybe": want Fail or Ignore`},
		{"empty expression", vap("  validations: [{expression: ' '}]\n"), "spec.validations[0].expression: must not be empty"},
		{"no rules", "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicy\nmetadata: {name: own}\nspec:\n" + good, "spec.matchConstraints.resourceRules: at least one is needed"},
		{"operation", strings.Replace(vap(good), "CREATE", "APPLY", 1), `spec.matchConstraints.resourceRules[0]: operations: "APPLY", want CREATE, UPDATE, DELETE, CONNECT or "*"`},
		{"wildcard beside", strings.Replace(vap(good), "[configmaps]", "[configmaps, '*']", 1), `resources: "*" must stand alone`},
		{"name", strings.Replace(vap(good), "name: own", "name: Own", 1), `metadata.name "Own"`},
		{"no name", strings.Replace(vap(good), "name: own", "labels: {}", 1), `metadata.name ""`},
		{"variable name", vap("  variables: [{name: a-b, expression: '1'}]\n" + good), `spec.variables[0].name "a-b": want a CEL identifier`},
		{"old version", strings.Replace(vap(good), "k8s.io/v1", "k8s.io/v1beta1", 1), "apiVersion admissionregistration.k8s.io/v1beta1, want admissionregistration.k8s.io/v1"},
		{"mutating", strings.Replace(vap(good), "Validating", "Mutating", 1), "only ValidatingAdmissionPolicy and ValidatingAdmissionPolicyBinding are evaluated"},
		{"stray object", vap(good) + configMap, `own.yaml:7: ConfigMap "x": neither a policy, a binding nor of the paramKind of a policy`},
		{"builtin name", strings.Replace(vap(good), "name: own", "name: helmproof-seccomp", 1), `own.yaml:1: ValidatingAdmissionPolicy "helmproof-seccomp": the name is taken by builtin/seccomp.yaml:`},
		{"builtin rule", strings.Replace(vap(good), "name: own", "name: seccomp", 1), "its rule name policy/seccomp is taken by builtin/seccomp.yaml:"},
		{"name twice", vap(good) + "---\n" + vap(good), `own.yaml:7: ValidatingAdmissionPolicy "own": the name is taken by own.yaml:1`},
		{"binding of nothing", vap(good) + strings.Replace(binding("validationActions: [Deny]"), "policyName: own", "policyName: owm", 1), `spec.policyName: there is no policy "owm"`},
		{"binding of a builtin", vap(good) + strings.Replace(binding("validationActions: [Warn]"), "policyName: own", "policyName: helmproof-seccomp", 1), `policy "helmproof-seccomp" is helmproof's own; waive its findings instead of binding it`},
		{"no actions", vap(good) + binding(""), "spec.validationActions: at least one is needed"},
		{"deny and warn", vap(good) + binding("validationActions: [Deny, Warn]"), "spec.validationActions: Deny and Warn exclude each other"},
		{"paramKind without binding", vap(param + good), "it has a paramKind, so it needs a ValidatingAdmissionPolicyBinding with a paramRef"},
		{"paramKind without paramRef", vap(param+good) + binding("validationActions: [Deny]"), "has a paramKind, so the binding needs a paramRef"},
		{"paramRef without action", vap(param+good) + binding("validationActions: [Deny], paramRef: {name: a}"), "spec.paramRef.parameterNotFoundAction: want Allow or Deny"},
		{"paramRef of nothing", vap(param+good) + binding("validationActions: [Deny], paramRef: {parameterNotFoundAction: Deny}"), "spec.paramRef: want either name or selector"},
		{"severity", strings.Replace(vap(good), "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/severity: hi}}", 1), `annotation helmproof.companyos.github.io/severity: severity "hi"`},
		{"control", strings.Replace(vap(good), "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/controls: res-1}}", 1), `"res-1" is no control id like RES-1`},
		{"annotation", strings.Replace(vap(good), "{name: own}", "{name: own, annotations: {helmproof.companyos.github.io/control: RES-1}}", 1), "annotation helmproof.companyos.github.io/control: want controls, severity, title or remediation"},
		{"no YAML", "a: [", "own.yaml:1: invalid YAML"},
		{"no object", "a: b", "own.yaml:1: no apiVersion and no kind"},
		{"second document without separator", vap(good) + "...\n" + vap(good), "own.yaml:1: invalid YAML: "},
		{"YAML bomb", bomb, "own.yaml:1: invalid YAML: document contains excessive aliasing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			raw, err := Bundle(write(t, map[string]string{"own.yaml": c.policies}))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := New(raw); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v\nwant %s", err, c.want)
			}
		})
	}
}

// bomb grows ninefold with every line.
var bomb = func() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x,x,x,x,x,x,x,x,x]\n")
	for i := range 12 {
		n, m := string(rune('a'+i+1)), string(rune('a'+i))
		if i == 0 {
			m = "a0"
		}
		b.WriteString(n + ": &" + n + " [" + strings.Repeat("*"+m+",", 8) + "*" + m + "]\n")
	}
	return b.String()
}()
