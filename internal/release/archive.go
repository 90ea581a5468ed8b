package release

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is one file of an archive or of an image's layer.
type File struct {
	Name string      // with slashes, relative
	Mode fs.FileMode // a directory has fs.ModeDir
	Data []byte      // what it holds, unless From names a file that does
	From string
}

// open returns the content and its size in bytes.
func (f *File) open() (io.ReadCloser, int64, error) {
	if f.From == "" {
		return io.NopCloser(bytes.NewReader(f.Data)), int64(len(f.Data)), nil
	}
	r, err := os.Open(f.From)
	if err != nil {
		return nil, 0, err
	}
	st, err := r.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, r.Close())
	}
	return r, st.Size(), nil
}

func sorted(files []File) []File {
	return slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Name, b.Name) })
}

// copyTo writes the content of f to w.
func (f *File) copyTo(w io.Writer) error {
	r, size, err := f.open()
	if err != nil {
		return err
	}
	defer r.Close()
	n, err := io.Copy(w, r)
	if err == nil && n != size {
		err = fmt.Errorf("%s changed while it was read", f.From)
	}
	return err
}

// Tar writes files, sorted, as a tar archive in which nothing but their names, modes
// and contents differs: they belong to root and are as old as when says.
func Tar(w io.Writer, files []File, when time.Time) error {
	tw := tar.NewWriter(w)
	for _, f := range sorted(files) {
		h := &tar.Header{Typeflag: tar.TypeReg, Name: f.Name, Mode: int64(f.Mode.Perm()), ModTime: when.UTC(), Format: tar.FormatUSTAR}
		if f.Mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if f.Mode.IsDir() {
			h.Typeflag, h.Name = tar.TypeDir, f.Name+"/"
			if err := tw.WriteHeader(h); err != nil {
				return fmt.Errorf("archive %s: %w", f.Name, err)
			}
			continue
		}
		r, size, err := f.open()
		if err != nil {
			return fmt.Errorf("archive %s: %w", f.Name, err)
		}
		h.Size = size
		if err = errors.Join(tw.WriteHeader(h), r.Close()); err == nil {
			err = f.copyTo(tw)
		}
		if err != nil {
			return fmt.Errorf("archive %s: %w", f.Name, err)
		}
	}
	return tw.Close()
}

// TarGz is Tar, compressed. The bytes depend on the release of Go, too.
func TarGz(w io.Writer, files []File, when time.Time) error {
	zw := gzip.NewWriter(w) // its header has neither a name nor a time
	if err := Tar(zw, files, when); err != nil {
		return err
	}
	return zw.Close()
}

// Zip writes files, sorted, as a zip archive, as Tar does.
func Zip(w io.Writer, files []File, when time.Time) error {
	zw := zip.NewWriter(w)
	zw.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.DefaultCompression) })
	for _, f := range sorted(files) {
		h := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: when.UTC()}
		h.SetMode(f.Mode)
		e, err := zw.CreateHeader(h)
		if err == nil {
			err = f.copyTo(e)
		}
		if err != nil {
			return fmt.Errorf("archive %s: %w", f.Name, err)
		}
	}
	return zw.Close()
}

// writeTo writes a file of dist with what write writes.
func writeTo(name string, write func(io.Writer) error) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// SumsFile lists the digests of a release's files, as sha256sum -c reads it.
const SumsFile = "SHA256SUMS"

// Digest returns the hexadecimal SHA-256 of a file.
func Digest(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Sums writes SumsFile for the files of dir named, and returns their digests.
func Sums(dir string, names []string) (map[string]string, error) {
	sums := map[string]string{}
	var b strings.Builder
	for _, name := range slices.Sorted(slices.Values(names)) {
		d, err := Digest(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", SumsFile, err)
		}
		sums[name] = d
		fmt.Fprintf(&b, "%s  %s\n", d, name)
	}
	return sums, os.WriteFile(filepath.Join(dir, SumsFile), []byte(b.String()), 0o644)
}
