package strictyaml

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type inner struct {
	Deep map[string][]string `json:"deep,omitempty"`
}

type document struct {
	Text   string    `json:"text"`
	Number int       `json:"number"`
	Truth  bool      `json:"truth"`
	When   time.Time `json:"when"`
	List   []inner   `json:"list"`
	Share  float64   `json:"share"`
	Maybe  *int64    `json:"maybe"`
	Hidden string    `json:"-"`
	small  string
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var got document
	err := Unmarshal([]byte(`
text: "1.30"
number: -3
truth: true
when: 2026-12-31T18:00:00+02:00
list:
  - deep: {a: [x, y], b: []}
  - {}
share: 99.9
maybe: 0
`), 1000, &got)
	if err != nil {
		t.Fatal(err)
	}
	want := document{
		Text: "1.30", Number: -3, Truth: true, When: time.Date(2026, 12, 31, 16, 0, 0, 0, time.UTC),
		List: []inner{{Deep: map[string][]string{"a": {"x", "y"}, "b": {}}}, {}}, Share: 99.9, Maybe: new(int64),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(document{})); diff != "" {
		t.Error(diff)
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"Text: x", "line 1: Text: unknown key: want one of list, maybe, number, share, text, truth, when"},
		{"small: x", "line 1: small: unknown key"},
		{"Hidden: x", "line 1: Hidden: unknown key"},
		{"-: x", "line 1: -: unknown key"},
		{"text: x\ntext: y", "line 2: text: key is given twice"},
		{"list: [{deep: {a: [], a: []}}]", "line 1: list[0].deep.a: key is given twice"},
		{"list: [{}, {deep: {a: [x, 1]}}]", `line 1: list[1].deep.a[1]: "1": want text, in quotes`},
		{"list: [{deep: [a]}]", "line 1: list[0].deep: want a mapping, got a list"},
		{"share: .nan", `line 1: share: ".nan": want a number`},
		{"share: .inf", `line 1: share: ".inf": want a number`},
		{"share: '1'", `line 1: share: "1": want a number`},
		{"share: 0x10", `line 1: share: "0x10": want a number`},
		{"maybe: x", `line 1: maybe: "x": want a whole number`},
		{"maybe: null", "line 1: maybe: \"null\": want a whole number, got nothing"},
		{"list: {}", "line 1: list: want a list, got a mapping"},
		{"number: 1.5", `line 1: number: "1.5": want a whole number`},
		{"number: 99999999999999999999", `line 1: number: "99999999999999999999": want a whole number`},
		{"number: '1'", `line 1: number: "1": want a whole number`},
		{"truth: yes", `line 1: truth: "yes": want true or false`},
		{"when: 18:00", `line 1: when: "18:00": want a date like`},
		{"when: [2026]", `line 1: when: want a date like 2026-12-31 or a time like 2026-12-31T18:00:00Z, got a list`},
		{"1: x", `line 1: "1": want a key that is plain text`},
		{"a: &x 1\nb: *x", "line 1: a: anchors and aliases are not allowed"},
		{"<<: {a: b}", `line 1: "<<": want a key that is plain text`},
		{"text: !!str 5", "line 1: text: YAML tags are not allowed"},
		{"text: x\n---\ntext: y", "more than one YAML document"},
		{"text: x\n...\ntext: y", "more than one YAML document"},
		{"[a, b]", "line 1: want a mapping, got a list"},
		{"just text", `line 1: "just text": want a mapping`},
		{"text: " + strings.Repeat("x", 1000), "1006 bytes: at most 1000 are read"},
		{"a: " + strings.Repeat("[", 50) + strings.Repeat("]", 50), "nested deeper than 32"},
		{"text: [" + strings.Repeat("y", 90), "did not find expected"},
		{"truth: " + strings.Repeat("y", 90), `"` + strings.Repeat("y", 80) + `…": want true or false`},
		{"text: \xff", "invalid"},
	}
	for _, tt := range tests {
		err := Unmarshal([]byte(tt.in), 1000, &document{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q:\n got %v\nwant …%s", tt.in, err, tt.want)
		}
	}
}

func TestEmpty(t *testing.T) {
	t.Parallel()
	for _, in := range []string{"", "---\n", "# only a comment\n", "null\n", "{}"} {
		got := document{small: "kept"}
		if err := Unmarshal([]byte(in), 1000, &got); err != nil || got.small != "kept" {
			t.Errorf("%q: %v", in, err)
		}
	}
	if err := Unmarshal([]byte("f: 1"), 1000, &struct {
		F complex64 `json:"f"`
	}{}); err == nil || !strings.Contains(err.Error(), "cannot decode into complex64") {
		t.Errorf("an unsupported field: %v", err)
	}
}
