package helm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/companyos/helmproof/evidence"
)

// valuesReport is what was seen of the chart's values schemas: values-schema.json.
type valuesReport struct {
	Schemas []valuesSchema `json:"schemas"`
}

type valuesSchema struct {
	File     string   `json:"file"`              // values.schema.json, charts/NAME/values.schema.json
	Permits  bool     `json:"permits,omitempty"` // it accepts anything
	Problems []string `json:"problems,omitempty"`
}

// maxSchemaProblems bounds what is reported about one values schema.
const maxSchemaProblems = 20

// schemaFile is the name of a chart's values schema.
const schemaFile = "values.schema.json"

// checkValues validates the values that each chart of the tree gets by its schema, offline.
func checkValues(all []part) *valuesReport {
	rep := &valuesReport{Schemas: []valuesSchema{}}
	for _, p := range all {
		if p.chart.Schema == nil {
			continue
		}
		s := valuesSchema{File: path.Join(p.path, schemaFile)}
		s.Permits, s.Problems = validateValues(p.chart.Schema, p.values)
		rep.Schemas = append(rep.Schemas, s)
	}
	return rep
}

// offline refuses to load anything that is not in the schema itself.
type offline struct{}

func (offline) Load(url string) (any, error) {
	return nil, fmt.Errorf("it refers to %s: schemas are not fetched", url)
}

func validateValues(raw []byte, values map[string]any) (permits bool, problems []string) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return false, []string{"not JSON: " + err.Error()}
	}
	if m, ok := doc.(map[string]any); ok {
		permits = true
		for _, k := range []string{"properties", "required", "additionalProperties", "$ref", "allOf", "anyOf", "oneOf", "patternProperties", "if", "not"} {
			if _, ok := m[k]; ok {
				permits = false
			}
		}
	} else if doc == true {
		permits = true
	}
	const name = schemaFile
	c := jsonschema.NewCompiler()
	c.UseLoader(offline{})
	if err := c.AddResource(name, doc); err != nil {
		return permits, []string{"not a schema: " + err.Error()}
	}
	s, err := c.Compile(name)
	if err != nil {
		return permits, []string{"not a usable schema: " + clean(err.Error())}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return permits, []string{err.Error()}
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		return permits, []string{err.Error()}
	}
	var bad *jsonschema.ValidationError
	if err := s.Validate(v); errors.As(err, &bad) {
		problems = leaves(bad, nil)
		slices.Sort(problems)
		problems = slices.Compact(problems)
		return permits, problems[:min(len(problems), maxSchemaProblems)]
	} else if err != nil {
		return permits, []string{err.Error()}
	}
	return permits, nil
}

// leaves are the causes that have no further cause.
func leaves(e *jsonschema.ValidationError, out []string) []string {
	if len(e.Causes) == 0 {
		kind, err := json.Marshal(e.ErrorKind.KeywordPath())
		if err != nil {
			kind = nil
		}
		at := strings.Join(e.InstanceLocation, ".")
		if at == "" {
			at = "the values"
		}
		return append(out, at+" does not hold "+string(kind))
	}
	for _, c := range e.Causes {
		out = leaves(c, out)
	}
	return out
}

// values decides CHT-2.
func (f *findings) values() error {
	var rep valuesReport
	if err := f.Parse(valuesName, &rep); err != nil {
		return err
	}
	own := false
	for i, s := range rep.Schemas {
		at := fmt.Sprintf("/schemas/%d", i)
		own = own || s.File == schemaFile
		switch {
		case len(s.Problems) > 0:
			for k, p := range s.Problems {
				f.chart(RuleValues, evidence.OutcomeFail, p, "Correct the values or the schema.", f.Own(valuesName, fmt.Sprintf("%s/problems/%d", at, k))).Target.File = s.File
			}
		case s.Permits:
			f.chart(RuleValues, evidence.OutcomeWarn, "the schema accepts anything", "Declare the values in properties, and set additionalProperties: false.", f.Own(valuesName, at)).Target.File = s.File
		default:
			f.chart(RuleValues, evidence.OutcomePass, "the values hold the schema", "", f.Own(valuesName, at)).Target.File = s.File
		}
	}
	if !own {
		f.chart(RuleValues, evidence.OutcomeFail, "the chart has no values.schema.json: a misspelled value is silently ignored",
			"Add a values.schema.json with additionalProperties: false.", f.Own(valuesName, "/schemas"))
	}
	return nil
}
