#!/bin/bash
# install.sh GROUP...: installs with apt what a group needs and this machine has not:
#   race       a C compiler, for Go's race detector
#   postgres   PostgreSQL's server and client programs, pgbench among them
#   net        ip, for network namespaces
#   node       Node.js and npm, for drivers in JavaScript
#   python     Debian's Python drivers, SQLAlchemy, Alembic and Django
#   java       a JDK, which runs a source file, and the JDBC driver
#   pgbouncer  PgBouncer of this Debian release
#   protoc     the protobuf compiler
#   sid        a Debian sid tree with a newer PgBouncer (make bench BENCH_SID=1)
# Quick and silent where everything is there. Starts no service.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

sid=${SLUICE_SID:-/var/cache/sluice/sid}
missing=()

# need PACKAGE... -- TEST...: the packages are missing where the test fails
need() {
  local packages=()
  while [[ $1 != -- ]]; do packages+=("$1") && shift; done
  shift
  "$@" >/dev/null 2>&1 || missing+=("${packages[@]}")
}

has() {
  local program
  for program in "$@"; do command -v "$program" >/dev/null || return 1; done
}

# has_postgres: any release's server; Debian keeps its programs out of PATH
has_postgres() {
  has psql && { has initdb || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; } &&
    { has pgbench || compgen -G '/usr/lib/postgresql/*/bin/pgbench' >/dev/null; }
}

want_sid=
for group in "$@"; do
  case $group in
  race) need gcc libc6-dev -- has gcc ;;
  postgres) need postgresql postgresql-client -- has_postgres ;;
  net) need iproute2 -- has ip ;;
  node) need nodejs -- has node && need npm -- has npm ;;
  python) need python3-psycopg2 python3-psycopg python3-asyncpg python3-sqlalchemy python3-alembic python3-django -- \
    /usr/bin/python3 -c 'import psycopg2, psycopg, asyncpg, sqlalchemy, alembic, django' ;;
  java) need default-jdk-headless -- has javac && need libpostgresql-jdbc-java -- test -e /usr/share/java/postgresql.jar ;;
  pgbouncer) need pgbouncer -- has pgbouncer ;;
  protoc) need protobuf-compiler -- has protoc ;;
  sid) want_sid=1 && need debootstrap -- has debootstrap ;;
  *) echo "install.sh: unknown group $group" >&2 && exit 2 ;;
  esac
done

# run LOG-NAME CMD...: shows the command's output only when it fails
run() {
  local log
  log=$(mktemp)
  if ! "${@:2}" >"$log" 2>&1 </dev/null; then
    echo "install.sh: $1 failed:" >&2
    tail -n 20 "$log" >&2
    rm -f "$log"
    return 1
  fi
  rm -f "$log"
}

# forbid_services ROOT: the packages' servers must not start while they are installed
forbid_services() {
  local policy=$1/usr/sbin/policy-rc.d
  [[ -e $policy ]] && return
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
  # shellcheck disable=SC2064 # the path of now
  trap "rm -f '$policy'" EXIT
}

if [[ ${#missing[@]} -gt 0 ]]; then
  if [[ $(id -u) != 0 ]] || ! has apt-get; then
    echo "missing: ${missing[*]} (Debian's names). As root: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  forbid_services ''
  run 'apt-get update' apt-get update -qq
  run 'apt-get install' apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

if [[ -n $want_sid && ! -e $sid/.ready ]]; then
  echo "making a Debian sid tree in $sid (about two minutes)"
  mkdir -p "$(dirname "$sid")"
  # the same mirror as this machine's own packages; the format is apt's own
  # shellcheck disable=SC1091,SC2016
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")" | head -n 1)
  [[ -e $sid/etc/debian_version ]] || run debootstrap debootstrap --variant=minbase sid "$sid" "$mirror"
  cp -L /etc/resolv.conf "$sid/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$sid/usr/sbin/policy-rc.d" && chmod 755 "$sid/usr/sbin/policy-rc.d"
  # a mirror's stored sid can be older than its Release file's week
  echo 'Acquire::Check-Valid-Until "false";' >"$sid/etc/apt/apt.conf.d/90valid"
  run 'apt-get in sid' unshare -m sh -c "mount -t proc proc '$sid/proc' &&
    DEBIAN_FRONTEND=noninteractive chroot '$sid' sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends pgbouncer'"
  touch "$sid/.ready"
fi
