package pipeline

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/companyos/helmproof/evidence/repository"
)

// spool keeps reports until they are stored: small ones in memory, large ones in a
// temporary folder.
type spool struct {
	mu    sync.Mutex
	dir   string // empty: none is needed yet
	files map[string]repository.Content
}

// spooled is the size of a report, in bytes, from which on it is not kept in memory.
const spooled = 4 << 20

// create keeps the report that is written, when it is closed. It may be called
// concurrently.
func (s *spool) create(name string) (io.WriteCloser, error) { return &spooling{of: s, name: name}, nil }

// folder is where large reports are kept.
func (s *spool) folder() (dir string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dir == "" {
		s.dir, err = os.MkdirTemp("", "helmproof-reports-")
	}
	return s.dir, err
}

// Close removes what was kept in a folder.
func (s *spool) Close() error {
	if s.dir == "" {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// spooling is one report on its way.
type spooling struct {
	of    *spool
	name  string
	small []byte
	large *os.File // nil: it is small yet
}

// Write implements io.Writer.
func (w *spooling) Write(p []byte) (int, error) {
	if w.large == nil && len(w.small)+len(p) < spooled {
		w.small = append(w.small, p...)
		return len(p), nil
	}
	if w.large == nil {
		if err := w.begin(); err != nil {
			return 0, fmt.Errorf("keep %s: %w", w.name, err)
		}
	}
	n, err := w.large.Write(p)
	if err != nil {
		err = fmt.Errorf("keep %s: %w", w.name, err)
	}
	return n, err
}

// begin goes on in a file.
func (w *spooling) begin() error {
	dir, err := w.of.folder()
	if err != nil {
		return err
	}
	if w.large, err = os.OpenFile(filepath.Join(dir, w.name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600); err != nil {
		return err
	}
	_, err = w.large.Write(w.small)
	w.small = nil
	return err
}

// Close implements io.Closer: the report is as it shall be stored.
func (w *spooling) Close() error {
	content := repository.Bytes(w.small)
	if w.large != nil {
		file := w.large.Name()
		if err := w.large.Close(); err != nil {
			return fmt.Errorf("keep %s: %w", w.name, err)
		}
		content = func() (io.ReadCloser, error) { return os.Open(file) }
	}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	w.of.files[w.name] = content
	return nil
}
