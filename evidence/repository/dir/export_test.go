package dir

import "os"

// OpenSyncing is Open with another way to make files and directories durable.
func OpenSyncing(root string, sync func(*os.File) error) *Store {
	s := Open(root)
	s.sync = sync
	return s
}
