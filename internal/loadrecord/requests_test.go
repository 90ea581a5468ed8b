package loadrecord

import (
	"testing"
	"time"

	"github.com/companyos/helmproof/internal/loadcount"
)

func FuzzFromSeconds(f *testing.F) {
	f.Add([]byte(`{"due":2,"good":1,"failed":{"503":1},"took":[[5,1]],"served":[[5,1]]}` + "\nend\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := loadcount.DecodeSeconds(raw)
		if err != nil {
			return
		}
		if q, err := FromSeconds(list, 10, time.Duration(len(list))*time.Second); err == nil && q.Due != q.Good+q.Unsent+q.Bad() {
			t.Errorf("%d due, %d good, %d not sent, %d failed", q.Due, q.Good, q.Unsent, q.Bad())
		}
	})
}
