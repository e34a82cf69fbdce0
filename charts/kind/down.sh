#!/usr/bin/env bash
# The cluster is deleted, with everything in it.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/common.sh"
need kind

kind delete cluster --name "$CLUSTER"
