# All targets work on a fresh Debian or Ubuntu machine with Go; `make test`
# installs what the tests need.
GO      ?= go
BIN     := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s

.PHONY: build test race lint bench fuzz-short docs check tools deps clean
.DEFAULT_GOAL := build

build:
	$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/helmproof ./cmd/helmproof

# What the tests use beside Go: poppler's pdftotext reads the PDFs back, xmllint
# checks JUnit against its schema. Where they cannot be installed, the tests that
# use them are reported as skipped.
deps:
	@command -v pdftotext >/dev/null && command -v xmllint >/dev/null || { \
		sudo=; [ "$$(id -u)" = 0 ] || sudo='sudo -n'; \
		command -v apt-get >/dev/null && $$sudo apt-get update -qq && \
		$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends poppler-utils libxml2-utils >/dev/null || \
		echo 'note: poppler-utils and libxml2-utils could not be installed; their tests will be skipped' >&2; }

# cosign's own command, an outside judge of what we sign.
$(BIN)/cosign: tools/cosign/go.mod
	cd tools/cosign && $(GO) build -o $@ github.com/sigstore/cosign/v3/cmd/cosign

test: deps build $(BIN)/cosign
	HELMPROOF_COSIGN=$(BIN)/cosign $(GO) test ./...

race: deps $(BIN)/cosign
	HELMPROOF_COSIGN=$(BIN)/cosign $(GO) test -race ./...

lint:
	cd tools/lint && $(GO) build -o $(BIN)/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	$(BIN)/golangci-lint run ./...

# Stages, growth, one cold process, and, as far as they are in PATH, the single
# tools that do parts of the job. HELMPROOF_TEST_CHARTS=FILE names a file that
# lists chart directories of your own to measure as well.
bench: build
	PATH=$(BIN):$$PATH $(GO) test -run '^$$' -bench . -benchmem -timeout 60m ./...

# Every fuzz target, for FUZZTIME each.
fuzz-short:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) $$pkg; \
		done; done

docs:
	$(GO) test ./cmd/helmproof ./config -run 'TestDocs' -update

# What CI would refuse: formatting, vet, generated docs that drifted.
check: docs
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	git diff --exit-code

clean:
	rm -rf $(BIN)
