package loadcount

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

func TestHistogramEdges(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test
	last := -1
	for us := int64(0); us < int64(time.Hour/time.Microsecond); us += 1 + r.Int64N(us/100+1) {
		d := time.Duration(us) * time.Microsecond
		b := bucketOf(d)
		if b < last || Edge(b) < d || Edge(b) > d+d/32+time.Microsecond || bucketOf(Edge(b)) != b {
			t.Fatalf("%s is in bucket %d (%s) after %d", d, b, Edge(b), last)
		}
		last = b
	}
}

func TestDecodeSecondsRefuses(t *testing.T) {
	t.Parallel()
	const good = `{"due":2,"good":1,"failed":{"503":1},"took":[[5,1]],"served":[[5,1]]}` + "\n"
	if _, err := DecodeSeconds([]byte(good + "end\n")); err != nil {
		t.Fatal(err)
	}
	for raw, want := range map[string]string{
		"":                       "the file is cut",
		good:                     "ends after 1 seconds",
		good + "end":             "the file is cut",
		good + "end\n" + good:    "something stands after the last line",
		`{"due":2,"x":1}` + "\n": "unknown field",
		`{"due":2,"good":1,"took":[[5,1]],"served":[[5,1]]}` + "\nend\n":              "2 due, 1 good, 0 failed",
		`{"due":1,"good":1,"took":[[5,2]],"served":[[5,1]]}` + "\nend\n":              "a histogram of 2 requests, of 1 good ones",
		`{"due":2,"good":2,"took":[[5,1],[4,1]],"served":[[5,2]]}` + "\nend\n":        "bucket 4 after 5",
		`{"due":0,"good":1,"failed":{"x":-1},"took":[[5,1]],"served":[]}` + "\nend\n": `-1 failed with "x"`,
	} {
		if _, err := DecodeSeconds([]byte(raw)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", raw, err, want)
		}
	}
}

func FuzzDecodeSeconds(f *testing.F) {
	f.Add([]byte(`{"due":2,"good":1,"failed":{"503":1},"took":[[5,1]],"served":[[5,1]]}` + "\nend\n"))
	f.Add([]byte("end\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := DecodeSeconds(raw)
		if err != nil {
			return
		}
		again, err := EncodeSeconds(list)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeSeconds(again); err != nil {
			t.Fatal(err)
		}
	})
}
