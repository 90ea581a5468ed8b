package images

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/companyos/helmproof/evidence"
	"github.com/companyos/helmproof/internal/oci"
)

// record is collected.json: which sealed bytes are what.
type record struct {
	// Images is what the registry said, sorted; only where it was asked.
	Images []imageRecord `json:"images,omitempty"`
	// Reports are those about images of the release, sorted by artifact.
	Reports []reportRecord `json:"reports,omitempty"`
	// Failures are scans that gave no report.
	Failures []failure `json:"failures,omitempty"`
	// Asked is whether there were scans or reports at all; Others is how many
	// reports are about no image of the release.
	Asked  bool         `json:"asked,omitempty"`
	Others int          `json:"others,omitempty"`
	VEX    []fileRecord `json:"vex,omitempty"`
	KEV    *listRecord  `json:"kev,omitempty"`
	EPSS   *listRecord  `json:"epss,omitempty"`
}

type fileRecord struct {
	Name     string `json:"name"` // of the file, without its folder: where it lay is no evidence
	Artifact string `json:"artifact"`
}

// listRecord is a list of which only the rows about reported vulnerabilities are sealed.
type listRecord struct {
	fileRecord
	Digest  evidence.Digest `json:"digest"`  // of the whole file
	Entries int             `json:"entries"` // in it
	Date    time.Time       `json:"date"`    // as the list says
}

// reportRecord is one scan report.
type reportRecord struct {
	fileRecord
	// Declared is the digest that the report was given for by the user.
	Declared evidence.Digest `json:"declared,omitempty"`
	// Version is the artifact with what the scanner said of itself and its database.
	Version string `json:"version,omitempty"`
}

// failure is a scan that gave no report.
type failure struct {
	Scanner  string          `json:"scanner"`
	Digest   evidence.Digest `json:"digest"`
	Platform string          `json:"platform"`
	Error    string          `json:"error"`
}

// imageRecord is what the registry says of one image.
type imageRecord struct {
	Image string `json:"image"` // as written in the manifests
	// Tag is what the tag names now; nil for an image without one.
	Tag *oci.Fetched `json:"tag,omitempty"`
	// Manifest is what the digest names: an index, or the manifest of one image.
	// Without a digest it is what the tag names.
	Manifest oci.Fetched `json:"manifest"`
	// Platforms are the manifests in an index for the policy's platforms that it has.
	Platforms map[string]oci.Fetched `json:"platforms,omitempty"`
	// Config is the configuration of the one image.
	Config *oci.Fetched `json:"config,omitempty"`
	// SBOMs are the descriptions of content attached to the image.
	SBOMs []sbomRecord `json:"sboms,omitempty"`
}

func blobName(d evidence.Digest) string { return "blobs/" + d.Hex() + ".json" }

// parsedImage is a reference in its parts.
type parsedImage struct {
	repo   name.Repository
	tag    string          // empty: none written
	digest evidence.Digest // empty: none written
}

func parseImage(image string, opts ...name.Option) (parsedImage, error) {
	base, digest, pinned := strings.Cut(image, "@")
	ref, err := name.NewTag(base, opts...)
	if err != nil {
		return parsedImage{}, fmt.Errorf("not an image reference: %w", err)
	}
	p := parsedImage{repo: ref.Context()}
	if i := strings.LastIndexByte(base, ':'); i > strings.LastIndexByte(base, '/') {
		p.tag = ref.TagStr()
	}
	if pinned {
		if p.digest, err = evidence.ParseDigest(digest); err != nil {
			return p, fmt.Errorf("not an image by its sha256 digest: %w", err)
		}
	} else if p.tag == "" {
		p.tag = name.DefaultTag
	}
	return p, nil
}

var platformPattern = regexp.MustCompile(`^[a-z0-9]+/[a-z0-9_]+(/[a-z0-9.]+)?$`)

func checkPlatform(s string) error {
	if !platformPattern.MatchString(s) {
		return fmt.Errorf("platform %q: want one such as linux/amd64 or linux/arm/v7", s)
	}
	return nil
}

// samePlatform compares platforms; the variant v8 of arm64 is the only one there is.
func samePlatform(a, b string) bool {
	return normalPlatform(a) == normalPlatform(b)
}

func normalPlatform(s string) string {
	if rest, ok := strings.CutSuffix(s, "/arm64/v8"); ok {
		return rest + "/arm64"
	}
	return s
}
