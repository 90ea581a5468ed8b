package helm

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/companyos/helmproof/collectors"
	"github.com/companyos/helmproof/collectors/chart"
	"github.com/companyos/helmproof/collectors/helm/internal/apiserver"
	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/manifest"
)

const schemaFix = "Correct the field; kubectl explain shows what the kind takes."

// objects decides CHT-3 and CHT-4 for every object.
func (f *findings) objects() error {
	version := minor(f.rel.KubeVersion)
	doc, err := f.document(version)
	if errors.Is(err, fs.ErrNotExist) {
		for _, rule := range []string{RuleSchema, RuleRemoved} {
			f.chart(rule, evidence.OutcomeNotChecked, fmt.Sprintf("no schemas for Kubernetes %s: embedded are %s", version, strings.Join(Versions(), ", ")),
				"Give the version's OpenAPI document with --schemas.", f.Pointer(collectors.ReleaseFile, "/kubeVersion", ""))
		}
		return nil
	}
	if err != nil {
		return err
	}
	var asked []string
	switch rec, err := f.Chart(); {
	case err == nil:
		asked = rec.APIVersions
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	crds := f.shippedCRDs()
	judged := map[string]bool{}
	for i := range f.set.Objects {
		o := &f.set.Objects[i]
		gvk := o.GroupVersionKind()
		switch {
		case doc.Has(gvk) && uncreatable(gvk) != "":
			f.object(RuleSchema, o, evidence.OutcomeFail, uncreatable(gvk), "Leave it out: no client can install it.")
			judged[RuleSchema] = true
		case doc.Has(gvk):
			off := chart.SwitchedOff(gvk, version) && !slices.Contains(asked, gvk.GroupVersion().String()) && !slices.Contains(asked, gvk.GroupVersion().String()+"/"+gvk.Kind)
			if err := f.builtin(o, gvk, doc, version, off); err != nil {
				return err
			}
			f.lifecycle(o, gvk, version, off)
			judged[RuleSchema], judged[RuleRemoved] = true, true
		case ofKubernetes(doc, gvk):
			f.removed(o, gvk, version)
			judged[RuleRemoved] = true
			f.object(RuleSchema, o, evidence.OutcomeNotChecked, fmt.Sprintf("Kubernetes %s does not serve %s", version, kindKey(gvk)), "Use an API that the version serves.")
			judged[RuleSchema] = true
		default:
			if err := f.custom(o, gvk, crds); err != nil {
				return err
			}
		}
	}
	for rule, nothing := range map[string]string{RuleSchema: "no object of a built-in kind", RuleRemoved: "no object of a built-in kind"} {
		if !judged[rule] {
			f.chart(rule, evidence.OutcomeNotApplicable, nothing, "", f.Pointer(collectors.ManifestsFile, "", ""))
		}
	}
	return nil
}

// builtin judges an object of a kind that the version serves: unknown fields and
// types by the version's own schema, and then as the API server does that creates it.
// One whose API is off is not found to be valid.
func (f *findings) builtin(o *manifest.Object, gvk schema.GroupVersionKind, doc *Document, version string, off bool) error {
	validated := validates(gvk, version)
	problems, err := doc.validate(gvk, o.Object, !validated || version != apiserver.Version)
	if err != nil {
		return err
	}
	problems = append(problems, nameProblems(o)...)
	problems = append(problems, newProblems(o)...)
	problems = append(problems, shadowProblems(doc, o)...)
	fine := "valid for Kubernetes " + version
	if validated && len(problems) == 0 {
		refused, err := apiserver.Validate(gvk, o.Object, cmp.Or(o.GetNamespace(), f.rel.Namespace, "default"))
		if err != nil {
			f.object(RuleSchema, o, evidence.OutcomeNotChecked, clean(err.Error()), "Look at the object: Kubernetes' own validation fails on it.")
			return nil //nolint:nilerr // the finding holds it
		}
		for _, e := range refused {
			problems = append(problems, clean(apiserver.Say(gvk.Kind, e)))
		}
		slices.Sort(problems)
		problems = slices.Compact(problems)
	}
	problems = append(problems, f.allocated.serviceProblems(o)...)
	if len(problems) == 0 {
		problem, fix := applyProblem(o)
		switch {
		case off:
			f.object(RuleSchema, o, evidence.OutcomeNotChecked, switchedOff(gvk, version), askFor(gvk))
			return nil
		case problem != "":
			f.object(RuleSchema, o, evidence.OutcomeWarn, "the API server creates it, but server-side apply, by which Helm 4 installs, refuses it: "+problem, fix)
			return nil
		}
	}
	f.schemaResult(RuleSchema, o, problems[:min(len(problems), maxProblems)], fine)
	return nil
}

func switchedOff(gvk schema.GroupVersionKind, version string) string {
	return fmt.Sprintf("Kubernetes %s does not serve %s unless it is switched on", version, kindKey(gvk))
}

func askFor(gvk schema.GroupVersionKind) string {
	return "Use an API that is on in every cluster, or say by --api-versions " + gvk.GroupVersion().String() + " that the cluster serves it."
}

// noResource are kinds that have a schema and no resource of their own: those of
// subresources, and those of answers.
var noResource = map[schema.GroupKind]bool{
	{Group: "policy", Kind: "Eviction"}: true, {Group: "autoscaling", Kind: "Scale"}: true, {Group: "authentication.k8s.io", Kind: "TokenRequest"}: true,
	{Kind: "APIGroup"}: true, {Kind: "APIVersions"}: true, {Kind: "Status"}: true,
}

// uncreatable says why nobody can create objects of a kind that a version has a
// schema for; nothing where one can.
func uncreatable(gvk schema.GroupVersionKind) string {
	switch {
	case noResource[gvk.GroupKind()]:
		return fmt.Sprintf("no matches for kind %q in version %q: it is not served as an object of its own", gvk.Kind, gvk.GroupVersion())
	case gvk.GroupKind() == schema.GroupKind{Kind: "ComponentStatus"}:
		return "the server does not allow this method on the requested resource: a ComponentStatus can only be read"
	}
	return ""
}

// validates reports whether the validation of apiserver.Version holds for a kind in
// a version of Kubernetes. Validation of what is stable is not tightened from one
// version to the next; other APIs change, and a newer version may take more.
func validates(gvk schema.GroupVersionKind, version string) bool {
	stable := !strings.Contains(gvk.Version, "alpha") && !strings.Contains(gvk.Version, "beta")
	return apiserver.Has(gvk) && (version == apiserver.Version || stable && parseVersion(version).reached(parseVersion(apiserver.Version)))
}

// document is the user's, where it was sealed, else the embedded one.
func (f *findings) document(version string) (*Document, error) {
	raw, err := f.Read(collectors.Artifact(Name, schemasName))
	if err == nil {
		return ParseDocument(raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return embeddedDocument(version)
}

func (f *findings) schemaResult(rule string, o *manifest.Object, problems []string, fine string) {
	if len(problems) == 0 {
		f.object(rule, o, evidence.OutcomePass, fine, "")
		return
	}
	for _, p := range problems {
		f.object(rule, o, evidence.OutcomeFail, p, schemaFix)
		if rule == RuleCRD {
			f.Out[len(f.Out)-1].Severity = evidence.SeverityHigh
		}
	}
}

// nameProblems: every object that is applied needs a name.
func nameProblems(o *manifest.Object) []string {
	if o.GetName() == "" && o.GetGenerateName() == "" {
		return []string{"metadata.name: required, and missing"}
	}
	return nil
}

// newProblems: an object that is created has no version in the store yet. The API
// server refuses every version but 0, and an apply what is no number.
func newProblems(o *manifest.Object) []string {
	version := o.GetResourceVersion()
	if version == "" {
		return nil
	}
	switch n, err := strconv.ParseUint(version, 10, 64); {
	case err != nil:
		return []string{"metadata.resourceVersion: no number, and it should not be set on objects to be created"}
	case n != 0:
		return []string{"metadata.resourceVersion: resourceVersion should not be set on objects to be created"}
	}
	return nil
}

// shadowProblems: a CustomResourceDefinition cannot define what Kubernetes itself
// serves. Who ships one has a mistake in the chart, or means to mislead its reader.
func shadowProblems(doc *Document, o *manifest.Object) []string {
	if o.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}) {
		return nil
	}
	group, kind, plural := text(o, "spec", "group"), text(o, "spec", "names", "kind"), text(o, "spec", "names", "plural")
	for _, k := range doc.kindsOf(group) {
		switch own, _ := meta.UnsafeGuessKindToResource(schema.GroupVersionKind{Group: group, Version: "v1", Kind: k}); {
		case k == kind:
			return []string{fmt.Sprintf("spec.names.kind: %s of %s is a kind of Kubernetes itself, and stays what it is", kind, group)}
		case own.Resource == plural:
			return []string{fmt.Sprintf("spec.names.plural: %s of %s are objects of Kubernetes itself, and stay what they are", plural, group)}
		}
	}
	return nil
}

// text is a field of the object; empty where it is none, as its schema finding says.
func text(o *manifest.Object, path ...string) string {
	s, _, err := unstructured.NestedString(o.Object, path...)
	if err != nil {
		return ""
	}
	return s
}

// kindsOf lists the kinds of a built-in group: those that the version serves, and
// those that any version had.
func (d *Document) kindsOf(group string) []string {
	kinds := map[string]bool{}
	for k := range d.Kinds {
		gv, kind, _ := strings.Cut(k, " ")
		if g, _, _ := strings.Cut(gv, "/"); g == group && strings.Contains(gv, "/") {
			kinds[kind] = true
		}
	}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if gvk.Group == group {
			kinds[gvk.Kind] = true
		}
	}
	return slices.Sorted(maps.Keys(kinds))
}

// ofKubernetes tells an API group of Kubernetes itself from a custom one: groups of
// client-go's scheme, and those without a dot or under k8s.io that it once had.
func ofKubernetes(doc *Document, gvk schema.GroupVersionKind) bool {
	return doc.serves(gvk.Group) && !strings.Contains(gvk.Group, ".x-k8s.io") || scheme.Scheme.IsGroupRegistered(gvk.Group) || gvk.Group == "extensions"
}

// lived is a version of the API lifecycle: 1.25.
type lived struct{ major, minor int }

func (l lived) String() string { return fmt.Sprintf("%d.%d", l.major, l.minor) }

func parseVersion(v string) lived {
	major, minor, _ := strings.Cut(v, ".")
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(minor)
	if errA != nil || errB != nil {
		return lived{}
	}
	return lived{a, b}
}

func (l lived) reached(by lived) bool {
	return cmp.Or(cmp.Compare(l.major, by.major), cmp.Compare(l.minor, by.minor)) <= 0
}

// history is what Kubernetes' own types say of their life.
func history(gvk schema.GroupVersionKind) (deprecated, removed lived, replacement string) {
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return lived{}, lived{}, ""
	}
	if x, ok := obj.(interface{ APILifecycleDeprecated() (int, int) }); ok {
		deprecated.major, deprecated.minor = x.APILifecycleDeprecated()
	}
	if x, ok := obj.(interface{ APILifecycleRemoved() (int, int) }); ok {
		removed.major, removed.minor = x.APILifecycleRemoved()
	}
	if x, ok := obj.(interface {
		APILifecycleReplacement() schema.GroupVersionKind
	}); ok {
		replacement = kindKey(x.APILifecycleReplacement())
	}
	return deprecated, removed, replacement
}

// lifecycle judges the API of an object that the version serves.
func (f *findings) lifecycle(o *manifest.Object, gvk schema.GroupVersionKind, version string, off bool) {
	deprecated, removed, replacement := history(gvk)
	if off {
		f.object(RuleRemoved, o, evidence.OutcomeNotChecked, switchedOff(gvk, version), askFor(gvk))
	} else {
		f.object(RuleRemoved, o, evidence.OutcomePass, "Kubernetes "+version+" serves "+kindKey(gvk), "")
	}
	if deprecated == (lived{}) || !deprecated.reached(parseVersion(version)) {
		return
	}
	text := fmt.Sprintf("%s is deprecated since Kubernetes %s", kindKey(gvk), deprecated)
	if removed != (lived{}) {
		text += " and removed in " + removed.String()
	}
	f.object(RuleDeprecated, o, evidence.OutcomeFail, text, use(replacement))
}

func use(replacement string) string {
	if replacement == "" {
		return "Use an API that Kubernetes still serves."
	}
	return "Use " + replacement + "."
}

// removed judges an object of a built-in group that the version does not serve.
func (f *findings) removed(o *manifest.Object, gvk schema.GroupVersionKind, version string) {
	_, gone, replacement := history(gvk)
	text := fmt.Sprintf("Kubernetes %s does not serve %s", version, kindKey(gvk))
	if gone != (lived{}) && gone.reached(parseVersion(version)) {
		text += ": removed in " + gone.String()
	}
	f.object(RuleRemoved, o, evidence.OutcomeFail, text, use(replacement))
}

// shipped is a CustomResourceDefinition of the release: the versions that it serves;
// nil where it cannot be read, and its own finding says so.
type shipped struct {
	o        *manifest.Object
	versions func() map[string]*apiserver.Custom
}

// shippedCRDs reads the CustomResourceDefinitions of the release, by the group and
// kind that they define.
func (f *findings) shippedCRDs() map[schema.GroupKind][]shipped {
	out := map[schema.GroupKind][]shipped{}
	for i := range f.set.Objects {
		o := &f.set.Objects[i]
		if o.GetKind() != "CustomResourceDefinition" || o.GroupVersionKind().Group != "apiextensions.k8s.io" {
			continue
		}
		defines := schema.GroupKind{Group: text(o, "spec", "group"), Kind: text(o, "spec", "names", "kind")}
		out[defines] = append(out[defines], shipped{o, sync.OnceValue(func() map[string]*apiserver.Custom { return served(o) })})
	}
	return out
}

// served are the versions of a CustomResourceDefinition that it serves; nil where it
// is not one.
func served(o *manifest.Object) map[string]*apiserver.Custom {
	var crd apiextensionsv1.CustomResourceDefinition
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &crd); err != nil {
		return nil
	}
	versions := map[string]*apiserver.Custom{}
	for _, v := range crd.Spec.Versions {
		if v.Served {
			versions[v.Name] = &apiserver.Custom{Namespaced: crd.Spec.Scope != apiextensionsv1.ClusterScoped, Version: v}
		}
	}
	return versions
}

// shippedFor returns the versions that the chart's own CRD serves when Helm makes the
// object; nil where it has none by then, and why, if it has one at all.
func shippedFor(o *manifest.Object, crds []shipped) (versions map[string]*apiserver.Custom, why string) {
	for _, crd := range crds {
		absent := ""
		if !ofCRDFolder(crd.o.File) { // hooks are nothing to Helm there
			absent = crd.o.Unready(o)
		}
		if v := crd.versions(); v == nil {
			continue
		} else if absent == "" {
			versions = v
		} else if why == "" {
			why = absent
		}
	}
	return versions, why
}

// ofCRDFolder reports whether Helm makes what the file has before all hooks: those in
// crds/ of a chart or of a subchart.
func ofCRDFolder(file string) bool {
	for {
		rest, ok := strings.CutPrefix(file, "charts/")
		if !ok {
			return chart.IsCRDFile(file)
		}
		_, file, _ = strings.Cut(rest, "/")
	}
}

// custom judges a custom resource by the release's own CRD, else by the one that
// its project publishes.
func (f *findings) custom(o *manifest.Object, gvk schema.GroupVersionKind, crds map[schema.GroupKind][]shipped) error {
	var crd *apiserver.Custom
	by := "the chart's own CRD"
	versions, why := shippedFor(o, crds[gvk.GroupKind()])
	if versions != nil {
		if crd = versions[gvk.Version]; crd == nil {
			f.schemaResult(RuleCRD, o, []string{fmt.Sprintf("no matches for kind %q in version %q: %s serves %s", gvk.Kind, gvk.GroupVersion(), by,
				cmp.Or(strings.Join(slices.Sorted(maps.Keys(versions)), ", "), "no version"))}, "")
			return nil
		}
	} else {
		var source string
		var err error
		if crd, source, err = published(gvk); err != nil {
			return err
		}
		by = "the CRD of " + source
	}
	if crd == nil && why != "" {
		f.object(RuleCRD, o, evidence.OutcomeNotChecked, "no schema for "+kindKey(gvk)+": the chart's own CRD may not be there when Helm makes the object: "+why,
			"Ship the CRD in crds/, or accept this by a waiver that names the kind.")
		return nil
	}
	if crd == nil {
		if problems := newProblems(o); len(problems) > 0 { // whatever its schema is
			f.schemaResult(RuleCRD, o, problems, "")
		}
		f.object(RuleCRD, o, evidence.OutcomeNotChecked, "no schema for "+kindKey(gvk)+": the chart ships no CRD for it",
			"Ship the CRD in crds/, or accept this by a waiver that names the kind.")
		return nil
	}
	if err := crd.Compile(); err != nil {
		f.object(RuleCRD, o, evidence.OutcomeNotChecked, by+" for "+kindKey(gvk)+" cannot be used: "+clean(err.Error()), "Correct the CRD's schema.")
		return nil //nolint:nilerr // the finding holds it
	}
	refused, unknown, err := crd.Validate(o.Object, cmp.Or(o.GetNamespace(), f.rel.Namespace, "default"))
	if err != nil {
		f.object(RuleCRD, o, evidence.OutcomeNotChecked, clean(err.Error()), "Look at the object, and at the CRD: Kubernetes' own validation fails on them.")
		return nil //nolint:nilerr // the finding holds it
	}
	problems := append(nameProblems(o), newProblems(o)...)
	for _, e := range refused {
		problems = append(problems, clean(apiserver.Say(gvk.Kind, e)))
	}
	for _, path := range unknown {
		problems = append(problems, path+": unknown field")
	}
	slices.Sort(problems)
	problems = slices.Compact(problems)
	if problem := nameless(o); problem != "" && len(problems) == 0 {
		f.object(RuleCRD, o, evidence.OutcomeWarn, "the API server creates it, but server-side apply, by which Helm 4 installs, refuses it: "+problem, nameFix)
		return nil
	}
	f.schemaResult(RuleCRD, o, problems[:min(len(problems), maxProblems)], "valid by "+by)
	return nil
}
