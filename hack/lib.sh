# shellcheck shell=bash disable=SC2034
# Shared by the scripts of this folder: places, versions, small helpers. Source it, do not run it.
#
# Environment
#   AUREN_ENGINE   private (default): an engine of our own in a network namespace, images built from packages.
#                  docker: the engine that `docker` reaches, upstream's node and store images from registries.
#   AUREN_INSTANCE name of the private engine and its cluster (default: auren); another name is another pair beside it.
#   XDG_CACHE_HOME where downloads, binaries and the engine's data are kept (in its folder `auren`).
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
HACK=$REPO/hack
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/auren
ENGINE_MODE=${AUREN_ENGINE:-private}
INSTANCE=${AUREN_INSTANCE:-auren}
SUFFIX=${INSTANCE#auren}                # nothing, for the one that everybody has
NETNS=$INSTANCE                         # network namespace of the private engine and of all that runs in it
ENGINE=$CACHE/engine$SUFFIX             # socket, log and data of the private engine
CLUSTER=auren
NODE=$CLUSTER-control-plane
SERVICE_NETWORK=10.96.0.0/16
POD_NETWORK=10.244.0.0/16
CLUSTER_DNS=10.96.0.10
export KUBECONFIG=$CACHE/kubeconfig$SUFFIX

say() { printf '%(%H:%M:%S)T %s\n' -1 "$*" >&2; }
die() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; exit 1; }
usage() { sed -n '/^# usage:/,/^[^#]/{s/^# //p}' "$0" >&2; exit 2; }
sha() { sha256sum | cut -c1-12; }

case $ENGINE_MODE in
  private) export DOCKER_HOST=unix://$ENGINE/docker.sock ;;
  docker) ;;
  *) die "AUREN_ENGINE is '$ENGINE_MODE'; it must be 'private' or 'docker'" ;;
esac
export DOCKER_BUILDKIT=0                # nothing here needs BuildKit, and clients without buildx cannot drive it

# The tools and the module that carries each one's version; hack/tools/NAME/go.mod is the only place that states it.
TOOLS=(kubernetes etcd coredns kind helm local-path-provisioner kwok kubeconform)
# kindest/node brings its own parts; for a node image of ours they are built
CLUSTER_TOOLS=(kubernetes kind helm)
[ "$ENGINE_MODE" = docker ] || CLUSTER_TOOLS+=(etcd coredns local-path-provisioner)
declare -A TOOL_MODULE=(
  [kubernetes]=k8s.io/kubernetes [etcd]=go.etcd.io/etcd/server/v3 [coredns]=github.com/coredns/coredns
  [kind]=sigs.k8s.io/kind [helm]=helm.sh/helm/v4 [local-path-provisioner]=github.com/rancher/local-path-provisioner
  [kwok]=sigs.k8s.io/kwok [kubeconform]=github.com/yannh/kubeconform
)
tool_version() {
  awk -v m="${TOOL_MODULE[$1]}" '{sub(/^require /, "")} $1 == m && $2 ~ /^v/ {print $2; exit}' "$HACK/tools/$1/go.mod"
}
tool_dir() { echo "$CACHE/bin/$1-$(tool_version "$1")"; }
tool_path() { local tool; for tool in "${TOOLS[@]}"; do printf '%s:' "$(tool_dir "$tool")"; done; }
PATH=$(tool_path)$PATH:/usr/local/go/bin

K8S_VERSION=$(tool_version kubernetes)

# Runs a command where the cluster's addresses are. Not `ip netns exec`: that remounts /sys and hides the cgroups.
IN_NS=()
[ "$ENGINE_MODE" = docker ] || IN_NS=(nsenter --net="/run/netns/$NETNS")
in_ns() { "${IN_NS[@]}" "$@"; }

# Serialises what changes shared state: locked NAME COMMAND [ARGUMENT...]. Children must not inherit descriptor 9.
locked() {
  local name=$1; shift
  mkdir -p "$CACHE/locks"
  ( flock -w 3600 9 || die "another run holds $CACHE/locks/$name for an hour"; "$@" ) 9>"$CACHE/locks/$name"
}

# Ends with a sentence unless the commands are there; on Debian as root it installs the packages first.
need() { # COMMAND=PACKAGE...
  local pair missing=() packages=()
  for pair; do
    command -v "${pair%%=*}" >/dev/null 2>&1 && continue
    missing+=("${pair%%=*}"); packages+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${packages[*]}"
    locked apt install_packages "${packages[@]}"
    hash -r
    for pair; do command -v "${pair%%=*}" >/dev/null || die "${pair%%=*} is missing even with package ${pair#*=}"; done
  else
    die "missing: ${missing[*]}. Install ${packages[*]} (Debian's package names), or run as root on Debian."
  fi
}
install_packages() {
  local log=$CACHE/apt.log
  export DEBIAN_FRONTEND=noninteractive
  if ! apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@" >"$log" 2>&1 </dev/null; then
    { apt-get update -qq && apt-get -o DPkg::Lock::Timeout=300 install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1 </dev/null ||
      { tail -20 "$log" >&2; die "apt-get could not install: $*"; }
  fi
}
need_root() { [ "$(id -u)" = 0 ] || die "needs root: it makes a network namespace and runs an engine in it"; }

# Quiet unless it fails.
build_image() {
  local log
  log=$(docker build "$@" 2>&1) || { printf '%s\n' "$log" >&2; return 1; }
}
have_image() { docker image inspect "$1" >/dev/null 2>&1; }

# Images carry the hash of what they were made from, so that an unchanged one is not built again.
current() { # REF HASH: whether the engine has REF made from HASH
  [ "$(docker image inspect --format '{{index .Config.Labels "ai.aupex.content"}}' "$1" 2>/dev/null)" = "$2" ]
}
hash_of() { # FILE-OR-FOLDER...: a hash over names and contents, whatever the checkout's place and times
  local path
  for path; do
    (cd "$(dirname "$path")" && find "$(basename "$path")" -type f ! -name '*.pyc' -print0 | LC_ALL=C sort -z |
      xargs -0 sha256sum)
  done | sha
}
# Wheels for the images' Python, whatever runs pip. The lock is complete and was made for that Python, so nothing is
# resolved, and what a package demands of the Python that runs pip does not matter.
ARCH=$(uname -m)
PIP_FOR_IMAGES=(install --quiet --disable-pip-version-check --root-user-action=ignore --no-warn-conflicts --no-compile
  --require-hashes --no-deps --ignore-requires-python --only-binary=:all: --python-version 3.13 --implementation cp
  --platform "manylinux_2_28_$ARCH" --platform "manylinux_2_17_$ARCH" --platform "manylinux2014_$ARCH")

# The stores' images: upstream's names, also for the stand-ins that are built where no registry is.
STORES=(kafka timescaledb redis chromadb)
declare -A STORE_IMAGE=([kafka]=apache/kafka:4.3.1 [redis]=redis:8 [chromadb]=chromadb/chroma:1.5.9)
if [ "$ENGINE_MODE" = private ]; then
  STORE_IMAGE[timescaledb]=timescale/timescaledb:2.19.3-pg17-oss
else
  STORE_IMAGE[timescaledb]=timescale/timescaledb:2.19.3-pg17
fi
NODE_IMAGE=auren/kind-node:$K8S_VERSION
