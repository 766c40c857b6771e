#!/usr/bin/env bash
# Our own images: operator, neuros-advanced, biometric-production, biometric-bridge, local-model, jobs. A tag is the
# hash of all that goes into the image, so an unchanged image keeps its name and a changed one rolls out.
# usage: images.sh wheels   only fetches the packages that requirements/ locks; needs no engine
#        images.sh build    builds what does not exist yet, and writes the chart's values for it: build/values-dev.yaml
#        images.sh prune    removes older builds, but the last two of each
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

KEYS=(operator neuros-advanced biometric-production biometric-bridge local-model jobs)
declare -A LOCK=([operator]=operator [neuros-advanced]=neuros [biometric-production]=biometric
  [biometric-bridge]=bridge [local-model]=local-model [jobs]=jobs)
declare -A MODULE=([operator]=auren_operator [neuros-advanced]=auren.neuros [biometric-production]=auren.biometric
  [biometric-bridge]=auren.bridge [local-model]=auren.local_model [jobs]=auren.migrations)
# Services never import each other, so an image has none of the others: a change in one rolls only that one.
declare -A OWN=([neuros-advanced]=neuros [biometric-production]=biometric [biometric-bridge]=bridge
  [local-model]=local_model [jobs]="")

VALUES=$REPO/build/values-dev.yaml
VERSION=$(sed -nE 's/^version = "(.*)"$/\1/p' "$REPO/pyproject.toml")

# Named by the lock alone: images with the same packages share them.
site() { echo "$CACHE/parts/site-$({ cat "$REPO/requirements/${LOCK[$1]}.txt"; echo "${PIP_FOR_IMAGES[@]}"; } | sha)"; }

copy_code() { # KEY FOLDER
  mkdir -p "$2"
  if [ "$1" = operator ]; then
    cp -r "$REPO/operator/auren_operator" "$2/"
  else
    cp -r "$REPO/services/auren" "$2/"
    local service
    for service in neuros biometric bridge local_model; do
      [ "$service" = "${OWN[$1]}" ] || rm -rf "${2:?}/auren/$service"
    done
  fi
  find "$2" -name __pycache__ -prune -exec rm -rf {} +
  # what an installed package has, so that the code finds its own version
  mkdir "$2/auren-$VERSION.dist-info"
  printf 'Metadata-Version: 2.1\nName: auren\nVersion: %s\n' "$VERSION" >"$2/auren-$VERSION.dist-info/METADATA"
}
fetch() {
  local out part; out=$(site "$1") part=$out.part
  [ ! -e "$out/.done" ] || return 0
  [ -x "$REPO/.venv/bin/python" ] || die "the Python environment is missing: run make setup"
  say "fetching the packages of requirements/${LOCK[$1]}.txt"
  rm -rf "$out" "$part"
  "$REPO/.venv/bin/python" -m pip "${PIP_FOR_IMAGES[@]}" --target "$part" -r "$REPO/requirements/${LOCK[$1]}.txt"
  # their own tests and command-line stubs are never run here
  find "$part" -type d \( -name tests -o -name testing \) -path '*/numpy/*' -prune -exec rm -rf {} +
  rm -rf "${part:?}/bin" "${part:?}/share"
  touch "$part/.done"
  mv "$part" "$out"
}
packages_ref() { echo "auren/packages:$({ basename "$(site "$1")"; hash_of "$REPO/images/Dockerfile"; "$HACK/base-images.sh" ref python; } | sha)"; }
packages() { # KEY: the image of the locked packages
  local work ref started=$SECONDS
  ref=$(packages_ref "$1")
  have_image "$ref" && return
  locked wheels fetch "$1"
  "$HACK/base-images.sh" import python
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # now: the variable is gone when the subshell ends
  trap "rm -rf '$work'" EXIT
  cp -r "$(site "$1")" "$work/python"
  cp "$REPO/images/Dockerfile" "$work/"
  build_image --build-arg BASE="$("$HACK/base-images.sh" ref python)" --tag "$ref" "$work"
  say "$ref: built in $((SECONDS - started)) s"
}
build() { # FOLDER KEY NAME: the image of the code in FOLDER
  local packages started=$SECONDS
  packages=$(packages_ref "$2")
  cp "$REPO/images/Dockerfile" "$1/"
  build_image --build-arg BASE="$packages" --build-arg COMPILE="${MODULE[$2]%%.*}" \
    --build-arg MODULE="${MODULE[$2]}" --label ai.aupex.image="$2" --tag "$3" "$1"
  say "$3: built in $((SECONDS - started)) s"
}
build_all() {
  local key work name lines=()
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # now: the variable is gone when the subshell ends
  trap "rm -rf '$work'" EXIT
  for key in "${KEYS[@]}"; do copy_code "$key" "$work/$key/python"; done   # first, so that all are of one moment
  for key in "${KEYS[@]}"; do
    (packages "$key")
    name=auren/$key:$({ packages_ref "$key"; hash_of "$work/$key/python"; } | sha)
    have_image "$name" || build "$work/$key" "$key" "$name"
    lines+=("$key $name")
  done
  mkdir -p "$(dirname "$VALUES")"
  values "${lines[@]}" >"$VALUES.part" && mv "$VALUES.part" "$VALUES"
}
values() { # "KEY NAME"...
  local line store
  echo "# Written by hack/images.sh for the development cluster: images that were built here and loaded into it."
  echo "imagePullPolicy: IfNotPresent"
  echo "image: ${1#operator }"
  shift
  echo "images:"
  for line; do echo "  ${line% *}: ${line#* }"; done
  for store in "${STORES[@]}"; do echo "  $store: ${STORE_IMAGE[$store]}"; done
}
prune() {
  local key old keep
  for key in "${KEYS[@]}" packages; do   # docker lists the newest first
    keep=2; [ "$key" != packages ] || keep=${#KEYS[@]}
    docker image ls --format '{{.Repository}}:{{.Tag}}' "auren/$key" | tail -n "+$((keep + 1))" |
      while read -r old; do docker image rm "$old" >/dev/null; done
  done
  docker image prune --force >/dev/null
}

case ${1:-} in
  wheels) for key in "${KEYS[@]}"; do locked wheels fetch "$key"; done ;;
  build) locked "images$SUFFIX" build_all ;;
  prune) locked "images$SUFFIX" prune ;;
  *) usage ;;
esac
