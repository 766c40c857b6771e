#!/bin/bash
# What our manifests use of the official image's entry point: on an empty PGDATA, a cluster from POSTGRES_USER,
# POSTGRES_PASSWORD and POSTGRES_DB (each also as *_FILE), POSTGRES_INITDB_ARGS, the extension in template1 and in
# the database, then /docker-entrypoint-initdb.d/*.{sh,sql}. After that it becomes the server.
# shellcheck disable=SC1090 # it sources what it is given
set -euo pipefail

from_file() { # VARIABLE: takes its value from the file that VARIABLE_FILE names
  local file=$1_FILE
  if [ -n "${!file:-}" ]; then printf -v "$1" %s "$(<"${!file}")"; export "${1?}"; unset "$file"; fi
}

initialise() {
  for variable in POSTGRES_USER POSTGRES_PASSWORD POSTGRES_DB POSTGRES_INITDB_ARGS; do from_file "$variable"; done
  export POSTGRES_USER=${POSTGRES_USER:-postgres}
  export POSTGRES_DB=${POSTGRES_DB:-$POSTGRES_USER}
  : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE}"
  mkdir -p "$PGDATA"
  chmod 700 "$PGDATA"
  # shellcheck disable=SC2086 # options are words
  initdb --username="$POSTGRES_USER" --pwfile=<(printf %s "$POSTGRES_PASSWORD") --auth-host=scram-sha-256 \
    --encoding=UTF8 --locale=C.UTF-8 ${POSTGRES_INITDB_ARGS:-}
  printf '%s\n' "shared_preload_libraries = 'timescaledb'" "timescaledb.telemetry_level = off" >>"$PGDATA/postgresql.conf"
  echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
}

populate() { # on a socket that nobody else knows: until this is done the server must not look ready
  local sockets database file
  sockets=$(mktemp -d)
  pg_ctl --wait start -o "-c listen_addresses='' -c unix_socket_directories=$sockets"
  export PGHOST=$sockets
  sql() { psql --set ON_ERROR_STOP=1 --no-psqlrc --username "$POSTGRES_USER" "$@"; }
  sql --dbname postgres --set db="$POSTGRES_DB" <<<"SELECT format('CREATE DATABASE %I', :'db')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'db') \gexec"
  for database in template1 "$POSTGRES_DB"; do
    sql --dbname "$database" --command 'CREATE EXTENSION IF NOT EXISTS timescaledb'
  done
  for file in /docker-entrypoint-initdb.d/*; do
    case $file in
      *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
      *.sql) sql --dbname "$POSTGRES_DB" --file "$file" ;;
    esac
  done
  unset PGHOST
  pg_ctl --wait --mode fast stop
  rm -rf "$sockets"
}

[ "${1:0:1}" = - ] && set -- postgres "$@"
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
  initialise
  populate
fi
unset POSTGRES_PASSWORD
exec "$@"
