package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/companyos/helmproof/internal/probe"
)

func TestLoadRequest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := func(name string, size int) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("a", size)), 0o600); err != nil {
			t.Fatal(err)
		}
		return "@" + path
	}
	for text, want := range map[string]string{
		"hex:0a0161": "\x0a\x01a", "base64:CgFh": "\x0a\x01a", "hex:": "", "base64:": "",
		file("some", 3): "aaa", file("none", 0): "", file("most", probe.MaxMessage): strings.Repeat("a", probe.MaxMessage),
	} {
		if raw, err := loadRequest(text); err != nil || string(raw) != want {
			t.Errorf("%s: %d bytes, %v", text, len(raw), err)
		}
	}
	for text, want := range map[string]string{
		"s3cret": "want hex:BYTES, base64:BYTES or @FILE", "": "want hex:BYTES", "s3cret:00": "want hex:BYTES",
		"hex:s3cret": "what follows hex: is not in that form", "base64:s3cret": "what follows base64: is not in that form",
		"hex:" + strings.Repeat("00", probe.MaxMessage+1): "longer than 16384 bytes", file("more", probe.MaxMessage+1): "longer than 16384 bytes",
		"@" + filepath.Join(dir, "absent"): "no such file", "@" + dir: "is a directory",
	} {
		if _, err := loadRequest(text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.40s: %v, want %q", text, err, want)
		}
	}
}

// What flags say of the call goes over the plan file's, and another method's message
// does not stay.
func TestLoadFlags(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "plan.yaml")
	if err := os.WriteFile(file, []byte("load: {rate: 7, hold: 30s, ramp: 1s, headroom: 0.2, method: shop.Cart/Get, request: CgFh}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args            string
		rate            float64
		method, request string
	}{
		{"--load-method shop.Cart/Put --load-request hex:0a0162", 50, "shop.Cart/Put", "CgFi"},
		{"--plan " + file, 7, "shop.Cart/Get", "CgFh"},
		{"--plan " + file + " --load-request hex:0a0162", 7, "shop.Cart/Get", "CgFi"},
		{"--plan " + file + " --load-method shop.Cart/Put", 7, "shop.Cart/Put", ""},
		{"--plan " + file + " --load-method shop.Cart/Put --load-request base64:CgFi", 7, "shop.Cart/Put", "CgFi"},
	} {
		f, cmd := new(drillFlags), &cobra.Command{}
		f.register(cmd)
		if err := cmd.ParseFlags(strings.Fields(tt.args)); err != nil {
			t.Fatal(err)
		}
		plans, err := f.plans(cmd, []string{"load"})
		if err != nil {
			t.Errorf("%s: %v", tt.args, err)
			continue
		}
		if l := plans[0].Load; l.Rate != tt.rate || l.Method != tt.method || l.Request != tt.request {
			t.Errorf("%s: %+v", tt.args, l)
		}
	}
}
