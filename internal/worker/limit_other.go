//go:build !linux

package worker

import (
	"errors"
	"time"
)

// limitMemory does nothing: there is no such limit that a heap is held to. The
// runtime's own, which is soft, is set.
func limitMemory() error { return nil }

// canGuard says that no process is guarded: there are children only.
const canGuard = false

func holdData(uint64) error { return nil }

func releaseData() error { return nil }

func processorTime() time.Duration { return 0 }

// Replace is not called: no process is guarded.
func Replace([]string) error { return errors.ErrUnsupported }
