package chart

import (
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/message"
)

// withoutValue is a problem with a value, by its place and what the schema wants; the
// value itself, which may be a secret that nothing else tells from one, is left out.
func withoutValue(ve *jsonschema.ValidationError) *jsonschema.ValidationError {
	var text string
	switch k := ve.ErrorKind.(type) {
	case *kind.Pattern:
		text = fmt.Sprintf("the value does not match pattern '%s'", k.Want)
	case *kind.Format:
		text = "the value is not valid " + k.Want
	case *kind.InvalidJsonValue:
		text = "the value is none of JSON"
	case *kind.ContentEncoding:
		text = "the value is not " + k.Want + " encoded"
	case *kind.ContentMediaType:
		text = "the value is not of media type " + k.Want
	case *kind.Minimum:
		text = "the value is less than " + k.Want.RatString()
	case *kind.Maximum:
		text = "the value is more than " + k.Want.RatString()
	case *kind.ExclusiveMinimum:
		text = "the value is not more than " + k.Want.RatString()
	case *kind.ExclusiveMaximum:
		text = "the value is not less than " + k.Want.RatString()
	case *kind.MultipleOf:
		text = "the value is no multiple of " + k.Want.RatString()
	default:
		return ve
	}
	return &jsonschema.ValidationError{SchemaURL: ve.SchemaURL, InstanceLocation: ve.InstanceLocation, ErrorKind: problem{ve.ErrorKind, text}}
}

// problem is a kind of error in other words.
type problem struct {
	jsonschema.ErrorKind
	text string
}

func (p problem) LocalizedString(*message.Printer) string { return p.text }
