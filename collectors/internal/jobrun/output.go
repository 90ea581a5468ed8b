package jobrun

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

const (
	// maxLog bounds what is read of a pod's log, in bytes. A kubelet keeps 10 MiB
	// of it in one piece by default; what is longer has lost its beginning.
	maxLog = 12 << 20
	// maxOutput bounds one Job's unpacked output, in bytes.
	maxOutput = 128 << 20

	beginLine   = "helmproof-output/1 begin"
	errorPrefix = "helmproof-output/1 errors "
)

var trailerPattern = regexp.MustCompile(`^helmproof-output/1 end exit=([0-9]{1,3}) bytes=([0-9]{1,12}) sha256=([0-9a-f]{64})$`)

// Output is what one Job's program printed.
type Output struct {
	Exit   int
	Bytes  int64  // of Raw
	SHA256 string // hexadecimal, of Raw
	Raw    []byte
	Errors string // the program's standard error, where it failed; as it is
}

// ErrCut is for a log that was read short, or differs from what was printed:
// reading it again may help.
var ErrCut = errors.New("the log is not whole")

// ErrTooLong is for a log that cannot be right, and is as long whenever it is read.
var ErrTooLong = errors.New("too long")

// ParseLog takes a Job's log apart. Nothing of it counts unless the trailer is
// there and length and digest agree.
func ParseLog(log []byte) (*Output, error) {
	lines := bytes.Split(bytes.TrimRight(log, "\r\n"), []byte("\n"))
	trailer := trailerPattern.FindSubmatch(bytes.TrimRight(lines[len(lines)-1], "\r"))
	if trailer == nil {
		return nil, fmt.Errorf("%w: its last line is not the trailer (%d bytes read)", ErrCut, len(log))
	}
	if string(bytes.TrimRight(lines[0], "\r")) != beginLine {
		return nil, fmt.Errorf("%w: it begins in the middle (%d bytes read; kubelets keep 10 MiB of a log)", ErrCut, len(log))
	}
	o := &Output{SHA256: string(trailer[3])}
	var err error
	if o.Exit, err = strconv.Atoi(string(trailer[1])); err != nil {
		return nil, fmt.Errorf("trailer: %w", err)
	}
	if o.Bytes, err = strconv.ParseInt(string(trailer[2]), 10, 64); err != nil {
		return nil, fmt.Errorf("trailer: %w", err)
	}
	if o.Bytes > maxOutput {
		return nil, fmt.Errorf("%w: the program printed %d bytes, more than the limit of %d", ErrTooLong, o.Bytes, maxOutput)
	}
	body := lines[1 : len(lines)-1]
	if n := len(body); n > 0 && bytes.HasPrefix(body[n-1], []byte(errorPrefix)) {
		o.Errors = text(bytes.TrimPrefix(body[n-1], []byte(errorPrefix)))
		body = body[:n-1]
	}
	if o.Raw, err = unpack(bytes.Join(body, []byte("\n")), o.Bytes); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCut, err)
	}
	if sum := sha256.Sum256(o.Raw); int64(len(o.Raw)) != o.Bytes || hex.EncodeToString(sum[:]) != o.SHA256 {
		return nil, fmt.Errorf("%w: %d bytes with SHA-256 %x came, the program printed %d with %s", ErrCut, len(o.Raw), sum[:6], o.Bytes, o.SHA256[:12])
	}
	return o, nil
}

// unpack reads base64 of gzip, at most one byte more than announced.
func unpack(body []byte, want int64) ([]byte, error) {
	z, err := gzip.NewReader(bufio.NewReader(base64.NewDecoder(base64.StdEncoding, bytes.NewReader(body))))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(z, want+1))
	if err != nil {
		return nil, fmt.Errorf("unpack: %w", err)
	}
	return raw, nil
}

// text decodes what a program wrote about its failure.
func text(b64 []byte) string {
	raw, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(b64)))
	if err != nil {
		return "(unreadable)"
	}
	return string(raw)
}

// OneLine folds s to one printable line of at most limit runes.
func OneLine(s string, limit int) string {
	s = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))), " ")
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}
