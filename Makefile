# All targets work on a fresh Debian or Ubuntu machine with Go; `make test`
# installs what the tests need.
GO      ?= go
BIN     := $(CURDIR)/bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
FUZZTIME ?= 10s

# A static program, which runs on any Linux. With cgo, Kustomize's loader of Go
# plugins has the linker keep and export every symbol: 40 MB more, and 9 ms at
# every start. Everything is built in this mode and none with -trimpath, since
# another mode compiles all of it again: test/cluster, with the versions of go.mod,
# shares a thousand packages with the program and its tests.
export CGO_ENABLED ?= 0

# The SDKs of cloud services are behind a build tag: without them the first build
# takes a sixth less. What is made here has them; TAGS= leaves them out.
TAGS ?= cloud
export GOFLAGS := $(strip $(GOFLAGS) -tags=$(TAGS))

KUBERNETES := v1.37.2
KUBE_LDFLAGS := -s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES) \
	-X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37

# Tests on a cluster. Drills notice a busy machine: they run one after the other, and
# the rest beside them, on a cluster of its own, with the time that they leave. What
# fails is run once more on a new cluster, unless more than four did, and has to pass there.
DRILLS := TestDrill
E2ETEST = $(BIN)/gotestsum --format standard-verbose --rerun-fails=1 --rerun-fails-max-failures=4 --rerun-fails-run-root-test --rerun-fails-report=$(BIN)/e2e-again-$(1).txt
E2E = rm -f $(BIN)/e2e-again-*; trap 'kill $$rest; exit 130' INT TERM; \
	HELMPROOF_TEST_PROMETHEUS=$(BIN)/prometheus nice -n 5 $(call E2ETEST,rest) --packages=./test/e2e -- -count=1 -timeout 40m -skip '^$(DRILLS)' >$(BIN)/e2e-rest.log 2>&1 & rest=$$!; failed=; \
	$(call E2ETEST,drills) --packages=./test/e2e -- -count=1 -timeout 40m -run '^$(DRILLS)' || failed=1; \
	$(call E2ETEST,internal) --packages='./collectors/internal/drillrun/test/e2e ./collectors/internal/prober/test/e2e' -- -count=1 -timeout 40m -p 1 || failed=1; \
	wait $$rest || failed=1; cat $(BIN)/e2e-rest.log; cat $(BIN)/e2e-again-* 2>/dev/null; test -z "$$failed"

.PHONY: kube cluster e2e watch-scale acceptance build test unittest rules-test dashboards golden race lint bench fuzz-short docs check tools deps clean
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

	@command -v containerd >/dev/null && command -v runc >/dev/null && command -v nft >/dev/null && command -v iptables >/dev/null && \
	command -v conntrack >/dev/null && command -v ip >/dev/null && test -x /usr/lib/cni/bridge || { \
		[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null && apt-get update -qq && \
		env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
			containerd runc containernetworking-plugins iptables nftables conntrack iproute2 >/dev/null || \
		echo 'note: containerd and what goes with it could not be installed (needs root); tests on real nodes will be skipped' >&2; }

# go test, and what failed once more.
$(BIN)/gotestsum: tools/gotestsum/go.mod
	cd tools/gotestsum && $(GO) build -o $@ gotest.tools/gotestsum

# cosign's own command, an outside judge of what we sign.
$(BIN)/cosign: tools/cosign/go.mod
	cd tools/cosign && $(GO) build -o $@ github.com/sigstore/cosign/v3/cmd/cosign

# Helm's own command, which runs those of docs/publishing.md.
$(BIN)/helm: tools/helm/go.mod tools/helm/go.sum
	cd tools/helm && $(GO) build -ldflags '-s -w' -o $@ tool

# nfpm, which makes packages of a release.
$(BIN)/nfpm: tools/nfpm/go.mod tools/nfpm/go.sum
	cd tools/nfpm && $(GO) build -ldflags '-s -w' -o $@ tool

# helm-unittest, by Helm 3: our charts have to render by it too.
$(BIN)/helm-unittest: tools/helm-unittest/go.mod tools/helm-unittest/go.sum
	cd tools/helm-unittest && $(GO) build -ldflags '-s -w' -o $@ tool

# Prometheus, promtool and amtool: about three minutes of processor time the first time.
# Of the ways to discover what to scrape none is built in but files and fixed addresses.
$(BIN)/prometheus/%: tools/prometheus/go.mod tools/prometheus/go.sum
	cd tools/prometheus && $(GO) build -tags remove_all_sd -ldflags '-s -w' -o $(BIN)/prometheus/ tool
	@touch $(BIN)/prometheus/*

# Alertmanager is published without its web pages, which it links: a copy gets one that
# is empty. It is built by its own go.mod, whose versions are not Prometheus'.
$(BIN)/prometheus/alertmanager: $(BIN)/prometheus/promtool
	src=$$(mktemp -d) && cp -r "$$(cd tools/prometheus && $(GO) list -m -f '{{.Dir}}' github.com/prometheus/alertmanager)/." $$src && chmod -R u+w $$src && \
		mkdir -p $$src/ui/app/dist && touch $$src/ui/app/dist/index.html && (cd $$src && $(GO) build -ldflags '-s -w' -o $@ ./cmd/alertmanager); \
		status=$$?; rm -rf $$src; exit $$status

# A whole Kubernetes, for the tests: about 12 minutes of processor time the first
# time, and then only when test/cluster changes.
kube: $(BIN)/kube/hyper $(BIN)/kube/testpod $(BIN)/kube/busybox

$(BIN)/kube/hyper: test/cluster/go.mod test/cluster/go.sum $(wildcard test/cluster/hyper/*.go)
	cd test/cluster && $(GO) build -ldflags '$(KUBE_LDFLAGS)' -o $@ ./hyper

$(BIN)/kube/testpod: test/cluster/go.mod $(wildcard test/cluster/testpod/*.go)
	cd test/cluster && $(GO) build -ldflags '-s -w' -o $@ ./testpod

# The shell of a test image; the package is unpacked, not installed.
$(BIN)/kube/busybox:
	@mkdir -p $(BIN)/kube; d=$$(mktemp -d); (cd $$d && apt-get download -qq busybox-static >/dev/null 2>&1 && dpkg -x busybox-static_*.deb . && \
		cp $$(find . -name busybox -type f -size +100k | head -n 1) $@) || echo 'note: busybox-static could not be fetched; tests on real nodes that need it will be skipped' >&2; rm -rf $$d

# Real controllers, for the acceptance run: about ten minutes of processor time, and
# then only what changed.
CONTROLLERS := metrics-server vpa-recommender external-secrets policy-controller kyverno

$(BIN)/controllers/%: tools/%/go.mod tools/%/go.sum
	cd tools/$* && $(GO) build -ldflags '-s -w' -o $@ tool

# From nothing to a PASS of profile release, on a real cluster with these controllers:
# bin/acceptance has the evidence, the PDFs, and a transcript of every command. Then,
# on a cluster of its own, policy-controller and Kyverno judge images (bin/image-policies).
acceptance: deps build kube $(BIN)/cosign $(addprefix $(BIN)/controllers/,$(CONTROLLERS))
	$(GO) build -ldflags '-s -w' -o $(BIN)/prober ./cmd/prober
	HELMPROOF_ACCEPTANCE=1 HELMPROOF_TEST_TIER=c $(GO) test ./test/acceptance -count=1 -timeout 40m -v -run '^TestAcceptance$$'
	HELMPROOF_ACCEPTANCE=1 HELMPROOF_TEST_TIER=c $(GO) test ./test/acceptance -count=1 -timeout 20m -v -run '^TestImagePolicies$$'

# A shell with KUBECONFIG set, beside a cluster that ends with it.
# HELMPROOF_TEST_TIER=a|b|c chooses how much of one (docs/testing.md).
cluster: deps kube
	@$(GO) build -o $(BIN)/kube/shell ./test/kube/shell
	@$(BIN)/kube/shell

e2e: deps kube build $(BIN)/gotestsum $(BIN)/prometheus/promtool
	$(GO) test -count=1 ./test/kube -v
	@$(E2E)

# What watch takes with 5,000 pods and 500 releases on the real API server: ten minutes.
watch-scale: deps kube
	HELMPROOF_TEST_WATCH_SCALE=1 HELMPROOF_TEST_TIER=b $(GO) test ./test/e2e -count=1 -v -timeout 40m -run '^TestWatchScale$$'

# The charts' tests in the form of helm-unittest: charts/*/tests.
unittest: $(BIN)/helm-unittest
	$(BIN)/helm-unittest --strict charts/service charts/platform test/charts/library-user

# Rules, dashboards and Alertmanager's example of templates/monitoring, by promtool, a
# running Prometheus, a running Alertmanager and the parser of PromQL.
rules-test: $(BIN)/prometheus/promtool $(BIN)/prometheus/alertmanager
	cd tools/dashboards && $(GO) test -tags remove_all_sd ./...
	HELMPROOF_TEST_PROMETHEUS=$(BIN)/prometheus $(GO) test ./test/monitoring

# Anew what is made in templates/monitoring: dashboards, and the operator's rules.
dashboards:
	cd tools/dashboards && $(GO) run -tags remove_all_sd . $(CURDIR)/templates/monitoring

test: deps build kube unittest rules-test $(BIN)/cosign $(BIN)/helm $(BIN)/nfpm $(BIN)/gotestsum
	HELMPROOF_TEST_NFPM=$(BIN)/nfpm HELMPROOF_COSIGN=$(BIN)/cosign HELMPROOF_TEST_HELM=$(BIN)/helm HELMPROOF_TEST_PROMETHEUS=$(BIN)/prometheus $(GO) test $$($(GO) list ./... | grep -v /test/e2e)
	@$(E2E)

# Anew, the golden bundles of this version of the rules (evidence/version.go), which
# every later version verifies. Those of older versions stay as they are.
golden:
	$(GO) test ./cmd/helmproof -count=1 -run '^TestMakeGolden$$' -golden $(CURDIR)/internal/pipeline/testdata/golden

race: deps $(BIN)/cosign $(BIN)/helm
	CGO_ENABLED=1 HELMPROOF_COSIGN=$(BIN)/cosign HELMPROOF_TEST_HELM=$(BIN)/helm $(GO) test -race ./...

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
			echo "$$pkg $$target"; $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
		done; done

.PHONY: release release-twice
# A release in an empty folder (docs/install.md): VERSION=v1.2.3, and if need be
# PLATFORMS='linux/amd64 …' and KEY=FILE, which signs its provenance. What takes its time is that -trimpath compiles everything
# again, for each platform the first time.
DIST ?= dist
PLATFORMS ?=
release: $(BIN)/nfpm
	$(GO) run ./cmd/release -version '$(VERSION)' -dist '$(DIST)' -platforms '$(PLATFORMS)' -key '$(KEY)' -nfpm '$(BIN)/nfpm' $(RELEASE_FLAGS)

# The same commit released from two clones in two folders has the same bytes; one
# platform is enough to show it.
release-twice: PLATFORMS := $(or $(PLATFORMS),linux/$(shell $(GO) env GOARCH))
release-twice:
	@d=$$(mktemp -d) && trap 'rm -rf "$$d"' EXIT && mkdir "$$d/a" "$$d/further" && \
	git clone -q . "$$d/a/one" && git clone -q "$$d/a/one" "$$d/further/two" && \
	for c in "$$d/a/one" "$$d/further/two"; do \
		(cd "$$c" && $(MAKE) -s release VERSION=v0.0.0 DIST="$$c.dist" PLATFORMS='$(PLATFORMS)') || exit 1; \
	done; \
	diff -rq "$$d/a/one.dist" "$$d/further/two.dist" && cat "$$d/a/one.dist/SHA256SUMS" && echo 'the same bytes twice'

docs:
	$(GO) test ./cmd/helmproof ./config ./internal/manifest -run 'TestDocs' -update

# What CI would refuse: formatting, vet, generated docs that drifted.
check: docs
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	git diff --exit-code

clean:
	rm -rf $(BIN)
