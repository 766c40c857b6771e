#!/usr/bin/env bash
# Fetches TimescaleDB's community edition as WebAssembly, which tests run the migrations on: what
# tests/api/community/package-lock.json locks, into the cache. Done once per lock.
# usage: community.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

SOURCE=$REPO/tests/api/community
out=$CACHE/parts/community-$(sha <"$SOURCE/package-lock.json")

fetch() {
  [ ! -e "$out/.done" ] || return 0
  local part=$out.part
  need npm=npm
  say "community edition: fetching its packages"
  rm -rf "$out" "$part"; mkdir -p "$part"
  cp "$SOURCE"/{package.json,package-lock.json,.npmrc} "$part/"
  (cd "$part" && npm ci --ignore-scripts --no-audit --no-fund --silent </dev/null)
  touch "$part/.done"
  mv "$part" "$out"
}
need node=nodejs
locked community fetch
