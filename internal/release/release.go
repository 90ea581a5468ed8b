// Package release makes a release of programs that are built: archives, packages, an
// image, and what says which they are. Every file is a function of the source, of the
// time of its commit and of the release of Go: built twice, in two folders, it has the
// same bytes. Signatures alone differ, and stand in files of their own.
package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/companyos/helmproof/evidence/attest"
)

// Platform is what a program is built for.
type Platform struct{ OS, Arch string }

func (p Platform) String() string { return p.OS + "/" + p.Arch }

// Platforms are those that a release is for.
var Platforms = []Platform{
	{"darwin", "amd64"}, {"darwin", "arm64"}, {"linux", "amd64"}, {"linux", "arm64"}, {"windows", "amd64"}, {"windows", "arm64"},
}

// ParsePlatform reads os/arch, one of Platforms.
func ParsePlatform(s string) (Platform, error) {
	for _, p := range Platforms {
		if p.String() == s {
			return p, nil
		}
	}
	return Platform{}, fmt.Errorf("platform %q: want one of %v", s, Platforms)
}

// program is what the built file is called.
func (p Platform) program() string {
	if p.OS == "windows" {
		return "helmproof.exe"
	}
	return "helmproof"
}

// Archive is the name of the platform's archive.
func (p Platform) Archive(version string) string {
	ext := ".tar.gz"
	if p.OS == "windows" {
		ext = ".zip"
	}
	return base(p, version) + ext
}

func base(p Platform, version string) string {
	return "helmproof-" + version + "-" + p.OS + "-" + p.Arch
}

var versionPattern = regexp.MustCompile(`^v(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)(-[0-9A-Za-z.-]+)?$`)

// Release is what is made, and out of what.
type Release struct {
	Version   string // v1.2.3
	Commit    string // of the source, in hexadecimal
	When      time.Time
	Platforms []Platform
	Dist      string // the folder for the files: empty, or not there yet
	// Build writes the program of a platform to a file.
	Build func(ctx context.Context, p Platform, file string) error
	// Beside returns what lies beside the program in every archive: licence, manual
	// pages, completions. It is called once, when all programs are built.
	Beside func(ctx context.Context, programs map[Platform]string) ([]File, error)
	// Info reads what a program is built from (buildinfo.ReadFile).
	Info     func(program string) (*debug.BuildInfo, error)
	Packager Packager // makes deb and rpm packages; nil: there are none
	// Signer signs the provenance; nil: there is no signature.
	Signer attest.Signer
}

// check says what cannot be released.
func (r *Release) check() error {
	if !versionPattern.MatchString(r.Version) {
		return fmt.Errorf("version %q: want one like v1.2.3 or v1.2.3-rc.1", r.Version)
	}
	if len(r.Platforms) == 0 {
		return errors.New("no platforms to release for")
	}
	r.Platforms = slices.SortedFunc(slices.Values(r.Platforms), func(a, b Platform) int { return strings.Compare(a.String(), b.String()) })
	entries, err := os.ReadDir(r.Dist)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: what lies there would be taken for a part of the release", r.Dist)
	}
	return os.MkdirAll(r.Dist, 0o755)
}

// Make builds the programs and writes the release to Dist. Programs lie in a folder
// beside Dist while it does.
func (r *Release) Make(ctx context.Context) (err error) {
	if err := r.check(); err != nil {
		return err
	}
	work, err := os.MkdirTemp(filepath.Dir(filepath.Clean(r.Dist)), ".release-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(work)) }()
	programs := map[Platform]string{}
	for _, p := range r.Platforms {
		programs[p] = filepath.Join(work, base(p, r.Version))
		if err := r.Build(ctx, p, programs[p]); err != nil {
			return fmt.Errorf("build for %s: %w", p, err)
		}
	}
	beside, err := r.Beside(ctx, programs)
	if err != nil {
		return err
	}
	var names []string
	var images []Image
	for _, p := range r.Platforms {
		name, sbom := p.Archive(r.Version), base(p, r.Version)+".cdx.json"
		if err := r.archive(p, programs[p], beside, filepath.Join(r.Dist, name)); err != nil {
			return err
		}
		info, err := r.Info(programs[p])
		if err != nil {
			return fmt.Errorf("modules of the program for %s: %w", p, err)
		}
		bom, err := SBOM(info, r.Version, p, r.When)
		if err == nil {
			err = os.WriteFile(filepath.Join(r.Dist, sbom), bom, 0o644)
		}
		if err != nil {
			return err
		}
		names = append(names, name, sbom)
		if p.OS == "linux" {
			images = append(images, Image{Platform: p, Program: programs[p], SBOM: bom})
			if r.Packager != nil {
				packages, err := r.packages(ctx, p, programs[p], beside, work)
				if err != nil {
					return err
				}
				names = append(names, packages...)
			}
		}
	}
	digest := ""
	if len(images) > 0 {
		name := "helmproof-" + r.Version + "-image.tar"
		if digest, err = r.writeImage(images, work, filepath.Join(r.Dist, name)); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.Dist, DigestFile), []byte(digest+"\n"), 0o644); err != nil {
			return err
		}
		names = append(names, name, DigestFile)
	}
	sums, err := Sums(r.Dist, names)
	if err != nil {
		return err
	}
	manifests, err := r.manifests(sums)
	if err != nil {
		return err
	}
	if sums, err = Sums(r.Dist, append(names, manifests...)); err != nil {
		return err
	}
	return r.provenance(ctx, sums, digest)
}

// DigestFile has the digest by which the image is pinned: that of its index.
const DigestFile = "image-digest.txt"

// archive packs a program with what lies beside it, all in one folder.
func (r *Release) archive(p Platform, program string, beside []File, name string) error {
	files := []File{{Name: p.program(), Mode: 0o755, From: program}}
	files = append(files, beside...)
	for i := range files {
		files[i].Name = base(p, r.Version) + "/" + files[i].Name
	}
	pack := TarGz
	if strings.HasSuffix(name, ".zip") {
		pack = Zip
	}
	return writeTo(name, func(w io.Writer) error { return pack(w, files, r.When) })
}
