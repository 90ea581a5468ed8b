#!/bin/sh
# Helm takes -n, --kube-context and --kubeconfig for itself and passes on what is left:
# a chart would be judged for another namespace than it is installed in. They are given
# to the commands that have them.
set -eu
command -v helmproof >/dev/null || { echo "helmproof is not in PATH: see docs/install.md" >&2; exit 2; }
case "${1:-}" in
check | collect | gate | forecast)
  command=$1
  shift
  [ -z "${HELM_KUBECONTEXT:-}" ] || set -- --context "$HELM_KUBECONTEXT" "$@"
  for arg in "$@"; do
    # These are about the whole cluster. Helm does not tell a namespace that was given
    # from the context's own, which would narrow them.
    case $arg in --cluster | --all-releases) exec helmproof "$command" "$@" ;; esac
  done
  exec helmproof "$command" --namespace "${HELM_NAMESPACE:-default}" "$@"
  ;;
*) exec helmproof "$@" ;;
esac
