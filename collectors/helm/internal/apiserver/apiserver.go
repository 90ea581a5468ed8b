// Package apiserver says of an object what the API server of Kubernetes says when
// it is created, without one: decoding, defaulting, conversion, and validation by
// Kubernetes' own packages, in that order, with the feature gates of a default
// API server. What admission adds to it, and what depends on the content of a
// cluster, is not said.
package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/klog/v2"
	"k8s.io/kubernetes/pkg/capabilities"
	kjson "sigs.k8s.io/json"
)

// Version is the minor version of Kubernetes whose API server this is.
const Version = "1.37"

// uid stands for the one that the API server makes up.
const uid types.UID = "00000000-0000-4000-8000-000000000000"

// maxGenerateName is what the API server keeps of metadata.generateName.
const maxGenerateName = 58

// Validate returns why the API server refuses to create an object in a namespace;
// nothing where it does not. The kind has to be one that Has knows. An error says
// that the object could not be judged.
func Validate(gvk schema.GroupVersionKind, object map[string]any, namespace string) (problems field.ErrorList, err error) {
	defer func() {
		if p := recover(); p != nil { // Kubernetes' code, and an object of somebody else
			problems, err = nil, fmt.Errorf("validate %s: panic: %v", gvk.Kind, p)
		}
	}()
	if !Has(gvk) {
		return nil, fmt.Errorf("validate %s: no such kind", gvk)
	}
	strategy := strategies[gvk.GroupKind()]
	s, err := schemes[gvk.Group]()
	if err != nil {
		return nil, err
	}
	internal, problems, err := decode(s, gvk, object)
	if err != nil || problems != nil {
		return problems, err
	}
	ctx := klog.NewContext(context.Background(), logr.Discard())
	ctx = genericapirequest.WithNamespace(ctx, namespace)
	ctx = genericapirequest.WithRequestInfo(ctx, &genericapirequest.RequestInfo{IsResourceRequest: true, Verb: "create", APIGroup: gvk.Group, APIVersion: gvk.Version})
	if err := complete(internal, rest.ExpectedNamespaceForScope(namespace, strategy.NamespaceScoped())); err != nil {
		return nil, err
	}
	// Every distribution runs its API server with --allow-privileged; who may use it is
	// for admission to say. The first call in a process counts.
	capabilities.Setup(true, 0)
	strategy.PrepareForCreate(ctx, internal)
	return validate(ctx, s, strategy, internal), nil
}

// decode reads the object as its own version has it, sets defaults, and converts it
// to the type that validation takes.
func decode(s *runtime.Scheme, gvk schema.GroupVersionKind, object map[string]any) (runtime.Object, field.ErrorList, error) {
	text, err := json.Marshal(object)
	if err != nil {
		return nil, nil, fmt.Errorf("encode %s: %w", gvk.Kind, err)
	}
	versioned, err := s.New(gvk)
	if err != nil {
		return nil, nil, err
	}
	strict, err := kjson.UnmarshalStrict(text, versioned)
	if err != nil {
		return nil, field.ErrorList{undecodable(err)}, nil
	}
	var problems field.ErrorList
	for _, e := range strict {
		problems = append(problems, undecodable(e))
	}
	if problems != nil {
		return nil, problems, nil
	}
	s.Default(versioned)
	internal, err := s.UnsafeConvertToVersion(versioned, schema.GroupVersion{Group: gvk.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, field.ErrorList{undecodable(err)}, nil
	}
	return internal, nil, nil
}

// undecodable is an error of the decoder, which names the field itself.
func undecodable(err error) *field.Error {
	return &field.Error{Type: field.ErrorTypeTypeInvalid, Field: "object", BadValue: field.OmitValueType{}, Detail: "cannot be decoded: " + err.Error()}
}

// complete fills in what the API server does before it validates: the namespace of
// the request, a generated name, and an id.
func complete(obj runtime.Object, namespace string) error {
	m, err := meta.Accessor(obj)
	if err != nil {
		return err
	}
	if namespace == "" || m.GetNamespace() == "" {
		m.SetNamespace(namespace)
	}
	if base := m.GetGenerateName(); base != "" && m.GetName() == "" {
		m.SetName(base[:min(len(base), maxGenerateName)] + "xxxxx")
	}
	m.SetUID(uid)
	return nil
}

// validate is what rest.ValidateCreate does, with the group's own scheme instead of
// the one of all groups that the strategies hold.
func validate(ctx context.Context, s *runtime.Scheme, strategy rest.RESTCreateStrategy, obj runtime.Object) field.ErrorList {
	declarative, ok := strategy.(rest.DeclarativeValidationStrategy)
	if _, definition := obj.(*apiextensions.CustomResourceDefinition); !ok || definition { // it has no declarative rules, and is large
		return rest.ValidateCreate(ctx, obj, handWritten{strategy})
	}
	errs := rest.ValidateCreate(ctx, obj, handWritten{strategy})
	return rest.ValidateDeclarativelyWithMigrationChecks(ctx, s, obj, nil, errs, operationCreate, declarative.DeclarativeValidationConfig(ctx, obj, nil))
}

// handWritten is a strategy without its declarative rules.
type handWritten struct{ rest.RESTCreateStrategy }

// secretPaths are parts of a path below which a value may be a secret.
var secretPaths = map[string]bool{"data": true, "stringData": true, "binaryData": true, "value": true, "args": true, "command": true, "annotations": true, "parameters": true, "httpHeaders": true}

// maxValue bounds the texts that are repeated, in bytes.
const maxValue = 64

// Say is an error in the API server's words, after the path of the field. Values
// that may be secret, long ones, and those of many parts are left out.
func Say(kind string, e *field.Error) string {
	shown := *e
	if !repeats(kind, e) {
		shown.BadValue = field.OmitValueType{}
	}
	if kind == "Secret" && strings.HasPrefix(e.Field, "data") && e.Type == field.ErrorTypeInvalid && strings.HasPrefix(e.Detail, "invalid character") {
		shown.Detail = "not JSON" // what the decoder says holds a part of it
	}
	return strings.TrimPrefix(shown.Error(), "object: ")
}

func repeats(kind string, e *field.Error) bool {
	if kind == "Secret" || kind == "ConfigMap" {
		return strings.HasPrefix(e.Field, "metadata.name") || e.Field == "type"
	}
	for _, part := range strings.FieldsFunc(e.Field, func(r rune) bool { return r == '.' || r == '[' }) {
		if secretPaths[part] {
			return false
		}
	}
	switch v := reflect.Indirect(reflect.ValueOf(e.BadValue)); v.Kind() {
	case reflect.String:
		return v.Len() <= maxValue
	case reflect.Bool, reflect.Int, reflect.Int32, reflect.Int64, reflect.Float64:
		return true
	}
	return false
}
