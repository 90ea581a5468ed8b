package kube

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseTier(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]Tier{"none": TierNone, "a": TierA, "B": TierB, "c": TierC} {
		if got, err := ParseTier(in); err != nil || got != want {
			t.Errorf("ParseTier(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"", "d", "tierA"} {
		if _, err := ParseTier(in); err == nil || !strings.Contains(err.Error(), "want none, a, b or c") {
			t.Errorf("ParseTier(%q): error %v, want it to name the tiers", in, err)
		}
	}
}

func TestRunsTests(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]bool{
		"":                           true,
		"-test.run=TestX":            true,
		"-test.v=true -test.run=^$":  false,
		"-test.list=^Fuzz":           false,
		"--test.list=.":              false,
		"-test.run=^$X -test.bench=": true,
	} {
		if got := runsTests(strings.Fields(args)); got != want {
			t.Errorf("runsTests(%q) = %v, want %v", args, got, want)
		}
	}
}

// files reads a tar.
func files(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		if all[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func TestImageTar(t *testing.T) {
	t.Parallel()
	binary := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(binary, []byte("program"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := (Image{Ref: "cluster.test/x", Binary: binary}).OCI(); err == nil || !strings.Contains(err.Error(), "no tag") {
		t.Errorf("reference without tag: %v", err)
	}
	b, _, err := Image{Ref: "cluster.test:5000/x:2", Binary: binary, Args: []string{"wait"}}.OCI()
	if err != nil {
		t.Fatal(err)
	}
	layout := files(t, b)
	type descriptor struct {
		Digest      string
		Size        int
		Annotations map[string]string
	}
	// blob follows a descriptor as containerd would.
	blob := func(d descriptor) []byte {
		t.Helper()
		digest := strings.TrimPrefix(d.Digest, "sha256:")
		content := layout["blobs/sha256/"+digest]
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != digest || len(content) != d.Size {
			t.Fatalf("blob %s is not what its descriptor says", d.Digest)
		}
		return content
	}
	var index struct{ Manifests []descriptor }
	if err := json.Unmarshal(layout["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if got := index.Manifests[0].Annotations; got["io.containerd.image.name"] != "cluster.test:5000/x:2" || got["org.opencontainers.image.ref.name"] != "2" {
		t.Errorf("annotations %v", got)
	}
	var manifest struct {
		Config descriptor
		Layers []descriptor
	}
	if err := json.Unmarshal(blob(index.Manifests[0]), &manifest); err != nil {
		t.Fatal(err)
	}
	var config struct {
		Config struct {
			Entrypoint []string
			User       string
		}
		RootFS struct {
			DiffIDs []string `json:"diff_ids"`
		}
	}
	if err := json.Unmarshal(blob(manifest.Config), &config); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(config.Config.Entrypoint, " "); got != "/app wait" || config.Config.User != "65532:65532" {
		t.Errorf("entrypoint %q as %q", got, config.Config.User)
	}
	if config.RootFS.DiffIDs[0] != manifest.Layers[0].Digest {
		t.Errorf("diff id %s, layer %s", config.RootFS.DiffIDs[0], manifest.Layers[0].Digest)
	}
	if layer := files(t, blob(manifest.Layers[0])); string(layer["app"]) != "program" {
		t.Errorf("layer holds %v", layer)
	}
}
