// Genschemas writes schemas/<major.minor>.json.gz for the newest six minor
// versions of Kubernetes, from the OpenAPI document in k8s.io/kubernetes's own
// modules. It needs the Go module proxy; run it by go generate.
package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/companyos/helmproof/collectors/helm"
)

const minors = 6

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "genschemas:", err)
		os.Exit(1)
	}
}

func run() error {
	// The versions come sorted, so the last of each minor is its newest patch.
	out, err := exec.Command("go", "list", "-m", "-versions", "k8s.io/kubernetes").Output()
	if err != nil {
		return fmt.Errorf("list versions: %w", err)
	}
	newest := map[string]string{}
	var order []string
	for _, v := range strings.Fields(string(out))[1:] {
		parts := strings.Split(v, ".")
		if len(parts) != 3 || strings.Contains(v, "-") {
			continue
		}
		minor := strings.TrimPrefix(parts[0], "v") + "." + parts[1]
		if newest[minor] == "" {
			order = append(order, minor)
		}
		newest[minor] = v
	}
	if len(order) < minors {
		return fmt.Errorf("only %d minor versions listed", len(order))
	}
	for _, minor := range order[len(order)-minors:] {
		if err := write(minor, newest[minor]); err != nil {
			return err
		}
	}
	return nil
}

func write(minor, version string) error {
	out, err := exec.Command("go", "mod", "download", "-json", "k8s.io/kubernetes@"+version).Output()
	if err != nil {
		return fmt.Errorf("download %s: %w", version, err)
	}
	var mod struct{ Dir string }
	if err := json.Unmarshal(out, &mod); err != nil {
		return err
	}
	raw, err := os.ReadFile(filepath.Join(mod.Dir, "api", "openapi-spec", "swagger.json"))
	if err != nil {
		return err
	}
	doc, err := helm.Compact(raw, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", version, err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	fmt.Printf("%s from %s: %d kinds, %d definitions, %d bytes\n", minor, version, len(doc.Kinds), len(doc.Definitions), b.Len())
	return os.WriteFile(filepath.Join("schemas", minor+".json.gz"), b.Bytes(), 0o644)
}
