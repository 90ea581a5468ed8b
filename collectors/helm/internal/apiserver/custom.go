package apiserver

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/api/operation"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// Custom is one version of a custom kind, as its CustomResourceDefinition has it.
type Custom struct {
	Namespaced bool
	Version    apiextensionsv1.CustomResourceDefinitionVersion

	compile sync.Once
	schema  *structuralschema.Structural
	valid   schemavalidation.SchemaValidator
	rules   *cel.Validator
	err     error
}

// Compile makes schema and rules ready, once, and says what is wrong with the
// schema. Validate does so itself.
func (c *Custom) Compile() error {
	c.compile.Do(func() { c.err = c.structural() })
	return c.err
}

func (c *Custom) structural() error {
	if c.Version.Schema == nil || c.Version.Schema.OpenAPIV3Schema == nil {
		return errors.New("the CRD has no openAPIV3Schema")
	}
	var props apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(c.Version.Schema.OpenAPIV3Schema, &props, nil); err != nil {
		return err
	}
	var err error
	if c.schema, err = structuralschema.NewStructural(&props); err != nil {
		return err
	}
	if c.valid, _, err = schemavalidation.NewSchemaValidator(&props); err != nil {
		return err
	}
	c.rules = cel.NewValidator(c.schema, true, celconfig.PerCallLimit)
	return nil
}

// Validate returns why the API server refuses to create an object, and the paths of
// fields that the schema does not know. It prunes, sets defaults, and validates
// schema, metadata, lists and rules, as the API server does. An error says that the
// object could not be judged.
func (c *Custom) Validate(object map[string]any, namespace string) (problems field.ErrorList, unknown []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			problems, unknown, err = nil, nil, fmt.Errorf("validate %s: panic: %v", object["kind"], p)
		}
	}()
	if err := c.Compile(); err != nil {
		return nil, nil, err
	}
	u := &unstructured.Unstructured{Object: runtime.DeepCopyJSON(object)}
	m, unknown, refused := c.coerce(u)
	if refused != nil {
		return field.ErrorList{refused}, unknown, nil
	}
	defaulting.Default(u.Object, c.schema)
	if c.Version.Subresources != nil && c.Version.Subresources.Status != nil {
		delete(u.Object, "status")
	}
	if !c.Namespaced {
		namespace = ""
	}
	if err := complete(u, namespace); err != nil {
		return nil, nil, err
	}
	m.Namespace, m.Name = u.GetNamespace(), u.GetName()
	ctx := context.Background()
	problems = validation.ValidateObjectMetaDeclaratively(ctx, operation.Create, m, nil, c.Namespaced, validation.NameIsDNSSubdomain, field.NewPath("metadata"), true)
	problems = append(problems, schemavalidation.ValidateCustomResource(nil, u.Object, c.valid)...)
	problems = append(problems, c.scale(u)...)
	problems = append(problems, objectmeta.Validate(ctx, nil, u.Object, c.schema, false)...)
	problems = append(problems, listtype.ValidateListSetsAndMaps(nil, c.schema, u.Object)...)
	if c.rules != nil && !blocks(problems) {
		broken, _ := c.rules.Validate(ctx, nil, c.schema, u.Object, nil, celconfig.RuntimeCELCostBudget)
		problems = append(problems, broken...)
	}
	return problems, unknown, nil
}

// coerce prunes what the schema does not know, and nulls that it does not allow.
func (c *Custom) coerce(u *unstructured.Unstructured) (*metav1.ObjectMeta, []string, *field.Error) {
	apiVersion, kind := u.GetAPIVersion(), u.GetKind()
	m, _, unknown, err := objectmeta.GetObjectMetaWithOptions(u.Object, objectmeta.ObjectMetaOptions{ReturnUnknownFieldPaths: true})
	if err != nil {
		return nil, nil, &field.Error{Type: field.ErrorTypeTypeInvalid, Field: "metadata", BadValue: field.OmitValueType{}, Detail: err.Error()}
	}
	unknown = append(unknown, pruning.PruneWithOptions(u.Object, c.schema, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})...)
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, c.schema)
	refused, paths := objectmeta.CoerceWithOptions(nil, u.Object, c.schema, false, objectmeta.CoerceOptions{ReturnUnknownFieldPaths: true})
	if refused != nil {
		return nil, nil, refused
	}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	if m == nil {
		m = &metav1.ObjectMeta{}
	}
	if err := objectmeta.SetObjectMeta(u.Object, m); err != nil {
		return nil, nil, &field.Error{Type: field.ErrorTypeTypeInvalid, Field: "metadata", BadValue: field.OmitValueType{}, Detail: err.Error()}
	}
	return m, append(unknown, paths...), nil
}

// scale holds replicas to what the subresource scale says of them.
func (c *Custom) scale(u *unstructured.Unstructured) field.ErrorList {
	if c.Version.Subresources == nil || c.Version.Subresources.Scale == nil {
		return nil
	}
	var errs field.ErrorList
	path := c.Version.Subresources.Scale.SpecReplicasPath
	n, _, err := unstructured.NestedInt64(u.Object, strings.Split(strings.TrimPrefix(path, "."), ".")...)
	switch at := field.NewPath(path); {
	case err != nil:
		errs = append(errs, field.Invalid(at, n, err.Error()))
	case n < 0:
		errs = append(errs, field.Invalid(at, n, "should be a non-negative integer"))
	case n > math.MaxInt32:
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("should be less than or equal to %d", math.MaxInt32)))
	}
	return errs
}

// blocks reports errors because of which the API server does not run rules in CEL.
func blocks(errs field.ErrorList) bool {
	for _, e := range errs {
		switch e.Type {
		case field.ErrorTypeNotSupported, field.ErrorTypeRequired, field.ErrorTypeTooLong, field.ErrorTypeTooMany, field.ErrorTypeTypeInvalid:
			return true
		}
	}
	return false
}
