#!/usr/bin/env bash
# Judges the charts of CHECK_CHARTS, one a line, for the GitHub Action. The job fails
# where a chart fails, and where one could not be judged.
set -uo pipefail

fail() { echo "::error title=helmproof::$1"; echo "outcome=error" >>"${GITHUB_OUTPUT:-/dev/null}"; exit 2; }

# A value of one line, or a list of lines; what goes to a file of GitHub's is one line.
case ${CHECK_SARIF:=helmproof-sarif} in *$'\n'*) fail "sarif: want one folder" ;; esac
mkdir -p -- "$CHECK_SARIF" || fail "the folder for SARIF could not be made"

args=(--profile="${CHECK_PROFILE:-chart}")
while IFS= read -r line; do [ -z "$line" ] || args+=(--values="$line"); done <<<"${CHECK_VALUES:-}"
[ -z "${CHECK_FAIL_ON:-}" ] || args+=(--fail-on="$CHECK_FAIL_ON")

# same judges a chart again, for another report, and wants the same answer.
same() {
  local want=$1 chart=$2 rc=0
  shift 2
  helmproof check "${args[@]}" "$@" -- "$chart" || rc=$?
  [ "$rc" -eq "$want" ] || { outcome=error code=1; echo "::error title=helmproof::judged again, a chart ended with exit code $rc, not $want" >&2; }
}

outcome=pass code=0 n=0
while IFS= read -r chart; do
  [ -n "$chart" ] || continue
  n=$((n + 1))
  helmproof check "${args[@]}" --format=sarif -- "$chart" >"$CHECK_SARIF/$n.sarif"
  rc=$?
  case $rc in
  0) ;;
  3) [ "$outcome" = error ] || outcome=fail code=3 ;;
  *) outcome=error code=$rc; rm -f -- "$CHECK_SARIF/$n.sarif" ;;
  esac
  [ "$rc" -eq 0 ] || [ "$rc" -eq 3 ] || continue
  # Annotations of the lines, then what goes to the job's summary.
  same "$rc" "$chart" --format=github
  same "$rc" "$chart" --format=md --summary >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
done <<<"${CHECK_CHARTS:-}"
[ "$n" -gt 0 ] || fail "charts: no chart is named"

{ echo "sarif=$CHECK_SARIF"; echo "outcome=$outcome"; } >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
