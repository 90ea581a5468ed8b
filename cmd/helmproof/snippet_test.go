package main

import (
	"bytes"
	"testing"

	"github.com/companyos/helmproof/internal/pipeline"
)

func TestSnippet(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	printSnippet(&terminal{w: &b, width: 40}, []pipeline.SnippetLine{
		{Number: 9, Text: "    a: \x1b[31mred\u202e"},
		{Number: 10, Text: "      b: a value that is longer than there is room for", Here: true},
		{Number: 11, Text: ""},
	})
	const want = "       9 | a: [U+001B][31mred[U+202E]\n" +
		"    > 10 |   b: a value that is longer …\n" +
		"      11 |\n"
	if b.String() != want {
		t.Errorf("have\n%s\nwant\n%s", b.String(), want)
	}
}
