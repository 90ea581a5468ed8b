package images

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/bom"
)

// maxList bounds a list of vulnerabilities, unpacked, in bytes.
const maxList = 256 << 20

// list is a value by CVE id.
type list[V any] struct {
	listRecord
	rows map[string]V
}

// only returns the rows of the ids.
func (l *list[V]) only(ids map[string]bool) map[string]V {
	out := map[string]V{}
	for id := range ids {
		if v, ok := l.rows[id]; ok {
			out[id] = v
		}
	}
	return out
}

// readList reads a file, unpacked where it is a gzip file, with parse, which
// returns the date that the list says of itself.
func readList[V any](what, file string, parse func(raw []byte, rows map[string]V) (time.Time, error)) (*list[V], error) {
	raw, err := readBounded(file, maxList)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	l := &list[V]{rows: map[string]V{}}
	l.Name, l.Digest = filepath.Base(file), evidence.DigestOf(raw)
	if bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		if raw, err = unpack(raw); err != nil {
			return nil, fmt.Errorf("%s %s: unpack: %w", what, file, err)
		}
	}
	date, err := parse(raw, l.rows)
	if err == nil && len(l.rows) == 0 {
		err = errors.New("no vulnerabilities in it")
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", what, file, err)
	}
	l.Entries, l.Date = len(l.rows), date.UTC()
	return l, nil
}

func unpack(raw []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxList+1))
	if err == nil && len(out) > maxList {
		err = fmt.Errorf("more than the %d bytes that are read", maxList)
	}
	return out, err
}

// readBounded reads a file of at most limit bytes, as UTF-8 where it has a byte order mark.
func readBounded(file string, limit int64) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(io.LimitReader(bom.Reader(f), limit+1))
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, err
	}
	if int64(len(raw)) > limit {
		return nil, fmt.Errorf("%s has more than the %d bytes that are read", file, limit)
	}
	return raw, nil
}

// kevEntry is a vulnerability that is known to be exploited.
type kevEntry struct {
	DateAdded string `json:"dateAdded"` // "2021-11-03"
}

// parseKEV reads CISA's catalog of known exploited vulnerabilities, JSON or CSV.
// The CSV has no date: it is then that of the newest entry.
func parseKEV(raw []byte, rows map[string]kevEntry) (time.Time, error) {
	const want = "want CISA's known_exploited_vulnerabilities, .json or .csv"
	var date time.Time
	add := func(n int, id, added string) error {
		at, err := time.Parse(time.DateOnly, added)
		if !strings.HasPrefix(id, "CVE-") || err != nil {
			return fmt.Errorf("entry %d: %.40q, added %.40q: no CVE id with a date; %s", n, id, added, want)
		}
		if at.After(date) {
			date = at
		}
		rows[id] = kevEntry{DateAdded: added}
		return nil
	}
	if bytes.HasPrefix(bytes.TrimSpace(raw), []byte("{")) {
		var doc struct {
			DateReleased    time.Time `json:"dateReleased"`
			Vulnerabilities []struct {
				CveID     string `json:"cveID"`
				DateAdded string `json:"dateAdded"`
			} `json:"vulnerabilities"`
		}
		if err := json.Unmarshal(raw, &doc); err != nil {
			return date, fmt.Errorf("%w; %s", err, want)
		}
		for i, v := range doc.Vulnerabilities {
			if err := add(i+1, v.CveID, v.DateAdded); err != nil {
				return date, err
			}
		}
		if !doc.DateReleased.IsZero() {
			date = doc.DateReleased
		}
		return date, nil
	}
	err := eachRow(raw, []string{"cveID", "dateAdded"}, func(n int, v []string) error { return add(n, v[0], v[1]) })
	if err != nil {
		return date, fmt.Errorf("%w; %s", err, want)
	}
	return date, nil
}

// parseEPSS reads the daily scores of FIRST (epss_scores-DATE.csv).
func parseEPSS(raw []byte, rows map[string]float64) (time.Time, error) {
	const want = "want FIRST's epss_scores, .csv or .csv.gz"
	var date time.Time
	first, rest, _ := bytes.Cut(raw, []byte("\n"))
	if comment, ok := bytes.CutPrefix(first, []byte("#")); ok {
		raw = rest
		for _, part := range strings.Split(strings.TrimSpace(string(comment)), ",") {
			if s, ok := strings.CutPrefix(part, "score_date:"); ok {
				at, err := time.Parse("2006-01-02T15:04:05-0700", s)
				if err != nil {
					at, err = time.Parse(time.RFC3339, s)
				}
				if err != nil {
					return date, fmt.Errorf("score_date %.40q is no time; %s", s, want)
				}
				date = at
			}
		}
	}
	err := eachRow(raw, []string{"cve", "epss"}, func(n int, v []string) error {
		score, err := strconv.ParseFloat(v[1], 64)
		if err != nil || !(score >= 0 && score <= 1) || !strings.HasPrefix(v[0], "CVE-") {
			return fmt.Errorf("row %d: %.40q, %.40q: no CVE id with a probability", n, v[0], v[1])
		}
		rows[v[0]] = score
		return nil
	})
	if err != nil {
		return date, fmt.Errorf("%w; %s", err, want)
	}
	return date, nil
}

// eachRow reads the named columns of a CSV with a header.
func eachRow(raw []byte, columns []string, f func(n int, values []string) error) error {
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\ufeff"))))
	r.ReuseRecord = true
	header, err := r.Read()
	if err != nil {
		return fmt.Errorf("no header: %w", err)
	}
	at := make([]int, len(columns))
	for i, c := range columns {
		if at[i] = slices.Index(header, c); at[i] < 0 {
			return fmt.Errorf("no column %s", c)
		}
	}
	values := make([]string, len(columns))
	for n := 1; ; n++ {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for i := range at {
			values[i] = strings.Clone(row[at[i]])
		}
		if err := f(n, values); err != nil {
			return err
		}
	}
}
