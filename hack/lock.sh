#!/usr/bin/env bash
# Writes requirements/*.txt from pyproject.toml: every package with version and hashes, and no registry's address.
# dev.txt serves every supported Python; each image's lock is a subset of it, for Python 3.13 on Linux, so what the
# tests ran is what ships. Commit the result.
# usage: lock.sh [--upgrade]
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

UV_VERSION=0.13.9
IMAGES=(operator bridge biometric neuros local-model jobs)
uv=$CACHE/bin/uv-$UV_VERSION
if [ ! -e "$uv/.done" ]; then
  rm -rf "$uv"
  python3 -m venv "$uv"
  "$uv/bin/pip" install --quiet --disable-pip-version-check "uv==$UV_VERSION"
  touch "$uv/.done"
fi

compile() { # OUTPUT ARGUMENT...
  local out=requirements/$1; shift
  "$uv/bin/uv" pip compile --quiet --no-config --generate-hashes --no-emit-index-url --no-emit-find-links \
    --custom-compile-command 'make lock' --output-file "$out" "$@"
  say "$out: $(grep -c '^[a-z0-9]' "$out") packages"
}
cd "$REPO"
compile dev.txt pyproject.toml requirements/build.in --extra dev --universal --python-version 3.11 "$@"
for image in "${IMAGES[@]}"; do
  compile "$image.txt" pyproject.toml --extra "$image" --python-version 3.13 \
    --python-platform "x86_64-manylinux_2_28" --constraint requirements/dev.txt --no-annotate
done
