package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// imageCommand writes an image of one layer that holds one static binary, /app.
func imageCommand(args []string) error {
	fl := flag.NewFlagSet("image", flag.ContinueOnError)
	out, ref := fl.String("o", "", "tar to write"), fl.String("ref", "", "name of the image")
	user, extra := fl.String("user", "65532:65532", "user of the process"), fl.String("args", "", "arguments of /app")
	if err := fl.Parse(args); err != nil {
		return err
	}
	if fl.NArg() != 1 || *out == "" || *ref == "" {
		return errors.New("image: want -o FILE.tar -ref NAME BINARY")
	}
	binary, err := os.ReadFile(fl.Arg(0))
	if err != nil {
		return err
	}
	f, err := os.Create(*out)
	if err != nil {
		return err
	}
	return errors.Join(writeImage(f, *ref, *user, append([]string{"/app"}, strings.Fields(*extra)...), binary), f.Close())
}

type object = map[string]any

// writeImage writes an OCI image layout as a tar, as `ctr images import` takes it.
func writeImage(w io.Writer, ref, user string, entrypoint []string, binary []byte) error {
	var layer bytes.Buffer
	t := tar.NewWriter(&layer)
	err := errors.Join(
		t.WriteHeader(&tar.Header{Name: "app", Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(binary))}), writeAll(t, binary),
		t.WriteHeader(&tar.Header{Name: "tmp/", Mode: 0o1777, Typeflag: tar.TypeDir}), t.Close())
	if err != nil {
		return err
	}
	blobs := map[string][]byte{}
	var order []string
	add := func(mediaType string, raw []byte) object {
		sum := sha256.Sum256(raw)
		digest := hex.EncodeToString(sum[:])
		if blobs[digest] == nil {
			order = append(order, digest)
		}
		blobs[digest] = raw
		return object{"mediaType": mediaType, "digest": "sha256:" + digest, "size": len(raw)}
	}
	encode := func(v any) []byte {
		raw, e := json.Marshal(v)
		err = errors.Join(err, e)
		return raw
	}
	l := add("application/vnd.oci.image.layer.v1.tar", layer.Bytes())
	config := add("application/vnd.oci.image.config.v1+json", encode(object{
		"architecture": runtime.GOARCH, "os": "linux", "rootfs": object{"type": "layers", "diff_ids": []any{l["digest"]}},
		"config": object{"Entrypoint": entrypoint, "User": user, "Env": []string{"PATH=/"}},
	}))
	manifest := add("application/vnd.oci.image.manifest.v1+json", encode(object{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": []any{l},
	}))
	manifest["annotations"] = object{"io.containerd.image.name": ref, "org.opencontainers.image.ref.name": ref[strings.LastIndexAny(ref, ":@")+1:]}
	index := encode(object{"schemaVersion": 2, "manifests": []any{manifest}})
	if err != nil {
		return err
	}
	t = tar.NewWriter(w)
	put := func(name string, raw []byte) {
		err = errors.Join(err, t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(raw))}), writeAll(t, raw))
	}
	put("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	put("index.json", index)
	for _, digest := range order {
		put("blobs/sha256/"+digest, blobs[digest])
	}
	if err = errors.Join(err, t.Close()); err != nil {
		return fmt.Errorf("write image %s: %w", ref, err)
	}
	return nil
}

func writeAll(w io.Writer, b []byte) error {
	_, err := w.Write(b)
	return err
}
