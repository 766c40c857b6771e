#!/usr/bin/env bash
# The node image for kind and, inside it, the control plane's images, from the binaries in the cache. No registry is
# asked: the images get the names that this kubeadm looks for.
# usage: node-image.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

PROVISIONER=auren/local-path-provisioner:$(tool_version local-path-provisioner)

content() {
  { hash_of "$REPO/images/node" "$HACK/node-image.sh"
    for tool in kubernetes etcd coredns local-path-provisioner; do hash_of "$HACK/tools/$tool/go.sum"; done
    "$HACK/base-images.sh" ref node; "$HACK/base-images.sh" ref proxy; } | sha
}
control_plane_image() { # REF BASE BINARY FOLDER
  local name; name=$(basename "${1%:*}")
  rm -rf "$4"; mkdir "$4"; cp "$3" "$4/$name"
  build_image --tag "$1" --file - "$4" <<END
FROM $2
ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
COPY $name /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/$name"]
END
}
build() {
  local work ref name base binary pause proxy refs=() hash=$1
  need gcc=gcc
  [ -e /usr/include/stdlib.h ] || locked apt install_packages libc6-dev
  "$HACK/base-images.sh" import node proxy
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # now: the variable is gone when the subshell ends
  trap "rm -rf '$work'" EXIT
  cp -r "$REPO/images/node" "$work/node"
  mkdir "$work/node/bin" "$work/node/images"
  gcc -static -Os -s -o "$work/pause" "$work/node/pause.c"
  for ref in $(kubeadm config images list --kubernetes-version "$K8S_VERSION" 2>/dev/null) "$PROVISIONER"; do
    name=$(basename "${ref%:*}") base=scratch binary=
    case $name in
      pause) binary=$work/pause pause=$ref ;;
      kube-proxy) base=$("$HACK/base-images.sh" ref proxy) proxy=$ref ;;
    esac
    control_plane_image "$ref" "$base" "${binary:-$(type -p "$name")}" "$work/image"
    refs+=("$ref")
  done
  docker save -o "$work/node/images/control-plane.tar" "${refs[@]}"
  cp "$(type -p kubeadm)" "$(type -p kubelet)" "$(type -p kubectl)" "$work/node/bin/"
  sed -i -e "s|@PAUSE@|$pause|" -e "s|@PROXY@|$proxy|" -e "s|@PROVISIONER@|$PROVISIONER|" \
    "$work"/node/{containerd.toml,default-storage.yaml}
  build_image --build-arg BASE="$("$HACK/base-images.sh" ref node)" --build-arg K8S_VERSION="$K8S_VERSION" \
    --label ai.aupex.content="$hash" --tag "$NODE_IMAGE" "$work/node"
  # the node image holds them; here they would only take disk
  docker image rm "${refs[@]}" >/dev/null
}

[ "$ENGINE_MODE" = private ] || exit 0   # kind then takes its own kindest/node
hash=$(content)
current "$NODE_IMAGE" "$hash" && exit
say "node image $NODE_IMAGE: building"
started=$SECONDS
locked "node-image$SUFFIX" build "$hash"
say "node image $NODE_IMAGE: built in $((SECONDS - started)) s"
