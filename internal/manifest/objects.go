// Package manifest reads rendered manifests: documents and where they come from,
// objects, the pod templates of workloads, and the images that objects name.
package manifest

import (
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/companyos/helmproof/evidence"
)

// ObjectSet is the parsed rendering.
type ObjectSet struct {
	Objects []Object
	// Broken are documents that are not Kubernetes objects (bad YAML, no kind …).
	Broken []BrokenDocument
}

// Object is one rendered object with where it came from.
type Object struct {
	unstructured.Unstructured
	File     string // template file: "templates/deployment.yaml", "charts/redis/templates/…"
	Line     int    // line in that template where the object probably starts; 0 unknown
	From, To int    // line range in manifests.yaml, 1-based, inclusive
	Listed   bool   // it is an item of a list

	standsFor *Object // the custom resource whose pods it has; nil for what is rendered

	headed bool  // hook is what the head of its document says; otherwise its own annotations count
	hook   *hook // nil: Helm installs it with the release
}

// BrokenDocument is a document that could not be read as an object.
type BrokenDocument struct {
	File     string
	Line     int
	From, To int
	Error    string
}

// DeclaredAnnotation begins the annotations by which an object says why it fails a
// control on purpose; the control's id ends them.
const DeclaredAnnotation = "helmproof.companyos.github.io/declared-"

// ExceptionAnnotation begins the annotations by which an object asks for an exception
// from a control; the control's id ends them.
const ExceptionAnnotation = "helmproof.companyos.github.io/exception-"

// Declared is the reason that the object gives for failing a control on purpose; ""
// where it gives none, or a word that is none.
func (o *Object) Declared(control evidence.ControlID) string {
	if reason := strings.TrimSpace(o.GetAnnotations()[DeclaredAnnotation+string(control)]); evidence.Visible(reason) >= evidence.MinReason {
		return reason
	}
	return ""
}

// Target returns the object as a finding's target; container may be "".
// The namespace is the object's own, or empty.
func (o *Object) Target(container string) evidence.Target {
	return evidence.Target{
		APIVersion: o.GetAPIVersion(), Kind: o.GetKind(), Name: o.GetName(), Namespace: o.GetNamespace(),
		Container: container, File: o.File, Line: o.Line,
	}
}
