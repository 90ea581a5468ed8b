package chart

import (
	"errors"
	"fmt"
	"strings"
)

// userError is what a chart says by required or fail.
type userError struct {
	msg      string
	required bool
}

func (e *userError) Error() string { return e.msg }

// renderProblem makes the error short: where, and what.
func renderProblem(err error, chart string) (short error, hint string) {
	var ue *userError
	if errors.As(err, &ue) {
		where := ""
		if file, line, ok := templatePosition(err.Error(), chart); ok {
			where = file + ":" + line + ": "
		}
		if ue.required {
			return fmt.Errorf("%sa value is required: %w", where, ue), "give it with --set NAME=VALUE or -f FILE"
		}
		return fmt.Errorf("%sthe chart refuses: %w", where, ue), "give other values with --set NAME=VALUE or -f FILE"
	}
	s := err.Error()
	last := s
	if i := strings.LastIndex(s, ">: "); i >= 0 {
		last = s[i+3:]
	} else {
		last = strings.TrimPrefix(last, "template: ")
	}
	last = strings.ReplaceAll(last, ": template: ", ": ")
	switch {
	case strings.Contains(last, "nil pointer evaluating"):
		hint = "a value that the template reads is not set; give it with --set or -f"
	case strings.Contains(last, "no template "):
		hint = "the subchart that defines it is missing or disabled"
	}
	if file, line, ok := templatePosition(s, chart); ok {
		last = file + ":" + line + ": " + strings.TrimPrefix(last, chart+"/"+file+":"+line+": ")
	}
	return &shortError{text: last, err: err}, hint
}

// shortError shortens the text of err.
type shortError struct {
	text string
	err  error
}

func (e *shortError) Error() string { return e.text }
func (e *shortError) Unwrap() error { return e.err }

// templatePosition finds the innermost "template: CHART/file:line:" in an error.
func templatePosition(s, chart string) (file, line string, ok bool) {
	prefix := "template: " + chart + "/"
	i := strings.LastIndex(s, prefix)
	if i < 0 {
		return "", "", false
	}
	file, rest, ok := strings.Cut(s[i+len(prefix):], ":")
	if !ok {
		return "", "", false
	}
	n := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if n <= 0 {
		return "", "", false
	}
	return file, rest[:n], true
}
