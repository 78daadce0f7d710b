#!/bin/bash
# fuzz.sh [FUZZTIME]: runs every fuzz target of the module for that long (10s), one after the other.
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${1:-10s}

for package in $(go list ./...); do
  for target in $(go test -list '^Fuzz' "$package" | grep '^Fuzz' || true); do
    echo "== $package $target"
    go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" "$package"
  done
done
