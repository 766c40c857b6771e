#!/usr/bin/env bash
# Every static check, over every file of its kind. Runs all of them, and fails when one did.
# usage: lint.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
need shellcheck=shellcheck git=git
"$HACK/tools.sh" helm
cd "$REPO"
PATH=$REPO/.venv/bin:$PATH

failed=()
check() { # NAME COMMAND...
  local name=$1 log; shift
  if log=$("$@" 2>&1); then printf 'ok    %s\n' "$name"; else
    printf 'FAIL  %s\n%s\n' "$name" "$log"
    failed+=("$name")
  fi
}
# Files that git knows or would add, so that a new one is checked before its first commit.
files() { git ls-files --cached --others --exclude-standard -- "$@" | while read -r f; do [ ! -e "$f" ] || echo "$f"; done; }
scripts() { files hack .ci images | while read -r f; do head -c 40 "$f" | grep -qE '^#!.*\b(ba)?sh\b|^# shellcheck shell' && echo "$f"; done || true; }
python_scripts() { files hack .ci images | while read -r f; do head -c 40 "$f" | grep -q '^#!.*python' && echo "$f"; done || true; }

mapfile -t shell < <(scripts)
mapfile -t python < <(python_scripts)
# chart templates are no YAML before they are rendered; helm lint and the chart's tests read them
mapfile -t yaml < <(files '*.yaml' '*.yml' | grep -v '^charts/.*/templates/')
check "ruff check" ruff check . "${python[@]}"
check "ruff format" ruff format --check . "${python[@]}"
check "mypy" mypy
check "mypy (scripts)" mypy --scripts-are-modules "${python[@]}"
check "import-linter" lint-imports
check "yamllint (${#yaml[@]} files)" yamllint --strict -c "$HACK/yamllint.yaml" "${yaml[@]}"
check "shellcheck (${#shell[@]} files)" shellcheck "${shell[@]}"
check "helm lint" helm lint --strict charts/*
if [ ${#failed[@]} -gt 0 ]; then die "failed: $(IFS=,; echo "${failed[*]}")"; fi
