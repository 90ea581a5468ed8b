package bom_test

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/companyos/helmproof/internal/bom"
)

func TestReader(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a\r\n", 5000)
	for name, tt := range map[string]struct{ text, want string }{
		"empty":                    {"", ""},
		"one byte":                 {"a", "a"},
		"plain":                    {"a: ü\r\n", "a: ü\r\n"},
		"long":                     {long, long},
		"UTF-8":                    {"\ufeffa: ü", "a: ü"},
		"UTF-8, only the mark":     {"\ufeff", ""},
		"UTF-8, a second mark":     {"\ufeff\ufeffa", "\ufeffa"},
		"little endian":            {"\xff\xfea\x00:\x00 \x00\xfc\x00\r\x00\n\x00", "a: ü\r\n"},
		"big endian":               {"\xfe\xff\x00a\x00:\x00 \x00\xfc\x00\n", "a: ü\n"},
		"a pair":                   {"\xff\xfe\x3d\xd8\x00\xde", "😀"},
		"half a pair":              {"\xff\xfe\x3d\xd8a\x00", "\ufffda"},
		"half a character":         {"\xff\xfea\x00b", "a\ufffd"},
		"UTF-16 without a mark":    {"a\x00b\x00", "a\x00b\x00"},
		"what is no text":          {"\x1f\x8b\x08\x00\xff\xfe", "\x1f\x8b\x08\x00\xff\xfe"},
		"what is no UTF-8":         {"a\xffb", "a\xffb"},
		"a mark that is not whole": {"\xef\xbb", "\xef\xbb"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := string(bom.Decode([]byte(tt.text))); got != tt.want {
				t.Errorf("Decode gives %q, want %q", got, tt.want)
			}
			for _, r := range []io.Reader{strings.NewReader(tt.text), iotest.OneByteReader(strings.NewReader(tt.text))} {
				if got, err := io.ReadAll(bom.Reader(r)); err != nil || string(got) != tt.want {
					t.Errorf("Reader gives %q, %v, want %q", got, err, tt.want)
				}
			}
		})
	}
}
