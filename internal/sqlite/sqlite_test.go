package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // an outside judge: SQLite itself
)

// rpmTable is as RPM makes it.
const rpmTable = "CREATE TABLE IF NOT EXISTS 'Packages' (hnum INTEGER PRIMARY KEY AUTOINCREMENT, blob BLOB NOT NULL)"

// write has SQLite make a database.
func write(tb testing.TB, pragmas string, fill func(exec func(query string, args ...any))) (file string, db *sql.DB) {
	tb.Helper()
	file = filepath.Join(tb.TempDir(), "rpmdb.sqlite")
	db, err := sql.Open("sqlite", file)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = db.Close() })
	db.SetMaxOpenConns(1)
	exec := func(query string, args ...any) {
		tb.Helper()
		if _, err := db.ExecContext(context.Background(), query, args...); err != nil {
			tb.Fatal(err)
		}
	}
	exec(pragmas)
	exec("BEGIN")
	fill(exec)
	exec("COMMIT")
	exec("PRAGMA wal_checkpoint(TRUNCATE)")
	return file, db
}

func blobs(raw []byte, table string) ([][]byte, error) {
	return Blobs(bytes.NewReader(raw), int64(len(raw)), table)
}

// TestBlobs compares what is read of databases of all shapes with what SQLite reads.
func TestBlobs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, pragmas string
		rows, longest int
		deleted       bool
	}{
		{"empty", "", 0, 1, false},
		{"one page", "", 3, 100, false},
		{"small pages", "PRAGMA page_size = 512", 3000, 3000, false},
		{"rows as RPM has them", "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL", 300, 60_000, false},
		{"large pages", "PRAGMA page_size = 65536", 200, 300_000, true},
		{"many short rows", "PRAGMA page_size = 1024", 40_000, 8, false},
		{"rows deleted", "PRAGMA page_size = 512", 4000, 2000, true},
		{"incremental vacuum", "PRAGMA page_size = 1024; PRAGMA auto_vacuum = INCREMENTAL", 500, 5000, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(1, uint64(c.rows)))
			file, db := write(t, c.pragmas, func(exec func(string, ...any)) {
				exec("CREATE TABLE before (a, b, c)")
				exec(rpmTable)
				exec("CREATE TABLE 'Name' (key TEXT NOT NULL, hnum INTEGER NOT NULL, idx INTEGER NOT NULL)")
				exec("CREATE INDEX 'Name_key_idx' ON 'Name'(key ASC)")
				for i := range c.rows {
					blob := make([]byte, random.IntN(c.longest))
					for j := range blob {
						blob[j] = byte(random.Uint32())
					}
					exec("INSERT INTO Packages (blob) VALUES (?)", blob)
					if i%7 == 0 {
						exec("INSERT INTO Name VALUES (?, ?, 0)", fmt.Sprint("name ", i), i)
					}
				}
				if c.deleted {
					exec("DELETE FROM Packages WHERE hnum % 3 = 0")
				}
			})
			var want [][]byte
			rows, err := db.QueryContext(t.Context(), "SELECT blob FROM Packages ORDER BY hnum")
			if err != nil {
				t.Fatal(err)
			}
			for rows.Next() {
				var b []byte
				if err := rows.Scan(&b); err != nil {
					t.Fatal(err)
				}
				want = append(want, b)
			}
			if err := rows.Close(); err != nil || rows.Err() != nil {
				t.Fatal(err, rows.Err())
			}
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := blobs(raw, "packages")
			if err != nil || len(got) != len(want) {
				t.Fatalf("%d rows of %d, %v", len(got), len(want), err)
			}
			for i := range want {
				if !bytes.Equal(got[i], want[i]) {
					t.Fatalf("row %d: %d bytes that are not the %d written", i, len(got[i]), len(want[i]))
				}
			}
		})
	}
}

// TestRefused holds that what is not read whole is an error.
func TestRefused(t *testing.T) {
	t.Parallel()
	raw := func(pragmas string, queries ...string) []byte {
		file, _ := write(t, pragmas, func(exec func(string, ...any)) {
			for _, q := range queries {
				exec(q)
			}
		})
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := raw("PRAGMA page_size = 512", rpmTable, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300) INSERT INTO Packages (blob) SELECT randomblob(1000) FROM n")
	if got, err := blobs(good, "Packages"); err != nil || len(got) != 300 {
		t.Fatal(len(got), err)
	}
	for name, c := range map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":            {nil, "read the header"},
		"another file":       {bytes.Repeat([]byte("x"), 4096), "not an SQLite database"},
		"cut":                {good[:len(good)/2], " of "},
		"no table":           {raw("", "CREATE TABLE a (b)"), "no such table: Packages"},
		"an index, no table": {raw("", "CREATE TABLE a (b)", "CREATE INDEX Packages ON a(b)"), "no such table: Packages"},
		"a view":             {raw("", "CREATE VIEW Packages AS SELECT NULL AS a, x'00' AS blob"), "no such table: Packages"},
		"more columns":       {raw("", "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB, more)", "INSERT INTO Packages VALUES (1, x'00', 2)"), "want two columns"},
		"no row id":          {raw("", "CREATE TABLE Packages (hnum TEXT, blob BLOB)", "INSERT INTO Packages VALUES ('a', x'00')"), "want two columns"},
		"without row ids":    {raw("", "CREATE TABLE Packages (hnum TEXT PRIMARY KEY, blob BLOB) WITHOUT ROWID", "INSERT INTO Packages VALUES ('a', x'00')"), "type 10 is none of a table"},
		"a NULL":             {raw("", "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)", "INSERT INTO Packages VALUES (1, NULL)"), "want a blob"},
		"a number":           {raw("", "CREATE TABLE Packages (hnum INTEGER PRIMARY KEY, blob BLOB)", "INSERT INTO Packages VALUES (1, 7)"), "want a blob"},
		"UTF-16":             {raw("PRAGMA encoding = 'UTF-16'", rpmTable), "text encoding 2"},
	} {
		if got, err := blobs(c.raw, "Packages"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %d rows, %v, want %s", name, len(got), err, c.want)
		}
	}
	loop := bytes.Clone(good)
	copy(loop[512:], loop[512*2:512*3]) // one page's children under two
	if got, err := blobs(loop, "Packages"); err == nil && len(got) == 300 {
		t.Error("a page that stands in for another is not seen")
	}
}

func FuzzBlobs(f *testing.F) {
	file, _ := write(f, "PRAGMA page_size = 512", func(exec func(string, ...any)) {
		exec(rpmTable)
		exec("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20) INSERT INTO Packages (blob) SELECT randomblob(i * i * 3) FROM n")
	})
	raw, err := os.ReadFile(file)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := blobs(raw, "Packages")
		total := 0
		for _, b := range got {
			total += len(b)
		}
		if err != nil && got != nil || total > len(raw) {
			t.Errorf("%d bytes of %d, %v", total, len(raw), err)
		}
	})
}
