package images

import (
	"archive/tar"
	"fmt"
	"maps"
	"path"
	"slices"
)

// usual are directories that programs write to, and those whose subdirectories are.
var (
	usual      = []string{"/tmp", "/var/tmp", "/run", "/var/run"}
	usualBelow = []string{"/var/cache", "/var/log"}
	// packaging writes when an image is made, not when it runs.
	packaging = []string{"apk", "apt", "debconf", "dnf", "ldconfig", "libdnf5", "man", "yum"}
)

// places are the directories of an image that its programs may write to.
type places struct {
	volumes []string
	dirs    map[string]bool // the volumes and the usual ones; true where files are below
}

// newPlaces takes the volumes of an image's configuration. An image with more than are
// kept in mind is an error: what is not known of it would be taken for what is not there.
func newPlaces(declared map[string]struct{}) (*places, error) {
	p := &places{dirs: map[string]bool{}}
	for _, name := range slices.Sorted(maps.Keys(declared)) {
		if name = path.Clean("/" + name); name != "/" && !slices.Contains(p.volumes, name) {
			if len(p.volumes) == maxPlaces {
				return nil, fmt.Errorf("its configuration declares more than the %d volumes that are read", maxPlaces)
			}
			p.volumes, p.dirs[name] = append(p.volumes, name), false
		}
	}
	return p, nil
}

// see notes a file of a layer. What a later layer removes is still noted: it
// is only told what may be written to.
func (p *places) see(name string, h *tar.Header) {
	switch h.Typeflag {
	case tar.TypeDir:
		dir, base := path.Split(name)
		if slices.Contains(usual, name) || slices.Contains(usualBelow, path.Clean(dir)) && !slices.Contains(packaging, base) {
			if _, known := p.dirs[name]; !known && len(p.dirs) < 2*maxPlaces {
				p.dirs[name] = false
			}
		}
		return
	case tar.TypeSymlink:
		if !slices.Contains(p.volumes, name) {
			delete(p.dirs, name) // it leads to another
		}
	}
	for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
		if _, known := p.dirs[dir]; known {
			p.dirs[dir] = true
		}
	}
}
