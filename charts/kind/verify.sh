#!/usr/bin/env bash
# What only a cluster can show: admission, policies, budgets, upgrades, lost pods, autoscaling.
# It prints a line for each, and exits 1 where one is not as it should be. `make kind-up` comes first.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
need kubectl helm

METRICS_SERVER=https://github.com/kubernetes-sigs/metrics-server/releases/download/v0.7.2/components.yaml
NAME=$(in_cluster get deployments -l app.kubernetes.io/component=registry -o jsonpath='{.items[0].metadata.name}')
FULLNAME=${NAME%-registry}
faults=0

check() { # check DESCRIPTION COMMAND...: it must succeed
  local what=$1
  shift
  if "$@" >/tmp/verify.$$ 2>&1; then
    printf 'ok    %s\n' "$what"
  else
    printf 'FAIL  %s\n' "$what"
    sed 's/^/      /' /tmp/verify.$$
    faults=$((faults + 1))
  fi
  rm -f /tmp/verify.$$
}

refuse() { # refuse DESCRIPTION COMMAND...: it must fail
  local what=$1
  shift
  check "$what" bash -c '! "$@"' -- "$@"
}

inside() { # inside COMPONENT COMMAND...: run in one of its pods
  local component=$1
  shift
  kubectl --context "kind-$CLUSTER" --namespace "$NAMESPACE" exec "deploy/$FULLNAME-$component" -- "$@"
}

reach() { # reach COMPONENT HOST PORT: open a connection from one of its pods
  inside "$1" python -c 'import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 5)' "$2" "$3"
}

stranger() { # stranger HOST PORT: open a connection from a pod that is none of the release's
  local overrides
  overrides=$(
    cat <<END
{"spec": {
  "securityContext": {"runAsNonRoot": true, "runAsUser": 10001, "seccompProfile": {"type": "RuntimeDefault"}},
  "containers": [{
    "name": "stranger",
    "image": "training-engine-registry:$VERSION",
    "command": ["python", "-c", "import socket; socket.create_connection(('$1', $2), 5)"],
    "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}
  }]
}}
END
  )
  kubectl --context "kind-$CLUSTER" --namespace "$NAMESPACE" run "stranger-$RANDOM" --rm --attach --quiet \
    --restart=Never --image "training-engine-registry:$VERSION" --overrides "$overrides"
}

tokens() { in_cluster get secret "$FULLNAME-tokens" -o jsonpath='{.data}' | sha256sum; }

stays() { [ "$1" = "$2" ]; }

rolled_out() { in_cluster rollout status "$1" --timeout 10m; }

measured() { # the autoscaler has a figure for the gateway's load
  local try
  for try in $(seq 60); do
    in_cluster get hpa "$FULLNAME-serving" -o jsonpath='{.status.currentMetrics[0].resource.current}' | grep -q . && return
    sleep 5
  done
  echo "no figure after $try tries"
  return 1
}

export -f inside reach stranger
export CLUSTER NAMESPACE FULLNAME VERSION

say "Admission"
for case in kind gpu nodes external-stores minimal everything; do
  for cap in "" --is-upgrade; do
    # Custom resources need their operators; everything else is put before the API server itself.
    # shellcheck disable=SC2016  # the inner shell expands them
    check "the API server takes every object of $case $cap" bash -c '
      helm template verify "$1" --namespace "$2" --values "$1/ci/$3-values.yaml" ${4:+"$4"} |
        awk "BEGIN {RS=\"---\n\"; ORS=\"---\n\"} !/apiVersion: (keda.sh|monitoring.coreos.com|gateway.networking)/" |
        kubectl --context "kind-$CLUSTER" --namespace "$2" apply --dry-run=server -f -' \
      -- "$CHART" "$NAMESPACE" "$case" "$cap"
  done
done
refuse "a privileged pod is refused" \
  kubectl --context "kind-$CLUSTER" --namespace "$NAMESPACE" run intruder --dry-run=server \
  --image busybox --privileged

say "Pods"
for component in registry scheduler serving monitor trainer-cpu; do
  refuse "$component has no token of the cluster" \
    inside "$component" test -e /var/run/secrets/kubernetes.io/serviceaccount/token
  refuse "$component can't write to its image" inside "$component" touch /written
  check "$component may write to /tmp" inside "$component" touch /tmp/written
done

say "Network policies (kind's own network enforces them from version 0.24 on)"
check "a trainer reaches the registry" reach trainer-cpu "$FULLNAME-registry" 8000
check "a trainer reaches the scheduler" reach trainer-cpu "$FULLNAME-scheduler" 8000
check "a trainer reaches Redis" reach trainer-cpu "$FULLNAME-redis" 6379
refuse "a trainer does not reach Postgres" reach trainer-cpu "$FULLNAME-postgresql" 5432
refuse "a trainer does not reach the Internet" reach trainer-cpu 1.1.1.1 443
refuse "a trainer does not reach the cluster's API" reach trainer-cpu kubernetes.default.svc 443
refuse "serving does not reach Postgres" reach serving "$FULLNAME-postgresql" 5432
check "a stranger reaches what no policy guards" stranger kube-dns.kube-system.svc 53
refuse "a stranger does not reach the registry" stranger "$FULLNAME-registry" 8000
refuse "a stranger does not reach Redis" stranger "$FULLNAME-redis" 6379

say "Upgrade"
before=$(tokens)
check "an upgrade to the same chart is taken" \
  helm --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" upgrade "$RELEASE" "$CHART" \
  --values "$CHART/ci/kind-values.yaml" --wait --timeout 15m
check "tokens stay over an upgrade" stays "$before" "$(tokens)"

say "Lost pods"
in_cluster delete pod -l "app.kubernetes.io/component in (postgresql, redis)" --wait=false
in_cluster delete pod -l training-engine/trainer=true --wait=false
for workload in statefulset/"$FULLNAME"-{postgresql,redis} deploy/"$FULLNAME"-{registry,scheduler,serving,monitor,trainer-cpu}; do
  check "$workload is whole again" rolled_out "$workload"
done
check "the loop works afterwards" \
  helm --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" test "$RELEASE" --timeout 20m

say "Autoscaling"
kubectl --context "kind-$CLUSTER" apply -f "$METRICS_SERVER" >/dev/null
kubectl --context "kind-$CLUSTER" --namespace kube-system patch deployment metrics-server --type json \
  --patch '[{"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--kubelet-insecure-tls"}]' >/dev/null
check "serving is handed to an autoscaler" \
  helm --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" upgrade "$RELEASE" "$CHART" \
  --values "$CHART/ci/kind-values.yaml" --set serving.autoscaling.enabled=true --wait --timeout 15m
check "the autoscaler measures serving" measured
check "serving goes back to one pod" \
  helm --kube-context "kind-$CLUSTER" --namespace "$NAMESPACE" upgrade "$RELEASE" "$CHART" \
  --values "$CHART/ci/kind-values.yaml" --wait --timeout 15m

printf '\n%s faults\n' "$faults"
[ "$faults" -eq 0 ]
