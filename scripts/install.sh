#!/bin/bash
# install.sh GROUP...: installs with apt what a group needs and this machine has not:
#   race       a C compiler, for Go's race detector
#   postgres   PostgreSQL's server and client programs, pgbench among them
#   net        ip, for network namespaces
#   node       Node.js and npm, for drivers in JavaScript
#   python     Debian's Python drivers, SQLAlchemy, Alembic and Django
#   java       a JDK, which runs a source file, and the JDBC drivers
#   rust       a Rust compiler and tokio-postgres with what it needs, all Debian's
#   pgbouncer  PgBouncer of this Debian release
#   systemd    systemd-analyze, which checks units
#   mariadb    MariaDB's server
#   mysql      MySQL 9's server, of Debian sid, unpacked into a tree of its own (SLUICE_MYSQL) from which it
#              runs with its own libraries: no chroot, no root
#   mysqlrouter  MySQL Router of Debian sid, in the same way (SLUICE_MYSQLROUTER)
#   sysbench   sysbench, which loads MySQL (make bench-mysql)
#   relays     HAProxy and socat, which the tunnel is measured beside
#   caches     Redis and pgpool-II, which the query cache is measured beside
#   strace     strace, which counts system calls (make bench)
#   protoc     the protobuf compiler
#   sid        a Debian sid tree with a newer PgBouncer (make bench BENCH_SID=1)
# Quick and silent where everything is there. Starts no service.
set -euo pipefail
exec </dev/null
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

sid=${SLUICE_SID:-/var/cache/sluice/sid}
mysql=${SLUICE_MYSQL:-/var/cache/sluice/mysql}
mysqlrouter=${SLUICE_MYSQLROUTER:-/var/cache/sluice/mysqlrouter}
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

want_sid='' want_mysql='' want_mysqlrouter=''
for group in "$@"; do
  case $group in
  race) need gcc libc6-dev -- has gcc ;;
  postgres) need postgresql postgresql-client -- has_postgres ;;
  net) need iproute2 -- has ip ;;
  node) need nodejs -- has node && need npm -- has npm ;;
  python) need python3-psycopg2 python3-psycopg python3-asyncpg python3-sqlalchemy python3-alembic python3-django \
    python3-pymysql python3-mysqldb -- /usr/bin/python3 -c 'import psycopg2, psycopg, asyncpg, sqlalchemy, alembic, django, pymysql, MySQLdb' ;;
  java) need default-jdk-headless -- has javac && need libpostgresql-jdbc-java -- test -e /usr/share/java/postgresql.jar &&
    need libmariadb-java -- test -e /usr/share/java/mariadb-java-client.jar ;;
  strace) need strace -- has strace ;;
  rust) need cargo rustc librust-tokio-postgres-dev librust-tokio+full-dev librust-futures-util-dev -- \
    test -x /usr/bin/cargo -a -x /usr/bin/rustc -a -n "$(compgen -G '/usr/share/cargo/registry/tokio-postgres-*')" ;;
  pgbouncer) need pgbouncer -- has pgbouncer ;;
  systemd) need systemd -- has systemd-analyze ;;
  mariadb) need mariadb-server-core mariadb-client-core -- has mariadbd mariadb-install-db my_print_defaults ;;
  mysql) want_mysql=1 ;;
  mysqlrouter) want_mysqlrouter=1 ;;
  sysbench) need sysbench -- has sysbench ;;
  relays) need haproxy -- has haproxy && need socat -- has socat ;;
  caches) need redis-server -- has redis-server && need pgpool2 -- has pgpool ;;
  protoc) need protobuf-compiler -- has protoc ;;
  sid) want_sid=1 && need debootstrap -- has debootstrap ;;
  *) echo "install.sh: unknown group $group" >&2 && exit 2 ;;
  esac
done

# run LOG-NAME CMD...: shows the command's output only when it fails
run() {
  local log
  log=$(mktemp)
  if ! "${@:2}" >"$log" 2>&1; then
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

# mirror: the one of this machine's own packages; the format is apt's own
mirror() {
  # shellcheck disable=SC1091,SC2016
  apt-get indextargets --format '$(REPO_URI)' "Codename: $(. /etc/os-release && echo "$VERSION_CODENAME")" | head -n 1
}

# unpack_sid DIR PACKAGE PROGRAM ARG...: unpacks a package of Debian sid, with what it needs, into DIR/tree, and writes
# a script into DIR that runs its PROGRAM with the tree's own libraries. In an ARG of it, TREE is the tree.
unpack_sid() {
  local dir=${1:?} package=${2:?} program=${3:?} apt=$1/apt tree=$1/tree script loader
  shift 3
  echo "unpacking $package of Debian sid into $dir"
  rm -rf "$apt" "$tree"
  mkdir -p "$apt/lists/partial" "$apt/archives/partial" "$tree"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $(mirror) sid main" >"$apt/sources.list"
  # An apt that knows sid alone and takes nothing for installed. A mirror's stored sid can be older than its
  # Release file's week.
  cat >"$apt/apt.conf" <<EOF
Dir::State::Lists "$apt/lists";
Dir::State::status "/dev/null";
Dir::Cache "$apt";
Dir::Cache::archives "$apt/archives";
Dir::Etc::SourceList "$apt/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Parts "/dev/null";
Acquire::Check-Valid-Until "false";
Acquire::Languages "none";
APT::Install-Recommends "false";
APT::Sandbox::User "";
Debug::NoLocking "true";
EOF
  APT_CONFIG=$apt/apt.conf run 'apt-get update of sid' apt-get update -qq
  APT_CONFIG=$apt/apt.conf run "apt-get of $package" apt-get install -y -qq --download-only "$package"
  # tools in Perl are not needed
  find "$apt/archives" -name '*.deb' ! -name '*perl*' -print0 | run 'dpkg-deb' xargs -0 -n 1 -P 2 sh -c 'dpkg-deb -x "$1" "$0"' "$tree"
  rm -rf "${tree:?}"/usr/share/{doc,man,locale}
  loader=$(find "$tree" -name 'ld-linux-*' -type f)
  script=$dir/${program##*/}
  cat >"$script" <<EOF
#!/bin/sh
exec $loader --library-path $(dirname "$loader"):$tree/usr/lib/$package $tree/$program ${*//TREE/$tree} "\$@"
EOF
  chmod 755 "$script"
  run "$package" "$script" --version
  rm -rf "$apt"
  touch "$dir/.ready"
}

if [[ -n $want_mysql && ! -e $mysql/.ready ]]; then
  unpack_sid "$mysql" mysql-server-core usr/sbin/mysqld --no-defaults --basedir=TREE/usr \
    --plugin-dir=TREE/usr/lib/mysql/plugin --lc-messages-dir=TREE/usr/share/mysql
fi
if [[ -n $want_mysqlrouter && ! -e $mysqlrouter/.ready ]]; then
  unpack_sid "$mysqlrouter" mysql-router usr/bin/mysqlrouter
fi

if [[ -n $want_sid && ! -e $sid/.ready ]]; then
  echo "making a Debian sid tree in $sid (about two minutes)"
  mkdir -p "$(dirname "$sid")"
  mirror=$(mirror)
  [[ -e $sid/etc/debian_version ]] || run debootstrap debootstrap --variant=minbase sid "$sid" "$mirror"
  cp -L /etc/resolv.conf "$sid/etc/resolv.conf"
  printf '#!/bin/sh\nexit 101\n' >"$sid/usr/sbin/policy-rc.d" && chmod 755 "$sid/usr/sbin/policy-rc.d"
  # a mirror's stored sid can be older than its Release file's week
  echo 'Acquire::Check-Valid-Until "false";' >"$sid/etc/apt/apt.conf.d/90valid"
  run 'apt-get in sid' unshare -m sh -c "mount -t proc proc '$sid/proc' &&
    DEBIAN_FRONTEND=noninteractive chroot '$sid' sh -c 'apt-get update -qq && apt-get install -y -qq --no-install-recommends pgbouncer'"
  touch "$sid/.ready"
fi
