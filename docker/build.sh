#!/usr/bin/env bash
# build.sh [IMAGE...]: build the images, each training-engine-<IMAGE>:<version>; by default the six that a CPU needs.
# It takes BASE_IMAGE, TORCH_INDEX and ENGINE from the environment, and where pip looks from pip's own configuration.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/engine.sh"

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$ROOT/pyproject.toml")
REVISION=$(git -C "$ROOT" rev-parse HEAD 2>/dev/null || echo unknown)
IMAGES=(registry scheduler monitor cli serving trainer)

settings=$(mktemp)
trap 'rm -f "$settings"' EXIT

# What `pip config list` says of sources, certificates and proxies; a variable of the environment goes before a file.
{
  echo "[global]"
  python3 -m pip config list 2>/dev/null |
    sed -nE "s/^(global|install|:env:)\.([a-z-]+)='(.*)'$/\1 \2 = \3/p" |
    grep -E '^[^ ]+ (cert|default-timeout|extra-index-url|find-links|index-url|proxy|trusted-host) ' |
    sort -s -k1,1 | awk '!seen[$2]++' | cut -d ' ' -f 2- || true
} >"$settings"

# A label of the build, and of no Dockerfile's: podman takes a cached layer for one with another argument.
options=(--secret "id=pip_conf,src=$settings" --label "org.opencontainers.image.revision=$REVISION")
[[ -z ${BASE_IMAGE:-} ]] || options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE")
if [[ $ENGINE == podman ]]; then
  options+=(--isolation chroot --format docker --layers)
  # Folders and certificates that those settings name.
  while read -r path; do
    [[ ! -e $path ]] || options+=(--volume "$path:$path:ro")
  done < <(grep -oE '(file://)?/[^ ]+' "$settings" | sed -E 's#^file://##; s#/simple/?$##' | sort -u)
fi
# A machine with a package index of its own finds torch there too.
if [[ -n ${TORCH_INDEX+set} ]] || grep -qE '^(index-url|extra-index-url|find-links) ' "$settings"; then
  torch_index=(--build-arg "TORCH_INDEX=${TORCH_INDEX:-}")
else
  torch_index=()
fi

build() { # build IMAGE:TAG ARGUMENTS...
  printf '\n== training-engine-%s\n' "$1"
  "$ENGINE" build "${options[@]}" --tag "training-engine-$1" "${@:2}" "$ROOT"
}

for image in "${@:-${IMAGES[@]}}"; do
  case $image in
    registry | scheduler | monitor | cli)
      build "$image:$VERSION" --file "$ROOT/docker/services.Dockerfile" --target "$image"
      ;;
    trainer | serving)
      build "$image:$VERSION" --file "$ROOT/docker/$image.Dockerfile" "${torch_index[@]}"
      ;;
    trainer-cuda)
      build "trainer:$VERSION-cuda" --file "$ROOT/docker/trainer.Dockerfile" --build-arg VARIANT=cuda
      ;;
    serving-onnx)
      build "serving:$VERSION-onnx" --file "$ROOT/docker/serving.Dockerfile" --build-arg VARIANT=onnx
      ;;
    *)
      echo "There is no image '$image'; choose from ${IMAGES[*]} trainer-cuda serving-onnx." >&2
      exit 1
      ;;
  esac
done
