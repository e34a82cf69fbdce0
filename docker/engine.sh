# Which container engine there is: ENGINE is docker where its daemon answers, else podman.
# shellcheck shell=bash
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT

if [[ -z ${ENGINE:-} ]]; then
  if docker info >/dev/null 2>&1; then
    ENGINE=docker
  elif command -v podman >/dev/null; then
    ENGINE=podman
  else
    cat >&2 <<'END'
Neither a Docker daemon nor podman is here. On Debian and its kin, as root:
  apt-get install --no-install-recommends podman runc conmon catatonit containernetworking-plugins uidmap
END
    exit 1
  fi
fi
export ENGINE

if [[ $ENGINE == podman && $EUID -eq 0 && -z ${CONTAINERS_CONF:-} && ! -e /sys/fs/cgroup/cgroup.controllers ]]; then
  export CONTAINERS_CONF=$ROOT/docker/containers.conf
fi
