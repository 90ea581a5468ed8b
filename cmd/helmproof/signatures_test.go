package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
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
// pods of them. stopregistry ends it. vault starts a service that has the key as
// "team", and an RSA key, and stopvault ends that.
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
	ts.SetCmd("vault", func(ts *testscript.TestScript, _ bool, _ []string) { startVault(ts, signer) })
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

// vault serves the part of Vault's transit engine that signers use: keys by name,
// and signatures by the key "team".
func vault(key *ecdsa.PrivateKey, public map[string]string) http.Handler {
	answer := func(w http.ResponseWriter, data map[string]any) {
		_ = json.NewEncoder(w).Encode(map[string]any{"data": data})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/transit/keys/{key}", func(w http.ResponseWriter, r *http.Request) {
		pub, ok := public[r.PathValue("key")]
		if !ok {
			http.Error(w, `{"errors":[]}`, http.StatusNotFound)
			return
		}
		answer(w, map[string]any{"latest_version": 1, "keys": map[string]any{"1": map[string]any{"name": "P-256", "public_key": pub}}})
	})
	mux.HandleFunc("PUT /v1/transit/sign/team/{hash...}", func(w http.ResponseWriter, r *http.Request) {
		var in struct {
			Input     []byte `json:"input"`
			Prehashed bool   `json:"prehashed"`
		}
		if err := json.NewDecoder(r.Body).Decode(&in); err != nil || !in.Prehashed || len(in.Input) != sha256.Size {
			http.Error(w, `{"errors":["want a SHA-256 digest"]}`, http.StatusBadRequest)
			return
		}
		sig, err := key.Sign(rand.Reader, in.Input, crypto.SHA256)
		if err != nil {
			http.Error(w, `{"errors":["sign"]}`, http.StatusInternalServerError)
			return
		}
		answer(w, map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Vault-Token") != "test-token" {
			http.Error(w, `{"errors":["permission denied"]}`, http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// startVault tells commands of a vault by VAULT_ADDR and VAULT_TOKEN.
func startVault(ts *testscript.TestScript, key *ecdsa.PrivateKey) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 3072)
	ts.Check(err)
	public := func(pub any) string {
		der, err := x509.MarshalPKIXPublicKey(pub)
		ts.Check(err)
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	}
	srv := httptest.NewServer(vault(key, map[string]string{"team": public(key.Public()), "rsa": public(rsaKey.Public())}))
	ts.Defer(srv.Close)
	ts.SetCmd("stopvault", func(*testscript.TestScript, bool, []string) { srv.Close() })
	ts.Setenv("VAULT_ADDR", srv.URL)
	ts.Setenv("VAULT_TOKEN", "test-token")
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
