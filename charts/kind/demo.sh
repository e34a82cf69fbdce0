#!/usr/bin/env bash
# The loop in the cluster: one small model is trained, gated, promoted and served.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
need kubectl helm

by_helm test "$RELEASE" --logs --timeout 20m
