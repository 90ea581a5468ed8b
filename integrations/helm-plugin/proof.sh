#!/bin/sh
# Helm takes -n, --kube-context and --kubeconfig for itself and passes on what is left:
# a chart would be judged, and a release disturbed, in another namespace than was said.
# They are given to the commands that have them. Helm does not tell a namespace that was
# given from the context's own: list and readiness show that one, as helm list does.
set -eu
command -v helmproof >/dev/null || { echo "helmproof is not in PATH: see docs/install.md" >&2; exit 2; }

command=${1:-}
[ $# -eq 0 ] || shift
namespace= context=
case $command in
check | collect | gate | forecast | drill) namespace=yes context=yes ;;
harden | list | readiness) namespace=yes ;;
watch) context=yes ;;
esac
[ "$command ${1:-}" != "drill restore" ] || namespace=
# What is about the whole cluster is not narrowed.
for arg in "$@"; do case $arg in --cluster | --all-releases) namespace= ;; esac; done

# They come first: an argument -- may follow.
restore=
[ "$command ${1:-}" != "drill restore" ] || { restore=$1; shift; }
[ -z "$context" ] || [ -z "${HELM_KUBECONTEXT:-}" ] || set -- --context "$HELM_KUBECONTEXT" "$@"
[ -z "$namespace" ] || set -- --namespace "${HELM_NAMESPACE:-default}" "$@"
[ -z "$restore" ] || set -- "$restore" "$@"
[ -z "$command" ] || set -- "$command" "$@"
exec helmproof "$@"
