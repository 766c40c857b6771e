#!/usr/bin/env bash
# Builds every image that the stack needs for the code as it is, loads them into the cluster, and writes the chart's
# values for them to build/values-dev.yaml.
# usage: load.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

"$HACK/store-images.sh" build
"$HACK/images.sh" build
mapfile -t refs < <(sed -nE 's/^( *[a-z-]+|image): (.*:.*)$/\2/p' "$REPO/build/values-dev.yaml")
[ ${#refs[@]} -ge 9 ] || die "build/values-dev.yaml does not name all images"
"$HACK/cluster.sh" load "${refs[@]}"
"$HACK/images.sh" prune
