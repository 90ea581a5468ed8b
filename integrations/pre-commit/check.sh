#!/usr/bin/env bash
# Judges the charts that the files given belong to, each once. Arguments before "--" are
# for helmproof check; pre-commit's args come first: args: [--profile=starter, --].
set -euo pipefail

command -v helmproof >/dev/null || { echo "helmproof is not in PATH: see docs/install.md" >&2; exit 2; }
flags=() files=()
for arg in "$@"; do
  if [ "$arg" = -- ]; then flags=(${files[@]+"${files[@]}"}) files=(); else files+=("$arg"); fi
done

# The chart of a file is the outermost folder above it with a Chart.yaml: a subchart is
# judged with what it is a part of.
charts=()
for file in ${files[@]+"${files[@]}"}; do
  found= dir=$file
  while [[ $dir == */* ]]; do
    dir=${dir%/*}
    [ ! -f "${dir:-/}/Chart.yaml" ] || found=$dir
  done
  [[ $file == /* ]] || [ ! -f Chart.yaml ] || found=.
  [ -n "$found" ] || continue
  for c in ${charts[@]+"${charts[@]}"}; do [ "$c" != "$found" ] || continue 2; done
  charts+=("$found")
done
[ ${#charts[@]} -gt 0 ] || exit 0
exec helmproof check --quiet ${flags[@]+"${flags[@]}"} -- "${charts[@]}"
