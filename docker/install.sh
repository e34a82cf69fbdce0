#!/bin/sh
# install.sh EXTRA [INDEX]: what an extra of the project needs, into /opt/venv; from INDEX too, if it is given.
# The code itself comes later, in a layer of its own: /opt/training-engine.
set -eu
extra=$1
index=${2:-}

mkdir -p services shared
touch README.md
python -m venv --without-pip /opt/venv
PIP_CONSTRAINT=$PWD/docker/constraints.txt pip --python /opt/venv/bin/python install \
    --no-cache-dir --no-compile --disable-pip-version-check --root-user-action ignore \
    ${index:+--extra-index-url "$index"} ".[$extra]"
packages=$(echo /opt/venv/lib/python3.*/site-packages)
echo /opt/training-engine >"$packages/training-engine.pth"
cd "$packages"
for package in matplotlib pandas pyarrow scipy sklearn; do # their own tests, a third of pandas
    [ ! -d "$package" ] || find "$package" -type d -name tests -prune -exec rm -rf {} +
done
# The root file system is read-only: what is not compiled now would be compiled at every start.
/opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash . ||
    echo "What this Python can not read, such as code for a newer one, is left as it is."
