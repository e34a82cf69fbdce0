#!/usr/bin/env bash
# Run the images that build.sh made, and check what they promise.
# shellcheck source-path=SCRIPTDIR
source "$(dirname "$0")/engine.sh"

cd "$ROOT"
exec "${PYTHON:-.venv/bin/python}" -m docker.smoke_test
