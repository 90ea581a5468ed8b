#!/usr/bin/env bash
# Downloads an archive of helmproof, takes it only with the digest that is expected, and
# puts the program into PATH of the job's later steps. Settings are variables:
# HELMPROOF_VERSION, HELMPROOF_SHA256, and where need be HELMPROOF_BASE_URL and
# HELMPROOF_BIN (the folder for the program).
set -euo pipefail

fail() { echo "helmproof: $1" >&2; exit 1; }

[[ ${HELMPROOF_VERSION:-} =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$ ]] || fail "version '${HELMPROOF_VERSION:-}': want one like v1.2.3"
[[ ${HELMPROOF_SHA256:-} =~ ^[0-9a-f]{64}$ ]] || fail "sha256: want the archive's digest, 64 hexadecimal digits of the release's SHA256SUMS"

case $(uname -s) in Linux) os=linux ;; Darwin) os=darwin ;; *) fail "no archive for $(uname -s) that this script unpacks" ;; esac
case $(uname -m) in x86_64 | amd64) arch=amd64 ;; aarch64 | arm64) arch=arm64 ;; *) fail "no archive for $(uname -m)" ;; esac

name=helmproof-$HELMPROOF_VERSION-$os-$arch
url=${HELMPROOF_BASE_URL:-https://github.com/companyos/helmproof/releases/download/$HELMPROOF_VERSION}/$name.tar.gz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
curl --fail --silent --show-error --location --proto '=https,file' --max-time 300 --output "$work/archive" -- "$url" || fail "download $url"
if command -v sha256sum >/dev/null; then sum=$(sha256sum <"$work/archive"); else sum=$(shasum -a 256 <"$work/archive"); fi
[ "${sum%% *}" = "$HELMPROOF_SHA256" ] || fail "$url has the digest ${sum%% *}, not $HELMPROOF_SHA256"
bin=${HELMPROOF_BIN:-${RUNNER_TEMP:?set HELMPROOF_BIN}/helmproof-bin}
mkdir -p -- "$bin"
tar -xzf "$work/archive" -C "$work"
install -m 755 "$work/$name/helmproof" "$bin/helmproof"
[ -z "${GITHUB_PATH:-}" ] || printf '%s\n' "$bin" >>"$GITHUB_PATH"
