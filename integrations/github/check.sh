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
  if [ "$rc" -eq 0 ] || [ "$rc" -eq 3 ]; then
    helmproof check "${args[@]}" --format=md --summary -- "$chart" >>"${GITHUB_STEP_SUMMARY:-/dev/stdout}"
    again=$?
    [ "$again" -eq "$rc" ] || { outcome=error code=1; echo "::error title=helmproof::judged twice, a chart ended with exit code $rc and $again"; }
  fi
done <<<"${CHECK_CHARTS:-}"
[ "$n" -gt 0 ] || fail "charts: no chart is named"

{ echo "sarif=$CHECK_SARIF"; echo "outcome=$outcome"; } >>"${GITHUB_OUTPUT:-/dev/null}"
exit "$code"
