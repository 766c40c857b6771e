#!/usr/bin/env bash
# Everything that is downloaded or compiled, before anything runs: what is compiled beside what is downloaded, since
# one waits for processors and the other for the network. Does nothing where it is done.
# usage: prepare.sh api     what the api tier and the benchmarks start: a control plane and the stores, as processes
#        prepare.sh load    the stores, and what sends load to the services
#        prepare.sh kind    what the cluster is made of, and our images' packages
#        prepare.sh all
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

tools=() bases=() parts=()
api() {
  stores
  need ip=iproute2 shellcheck=shellcheck
  tools+=(kubernetes etcd kwok helm) bases+=(java) parts+=(chromadb)
  community=yes
}
stores() {
  need java=default-jre-headless setpriv=util-linux
  bases+=(postgres redis) parts+=(kafka)
}
kind() {
  [ "$ENGINE_MODE" = docker ] || need_root
  tools+=("${CLUSTER_TOOLS[@]}")
  if [ "$ENGINE_MODE" = private ]; then bases+=(python java postgres redis node proxy) parts+=(kafka chromadb); fi
  wheels=yes
}
wheels='' community=''
case ${1:-} in
  api) api ;;
  load) stores; need wrk=wrk ;;
  kind) kind ;;
  all) api; kind ;;
  *) usage ;;
esac

"$HACK/setup.sh"
log=$CACHE/download.log
{
  { [ ${#parts[@]} = 0 ] || "$HACK/store-images.sh" parts "${parts[@]}"; } &&
    { [ -z "$community" ] || "$HACK/community.sh"; } &&
    { [ -z "$wheels" ] || "$HACK/images.sh" wheels; } &&
    { [ ${#bases[@]} = 0 ] || "$HACK/base-images.sh" rootfs "${bases[@]}"; }
} 2> >(tee "$log" >&2) &
downloads=$!
trap 'kill "$downloads" 2>/dev/null || true' EXIT   # when compiling fails
[ ${#tools[@]} = 0 ] || "$HACK/tools.sh" "${tools[@]}"
wait "$downloads" || die "a download failed (log: $log)"
trap - EXIT
