package pipeline

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/companyos/helmproof/evidence/repository"
)

// spool keeps reports until they are stored: small ones in memory, large ones in a
// temporary folder.
type spool struct {
	dir   string // empty: none is needed yet
	files map[string]repository.Content
}

// spooled is the size of a report, in bytes, from which on it is not kept in memory.
const spooled = 4 << 20

// keep keeps a report.
func (s *spool) keep(name string, raw []byte) (err error) {
	if len(raw) < spooled {
		s.files[name] = repository.Bytes(raw)
		return nil
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "helmproof-reports-"); err != nil {
			return fmt.Errorf("keep %s: %w", name, err)
		}
	}
	file := filepath.Join(s.dir, name)
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		return fmt.Errorf("keep %s: %w", name, err)
	}
	s.files[name] = func() (io.ReadCloser, error) { return os.Open(file) }
	return nil
}

// Close removes what was kept in a folder.
func (s *spool) Close() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}
