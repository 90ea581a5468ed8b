package manifest

import (
	"cmp"
	"slices"
)

// Clash is an object that cannot be in the cluster beside another one of its name.
type Clash struct {
	Object, With *Object
	Why          string // for the end of a sentence; empty for two objects of the release itself
}

// operations are what Helm does with a release: the events of the hooks that it
// runs before and after the release's own objects are made.
var operations = []struct{ before, after string }{{preInstall, postInstall}, {preUpgrade, postUpgrade}, {preRollback, postRollback}}

// Clashes tells which of the objects, all of one kind, namespace and name, keep Helm
// from making another one, or are deleted for it. Hooks are no part of the release:
// Helm makes and deletes them at their events (helm.sh/helm/v4/pkg/action, hooks.go),
// so that a name may be used again once nothing has it.
func Clashes(same []*Object) []Clash {
	if len(same) < 2 {
		return nil
	}
	var out []Clash
	reported := map[*Object]bool{}
	report := func(o, with *Object, why string) {
		if !reported[o] {
			reported[o] = true
			out = append(out, Clash{o, with, why})
		}
	}
	var own *Object // what the release itself has of that name
	var hooks []*Object
	for _, o := range same {
		switch {
		case o.asHook() != nil && o.NeverMade() == "":
			hooks = append(hooks, o)
		case own == nil:
			own = o
		default: // what is never made as well: nobody means that
			report(o, own, "")
		}
	}
	slices.SortStableFunc(hooks, func(a, b *Object) int { return cmp.Compare(a.asHook().weight, b.asHook().weight) })
	var installed *Object // what has the name after an installation
	for _, op := range operations {
		there := runHooks(hooks, op.before, installed, own, report)
		if own != nil {
			if op.before == preInstall && there != nil {
				report(own, there, ", a hook that is still there when the release is installed")
			}
			there = own
		}
		there = runHooks(hooks, op.after, there, own, report)
		if op.before == preInstall {
			installed = there
		}
	}
	for _, event := range []string{"test", "test-success", preDelete} {
		runHooks(hooks, event, installed, own, report)
	}
	runHooks(hooks, postDelete, nil, nil, report)
	return out
}

// runHooks makes the hooks of an event and returns what has their name afterwards.
// there has it before; own is what the release itself has of that name.
func runHooks(hooks []*Object, event string, there, own *Object, report func(o, with *Object, why string)) *Object {
	// Before these the release's own is on its way out, or is made once more.
	expendable := event == preUpgrade || event == preRollback || event == preDelete
	deleted := false
	for _, o := range hooks {
		h := o.asHook()
		if !h.on(event) {
			continue
		}
		if there != nil && there != o {
			switch replaces := h.replaces && o.GetKind() != customDefinition; {
			case !replaces:
				report(o, there, ", which is still there when Helm makes the hook of "+event)
			case there == own && !expendable:
				report(o, own, ", which Helm deletes to make the hook of "+event)
			}
		}
		there = o
		deleted = deleted || h.deleted
	}
	// Once all have succeeded, by name, whichever of them has it by then.
	if deleted && there.GetKind() != customDefinition {
		return nil
	}
	return there
}

// customDefinition is the kind that Helm does not delete for a hook.
const customDefinition = "CustomResourceDefinition"
