#!/usr/bin/env bash
# secrets.sh [FOLDER]: passwords, and a token for each role and service, for compose.yaml. What is there is kept.
# The folder is closed to others; the files are not, so that containers' users can read those that are mounted.
set -euo pipefail
umask 077

folder=${1:-$(dirname "$0")/../var/secrets}
mkdir -p "$folder"
cd "$folder"

made() { # made FILE: its text, random where it is new
  [[ -s $1 ]] || head -c 32 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=\n' >"$1"
  cat "$1"
}

rm -f database-url redis-url tokens.json # made of the others, and closed to writing
printf 'postgresql://training:%s@postgres:5432/training' "$(made postgres-password)" >database-url
printf 'redis://:%s@redis:6379/0' "$(made redis-password)" >redis-url

entries=()
for caller in admin:admin submitter:submitter reader:reader serving:reader monitor:submitter trainer:trainer; do
  digest=$(made "token-${caller%:*}" | sha256sum | cut -d ' ' -f 1)
  entries+=("{\"name\": \"${caller%:*}\", \"role\": \"${caller#*:}\", \"sha256\": \"$digest\"}")
done
(IFS=,; printf '[%s]\n' "${entries[*]}") >tokens.json
chmod 0444 ./*
