#!/usr/bin/env bash
# The Python environment .venv: what requirements/dev.txt locks, and this project, editable. Done once per lock.
# With another list's name the environment of that image, in build/venv-NAME: what it imports, and so its size, is the
# image's, not a developer's.
# usage: setup.sh [NAME]
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

LOCK=$REPO/requirements/${1:-dev}.txt
[ -s "$LOCK" ] || die "there is no $LOCK"
VENV=$REPO/.venv
[ $# = 0 ] || VENV=$REPO/build/venv-$1
MINIMUM='import sys, ensurepip; sys.exit(sys.version_info < (3, 11))'

stamp() {
  { cat "$LOCK" "$REPO/pyproject.toml"; echo "$REPO"; "$VENV/bin/python" --version; } 2>/dev/null | sha
}
# The system's own python first: its place in the PATH changes least. PYTHON chooses another.
find_python() {
  local candidate
  for candidate in ${PYTHON:-} /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$MINIMUM" 2>/dev/null; then echo "$candidate"; return; fi
  done
  return 1
}
make_venv() {
  local python
  if ! python=$(find_python); then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      say "installing python3-venv"
      locked apt install_packages python3 python3-venv
    fi
    python=$(find_python) || die "no Python 3.11 or later with venv; install one (Debian: python3-venv) or set PYTHON"
  fi
  say "Python environment: making ${VENV#"$REPO/"} with $("$python" --version)"
  "$python" -m venv --clear "$VENV"
}
setup() {
  local started=$SECONDS
  [ "$(cat "$VENV/.stamp" 2>/dev/null)" != "$(stamp)" ] || return 0
  "$VENV/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
  say "Python environment: installing what ${LOCK#"$REPO/"} locks"
  local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --no-warn-conflicts)
  "${pip[@]}" --require-hashes -r "$LOCK"
  if [ "$LOCK" = "$REPO/requirements/dev.txt" ]; then
    "${pip[@]}" --no-deps --no-build-isolation -e "$REPO"
  else # its image's list has no build backend: it takes from .venv what says that this project is installed
    cp -r "$REPO"/.venv/lib/python3*/site-packages/{_editable_impl_auren.pth,auren-*.dist-info} "$VENV"/lib/python3*/site-packages/
  fi
  stamp >"$VENV/.stamp"
  say "Python environment: ready after $((SECONDS - started)) s"
}
locked "setup${1:+-$1}" setup
