package attach

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// envelopeType is that of the layers of an image of attestations.
const envelopeType = "application/vnd.dsse.envelope.v1+json"

// PushTag puts the statement's envelope, signature and all, beside those that are
// under the tag sha256-….att: the form that cosign had before bundles, in which
// policy-controller looks for what a key has signed. It reports whether it was not
// there: the same statement that another key has signed, or nobody, is another. A dry
// run only asks. Of two that do so at the same moment, one may be lost; it is there after the
// next run.
func (i *Image) PushTag(a Attestation, dryRun bool) (bool, error) {
	want, raw, err := envelopeOf(a.Bundle)
	if err != nil {
		return false, err
	}
	tag := i.ref.Context().Tag(strings.Replace(i.ref.DigestStr(), ":", "-", 1) + ".att")
	img, err := remote.Image(tag, i.opts...)
	var answer *transport.Error
	switch {
	case errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound:
		img = mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	case err != nil:
		return false, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
	}
	layers, err := img.Layers()
	if err != nil {
		return false, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
	}
	for _, l := range layers {
		other, err := readLayer(l)
		if err != nil {
			return false, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
		}
		var there envelope
		if json.Unmarshal(other, &there) == nil && reflect.DeepEqual(&there, want) {
			return false, nil
		}
	}
	if dryRun {
		return true, nil
	}
	img, err = mutate.Append(img, mutate.Addendum{
		Layer: static.NewLayer(raw, envelopeType), MediaType: envelopeType, History: v1.History{},
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": "", "predicateType": a.PredicateType},
	})
	if err != nil {
		return false, err
	}
	if err := remote.Write(tag, img, i.opts...); err != nil {
		return false, fmt.Errorf("tag %s: %w", tag.TagStr(), err)
	}
	return true, nil
}
