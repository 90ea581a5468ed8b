package chart

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
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

// aboutName is a problem with the name of a value: named, if any, is the library's error
// that has the name. Where it is the library gets wrong (it goes on writing to the place
// that it gave out, of which only the depth is left), so it is looked up in values.
func aboutName(ve, named *jsonschema.ValidationError, values map[string]any) *jsonschema.ValidationError {
	if named == nil {
		return ve
	}
	k, ok := named.ErrorKind.(*kind.PropertyNames)
	if !ok {
		return ve
	}
	text := ve.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	if rest, ok := strings.CutPrefix(text, "the value "); ok {
		text = " " + rest
	} else {
		text = ": " + text
	}
	name := strconv.Quote(k.Property)
	text = "the name '" + name[1:len(name)-1] + "'" + text
	at := &jsonschema.ValidationError{SchemaURL: ve.SchemaURL, ErrorKind: problem{ve.ErrorKind, text}}
	if places := placesOf(k.Property, values, nil, len(named.InstanceLocation), nil); len(places) == 1 {
		at.InstanceLocation = places[0]
	}
	return at
}

// placesOf adds the maps that have a value of the name and are so deep below v, which is
// at a place.
func placesOf(name string, v any, at []string, depth int, out [][]string) [][]string {
	switch v := v.(type) {
	case map[string]any:
		if depth == 0 {
			if _, ok := v[name]; ok {
				out = append(out, at)
			}
			return out
		}
		for key, inner := range v {
			out = placesOf(name, inner, append(slices.Clip(at), key), depth-1, out)
		}
	case []any:
		if depth == 0 {
			return out
		}
		for i, inner := range v {
			out = placesOf(name, inner, append(slices.Clip(at), strconv.Itoa(i)), depth-1, out)
		}
	}
	return out
}

// problem is a kind of error in other words.
type problem struct {
	jsonschema.ErrorKind
	text string
}

func (p problem) LocalizedString(*message.Printer) string { return p.text }
