package images

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// Limits on what is read of an image's layers.
const (
	maxLayers   = 4 << 30  // of one platform, in compressed bytes, as the manifest says
	maxUnpacked = 16 << 30 // of one platform, in bytes
	maxGaining  = 10_000   // files that are kept in mind
	maxReading  = 2        // images at once: layers are large
	maxPlaces   = 100      // directories to write to that are kept in mind
)

// Rights is what an image says about the rights of its processes, and where they write.
type Rights struct {
	Users        []string // of its configurations: one for each platform
	Capabilities []string // files with capabilities of their own
	SetID        []string // set-user-id and set-group-id programs, without those that ask a person
	Volumes      []string // directories that its configurations declare as VOLUME
	Usual        []string // directories that it has and that programs usually write to
	Filled       []string // those of both that may hold files
}

// ReadRights reads users, file capabilities and set-id programs of images from
// their registries: layers as a stream, in bounded memory. unread says why the
// rights of an image are not known. The error is that of ctx, or of credentials
// that cannot be read.
func ReadRights(ctx context.Context, src *Sources, images []string) (rights map[string]Rights, unread map[string]string, err error) {
	r, err := newResolver(src)
	if err != nil {
		return nil, nil, err
	}
	found, errs := make([]Rights, len(images)), make([]error, len(images))
	var g errgroup.Group
	g.SetLimit(maxReading)
	for i, image := range images {
		g.Go(func() error {
			found[i], errs[i] = r.rights(ctx, image)
			return nil
		})
	}
	_ = g.Wait() // the errors are in errs
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	rights, unread = map[string]Rights{}, map[string]string{}
	for i, image := range images {
		if errs[i] != nil {
			unread[image] = oci.Clip(errs[i].Error())
		} else {
			rights[image] = found[i]
		}
	}
	return rights, unread, nil
}

// rights reads one image.
func (r *resolver) rights(ctx context.Context, image string) (Rights, error) {
	p, err := parseImage(image, r.names...)
	if err != nil {
		return Rights{}, err
	}
	get := func(d evidence.Digest) (*imageManifest, error) {
		ref := p.repo.Digest(string(d))
		raw, problem, err := r.client.Manifest(ctx, ref)
		if err != nil || problem != nil {
			return nil, cause(problem, err)
		}
		return parseManifest(raw)
	}
	var m *imageManifest
	if p.digest != "" {
		m, err = get(p.digest)
	} else {
		var raw []byte
		var problem *oci.Problem
		if raw, problem, err = r.client.Manifest(ctx, p.repo.Tag(p.tag)); err != nil || problem != nil {
			return Rights{}, cause(problem, err)
		}
		m, err = parseManifest(raw)
	}
	if err != nil {
		return Rights{}, err
	}
	all := []*imageManifest{m}
	if m.index() {
		all = nil
		for _, platform := range r.platforms {
			d := m.of(platform)
			if d == "" {
				return Rights{}, fmt.Errorf("it has no image for %s", platform)
			}
			child, err := get(d)
			if err != nil {
				return Rights{}, err
			}
			if child.index() {
				return Rights{}, errors.New("its index names an index")
			}
			all = append(all, child)
		}
	}
	var out Rights
	for _, m := range all {
		if err := r.platformRights(ctx, p, m, &out); err != nil {
			return Rights{}, err
		}
	}
	if len(out.Users) == 0 {
		return Rights{}, errors.New("no platform was asked for")
	}
	for _, l := range []*[]string{&out.Users, &out.Capabilities, &out.SetID, &out.Volumes, &out.Usual, &out.Filled} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	return out, nil
}

func cause(p *oci.Problem, err error) error {
	if err != nil {
		return err
	}
	return p
}

// platformRights adds those of one platform.
func (r *resolver) platformRights(ctx context.Context, p parsedImage, m *imageManifest, out *Rights) error {
	raw, problem, err := r.client.Blob(ctx, p.repo.Digest(m.Config.Digest.String()), maxConfig)
	if err != nil || problem != nil {
		return cause(problem, err)
	}
	var cfg v1.ConfigFile
	if err := json.Unmarshal(raw, &cfg); err != nil {
		return fmt.Errorf("its configuration cannot be read: %w", err)
	}
	if len(cfg.RootFS.DiffIDs) != len(m.Layers) {
		return fmt.Errorf("its configuration is that of %d layers, its manifest has %d", len(cfg.RootFS.DiffIDs), len(m.Layers))
	}
	files := gaining{}
	writes, err := newPlaces(cfg.Config.Volumes)
	if err != nil {
		return err
	}
	size := int64(0)
	for _, l := range m.Layers {
		if size += max(l.Size, 0); size > maxLayers {
			return fmt.Errorf("its layers have more than the %d bytes that are read", int64(maxLayers))
		}
	}
	left := int64(maxUnpacked)
	for _, l := range m.Layers {
		err := r.client.Unpacked(ctx, p.repo.Digest(l.Digest.String()), l.Size, func(body io.Reader) error {
			limited := &io.LimitedReader{R: body, N: left}
			if err := files.layer(limited, writes.see); err != nil {
				return err
			}
			if _, err := io.Copy(io.Discard, limited); err != nil { // up to the end, where the digest is checked
				return err
			}
			if left = limited.N; left == 0 {
				return fmt.Errorf("its layers unpack to more than the %d bytes that are read", int64(maxUnpacked))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	out.Users = append(out.Users, cfg.Config.User)
	out.Volumes = append(out.Volumes, writes.volumes...)
	for name, filled := range writes.dirs {
		if !slices.Contains(writes.volumes, name) {
			out.Usual = append(out.Usual, name)
		}
		if filled {
			out.Filled = append(out.Filled, name)
		}
	}
	for name, caps := range files {
		if caps {
			out.Capabilities = append(out.Capabilities, name)
		} else if !slices.Contains(interactive, path.Base(name)) {
			out.SetID = append(out.SetID, name)
		}
	}
	return nil
}

// interactive are programs that distributions ship set-user-id or set-group-id
// and that ask a person for a password, serve a login, or do what a container may
// not in any case.
var interactive = []string{
	"bbsuid", "chage", "chfn", "chsh", "dotlockfile", "expiry", "gpasswd", "mount", "newgrp", "pam_timestamp_check", "passwd", "sg", "ssh-agent", "ssh-keysign",
	"su", "umount", "unix_chkpwd", "wall", "write", "write.ul",
}

// gaining are the files of an image, by absolute path, that give rights to who
// starts them: true by capabilities, false by set-user-id or set-group-id.
type gaining map[string]bool

// layer lays a layer over those before it, with its whiteouts
// (https://github.com/opencontainers/image-spec/blob/main/layer.md#whiteouts).
// see is told of each file.
func (g gaining) layer(r io.Reader, see func(name string, h *tar.Header)) error {
	tr := tar.NewReader(r)
	above := gaining{} // what the layer itself brings, which its whiteouts do not hide
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("a layer cannot be read: %w", err)
		}
		name := path.Clean("/" + h.Name)
		dir, base := path.Split(name)
		switch hidden, whiteout := strings.CutPrefix(base, ".wh."); {
		case base == ".wh..wh..opq":
			g.hide(dir, false)
			continue
		case whiteout:
			g.hide(dir+hidden, true)
			continue
		}
		see(name, h)
		if h.Typeflag != tar.TypeDir {
			g.hide(name, true)
		}
		delete(above, name)
		switch h.Typeflag {
		case tar.TypeReg:
			if hasCapabilities(h) {
				above[name] = true
			} else if h.Mode&0o6000 != 0 && h.Mode&0o111 != 0 {
				above[name] = false
			}
		case tar.TypeLink:
			target := path.Clean("/" + h.Linkname)
			if caps, ok := above[target]; ok {
				above[name] = caps
			} else if caps, ok := g[target]; ok {
				above[name] = caps
			}
		}
		if len(g)+len(above) > maxGaining {
			return fmt.Errorf("more than %d of its files give rights", maxGaining)
		}
	}
	for name, caps := range above {
		g[name] = caps
	}
	return nil
}

// hide takes a file and what lies below it away; without self only the latter.
func (g gaining) hide(name string, self bool) {
	below := strings.TrimSuffix(name, "/") + "/"
	for f := range g {
		if self && f == name || strings.HasPrefix(f, below) {
			delete(g, f)
		}
	}
}

// hasCapabilities: container runtimes and libarchive write the attribute so.
func hasCapabilities(h *tar.Header) bool {
	return h.PAXRecords["SCHILY.xattr.security.capability"] != "" || h.PAXRecords["LIBARCHIVE.xattr.security.capability"] != ""
}
