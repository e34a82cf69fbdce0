# What the scripts of this folder share. They need docker, kind, kubectl and helm on the PATH.
# shellcheck shell=bash disable=SC2034  # the scripts use them
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CHART=$ROOT/charts/training-engine
CLUSTER=${CLUSTER:-training-engine}
RELEASE=${RELEASE:-training}
NAMESPACE=${NAMESPACE:-training}
VERSION=$(sed -n 's/^appVersion: "\(.*\)"/\1/p' "$CHART/Chart.yaml")
SERVICES=(registry scheduler trainer serving monitor)

say() { printf '\n== %s\n' "$*"; }

need() {
  local tool
  for tool in "$@"; do
    command -v "$tool" >/dev/null || {
      printf '%s is not on the PATH; docs/kubernetes.md tells where it comes from.\n' "$tool" >&2
      exit 1
    }
  done
}

in_cluster() { kubectl --context "kind-$CLUSTER" --namespace "$NAMESPACE" "$@"; }
by_helm() { helm --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" "$@"; }
