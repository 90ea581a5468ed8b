package evidence_test

import (
	"strings"
	"testing"

	"github.com/companyos/helmproof/evidence"
)

func TestVisible(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{
		"":                               0,
		"a reason":                       7,
		" \t\n\u00a0\u2003\u3000":        0, // spaces of all kinds
		strings.Repeat("\u200b", 10):     0, // zero-width space
		"\u200c\u200d\u2060\ufeff\u00ad": 0,
		"\u115f\u1160\u3164\uffa0\u2800": 0, // fillers
		"a\u0301\ufe0f":                  1, // a mark and a variation selector
		"\x00\x07\u202e\ue000":           0, // controls, direction, private use
		"\xff\xfe":                       0, // no UTF-8
		"für Überwachung":                14,
		"日志收集器需要读取节点":                    11,
		"сбор":                           4,
	} {
		if got := evidence.Visible(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
