package jobrun

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// logOf is what the Job's script prints for raw; stderr is said only if the
// exit code is not 0.
func logOf(t testing.TB, raw []byte, exit int, stderr string) []byte {
	t.Helper()
	var z bytes.Buffer
	w, err := gzip.NewWriterLevel(&z, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString(beginLine + "\n")
	for text := base64.StdEncoding.EncodeToString(z.Bytes()); text != ""; {
		n := min(76, len(text))
		b.WriteString(text[:n] + "\n")
		text = text[n:]
	}
	if exit != 0 || len(raw) == 0 {
		b.WriteString(errorPrefix + base64.StdEncoding.EncodeToString([]byte(stderr)) + "\n")
	}
	fmt.Fprintf(&b, "helmproof-output/1 end exit=%d bytes=%d sha256=%x\n", exit, len(raw), sha256.Sum256(raw))
	return []byte(b.String())
}

func TestParseLog(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte(`{"some":"output of kube-bench"}`), 12<<20/31)
	for name, raw := range map[string][]byte{"small": []byte(`{"a":1}`), "over 10 MiB": big, "empty": {}} {
		log := logOf(t, raw, 0, "")
		got, err := ParseLog(log)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(got.Raw, raw) || got.Bytes != int64(len(raw)) || len(log) > 1<<20 {
			t.Errorf("%s: %d bytes from a log of %d", name, len(got.Raw), len(log))
		}
	}
	got, err := ParseLog(logOf(t, nil, 3, "line one\nTOKEN=abc  line two\x1b[31m"))
	if err != nil || got.Exit != 3 || got.Errors != "line one\nTOKEN=abc  line two\x1b[31m" {
		t.Errorf("%+v, %v", got, err)
	}
	crlf := bytes.ReplaceAll(logOf(t, []byte("x"), 0, ""), []byte("\n"), []byte("\r\n"))
	if _, err := ParseLog(crlf); err != nil {
		t.Errorf("lines that end in CRLF: %v", err)
	}
}

func TestParseLogRefuses(t *testing.T) {
	t.Parallel()
	noise := make([]byte, 4096)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(noise)
	log := string(logOf(t, noise, 0, ""))
	lines := strings.Split(strings.TrimRight(log, "\n"), "\n")
	bomb := string(logOf(t, make([]byte, 136<<20), 0, ""))
	tests := []struct {
		name, log, want string
		cut             bool // reading again may help
	}{
		{"nothing", "", "its last line is not the trailer", true},
		{"end missing", strings.Join(lines[:len(lines)-1], "\n"), "its last line is not the trailer", true},
		{"trailer cut", log[:len(log)-9], "its last line is not the trailer", true},
		{"beginning lost", strings.Join(lines[3:], "\n"), "it begins in the middle", true},
		{"line lost", strings.Join(append(append([]string{}, lines[:4]...), lines[5:]...), "\n"), "unpack", true},
		{"line twice", strings.Join(append(append([]string{}, lines[:4]...), lines[3:]...), "\n"), "4097 bytes with SHA-256", true},
		{"byte changed", strings.Replace(log, "bytes=4096", "bytes=4097", 1), "4096 bytes with SHA-256", true},
		{"shorter than it is", strings.Replace(log, "bytes=4096", "bytes=4000", 1), "4001 bytes with SHA-256", true},
		{"digest changed", log[:len(log)-2] + "z\n", "its last line is not the trailer", true},
		{"another trailer before", strings.Replace(log, "\n", "\n"+lines[len(lines)-1]+"\n", 1), "unpack", true},
		{"something after", log + "bye\n", "its last line is not the trailer", true},
		{"too much", bomb, "more than the limit", false},
		{"lies about much", strings.Replace(bomb, fmt.Sprintf("bytes=%d", 136<<20), "bytes=5", 1), "6 bytes with SHA-256", true},
		{"huge number", strings.Replace(log, "bytes=4096", "bytes=999999999999", 1), "more than the limit", false},
	}
	for _, tt := range tests {
		_, err := ParseLog([]byte(tt.log))
		if err == nil || !strings.Contains(err.Error(), tt.want) || errors.Is(err, ErrCut) != tt.cut {
			t.Errorf("%s: %v, want %q, to be read again: %v", tt.name, err, tt.want, tt.cut)
		}
	}
}

func FuzzParseLog(f *testing.F) {
	f.Add(logOf(f, []byte(`{"Controls":[]}`), 0, ""))
	f.Add(logOf(f, nil, 1, "no such file"))
	f.Fuzz(func(t *testing.T, log []byte) {
		got, err := ParseLog(log)
		if err == nil && (int64(len(got.Raw)) != got.Bytes || fmt.Sprintf("%x", sha256.Sum256(got.Raw)) != got.SHA256) {
			t.Fatalf("%d bytes do not have the digest of the trailer", len(got.Raw))
		}
	})
}
