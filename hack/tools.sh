#!/usr/bin/env bash
# Builds the cluster's programs from their published Go modules into the cache, one folder per name and version.
# What hack/tools/NAME/go.mod pins is what gets built, and go.sum verifies it. Done once per version.
# usage: tools.sh [NAME...]   builds these (default: all)
#        tools.sh path        prints their folders, to put in front of PATH
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

case ${1:-} in
  path) tool_path | sed 's/:$/\n/'; exit ;;
  -*) usage ;;
esac

# Unstamped, the binaries call themselves v0.0.0-master, and kubeadm, kind and Helm's kubeVersion refuse that.
ldflags() {
  local minor=${K8S_VERSION#v1.} package
  case $1 in
    kubernetes)
      for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        printf -- '-X %s.gitVersion=%s -X %s.gitMajor=1 -X %s.gitMinor=%s -X %s.gitTreeState=clean ' \
          "$package" "$K8S_VERSION" "$package" "$package" "${minor%%.*}" "$package"
      done ;;
    helm) printf -- '-X helm.sh/helm/v4/internal/version.version=%s' "$(tool_version helm)" ;;
    kwok) printf -- '-X sigs.k8s.io/kwok/pkg/consts.Version=%s' "$(tool_version kwok)" ;;
  esac
}

build() {
  local out version started=$SECONDS
  version=$(tool_version "$1") out=$(tool_dir "$1")
  [ -e "$out/.done" ] && return
  command -v go >/dev/null ||
    die "Go is missing: install Go 1.26 (https://go.dev/dl/, in /usr/local/go), or 1.21+, which fetches 1.26 by itself"
  say "$1 $version: building"
  mkdir -p "$out"
  (cd "$HACK/tools/$1" && GOBIN=$out CGO_ENABLED=0 GOWORK=off GOFLAGS="-mod=readonly -buildvcs=false" \
    nice go install -trimpath -ldflags "-s -w $(ldflags "$1")" tool)
  [ "$1" != etcd ] || mv "$out/server" "$out/etcd"   # go install names it after the end of server/v3
  touch "$out/.done"
  say "$1 $version: built in $((SECONDS - started)) s"
}

[ $# -gt 0 ] || set -- "${TOOLS[@]}"
for tool; do
  [ -n "${TOOL_MODULE[$tool]:-}" ] || die "no tool named '$tool' (there are: ${TOOLS[*]})"
  [ -e "$(tool_dir "$tool")/.done" ] || locked "tools-$tool" build "$tool"
done
