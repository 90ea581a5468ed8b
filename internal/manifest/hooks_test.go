package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	release "helm.sh/helm/v4/pkg/release/v1"
	"helm.sh/helm/v4/pkg/release/v1/util"
)

func TestHookEventsAreHelms(t *testing.T) {
	t.Parallel()
	for _, e := range []release.HookEvent{
		release.HookPreInstall, release.HookPostInstall, release.HookPreDelete, release.HookPostDelete, release.HookPreUpgrade, release.HookPostUpgrade,
		release.HookPreRollback, release.HookPostRollback, release.HookTest, "test-success",
	} {
		if !slices.Contains(hookEvents, string(e)) {
			t.Errorf("%s is missing", e)
		}
	}
}

// TestHooksAreReadAsHelmReadsThem compares, for documents of any odd form, what
// becomes of them with what Helm makes of them: installed, a hook, or nothing.
func TestHooksAreReadAsHelmReadsThem(t *testing.T) {
	t.Parallel()
	docs := []string{
		"metadata: {name: a}",
		"metadata: {name: a, annotations: {x: y}}",
		"metadata: {name: a, annotations: }",
		"metadata: {name: a, annotations: {helm.sh/hook: pre-install, other: 1}}",
		"metadata: {name: a, annotations: {helm.sh/hook: bogus, other: true}}",
		"metadata: {name: a, annotations: {helm.sh/hook: , other: y}}",
		"metadata: {name: a, annotations: {helm.sh/hook: true}}",
		"metadata: {name: a, annotations: {helm.sh/hook: 7}}",
		"metadata: {name: a}\nMetadata: {annotations: {helm.sh/hook: bogus}}",
		"metadata: {name: a, Annotations: {helm.sh/hook: test}}",
		"metadata: {name: a, annotations: {Helm.sh/hook: test}}",
		"metadata: {name: a, labels: {helm.sh/hook: test}}",
		"metadata: {name: a, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: '-5', helm.sh/hook-delete-policy: 'before-hook-creation, Hook-Succeeded'}}",
		"metadata: {name: a, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: 5, helm.sh/hook-delete-policy: hook-failed}}",
		"metadata: {name: a, annotations: {helm.sh/hook: pre-install, helm.sh/hook-weight: five}}",
		"items: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a, annotations: {helm.sh/hook: bogus}}}]",
		"metadata: {annotations: {helm.sh/hook: bogus}}\nitems: [{apiVersion: v1, kind: ConfigMap, metadata: {name: a}}]",
	}
	for _, events := range []string{
		"pre-install", "post-install", "pre-upgrade", "post-upgrade", "pre-delete", "post-delete", "pre-rollback", "post-rollback", "test", "test-success", "test-failure", "crd-install",
		"", ",", "pre-install,", "pre-install,bogus", "bogus,pre-install", "Pre-Install , TEST", "pre_install", " ", "pre-install;test",
	} {
		docs = append(docs, fmt.Sprintf("metadata: {name: a, annotations: {helm.sh/hook: %q}}", events))
	}
	for _, doc := range docs {
		text := "apiVersion: v1\nkind: ConfigMap\n" + doc + "\n"
		hooks, installed, err := util.SortManifests(map[string]string{"c/templates/a.yaml": text}, common.VersionSet{"v1"}, util.InstallOrder)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		set, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if len(set.Broken) > 0 { // Helm and Kubernetes differ about it, or one of them refuses it
			if len(set.Objects) > 0 || !strings.Contains(set.Broken[0].Error, "metadata") && !strings.Contains(set.Broken[0].Error, "helm.sh/hook") {
				t.Errorf("%s: %+v", doc, set)
			}
			continue
		}
		o := &set.Objects[0]
		want := "never made"
		switch {
		case len(installed) > 0:
			want = "installed"
		case len(hooks) > 0:
			h := hooks[0]
			var events []string
			for _, e := range h.Events {
				events = append(events, string(e))
			}
			want = fmt.Sprint("hook of ", events, " weight ", h.Weight, " deleted ", slices.Contains(h.DeletePolicies, release.HookSucceeded))
		}
		got := "installed"
		if o.NeverMade() != "" {
			got = "never made"
		} else if h := o.hook; h != nil {
			got = strings.ReplaceAll(fmt.Sprint("hook of ", h.events, " weight ", h.weight, " deleted ", h.deleted), "test-success", "test")
		}
		if got != want {
			t.Errorf("%s: %s, and Helm: %s", doc, got, want)
		}
	}
}

func TestMissing(t *testing.T) {
	t.Parallel()
	object := func(kind, name, annotations string) *Object {
		return &parseOK(t, fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata: {name: %s, annotations: {%s}}", kind, name, annotations)).Objects[0]
	}
	hook := func(events, rest string) string { return "helm.sh/hook: '" + events + "'" + rest }
	const (
		both      = "pre-install,pre-upgrade"
		succeeded = ", helm.sh/hook-delete-policy: hook-succeeded"
		weight    = ", helm.sh/hook-weight: '%d'"
	)
	at := func(n int) string { return fmt.Sprintf(weight, n) }
	for _, tt := range []struct {
		name, helper, pod, want string // annotations of both; part of the reason
	}{
		{"installed, both", "", "", ""},
		{"made before and kept", hook(both, ""), "", ""},
		{"made after and kept", hook("post-install,post-upgrade", ", helm.sh/hook-delete-policy: before-hook-creation"), "", ""},
		{"kept where it fails only", hook(both, ", helm.sh/hook-delete-policy: hook-failed"), "", ""},
		{"deleted on success", hook(both, succeeded), "", "deleted as soon as it has succeeded"},
		{"unknown", hook("bogus", ""), "", `event "bogus" is none of Helm's`},
		{"known and unknown", hook(both+",bogus", ""), "", `event "bogus" is none of Helm's`},
		{"test", hook("test", ""), "", "hook of test, which an installation does not make"},
		{"post-delete", hook("post-delete", ""), "", "which an installation does not make"},
		{"pre-delete", hook("pre-delete", ""), "", "which an installation does not make"},
		{"rollback", hook("pre-rollback,post-rollback", ""), "", "which an installation does not make"},
		{"upgrade only", hook("pre-upgrade", ""), "", "which an installation does not make"},
		{"installation only", hook("pre-install,test", ""), "", "which an upgrade does not make"},
		{"for pods that never run", hook("test", ""), hook("bogus", ""), "which an installation does not make"},
		{"installed, for pods that never run", "", hook("bogus", ""), ""},

		{"installed, for a test", "", hook("test", ""), ""},
		{"installed, for post-install", "", hook("post-install,post-upgrade", ""), ""},
		{"installed, for pre-upgrade", "", hook("pre-upgrade", ""), ""},
		{"installed, too late for pre-install", "", hook(both, ""), "only after the hooks of pre-install"},
		{"installed, gone at post-delete", "", hook("post-delete", ""), "gone when the hooks of post-delete run"},
		{"of the same event, before", hook(both, at(-1)+succeeded), hook(both, ""), ""},
		{"of the same event, after", hook(both, at(1)), hook(both, ""), "not made before the hooks of pre-install"},
		{"of some of its events", hook("pre-install", at(-1)+succeeded), hook(both, ""), "deleted as soon as it has succeeded"},
		{"kept, for a test", hook(both, ""), hook("test", ""), ""},
		{"kept, for post-install", hook("pre-install", ""), hook("post-install", ""), ""},
		{"kept, after it in pre-upgrade", hook(both, at(1)), hook("pre-upgrade", ""), ""},
		{"post-install only, for a test", hook("post-install", ""), hook("test", ""), "which an upgrade does not make"},
		{"of the same test, of the same weight and an earlier name", hook("test", ""), hook("test", ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := object("NetworkPolicy", "a", tt.helper).Missing(object("Job", "b", tt.pod))
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	test := hook("test", "")
	for _, tt := range []struct {
		kind string
		want string
	}{{"NetworkPolicy", ""}, {"ExternalSecret", "which an installation does not make"}} {
		if got := object(tt.kind, "b", test).Missing(object("Job", "b", test)); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("%s of the Job's own weight and name: %q, want %q", tt.kind, got, tt.want)
		}
	}
}

// TestUnready: a definition is there when an object of its kind is made, or the
// reason is said.
func TestUnready(t *testing.T) {
	t.Parallel()
	object := func(kind, name, annotations string) *Object {
		return &parseOK(t, fmt.Sprintf("apiVersion: v1\nkind: %s\nmetadata: {name: %s, annotations: {%s}}", kind, name, annotations)).Objects[0]
	}
	hook := func(events string) string { return "helm.sh/hook: '" + events + "'" }
	late := hook("pre-install") + ", helm.sh/hook-weight: '1'"
	for _, tt := range []struct {
		name, crd, made, want string // annotations of both; part of the reason
	}{
		{"installed, both", "", "", ""},
		{"before an installation", hook("pre-install"), "", ""},
		{"before both", hook("pre-install,pre-upgrade"), "", ""},
		{"not deleted by policy", hook("pre-install") + ", helm.sh/hook-delete-policy: hook-succeeded", "", ""},
		{"unknown", hook("never"), "", `event "never" is none of Helm's`},
		{"known and unknown", hook("pre-install,crd-install"), "", `event "crd-install" is none of Helm's`},
		{"test", hook("test"), "", "hook of test, which an installation does not make"},
		{"upgrade only", hook("pre-upgrade"), "", "hook of pre-upgrade, which an installation does not make"},
		{"rollback", hook("pre-rollback,post-rollback"), "", "which an installation does not make"},
		{"deletion", hook("pre-delete"), "", "which an installation does not make"},
		{"after", hook("post-install,post-upgrade"), "", "hook of post-install, post-upgrade, which comes too late"},
		{"for what is never made", hook("pre-install"), hook("never"), ""},
		{"test, for what is never made", hook("test"), hook("never"), "which an installation does not make"},

		{"installed, for a test", "", hook("test"), ""},
		{"installed, for pre-install", "", hook("pre-install"), "only after the hooks of pre-install"},
		{"of the same event, by name", hook("pre-install"), hook("pre-install"), ""},
		{"of the same event, too late", late, hook("pre-install"), "not made before the hooks of pre-install"},
		{"of the same event, but not of the other", hook("pre-upgrade"), hook("pre-install,pre-upgrade"), "which an installation does not make"},
		{"pre-install, for post-install", hook("pre-install"), hook("post-install"), ""},
		{"post-install, for pre-install", hook("post-install"), hook("pre-install"), "which comes too late"},
		{"post-install, for a test", hook("post-install"), hook("test"), ""},
		{"test, for the same test", hook("test"), hook("test"), ""},
		{"test, for post-install", hook("test"), hook("post-install"), "which an installation does not make"},
		{"never, for a test", hook("never"), hook("test"), `event "never" is none of Helm's`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got := object("CustomResourceDefinition", "a", tt.crd).Unready(object("Gauge", "b", tt.made))
			if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
	crd, gauge := object("CustomResourceDefinition", "a", hook("test")), object("Gauge", "a", hook("test"))
	if why := crd.Unready(gauge); why != "" {
		t.Errorf("of the same name and event: %q, though Helm makes definitions first", why)
	}
}
