package chart

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"helm.sh/helm/v4/pkg/chart/common"
	chartcommon "helm.sh/helm/v4/pkg/chart/common/util"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	helmvalues "helm.sh/helm/v4/pkg/cli/values"
	"helm.sh/helm/v4/pkg/getter"

	"github.com/companyos/helmproof/internal/bom"
	"github.com/companyos/helmproof/internal/manifest"
)

// userValues merges what the user gave, in Helm's order.
func (l *load) userValues() (map[string]any, error) {
	o := helmvalues.Options{
		ValueFiles: slices.Clone(l.o.ValueFiles), Values: l.o.Set, StringValues: l.o.SetString,
		FileValues: l.o.SetFile, JSONValues: l.o.SetJSON,
	}
	values, err := o.MergeValues(getter.Providers{})
	if err != nil {
		return nil, l.fail(StageValues, err, "check -f, --set, --set-string, --set-file and --set-json")
	}
	return values, nil
}

func isURL(s string) bool { return strings.Contains(s, "://") }

// localValues has the user's values in regular files of a bounded size: what comes
// from standard input, a pipe or a device is copied, which done removes. It returns
// when ctx ends, also where nobody writes to a pipe.
func (l *load) localValues(ctx context.Context) (done func(), err error) {
	var copies []string
	done = func() {
		for _, name := range copies {
			_ = os.Remove(name) // it is in the folder for such files
		}
	}
	local := func(name string, isText bool) (string, error) {
		if isURL(name) {
			return "", l.fail(StageValues, fmt.Errorf("%s: values are not fetched from URLs", name), "download it and give the file")
		}
		tmp, err := l.regularFile(ctx, strings.TrimSpace(name), isText)
		if err != nil {
			return "", l.fail(StageValues, err, "")
		}
		if tmp == "" {
			return name, nil
		}
		copies = append(copies, tmp)
		l.copied[tmp] = strings.TrimSpace(name)
		if l.copied[tmp] == "-" {
			l.copied[tmp] = "standard input"
		}
		return tmp, nil
	}
	l.copied = map[string]string{}
	l.o.ValueFiles, l.o.SetFile = slices.Clone(l.o.ValueFiles), slices.Clone(l.o.SetFile)
	for i, name := range l.o.ValueFiles {
		if l.o.ValueFiles[i], err = local(name, true); err != nil {
			return done, err
		}
	}
	for i, f := range l.o.SetFile {
		key, name, ok := strings.Cut(f, "=")
		if !ok || name == "-" {
			continue // Helm says what is wrong with it
		}
		if name, err = local(name, false); err != nil {
			return done, err
		}
		l.o.SetFile[i] = key + "=" + name
	}
	return done, nil
}

// asGiven is err with the names that the user gave, not those of copies.
func (l *load) asGiven(err error) error {
	var le *LoadError
	if !errors.As(err, &le) || le.Stage != StageValues || le.Err == nil {
		return err
	}
	text := le.Err.Error()
	for tmp, name := range l.copied {
		text = strings.ReplaceAll(text, tmp, name)
	}
	if text == le.Err.Error() {
		return err
	}
	return l.fail(le.Stage, errors.New(text), le.Hint)
}

// regularFile returns the name of a copy of the file, or "" where the file is
// regular, or not there, and can be read as it is. "-" is standard input. A text with a
// byte order mark is copied without it, as UTF-8.
func (l *load) regularFile(ctx context.Context, name string, isText bool) (string, error) {
	open := func() (io.ReadCloser, error) { return os.Open(name) }
	if name == "-" {
		if l.o.Stdin == nil {
			return "", errors.New("-: there is no standard input")
		}
		open = func() (io.ReadCloser, error) { return io.NopCloser(l.o.Stdin), nil } //nolint:unparam // opens as os.Open does
	} else if fi, err := os.Stat(name); err != nil || fi.Mode().IsRegular() || fi.IsDir() {
		if err == nil && fi.Mode().IsRegular() && fi.Size() > maxFileSize {
			return "", fmt.Errorf("%s: more than %d bytes", name, maxFileSize)
		}
		if !isText || err != nil || fi.IsDir() || !marked(name) {
			return "", nil //nolint:nilerr // whoever reads it says so
		}
	}
	type result struct {
		name string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		copied, err := boundedCopy(name, open, isText)
		done <- result{copied, err}
	}()
	select {
	case r := <-done:
		return r.name, r.err
	case <-ctx.Done():
		return "", fmt.Errorf("%s: not read: %w", name, context.Cause(ctx))
	}
}

// marked reports whether the regular file starts with a byte order mark.
func marked(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return false // whoever reads it says so
	}
	defer f.Close()
	head := make([]byte, 3)
	n, err := io.ReadFull(f, head)
	return (err == nil || errors.Is(err, io.ErrUnexpectedEOF)) && bom.Marked(head[:n])
}

// boundedCopy copies what is opened to a temporary file.
func boundedCopy(name string, open func() (io.ReadCloser, error), isText bool) (string, error) {
	in, err := open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	f, err := os.CreateTemp("", "helmproof-values-")
	if err != nil {
		return "", err
	}
	r := io.Reader(in)
	if isText {
		r = bom.Reader(in)
	}
	n, err := io.Copy(f, io.LimitReader(r, maxFileSize+1))
	if err == nil && n > maxFileSize {
		err = fmt.Errorf("%s: more than %d bytes", name, maxFileSize)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// values processes the dependencies, checks the values against the schemas and
// returns what templates see. It fills in the coalesced values.
func (l *load) values(rel *Release, c *chartv2.Chart, caps *common.Capabilities) (common.Values, error) {
	user := copyValue(rel.UserValues).(map[string]any)
	if err := chartutil.ProcessDependencies(c, user); err != nil {
		return nil, l.fail(StageDependencies, err, "")
	}
	options := common.ReleaseOptions{Name: rel.Info.ReleaseName, Namespace: rel.Info.Namespace, Revision: 1, IsInstall: true}
	scope, err := chartcommon.ToRenderValuesWithSchemaValidation(c, user, options, caps, true)
	if err != nil {
		return nil, l.fail(StageValues, err, "")
	}
	coalesced, err := scope.Table("Values")
	if err != nil {
		return nil, l.fail(StageValues, err, "")
	}
	// Templates may change the values that they get.
	rel.Values = copyValue(map[string]any(coalesced)).(map[string]any)
	if rel.Info.ValuesDigest, err = canonicalDigest(rel.Values); err != nil {
		return nil, l.fail(StageValues, err, "")
	}
	refused := map[string]struct{}{}
	problems, err := checkSchemas(c, rel.Values, refused)
	for url := range refused {
		rel.Record.Network = append(rel.Record.Network, url)
	}
	slices.Sort(rel.Record.Network)
	if err != nil {
		return nil, l.fail(StageSchema, err, "")
	}
	if len(problems) > 0 {
		return nil, l.fail(StageSchema, errors.New("values do not meet values.schema.json: "+strings.Join(problems, "; ")),
			"give other values with -f or --set")
	}
	return scope, nil
}

// copyValue copies maps and lists of v.
func copyValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[k] = copyValue(e)
		}
		return m
	case common.Values:
		return copyValue(map[string]any(v))
	case []any:
		s := make([]any, len(v))
		for i, e := range v {
			s[i] = copyValue(e)
		}
		return s
	}
	return v
}

// checkSchemas validates the values of c and its subcharts, each against the
// chart's own values.schema.json. What a schema refers to elsewhere is never
// fetched: the reference is taken as met and noted in refused.
func checkSchemas(c *chartv2.Chart, values map[string]any, refused map[string]struct{}) (problems []string, err error) {
	if c.Schema != nil {
		found, err := checkSchema(c.Schema, values, refused)
		if err != nil {
			return nil, fmt.Errorf("values.schema.json of %s: %w", c.Name(), err)
		}
		for _, p := range found {
			if !c.IsRoot() {
				p = c.Name() + ": " + p
			}
			problems = append(problems, p)
		}
	}
	for _, sub := range c.Dependencies() {
		raw, ok := values[sub.Name()]
		if !ok || raw == nil {
			continue
		}
		table, ok := raw.(map[string]any)
		if !ok {
			problems = append(problems, fmt.Sprintf("%s: want a mapping, have %s", sub.Name(), manifest.YAMLType(raw)))
			continue
		}
		more, err := checkSchemas(sub, table, refused)
		if err != nil {
			return nil, err
		}
		problems = append(problems, more...)
	}
	return problems, nil
}

const schemaURL = "file:///values.schema.json"

// refusingLoader is a jsonschema.URLLoader without access to anything: each
// document is one in which every fragment that is referred to permits all.
type refusingLoader struct {
	refused map[string]struct{}
	stub    any
}

func (r refusingLoader) Load(url string) (any, error) {
	r.refused[url+" ($ref in values.schema.json)"] = struct{}{}
	return r.stub, nil
}

// SchemaReferences lists what a values.schema.json makes a validator load besides
// itself: URLs, file: among them. A schema that cannot be used refers to what was
// met until that showed.
func SchemaReferences(raw []byte) []string {
	refused := map[string]struct{}{}
	_, _ = compileSchema(raw, refused) // whoever validates by it says what is wrong
	return slices.Sorted(maps.Keys(refused))
}

// stubSchema has, for each fragment in a $ref of schema that is a JSON pointer,
// an empty schema at that place.
func stubSchema(schema any) any {
	stub := map[string]any{}
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				if url, pointer, ok := strings.Cut(ref, "#/"); ok && url != "" {
					addPointer(stub, strings.Split(pointer, "/"))
				}
			}
			for _, e := range v {
				walk(e)
			}
		}
	}
	walk(schema)
	return stub
}

func addPointer(m map[string]any, path []string) {
	for _, token := range path {
		if t, err := url.PathUnescape(token); err == nil {
			token = t
		}
		token = strings.NewReplacer("~1", "/", "~0", "~").Replace(token)
		next, ok := m[token].(map[string]any)
		if !ok {
			next = map[string]any{}
			m[token] = next
		}
		m = next
	}
}

func checkSchema(raw []byte, values map[string]any, refused map[string]struct{}) (problems []string, err error) {
	defer func() {
		if p := recover(); p != nil {
			problems, err = nil, fmt.Errorf("cannot be used: %v", p)
		}
	}()
	schema, err := compileSchema(raw, refused)
	if err != nil {
		return nil, err
	}
	err = schema.Validate(values)
	var ve *jsonschema.ValidationError
	if errors.As(err, &ve) {
		return leafProblems(ve, values), nil
	}
	return nil, err
}

// compileSchema compiles a schema and notes in refused what it refers to elsewhere.
func compileSchema(raw []byte, refused map[string]struct{}) (schema *jsonschema.Schema, err error) {
	defer func() {
		if p := recover(); p != nil {
			schema, err = nil, fmt.Errorf("cannot be used: %v", p)
		}
	}()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	compiler := jsonschema.NewCompiler()
	compiler.UseLoader(refusingLoader{refused: refused, stub: stubSchema(doc)})
	if err := compiler.AddResource(schemaURL, doc); err != nil {
		return nil, err
	}
	return compiler.Compile(schemaURL)
}

// leafProblems lists the causes at the ends of the tree, at most 8, sorted.
func leafProblems(ve *jsonschema.ValidationError, values map[string]any) (out []string) {
	var walk func(ve, named *jsonschema.ValidationError)
	walk = func(ve, named *jsonschema.ValidationError) {
		if _, ok := ve.ErrorKind.(*kind.PropertyNames); ok {
			named = ve
		}
		for _, c := range ve.Causes {
			walk(c, named)
		}
		if len(ve.Causes) == 0 {
			out = append(out, oneLine(aboutName(withoutValue(ve), named, values).Error()))
		}
	}
	walk(ve, nil)
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) > 8 {
		out = append(out[:8], fmt.Sprintf("and %d more", len(out)-8))
	}
	return out
}
