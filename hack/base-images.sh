#!/usr/bin/env bash
# Debian root file systems, made by mmdebstrap and kept in the cache by a hash of suite and package list, and imported
# as auren/base-NAME:HASH for other images to build FROM.
# usage: base-images.sh rootfs [NAME...]   only makes the archives; needs no engine
#        base-images.sh import [NAME...]   imports them too (default: all)
#        base-images.sh ref NAME           prints the image's name
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

NAMES=(python java postgres redis node proxy)
declare -A SUITE=([node]=bookworm [proxy]=bookworm [python]=trixie [java]=trixie [postgres]=trixie [redis]=trixie)
# shellcheck disable=SC2054 # the commas belong to mmdebstrap
declare -A PACKAGES=(
  # bookworm, since its systemd 252 still boots on a host with cgroup v1; 256 and later refuse
  [node]=systemd,systemd-sysv,dbus,containerd,runc,containernetworking-plugins,iptables,nftables,conntrack,iproute2,ethtool,mount,kmod,socat,e2fsprogs,ca-certificates,curl,jq,procps,hostname,ebtables
  [proxy]=iptables,nftables,conntrack,kmod
  # not python3-minimal, which is half of the standard library; numpy needs libstdc++, the local model libgomp
  [python]=python3,ca-certificates,libstdc++6,libgomp1
  [java]=openjdk-21-jre-headless
  [postgres]=postgresql-17,postgresql-17-timescaledb
  [redis]=redis-server
)

key() { echo "${SUITE[$1]} ${PACKAGES[$1]}" | sha; }
archive() { echo "$CACHE/rootfs/$1-$(key "$1").tar"; }
ref() { echo "auren/base-$1:$(key "$1")"; }

rootfs() {
  local tar started=$SECONDS
  tar=$(archive "$1")
  [ ! -s "$tar" ] || return 0
  need mmdebstrap=mmdebstrap
  [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || locked apt install_packages debian-archive-keyring
  say "root file system '$1' (${SUITE[$1]}): downloading packages"
  mkdir -p "$CACHE/rootfs"
  rm -f "$tar.part.tar"
  # the Java package's scripts write manual pages' links into a folder that path-exclude leaves out
  # shellcheck disable=SC2016 # mmdebstrap expands it
  nice mmdebstrap --quiet --variant=essential --include="${PACKAGES[$1]}" \
    --setup-hook='mkdir -p "$1/usr/share/man/man1"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "${SUITE[$1]}" "$tar.part.tar" 2>"$tar.log" </dev/null || { tail -20 "$tar.log" >&2; die "mmdebstrap failed for '$1'"; }
  mv "$tar.part.tar" "$tar"
  rm -f "$tar.log"
  say "root file system '$1': made in $((SECONDS - started)) s"
}
import() {
  have_image "$(ref "$1")" && return
  locked "rootfs-$1" rootfs "$1"
  docker import "$(archive "$1")" "$(ref "$1")" >/dev/null
  say "imported $(ref "$1")"
}
# Where registries are, our own images stand on upstream's Debian with the same packages; the others are not needed.
import_from_registry() {
  have_image "$(ref "$1")" && return
  build_image --tag "$(ref "$1")" - <<END
FROM debian:${SUITE[$1]}-slim
RUN apt-get update && apt-get install -y --no-install-recommends ${PACKAGES[$1]//,/ } && rm -rf /var/lib/apt/lists/*
END
}

command=${1:-}; [ $# -gt 0 ] && shift
for name; do [ -n "${SUITE[$name]:-}" ] || die "no base named '$name' (there are: ${NAMES[*]})"; done
case $command in
  rootfs) for name in "${@:-${NAMES[@]}}"; do locked "rootfs-$name" rootfs "$name"; done ;;
  import)
    [ $# -gt 0 ] || set -- "${NAMES[@]}"
    for name; do
      if [ "$ENGINE_MODE" = docker ]; then import_from_registry "$name"; else locked "import-$name$SUFFIX" import "$name"; fi
    done ;;
  ref) ref "${1:?NAME}" ;;
  *) usage ;;
esac
