package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

var (
	keep sync.Mutex
	kept []*os.File
)

// openPTY opens a terminal: what is written to master was typed, and what is read from it
// is shown.
func openPTY(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Skipf("no terminals here: %v", err)
	}
	// tty stays open: who is interrupted while reading from it sets its state by its number
	// later on, which must not be that of another test's terminal by then.
	keep.Lock()
	defer keep.Unlock()
	kept = append(kept, tty)
	return master, tty
}

// echoes reports whether the terminal shows what is typed.
func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// typing types a text once the prompt was written, and the terminal no longer echoes.
type typing struct {
	t           *testing.T
	master, tty *os.File
	text        string
	prompt      bytes.Buffer
}

func (p *typing) Write(b []byte) (int, error) {
	p.prompt.Write(b)
	if strings.HasSuffix(p.prompt.String(), ": ") {
		go func() {
			for echoes(p.t, p.tty) && p.t.Context().Err() == nil {
				runtime.Gosched()
			}
			_, _ = io.WriteString(p.master, p.text)
		}()
	}
	return len(b), nil
}

// A password that is typed is not shown, and the terminal is as it was afterwards.
func TestPasswordTyped(t *testing.T) {
	t.Parallel()
	master, tty := openPTY(t)
	in := &typing{t: t, master: master, tty: tty, text: "correct horse\n"}
	got, err := readPassword(t.Context(), tty, in, "password of team.key: ")
	if err != nil || string(got) != "correct horse" {
		t.Fatalf("%q, %v", got, err)
	}
	if !echoes(t, tty) {
		t.Error("the terminal no longer shows what is typed")
	}
	if in.prompt.String() != "password of team.key: \n" {
		t.Errorf("prompt %q", in.prompt.String())
	}
	// What the terminal showed until then, and an end that is written to it.
	if _, err := io.WriteString(tty, "end\n"); err != nil {
		t.Fatal(err)
	}
	shown := ""
	for r := bufio.NewReader(master); !strings.Contains(shown, "end"); {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		shown += line
	}
	if strings.Contains(shown, "horse") {
		t.Errorf("the terminal showed %q", shown)
	}
}

// An interrupt while a password is asked for leaves the terminal as it was.
func TestPasswordInterrupted(t *testing.T) {
	t.Parallel()
	_, tty := openPTY(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	go func() {
		for echoes(t, tty) && t.Context().Err() == nil {
			runtime.Gosched()
		}
		cancel(stopped)
	}()
	if _, err := readPassword(ctx, tty, io.Discard, "password: "); !errors.Is(err, stopped) {
		t.Errorf("%v, want %v", err, stopped)
	}
	if !echoes(t, tty) {
		t.Error("the terminal no longer shows what is typed")
	}
}

// Nobody is asked where the variable is set, also to nothing, or where there is no terminal.
func TestPasswordUnasked(t *testing.T) {
	for _, tt := range []struct {
		name, variable string
		terminal, asks bool
	}{{"set", "x", true, false}, {"set to nothing", "", true, false}, {"a pipe", "unset", false, false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv(passwordVariable, tt.variable)
			if tt.variable == "unset" {
				if err := os.Unsetenv(passwordVariable); err != nil {
					t.Fatal(err)
				}
				tt.variable = ""
			}
			var out bytes.Buffer
			a := newApp(stdio{in: strings.NewReader("typed\n"), out: io.Discard, err: &out})
			if tt.terminal {
				_, tty := openPTY(t)
				if !term.IsTerminal(int(tty.Fd())) {
					t.Fatal("no terminal")
				}
				a.io.in = tty
			}
			got, err := a.password(t.Context(), "password: ")
			if err != nil || string(got) != tt.variable || out.Len() > 0 || a.asked {
				t.Errorf("%q, %v, asked %v: %s", got, err, a.asked, out.String())
			}
		})
	}
}
