//go:build unix

package attest

import (
	"io/fs"
	"os"
	"syscall"
)

// ownFile reports whether a file belongs to the user who runs this program.
func ownFile(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && int64(sys.Uid) == int64(os.Getuid())
}
