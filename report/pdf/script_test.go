package pdf

import (
	"strings"
	"testing"
)

func TestJoinArabic(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain":  "plain",
		"ببب":    "\ufe91\ufe92\ufe90",         // start, middle, end
		"ب":      "\ufe8f",                     // alone
		"دب":     "\ufea9\ufe8f",               // dal joins nothing after it
		"سلام":   "\ufeb3\ufefc\ufee1",         // lam and alef are one, and join nothing after them
		"بِب":    "\ufe91\u0650\ufe90",         // a mark is between them, and joins nothing
		"ب ب":    "\ufe8f \ufe8f",              // words apart
		"پیب":    "\ufb58\ufbff\ufe90",         // Persian letters
		"بـب":    "\ufe91\u0640\ufe90",         // tatweel
		"x-خدمة": "x-\ufea7\ufeaa\ufee3\ufe94", // among other letters
	} {
		got := joinArabic(in)
		if got != want {
			t.Errorf("joinArabic(%q) = %+q, want %+q", in, got, want)
		}
		var m strings.Builder
		for _, r := range got {
			m.WriteString(meaning(r))
		}
		if m.String() != in {
			t.Errorf("%+q means %q, want %q", got, m.String(), in)
		}
	}
}

func TestMarksStayBehindTheirLetters(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"\u05d0\u05b8\u05d1":       "\u05d1\u05d0\u05b8",
		"\u05d0\u05d1\u05b8\u05b9": "\u05d1\u05b9\u05b8\u05d0",
	} {
		if got := visual(in); got != want {
			t.Errorf("visual(%+q) = %+q, want %+q", in, got, want)
		}
	}
}

// TestEveryScript: what people name things in is drawn, each character with a face that
// has it, or written as its number; nothing else becomes of it.
func TestEveryScript(t *testing.T) {
	t.Parallel()
	if _, err := fallbacks(); err != nil {
		t.Fatal(err)
	}
	fs, err := faces()
	if err != nil {
		t.Fatal(err)
	}
	for in, want := range map[string]string{
		"支付服务 決済 결제 サービス": "支付服务 決済 결제 サービス",
		"🚀🔥":         "🚀🔥",
		"плата ñ Ω":  "плата ñ Ω",
		"שירות":      "שירות",
		"हि":         "[U+0939][U+093F]",
		"𝔘":          "[U+1D518]",
		"\U0001fb00": "[U+1FB00]",
	} {
		for i, f := range fs {
			got := f.text(in)
			if got != want {
				t.Errorf("face %d: text(%q) = %q, want %q", i, in, got, want)
			}
			for _, r := range got {
				o, code := f.of(r)
				if o == nil || o.gid(code) == 0 || o.widths[code] <= 0 && r != ' ' {
					t.Errorf("face %d: %q is drawn with nothing", i, r)
				}
			}
		}
	}
}
