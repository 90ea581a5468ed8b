package manifest

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

func TestFieldLines(t *testing.T) {
	t.Parallel()
	const doc = `# comment
apiVersion: apps/v1
kind: Deployment
metadata:
  annotations:
    a.example.com/b: "c: d"
    'quoted/key': |
      spec: no key
      # no comment

      image: no key either
spec:
  template:
    spec:
      initContainers: []
      containers:
      - args:
        - --a
        -   --b
        name: first
        # a comment
        image: a
      -
        name: second
        resources: {limits: {cpu: 1}}
        env:
          - name: A
            value: b

          - name: C
      volumes:
        -   name: v
            secret:
              secretName: s
`
	lines := make([][]byte, 0)
	for l := range strings.Lines(doc) {
		lines = append(lines, []byte(l))
	}
	for path, want := range map[string]string{
		"":                                       "1-33/0",
		"kind":                                   "2-2/1",
		"spec.template.spec.containers":          "15-29/4",
		"spec.template.spec.containers.0":        "16-21/5",
		"spec.template.spec.containers.0.image":  "21-21/6",
		"spec.template.spec.containers.0.args.1": "18-18/7",
		"spec.template.spec.containers.0.resources.limits":     "16-21/5",
		"spec.template.spec.containers.1.name":                 "23-23/6",
		"spec.template.spec.containers.1.resources.limits.cpu": "24-24/6", // in flow style
		"spec.template.spec.containers.1.env.1.name":           "29-29/8",
		"spec.template.spec.containers.1.env.0":                "26-27/7",
		"spec.template.spec.volumes.0.secret.secretName":       "33-33/7",
		"spec.template.spec.initContainers.0.image":            "14-14/4",
		"image":                           "1-33/0",
		"spec.template.spec.containers.2": "15-29/4",
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			var p []string
			if path != "" {
				p = strings.Split(path, ".")
			}
			from, to, steps := FieldLines(lines, p)
			if got := fmt.Sprintf("%d-%d/%d", from, to, steps); got != want {
				t.Errorf("have %s, want %s", got, want)
			}
		})
	}
	for key, want := range map[string]int{"a.example.com/b": 5, "quoted/key": 6} {
		if from, _, steps := FieldLines(lines, []string{"metadata", "annotations", key}); from != want || steps != 3 {
			t.Errorf("%s: line %d after %d steps, want %d", key, from, steps, want)
		}
	}
}

// Comments and empty lines are passed over once: looked at from each of them, this would
// not end.
func TestFieldLinesOfManyComments(t *testing.T) {
	t.Parallel()
	const n = 500_000
	text := "spec:\n  a: 1\n" + strings.Repeat("  #\n\n", n/2) + "  b: 2\n"
	if from, to, steps := FieldLines(bytes.SplitAfter([]byte(text), []byte("\n")), []string{"spec", "b"}); from != n+2 || to != from || steps != 2 {
		t.Errorf("%d-%d/%d", from, to, steps)
	}
}

func TestSourceMapRoundTrip(t *testing.T) {
	t.Parallel()
	var b MapBuilder
	b.Add("templates/a.yaml", 3, 8, func(i int) (Origin, bool) {
		o := Origin{At: Place{File: "templates/a.yaml", Line: 10 + i, Column: 1}}
		switch {
		case i == 7:
			return Origin{}, false
		case i > 2: // made by one include
			o.At.Line, o.At.Column, o.By = 13, 5, Place{File: "templates/_h.tpl", Line: 100 + i}
			return o, false
		}
		return o, true
	})
	raw, err := b.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(raw); n > 150 {
		t.Errorf("%d bytes for three runs: %s", n, raw)
	}
	m, err := ParseSourceMap(raw)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[int]string{
		3: "templates/a.yaml:10:5 <- :0", 5: "templates/a.yaml:12:5 <- :0", 6: "templates/a.yaml:13:5 <- templates/_h.tpl:103",
		9: "templates/a.yaml:13:5 <- templates/_h.tpl:106", 10: ":0:0 <- :0", 11: ":0:0 <- :0", 2: ":0:0 <- :0",
	} {
		o := m.Find(3, line, 4)
		if got := fmt.Sprintf("%s:%d:%d <- %s:%d", o.At.File, o.At.Line, o.At.Column, o.By.File, o.By.Line); got != want {
			t.Errorf("line %d: have %s, want %s", line, got, want)
		}
	}
	for name, bad := range map[string]string{
		"no such file":       `{"files":[],"documents":[{"file":0,"from":1,"lines":1,"runs":[1,1,1,0,0]}]}`,
		"a half run":         `{"files":["a"],"documents":[{"file":0,"from":1,"lines":1,"runs":[1,1]}]}`,
		"below zero":         `{"files":["a"],"documents":[{"file":0,"from":1,"lines":1,"runs":[1,-1,1,0,0]}]}`,
		"no such definition": `{"files":["a"],"documents":[{"file":0,"from":1,"lines":1,"runs":[1,1,1,2,1]}]}`,
	} {
		if _, err := ParseSourceMap([]byte(bad)); err == nil || !strings.Contains(err.Error(), "source map: the document at line 1") {
			t.Errorf("%s: have error %v", name, err)
		}
	}
}

func TestRedactedSourceMap(t *testing.T) {
	t.Parallel()
	const was = "---\n# Source: a:1\nkind: A\nkey: |\n  one\n  two\nlast: x\n---\n# Source: a:9\nkind: B\n"
	const is = "---\n# Source: a:1\nkind: A\nkey: \"masked\"\nlast: x\n---\n# Source: a:9\nkind: B\n"
	plain := func(first int) func(int) (Origin, bool) {
		return func(i int) (Origin, bool) { return Origin{At: Place{File: "a", Line: first + i}}, true }
	}
	var b MapBuilder
	b.Add("a", 3, 5, plain(1))
	b.Add("a", 10, 1, plain(9))
	m := b.m.Redacted([]byte(was), []byte(is))
	if m == nil {
		t.Fatal("no map")
	}
	for _, x := range []struct{ from, line, want int }{{3, 3, 1}, {3, 4, 0}, {3, 5, 5}, {8, 8, 9}} {
		if got := m.Find(x.from, x.line, 0).At.Line; got != x.want {
			t.Errorf("line %d: have line %d of the template, want %d", x.line, got, x.want)
		}
	}
	if m := b.m.Redacted([]byte(was), []byte("---\nkind: A\n")); m != nil {
		t.Errorf("documents are missing, and there is a map: %v", m)
	}
}
