package externalsecrets

import (
	"encoding/json"
	"testing"
	"time"
)

// TestHold holds that the interval of whoever judges decides, and that a default
// loosens nothing.
func TestHold(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		sealed string
		by     time.Duration
		want   time.Duration // 0: nothing changes
	}{
		"lenient, by the default":      {`"87600h"`, DefaultRotation, DefaultRotation},
		"lenient, by another":          {`"87600h"`, 30 * day, 30 * day},
		"strict, by the default":       {`"24h"`, DefaultRotation, 0},
		"strict, by a longer one":      {`"24h"`, 30 * day, 30 * day},
		"the same":                     {`"720h"`, 30 * day, 0},
		"of a version that had no one": {`"0s"`, 30 * day, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw, _, err := Hold([]byte(`{"at":"2026-11-01T12:00:00Z","rotation":`+tt.sealed+`,"secrets":[{"index":0,"name":"db"}]}`), tt.by)
			if err != nil || (raw == nil) != (tt.want == 0) {
				t.Fatalf("%s, %v", raw, err)
			}
			var s Seen
			if raw == nil {
				return
			}
			if err := json.Unmarshal(raw, &s); err != nil || time.Duration(s.Rotation) != tt.want || len(s.Secrets) != 1 || s.At.IsZero() {
				t.Errorf("%s, %v, want %s", raw, err, tt.want)
			}
		})
	}
	if _, _, err := Hold([]byte("["), day); err == nil {
		t.Error("no error of what is no record")
	}
}
