//go:build !linux

package worker

// limitMemory does nothing: there is no such limit that a heap is held to. The
// runtime's own, which is soft, is set.
func limitMemory() error { return nil }
