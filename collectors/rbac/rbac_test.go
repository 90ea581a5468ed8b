package rbac_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/rbac"
	"github.com/companyos/helmproof/config"
	"github.com/companyos/helmproof/evidence"
)

func findings(tb testing.TB, manifests ...string) []evidence.Finding {
	tb.Helper()
	var all strings.Builder
	for i, m := range manifests {
		fmt.Fprintf(&all, "---\n# Source: templates/%d.yaml:1\n%s\n", i, m)
	}
	art := collectors.NewArtifacts(nil)
	for name, text := range map[string]string{
		collectors.ManifestsFile: all.String(),
		collectors.ReleaseFile:   `{"chart":"test","namespace":"shop","kubeVersion":"1.37"}`,
	} {
		if _, err := art.Put(name, []byte(text)); err != nil {
			tb.Fatal(err)
		}
	}
	found, err := collectors.Findings(collectors.NewSealed(art, config.RuleControls()), rbac.New())
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// expect compares one rule's findings, each "<outcome> <object>: <part of the message>".
func expect(t *testing.T, rule string, manifests []string, want ...string) {
	t.Helper()
	var got []string
	for _, f := range findings(t, manifests...) {
		if f.Rule != rule {
			continue
		}
		got = append(got, string(f.Outcome)+" "+f.Target.Object()+": "+f.Message)
		if f.Outcome == evidence.OutcomeFail && (f.Remediation == "" || len(f.Evidence) == 0) {
			t.Errorf("without remediation or evidence: %+v", f)
		}
	}
	for _, w := range want {
		head, part, _ := strings.Cut(w, ": ")
		if !slices.ContainsFunc(got, func(g string) bool { return strings.HasPrefix(g, head+": ") && strings.Contains(g, part) }) {
			t.Errorf("no finding %q in\n%s", w, strings.Join(got, "\n"))
		}
	}
	if len(got) != len(want) {
		t.Errorf("%d findings, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
	}
}

func role(kind, rules string) string {
	return "apiVersion: rbac.authorization.k8s.io/v1\nkind: " + kind + "\nmetadata: {name: app}\nrules: [" + rules + "]"
}

func binding(kind, roleKind, roleName, subjects string) string {
	return fmt.Sprintf("apiVersion: rbac.authorization.k8s.io/v1\nkind: %s\nmetadata: {name: b}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: %s, name: '%s'}\nsubjects: [%s]", kind, roleKind, roleName, subjects)
}

const (
	account  = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: app}"
	mine     = "{kind: ServiceAccount, name: app, namespace: shop}"
	harmless = "{apiGroups: [''], resources: [configmaps], verbs: [get, list]}"
)

var confined = regexp.MustCompile(`^(reads all Secrets|makes tokens of every service account)`)

// TestTokens: a role may make tokens of accounts that the release makes, and that it
// names; those of others are theirs.
func TestTokens(t *testing.T) {
	t.Parallel()
	tokens := func(kind, names string) string {
		return role(kind, "{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create], resourceNames: ["+names+"]}")
	}
	elsewhere := strings.Replace(account, "{name: app}", "{name: app, namespace: other}", 1)
	never := strings.Replace(account, "{name: app}", "{name: app, annotations: {helm.sh/hook: bogus}}", 1)
	for _, tt := range []struct{ account, role, want string }{
		{account, tokens("Role", "app"), "pass Role app: gives none"},
		{account, tokens("Role", "app, cluster-operator"), "fail Role app: that the release does not make: cluster-operator (create serviceaccounts/token)"},
		{account, tokens("Role", "default"), "fail Role app: that the release does not make: default"},
		{elsewhere, tokens("Role", "app"), "fail Role app: that the release does not make: app"},
		{never, tokens("Role", "app"), "fail Role app: that the release does not make: app"},
		{account, tokens("ClusterRole", "app"), "fail ClusterRole app: of that name in every namespace that it is bound in: app"},
		{account, tokens("Role", "''"), "fail Role app: makes tokens of every service account of namespace shop"},
	} {
		expect(t, rbac.RuleRights, []string{tt.account, tt.role}, tt.want)
	}
}

// TestManySubjects: a finding names a bounded number of what is wrong, and points at
// as many.
func TestManySubjects(t *testing.T) {
	t.Parallel()
	var accounts, subjects, strangers, rules []string
	for i := range 100 {
		accounts = append(accounts, strings.Replace(account, "{name: app}", fmt.Sprintf("{name: app%d}", i), 1))
		subjects = append(subjects, fmt.Sprintf("{kind: ServiceAccount, name: app%d, namespace: shop}", i))
		strangers = append(strangers, fmt.Sprintf("{kind: User, name: u%d}", i))
		rules = append(rules, fmt.Sprintf("{apiGroups: [apps], resources: [r%d], verbs: ['*']}", i))
	}
	all := append(accounts, role("Role", strings.Join(rules, ", ")),
		binding("RoleBinding", "Role", "app", strings.Join(subjects, ", ")),
		strings.Replace(binding("RoleBinding", "Role", "app", strings.Join(strangers, ", ")), "{name: b}", "{name: c}", 1))
	expect(t, rbac.RuleSubjects, all, "pass RoleBinding b: … (80 more)", "fail RoleBinding c: … (80 more)")
	for _, f := range findings(t, all...) {
		if len(f.Evidence) > 21 || len(f.Message) > 2000 {
			t.Errorf("%s %s: %d places, %d bytes", f.Rule, f.Target.Object(), len(f.Evidence), len(f.Message))
		}
	}
}

func TestRules(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, rule, wildcard, rights string }{ // parts of the messages; "": it passes; "cluster: " before those that a Role passes
		{"harmless", harmless, "", ""},
		{"no rules", "", "", ""},
		{"everything", "{apiGroups: ['*'], resources: ['*'], verbs: ['*']}", "verbs of *: *", "reads all Secrets (* *)"},
		{"all verbs", "{apiGroups: [apps], resources: [deployments], verbs: ['*']}", "verbs of deployments: *", ""},
		{"all resources of a group", "{apiGroups: [apps], resources: ['*'], verbs: [get]}", "resources of *: *", ""},
		{"all groups", "{apiGroups: ['*'], resources: [widgets], verbs: [get]}", "apiGroups of widgets: *", ""},
		{"a subresource of all", "{apiGroups: [apps], resources: ['*/scale'], verbs: [get]}", "resources of */scale: */scale", ""},
		{"all subresources of one", "{apiGroups: [apps], resources: ['deployments/*'], verbs: [get]}", "deployments/*", ""},
		{"all paths", "{nonResourceURLs: ['*'], verbs: [get]}", "nonResourceURLs of *: *", ""},
		{"all paths, with a slash", "{nonResourceURLs: ['/*'], verbs: [get]}", "nonResourceURLs of /*: /*", ""},
		{"paths of its own", "{nonResourceURLs: [/metrics, /metrics/*], verbs: [get]}", "", ""},
		{"a wildcard with names", "{apiGroups: [apps], resources: [deployments], verbs: ['*'], resourceNames: [a]}", "verbs of deployments: *", ""},

		{"get secrets", "{apiGroups: [''], resources: [secrets], verbs: [get]}", "", "reads all Secrets (get secrets)"},
		{"list secrets among others", "{apiGroups: [apps, ''], resources: [pods, secrets], verbs: [create, list]}", "", "reads all Secrets (list secrets)"},
		{"watch secrets", "{apiGroups: [''], resources: [secrets], verbs: [watch]}", "", "reads all Secrets"},
		{"patch answers with the secret", "{apiGroups: [''], resources: [secrets], verbs: [patch]}", "", "reads all Secrets (patch secrets, which is answered with the content)"},
		{"and so does deleting them", "{apiGroups: [''], resources: [secrets], verbs: [deletecollection]}", "", "reads all Secrets"},
		{"make secrets", "{apiGroups: [''], resources: [secrets], verbs: [create, update, delete]}", "", ""},
		{"one secret", "{apiGroups: [''], resources: [secrets], verbs: [get, watch], resourceNames: [mine]}", "", ""},
		{"an empty name", "{apiGroups: [''], resources: [secrets], verbs: [list], resourceNames: ['']}", "", "reads all Secrets"},
		{"secrets of another group", "{apiGroups: [vault.example.com], resources: [secrets], verbs: [get]}", "", ""},
		{"all of the core group", "{apiGroups: [''], resources: ['*'], verbs: [list]}", "resources of *", "reads all Secrets (list *)"},
		{"exec", "{apiGroups: [''], resources: [pods/exec], verbs: [create]}", "", "runs commands in pods (create pods/exec)"},
		{"exec by get", "{apiGroups: [''], resources: [pods/exec], verbs: [get]}", "", "runs commands in pods"},
		{"exec in one", "{apiGroups: [''], resources: [pods/exec], verbs: [create], resourceNames: [a]}", "", "runs commands in pods"},
		{"attach", "{apiGroups: [''], resources: [pods/attach], verbs: [create]}", "", "runs commands in pods"},
		{"exec by wildcard", "{apiGroups: [''], resources: ['*/exec'], verbs: [create]}", "*/exec", "runs commands in pods"},
		{"exec by wildcard of pods", "{apiGroups: [''], resources: ['pods/*'], verbs: [create]}", "pods/*", "runs commands in pods"},
		{"ephemeral containers", "{apiGroups: [''], resources: [pods/ephemeralcontainers], verbs: [patch]}", "", "puts containers into pods"},
		{"logs", "{apiGroups: [''], resources: [pods, pods/log], verbs: [get]}", "", ""},
		{"nodes/proxy", "{apiGroups: [''], resources: [nodes/proxy], verbs: [get]}", "", "cluster: reaches the kubelet"},
		{"nodes", "{apiGroups: [''], resources: [nodes, nodes/metrics], verbs: [get]}", "", ""},
		{"tokens", "{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create]}", "", "makes tokens of every service account"},
		{"tokens of somebody else's", "{apiGroups: [''], resources: [serviceaccounts/token], verbs: [create], resourceNames: [theirs]}", "", "makes tokens of service accounts "},
		{"impersonate", "{apiGroups: [''], resources: [users, groups], verbs: [impersonate]}", "", "cluster: acts as others (impersonate users, groups)"},
		{"impersonate one", "{apiGroups: [''], resources: [serviceaccounts], verbs: [impersonate], resourceNames: [a]}", "", "acts as others"},
		{"impersonate extras", "{apiGroups: [authentication.k8s.io], resources: [userextras/scopes], verbs: [impersonate]}", "", "cluster: acts as others"},
		{"impersonate in parts", "{apiGroups: [authentication.k8s.io], resources: [users], verbs: ['impersonate:user-info']}", "", "cluster: acts as others"},
		{"escalate", "{apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate]}", "", "gives roles rights that it does not have"},
		{"bind", "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [bind], resourceNames: [view]}", "", "binds roles whose rights"},
		{"verbs of roles by wildcard", "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: ['*']}", "verbs of clusterroles", "binds roles whose rights"},
		{"read roles", "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [get]}", "", ""},
		{"escalate of cluster roles", "{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], verbs: [escalate]}", "", "cluster: gives roles rights that it does not have (escalate clusterroles)"},
		{"escalate of both", "{apiGroups: [rbac.authorization.k8s.io], resources: [roles, clusterroles], verbs: [escalate]}", "", "gives roles rights that it does not have (escalate roles"},
		{"impersonate all", "{apiGroups: [''], resources: [users, groups, serviceaccounts], verbs: [impersonate]}", "", "acts as others (impersonate "},
		{"impersonate anything", "{apiGroups: [''], resources: ['*'], verbs: [impersonate]}", "resources of *", "acts as others (impersonate *)"},
		{"impersonate accounts by the newer group", "{apiGroups: [authentication.k8s.io], resources: [serviceaccounts], verbs: ['impersonate:serviceaccount']}", "", "acts as others"},
		{"all subresources of nodes", "{apiGroups: [''], resources: ['nodes/*'], verbs: [get]}", "nodes/*", "cluster: reaches the kubelet"},
		{"proxies of all", "{apiGroups: [''], resources: ['*/proxy'], verbs: [get]}", "*/proxy", "cluster: reaches the kubelet"},
		{"the second rule", harmless + ", {apiGroups: [''], resources: [secrets], verbs: [get]}", "", "reads all Secrets"},
	} {
		for _, kind := range []string{"Role", "ClusterRole"} {
			t.Run(tt.name+" "+kind, func(t *testing.T) {
				t.Parallel()
				want := func(part, well string) string {
					part, anywhere := strings.CutPrefix(part, "cluster: ")
					if anywhere && kind == "Role" {
						part = ""
					}
					if part == "" {
						return "pass " + kind + " app: " + well
					}
					if kind == "Role" { // it is confined
						part = confined.ReplaceAllString(part, "$0 of namespace shop")
					}
					return "fail " + kind + " app: " + part
				}
				manifests := []string{role(kind, tt.rule)}
				expect(t, rbac.RuleWildcard, manifests, want(tt.wildcard, "names what it gives"))
				expect(t, rbac.RuleRights, manifests, want(tt.rights, "gives none of the rights"))
			})
		}
	}
}

func TestBindings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, roleKind, roleName, wildcard, rights string }{
		{"of the release", "Role", "app", "pass RoleBinding b: judged itself", "pass RoleBinding b: judged itself"},
		{"cluster-admin", "ClusterRole", "cluster-admin", "fail RoleBinding b: cluster-admin, which may do everything", "fail RoleBinding b: may do everything"},
		{"admin", "ClusterRole", "admin", "pass RoleBinding b: Kubernetes' own", "fail RoleBinding b: reads all Secrets"},
		{"edit", "ClusterRole", "edit", "pass RoleBinding b: Kubernetes' own", "fail RoleBinding b: reads all Secrets"},
		{"view", "ClusterRole", "view", "pass RoleBinding b: Kubernetes' own", "pass RoleBinding b: gives none of the rights"},
		{"the kubelet's interface", "ClusterRole", "system:kubelet-api-admin", "fail RoleBinding b: wildcards", "fail RoleBinding b: reaches the kubelet"},
		{"the control plane's", "ClusterRole", "system:controller:clusterrole-aggregation-controller", "pass RoleBinding b: own", "fail RoleBinding b: gives roles rights"},
		{"the storage migrator's", "ClusterRole", "system:controller:storage-version-migrator-controller", "fail RoleBinding b: wildcards", "fail RoleBinding b: reads and writes everything"},
		{"a controller's", "ClusterRole", "system:controller:job-controller", "pass RoleBinding b: own", "pass RoleBinding b: gives none"},
		{"of no controller of Kubernetes", "ClusterRole", "system:controller:theirs", "not-checked RoleBinding b: does not make", "not-checked RoleBinding b: does not make"},
		{"authentication", "ClusterRole", "system:auth-delegator", "pass RoleBinding b: own", "pass RoleBinding b: gives none"},
		{"somebody else's", "ClusterRole", "theirs", "not-checked RoleBinding b: which the release does not make", "not-checked RoleBinding b: which the release does not make"},
		{"a Role of a ClusterRole's name", "Role", "cluster-admin", "not-checked RoleBinding b: Role cluster-admin, which the release does not make", "not-checked RoleBinding b: does not make"},
		{"no role", "Group", "x", "not-checked RoleBinding b: which is no role", "not-checked RoleBinding b: which is no role"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			manifests := []string{account, role("Role", harmless), binding("RoleBinding", tt.roleKind, tt.roleName, mine)}
			expect(t, rbac.RuleWildcard, manifests, "pass Role app: names", tt.wildcard)
			expect(t, rbac.RuleRights, manifests, "pass Role app: gives none", tt.rights)
		})
	}
	other := strings.Replace(binding("RoleBinding", "Role", "app", mine), "{name: b}", "{name: b, namespace: other}", 1)
	expect(t, rbac.RuleRights, []string{role("Role", harmless), other}, "pass Role app: gives none", "not-checked RoleBinding other/b: does not make")
	never := strings.Replace(role("Role", harmless), "{name: app}", "{name: app, annotations: {helm.sh/hook: bogus}}", 1)
	expect(t, rbac.RuleRights, []string{never, binding("RoleBinding", "Role", "app", mine)}, "pass Role app: gives none", "not-checked RoleBinding b: does not make")
	// A role that is there only at times hides another of its name.
	for annotations, want := range map[string]string{
		"helm.sh/hook: test":         "not-checked RoleBinding b: does not make",
		"helm.sh/hook: pre-rollback": "not-checked RoleBinding b: does not make",
		"helm.sh/hook: 'pre-install,pre-upgrade', helm.sh/hook-delete-policy: hook-succeeded": "not-checked RoleBinding b: does not make",
		"helm.sh/hook: 'pre-install,pre-upgrade'":                                             "pass RoleBinding b: judged itself",
	} {
		sometimes := strings.Replace(role("ClusterRole", harmless), "{name: app}", "{name: app, annotations: {"+annotations+"}}", 1)
		for _, rule := range []string{rbac.RuleWildcard, rbac.RuleRights} {
			expect(t, rule, []string{sometimes, binding("RoleBinding", "ClusterRole", "app", mine)}, "pass ClusterRole app: ", want)
		}
	}
	expect(t, rbac.RuleWildcard, []string{binding("ClusterRoleBinding", "ClusterRole", "cluster-admin", mine)}, "fail ClusterRoleBinding b: cluster-admin")
}

func TestSubjects(t *testing.T) {
	t.Parallel()
	hook := func(events string) string {
		return strings.Replace(account, "{name: app", "{name: app, annotations: {helm.sh/hook: '"+events+"'}", 1)
	}
	for _, tt := range []struct{ name, account, subjects, want string }{
		{"of the release", account, mine, "pass RoleBinding b: binds ServiceAccount app of the release"},
		{"in its own namespace", account, "{kind: ServiceAccount, name: app}", "pass RoleBinding b: of the release"},
		{"by its user's name", account, "{kind: User, name: 'system:serviceaccount:shop:app'}", "pass RoleBinding b: of the release"},
		{"nobody", account, "", "pass RoleBinding b: binds nobody"},
		{"elsewhere", account, "{kind: ServiceAccount, name: app, namespace: other}", "fail RoleBinding b: nothing in the release makes ServiceAccount other/app"},
		{"of another name", account, "{kind: ServiceAccount, name: App, namespace: shop}", "fail RoleBinding b: nothing in the release makes ServiceAccount shop/App"},
		{"the default account", account, "{kind: ServiceAccount, name: default, namespace: shop}", "fail RoleBinding b: ServiceAccount shop/default is there in every namespace"},
		{"one of two", account, mine + ", {kind: ServiceAccount, name: x, namespace: shop}", "fail RoleBinding b: shop/x"},
		{"a user", account, "{kind: User, name: jane}", "fail RoleBinding b: user jane is not of the release"},
		{"anonymous", account, "{kind: User, name: 'system:anonymous'}", "fail RoleBinding b: user system:anonymous"},
		{"masters", account, "{kind: Group, name: 'system:masters'}", "fail RoleBinding b: whoever may do everything"},
		{"everybody", account, "{kind: Group, name: 'system:authenticated'}", "fail RoleBinding b: everybody who can log in"},
		{"everybody at all", account, "{kind: Group, name: 'system:unauthenticated'}", "fail RoleBinding b: without a login"},
		{"all accounts", account, "{kind: Group, name: 'system:serviceaccounts'}", "fail RoleBinding b: every service account of the cluster"},
		{"all accounts of a namespace", account, "{kind: Group, name: 'system:serviceaccounts:shop'}", "fail RoleBinding b: every service account of namespace shop"},
		{"a group", account, "{kind: Group, name: team}", "fail RoleBinding b: group team is not of the release"},
		{"a controller of Kubernetes", account, "{kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system}", "pass RoleBinding b: binds horizontal-pod-autoscaler of Kubernetes' own control plane"},
		{"a controller, by its user's name", account, "{kind: User, name: 'system:serviceaccount:kube-system:job-controller'}", "pass RoleBinding b: own control plane"},
		{"the controller manager", account, "{kind: User, name: 'system:kube-controller-manager'}", "pass RoleBinding b: own control plane"},
		{"a controller and one's own", account, mine + ", {kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system}", "pass RoleBinding b: binds ServiceAccount app of the release and horizontal-pod-autoscaler of Kubernetes'"},
		{"a controller and a stranger", account, "{kind: User, name: jane}, {kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: kube-system}", "fail RoleBinding b: user jane is not of the release"},
		{"a controller's name elsewhere", account, "{kind: ServiceAccount, name: horizontal-pod-autoscaler, namespace: default}", "fail RoleBinding b: nothing in the release makes"},
		{"no controller of Kubernetes", account, "{kind: ServiceAccount, name: theirs, namespace: kube-system}", "fail RoleBinding b: nothing in the release makes"},
		{"the default account of kube-system", account, "{kind: ServiceAccount, name: default, namespace: kube-system}", "fail RoleBinding b: is there in every namespace"},
		{"another kind", account, "{kind: Pod, name: app}", `fail RoleBinding b: "Pod" is no kind of subject`},
		{"never made", hook("bogus"), mine, `fail RoleBinding b: event "bogus" is none of Helm's`},
		{"made for tests", hook("test"), mine, "fail RoleBinding b: which an installation does not make"},
		{"kept", hook("pre-install,pre-upgrade"), mine, "pass RoleBinding b: of the release"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			expect(t, rbac.RuleSubjects, []string{tt.account, role("Role", harmless), binding("RoleBinding", "Role", "app", tt.subjects)}, tt.want)
		})
	}
	const deleted = "helm.sh/hook: 'post-install,post-upgrade', helm.sh/hook-delete-policy: hook-succeeded"
	annotated := func(manifest, annotations string) string {
		return strings.Replace(manifest, "metadata: {", "metadata: {annotations: {"+annotations+"}, ", 1)
	}
	hooked := binding("RoleBinding", "Role", "app", mine)
	expect(t, rbac.RuleSubjects, []string{annotated(account, deleted), annotated(hooked, deleted)}, "pass RoleBinding b: of the release")
	expect(t, rbac.RuleSubjects, []string{annotated(account, deleted+", helm.sh/hook-weight: '5'"), annotated(hooked, deleted)}, "pass RoleBinding b: of the release")
	expect(t, rbac.RuleSubjects, []string{annotated(account, deleted+", helm.sh/hook-weight: '5'"), annotated(hooked, "helm.sh/hook: 'post-install,post-upgrade'")}, "fail RoleBinding b: deleted as soon as it has succeeded")
	early := strings.Replace(binding("RoleBinding", "Role", "app", mine), "{name: b}", "{name: b, annotations: {helm.sh/hook: pre-install}}", 1)
	expect(t, rbac.RuleSubjects, []string{account, early}, "pass RoleBinding b: of the release")
}

func TestAggregation(t *testing.T) {
	t.Parallel()
	aggregated := func(label string) string {
		return "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: app}\naggregationRule: {clusterRoleSelectors: [{matchLabels: {" + label + ": 'true'}}]}\nrules: []"
	}
	own := []string{aggregated("example.com/aggregate")}
	expect(t, rbac.RuleWildcard, own, "pass ClusterRole app: names", "not-checked ClusterRole app: its rules come from every ClusterRole of the cluster")
	expect(t, rbac.RuleRights, own, "pass ClusterRole app: gives none", "not-checked ClusterRole app: its rules come from every ClusterRole of the cluster")
	expect(t, rbac.RuleRights, []string{aggregated("rbac.authorization.k8s.io/aggregate-to-admin")}, "pass ClusterRole app: gives none", "not-checked ClusterRole app: come from",
		"fail ClusterRole app: takes in all that makes the ClusterRole admin, which reads all Secrets")
	// What is added to a role of Kubernetes' own is judged as any role.
	added := strings.Replace(role("ClusterRole", "{apiGroups: [''], resources: [secrets], verbs: [get]}"), "{name: app}", "{name: app, labels: {rbac.authorization.k8s.io/aggregate-to-view: 'true'}}", 1)
	expect(t, rbac.RuleRights, []string{added}, "fail ClusterRole app: reads all Secrets")
}

func TestUnreadableNeverPasses(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{
		strings.Replace(role("Role", harmless), "rules: [", "rules: [7, ", 1),
		strings.Replace(binding("RoleBinding", "Role", "app", mine), "subjects: [", "subjects: [7, ", 1),
		"apiVersion: rbac.authorization.k8s.io/v1\nkind: [",
	} {
		for _, rule := range []string{rbac.RuleWildcard, rbac.RuleRights} {
			if !slices.ContainsFunc(findings(t, bad), func(f evidence.Finding) bool {
				return f.Rule == rule && (f.Outcome == evidence.OutcomeError || f.Outcome == evidence.OutcomeNotChecked)
			}) {
				t.Errorf("%s: no error for\n%s", rule, bad)
			}
		}
	}
}

func TestNothing(t *testing.T) {
	t.Parallel()
	found := findings(t, account)
	if len(found) != 3 {
		t.Errorf("%d findings", len(found))
	}
	_, catalog := config.Catalog()
	for _, f := range found {
		if f.Outcome != evidence.OutcomeNotApplicable {
			t.Errorf("%s is %s", f.Rule, f.Outcome)
		}
		for _, id := range f.Controls {
			if c, _ := catalog.Control(id); c.Severity != f.Severity {
				t.Errorf("%s: %s, and %s in the catalog", f.Rule, f.Severity, c.Severity)
			}
		}
	}
}
