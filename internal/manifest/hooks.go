package manifest

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// The annotations of hooks, and their words that matter here
// (helm.sh/helm/v4/pkg/release/v1, hook.go).
const (
	hookAnnotation       = "helm.sh/hook"
	hookWeightAnnotation = "helm.sh/hook-weight"
	hookDeleteAnnotation = "helm.sh/hook-delete-policy"

	hookSucceeded      = "hook-succeeded"
	beforeHookCreation = "before-hook-creation"

	preInstall   = "pre-install"
	postInstall  = "post-install"
	preUpgrade   = "pre-upgrade"
	postUpgrade  = "post-upgrade"
	preDelete    = "pre-delete"
	postDelete   = "post-delete"
	preRollback  = "pre-rollback"
	postRollback = "post-rollback"
)

// hookEvents are the events that Helm knows (pkg/release/v1/util,
// manifest_sorter.go). A hook that names any other event is never made.
var hookEvents = []string{
	preInstall, postInstall, preDelete, postDelete, preUpgrade, postUpgrade, preRollback, postRollback, "test", "test-success",
}

// hook is what a document's annotations make of it.
type hook struct {
	events   []string // lower case, as written
	weight   int
	deleted  bool // by policy, once the hooks of its event have succeeded
	replaces bool // what has its name is deleted before it is made, by policy or for want of one
}

// hookOf reads a document's annotations as Helm does; nil: it is no hook.
func hookOf(m map[string]any) *hook {
	annotations := map[string]string{}
	for _, metadata := range folded(m, "metadata") {
		for _, a := range folded(metadata, "annotations") {
			for k, v := range a {
				annotations[k] = scalar(v)
			}
		}
	}
	events, ok := annotations[hookAnnotation]
	if !ok {
		return nil
	}
	policies, chosen := annotations[hookDeleteAnnotation]
	h := &hook{events: words(events), deleted: slices.Contains(words(policies), hookSucceeded)}
	h.replaces = !chosen || slices.Contains(words(policies), beforeHookCreation)
	if n, err := strconv.Atoi(annotations[hookWeightAnnotation]); err == nil {
		h.weight = n // Helm too takes what is no number as 0
	}
	return h
}

// folded returns the mappings of that name whatever its case: Helm decodes the
// head of a document with encoding/json, which does not tell Metadata from metadata.
func folded(m map[string]any, name string) []map[string]any {
	var out []map[string]any
	for k, v := range m {
		if sub, ok := v.(map[string]any); ok && strings.EqualFold(k, name) {
			out = append(out, sub)
		}
	}
	return out
}

// scalar is an annotation as Helm's YAML decoder reads it into a string.
func scalar(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	}
	return fmt.Sprint(v)
}

func words(list string) []string {
	var out []string
	for w := range strings.SplitSeq(list, ",") {
		out = append(out, strings.ToLower(strings.TrimSpace(w)))
	}
	return out
}

// asHook is what Helm makes a hook of; nil: it installs the object.
func (o *Object) asHook() *hook {
	if o.headed {
		return o.hook
	}
	return hookOf(o.Object)
}

// Hooks returns the Helm hooks that the object belongs to ("pre-install",
// "test"), nil for what is installed. Hooks run in the cluster as well.
func (o *Object) Hooks() []string {
	if o.asHook() == nil || slices.Equal(o.asHook().events, []string{""}) {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(o.asHook().events), func(e string) bool { return e == "" })
}

// NeverMade says why Helm never makes the object; "" when it does.
func (o *Object) NeverMade() string {
	if o.asHook() == nil {
		return ""
	}
	for _, e := range o.asHook().events {
		if !slices.Contains(hookEvents, e) {
			return fmt.Sprintf("its hook event %q is none of Helm's, which therefore never makes it", e)
		}
	}
	return ""
}

// Missing says why the object may not be in the cluster while another one of the
// release runs there; "" when it is there. What is no hook is installed after the
// hooks of pre-install and is gone at post-delete. A hook stays unless its policy
// deletes it, and is there for what the release installs only if an installation
// and an upgrade make it; for other hooks of its own event, also if it comes
// before them. The pods of an object that is never made count as installed.
func (o *Object) Missing(while *Object) string {
	if o == while {
		return ""
	}
	if never := o.NeverMade(); never != "" {
		return never
	}
	if while.asHook() == nil || while.NeverMade() != "" {
		return o.transient()
	}
	for _, event := range while.asHook().events {
		if why := o.missingAt(event, while); why != "" {
			return why
		}
	}
	return ""
}

// Unready says why a definition of the release, which Helm deletes for no hook, may
// not be there yet when Helm makes another object; "" when it is there. What an
// installation made before stays for all that comes later.
func (o *Object) Unready(made *Object) string {
	h := o.asHook()
	if h == nil || o.NeverMade() != "" {
		return o.Missing(made)
	}
	if made.asHook() == nil || made.NeverMade() != "" {
		return h.unready(preInstall)
	}
	for _, event := range made.asHook().events {
		earlier := []string{preInstall, postInstall}
		switch {
		case h.on(event) && o.before(made):
			continue
		case event == preInstall && h.on(preInstall):
			return "it is not made before the hooks of " + preInstall + " that need it"
		case event == preInstall:
			return h.unready()
		case event == postInstall:
			earlier = []string{preInstall}
		}
		if why := h.unready(earlier...); why != "" {
			return why
		}
	}
	return ""
}

// unready says why a hook was not made by one of these events.
func (h *hook) unready(earlier ...string) string {
	if h.on(earlier...) {
		return ""
	}
	text := "it is a hook of " + strings.Join(h.events, ", ")
	if !h.on(preInstall, postInstall) {
		return text + ", which an installation does not make"
	}
	return text + ", which comes too late"
}

// MadeWith reports whether o is a hook of each event that p is a hook of, in
// whatever order, and is not deleted sooner.
func (o *Object) MadeWith(p *Object) bool {
	if o.asHook() == nil || p.asHook() == nil || o.NeverMade() != "" || o.asHook().deleted && !p.asHook().deleted {
		return false
	}
	return !slices.ContainsFunc(p.asHook().events, func(e string) bool { return !o.asHook().on(e) })
}

// transient says why an object is not there as long as what the release installs.
func (o *Object) transient() string {
	h := o.asHook()
	switch {
	case h == nil:
		return ""
	case h.deleted:
		return "it is a hook, deleted as soon as it has succeeded"
	case !h.on(preInstall, postInstall):
		return "it is a hook of " + strings.Join(h.events, ", ") + ", which an installation does not make"
	case !h.on(preUpgrade, postUpgrade):
		return "it is a hook of " + strings.Join(h.events, ", ") + ", which an upgrade does not make"
	}
	return ""
}

func (o *Object) missingAt(event string, while *Object) string {
	h := o.asHook()
	switch {
	case h == nil && event == preInstall:
		return "it is installed only after the hooks of " + preInstall
	case h == nil && event == postDelete:
		return "it is gone when the hooks of " + postDelete + " run"
	case h == nil || h.on(event) && o.before(while):
		return ""
	case event == preInstall:
		return "it is not made before the hooks of " + preInstall + " that need it"
	case event == postInstall && h.on(preInstall) && !h.deleted:
		return ""
	}
	return o.transient()
}

func (h *hook) on(events ...string) bool {
	return slices.ContainsFunc(events, func(e string) bool { return slices.Contains(h.events, e) })
}

// before reports whether Helm makes the hook o before the hook p of one event: by
// weight, then by name, then by kind.
func (o *Object) before(p *Object) bool {
	order := cmp.Or(cmp.Compare(o.asHook().weight, p.asHook().weight), strings.Compare(o.GetName(), p.GetName()))
	if order != 0 {
		return order < 0
	}
	switch o.GetKind() { // of Helm's InstallOrder, those that come before any pod
	case "Namespace", "NetworkPolicy", "PodDisruptionBudget", "ServiceAccount", "Secret", customDefinition:
		return true
	}
	return false
}
