package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	imagemutate "github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRegistry starts a registry with two images, one of them signed as cosign
// does with the key team.pub, which it writes: signed.yaml and unsigned.yaml are
// pods of them. stopregistry ends it.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: registry")
	}
	srv := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	ts.Defer(srv.Close)
	ts.SetCmd("stopregistry", func(*testscript.TestScript, bool, []string) { srv.Close() })
	host := strings.TrimPrefix(srv.URL, "http://")
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	der, err := x509.MarshalPKIXPublicKey(signer.Public())
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("team.pub"), pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	for _, repo := range []string{"signed", "unsigned"} {
		img, err := imagemutate.AppendLayers(empty.Image, static.NewLayer([]byte(repo), types.OCILayer))
		ts.Check(err)
		d, err := img.Digest()
		ts.Check(err)
		ref, err := name.NewDigest(host + "/" + repo + "@" + d.String())
		ts.Check(err)
		ts.Check(remote.Write(ref, img))
		pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s}\nspec: {containers: [{name: app, image: %q}]}\n", repo, ref)
		ts.Check(os.WriteFile(ts.MkAbs(repo+".yaml"), []byte(pod), 0o600))
		if repo == "signed" {
			signImage(ts, ref, signer)
		}
	}
}

func signImage(ts *testscript.TestScript, ref name.Digest, signer crypto.Signer) {
	payload := []byte(fmt.Sprintf(`{"critical":{"identity":{"docker-reference":""},"image":{"docker-manifest-digest":%q},"type":"cosign container image signature"},"optional":null}`, ref.DigestStr()))
	sum := sha256.Sum256(payload)
	sig, err := signer.Sign(rand.Reader, sum[:], crypto.SHA256)
	ts.Check(err)
	img, err := imagemutate.Append(empty.Image, imagemutate.Addendum{
		Layer:       static.NewLayer(payload, "application/vnd.dev.cosign.simplesigning.v1+json"),
		Annotations: map[string]string{"dev.cosignproject.cosign/signature": base64.StdEncoding.EncodeToString(sig)},
	})
	ts.Check(err)
	ts.Check(remote.Write(ref.Context().Tag(strings.Replace(ref.DigestStr(), ":", "-", 1)+".sig"), img))
}
