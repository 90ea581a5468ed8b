package worker

import (
	"bufio"
	"encoding/gob"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/companyos/helmproof/internal/garbage"
)

// Handler does one piece of work: it reads the request and returns what writes the
// answer. Its error ends the child.
type Handler func(request *gob.Decoder) (answer func(*gob.Encoder) error, err error)

// Serve is the child: it does what comes in on standard input, within MaxMemory,
// as long as the parent is there. It takes over the process: standard input and
// output, signals and limits.
func Serve(handlers map[string]Handler) error {
	signal.Ignore(os.Interrupt, syscall.SIGTERM) // the parent decides
	garbage.Within(MaxMemory)
	if err := limitMemory(); err != nil {
		return fmt.Errorf("limit the memory: %w", err)
	}
	in, out := os.Stdin, os.Stdout
	os.Stdout = os.Stderr // what a library prints is no answer
	read, write := io.Pipe()
	go func() {
		_, err := io.Copy(write, in)
		if err == nil {
			os.Exit(0) // the parent has gone, whatever is being done
		}
		write.CloseWithError(err)
	}()
	answers := bufio.NewWriterSize(out, buffered)
	dec, enc := gob.NewDecoder(bufio.NewReaderSize(read, buffered)), gob.NewEncoder(answers)
	for {
		var op string
		if err := dec.Decode(&op); err != nil {
			return fmt.Errorf("read a request: %w", err)
		}
		handle, ok := handlers[op]
		if !ok {
			return errors.New("no handler for " + op)
		}
		answer, err := handle(dec)
		if err == nil {
			err = answer(enc)
		}
		if err == nil {
			err = answers.Flush()
		}
		if err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
	}
}
