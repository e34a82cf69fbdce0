#!/usr/bin/env bash
# A cluster on this machine with the platform in it: create, build, load, install.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
need docker kind kubectl helm

say "Cluster $CLUSTER"
if ! kind get clusters | grep -qx "$CLUSTER"; then
  kind create cluster --name "$CLUSTER" --config "$ROOT/charts/kind/cluster.yaml" --wait 180s
fi

say "Images of version $VERSION"
ENGINE=docker "$ROOT/docker/build.sh" "${SERVICES[@]}"
for service in "${SERVICES[@]}"; do
  kind load docker-image "training-engine-$service:$VERSION" --name "$CLUSTER"
done

say "Namespace $NAMESPACE, where nothing runs that breaks Pod Security's restricted profile"
in_cluster apply -f - <<END
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
END

say "Release $RELEASE"
by_helm upgrade --install "$RELEASE" "$CHART" --values "$CHART/ci/kind-values.yaml" --wait --timeout 15m
in_cluster get pods
