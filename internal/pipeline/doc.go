// Package pipeline is the engine: collect, judge, seal, store, verify, replay and
// gate, as functions on values. Commands, and whatever else shows or decides
// something, call it; it prints nothing, reads no flags and knows no exit codes.
//
// Data flows one way: rules and a loaded release → collectors → gate → bundle →
// repository.
package pipeline

import "fmt"

// InputError says that what the caller gave is wrong: a profile that does not
// exist, a flag that means nothing here, a bundle id that names nothing.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

func inputErr(format string, args ...any) error {
	return &InputError{fmt.Errorf(format, args...)}
}

// IntegrityError says that evidence could not be verified.
type IntegrityError struct{ Err error }

func (e *IntegrityError) Error() string { return e.Err.Error() }
func (e *IntegrityError) Unwrap() error { return e.Err }

func integrityErr(format string, args ...any) error {
	return &IntegrityError{fmt.Errorf(format, args...)}
}
