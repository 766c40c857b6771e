#!/usr/bin/env bash
# The development cluster: kind, one node, in the engine that hack/engine.sh provides.
# usage: cluster.sh up             create it, or repair what an unclean end left; does nothing where it answers
#        cluster.sh down           delete it
#        cluster.sh load REF...    copies images into its nodes; those that are there already cost nothing
#        cluster.sh status         fails unless it answers
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

k() { in_ns kubectl --request-timeout=20s "$@"; }
ready() { in_ns kubectl get --raw /readyz --request-timeout=5s >/dev/null 2>&1; }
quiet() { # COMMAND...: its output only when it fails
  local log
  log=$("$@" 2>&1) || { printf '%s\n' "$log" >&2; return 1; }
}

# One line per node: name, its pod range, its address.
nodes() {
  k get nodes -o jsonpath='{range .items[*]}{.metadata.name} {.spec.podCIDR} {.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}'
}
# The commands that give a node its pod network: a bridgeless point-to-point CNI, a route to every other node's range.
network_script() { # NODE RANGE, all nodes on stdin
  local other range address
  # a pod that dials a Service before kube-proxy has written its rules waits for a timeout: so the network comes last
  cat <<END
until iptables -t nat -S KUBE-SERVICES 2>/dev/null | grep -q default/kubernetes; do sleep .2; done
cat >/etc/cni/net.d/10-pods.conflist <<'CONFLIST'
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
    "ranges": [[{"subnet": "$2"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
CONFLIST
masquerade="POSTROUTING -s $2 ! -d $POD_NETWORK -j MASQUERADE"
iptables -t nat -C \$masquerade 2>/dev/null || iptables -t nat -A \$masquerade
END
  while read -r other range address; do [ "$other" = "$1" ] || echo "ip route replace $range via $address"; done
}
network() {
  local all='' node range address
  until all=$(nodes) && [ -n "$all" ] && ! awk 'NF != 3 {bad = 1} END {exit !bad}' <<<"$all"; do sleep .3; done
  while read -r node range address; do
    network_script "$node" "$range" <<<"$all" | docker exec -i "$node" timeout 120 sh -e
    in_ns ip route replace "$range" via "$address"
  done <<<"$all"
  in_ns ip route replace "$SERVICE_NETWORK" via "${all##* }"   # processes beside the cluster reach pods and Services
}

# Asked for real: after a restart of the node its Deployment looks available for a while, from memory.
dns() {
  if [ "$ENGINE_MODE" = docker ]; then quiet kubectl -n kube-system rollout status deployment/coredns --timeout=180s; return; fi
  for _ in $(seq 180); do
    "$HACK/run" timeout 5 getent hosts kubernetes.default.svc.cluster.local >/dev/null && return
    sleep 1
  done
  return 1
}

create() {
  local started=$SECONDS
  say "cluster '$CLUSTER': creating"
  in_ns kind delete cluster --name "$CLUSTER" >/dev/null 2>&1 || true   # what an unclean end left
  if [ "$ENGINE_MODE" = private ]; then
    "$HACK/node-image.sh"
    quiet in_ns kind create cluster --config "$HACK/cluster/kind.yaml" --image "$NODE_IMAGE"
    k -n kube-system create configmap coredns --from-file="$HACK/cluster/Corefile" --dry-run=client -o yaml |
      quiet k replace -f -
    quiet k -n kube-system scale deployment/coredns --replicas=1   # on one node a second one only takes room
    network
  else
    quiet kind create cluster --config "$HACK/cluster/kind-registry.yaml"   # kind's own node image for its version
  fi
  quiet in_ns kubectl wait --for=condition=Ready nodes --all --timeout=180s
  dns || die "the cluster's DNS does not answer"
  quiet in_ns kubectl -n local-path-storage rollout status deployment/local-path-provisioner --timeout=180s
  say "cluster '$CLUSTER': ready after $((SECONDS - started)) s"
}
# An engine that was killed starts the node again; its API answers some seconds later, so it gets that time.
recovers() {
  docker inspect "$NODE" >/dev/null 2>&1 || return 1
  docker start "$NODE" >/dev/null 2>&1 || return 1
  for _ in $(seq 60); do ready && return; sleep 1; done
  return 1
}
up() {
  "$HACK/engine.sh" up 2>/dev/null || "$HACK/engine.sh" up
  "$HACK/tools.sh" "${CLUSTER_TOOLS[@]}"
  if ! ready && ! recovers; then create; return; fi
  [ "$ENGINE_MODE" = docker ] || network   # routes go with the namespace
  dns || create
}

load() {
  local node ref missing present
  for node in $(in_ns kind get nodes --name "$CLUSTER" 2>/dev/null); do
    present=$(docker exec "$node" sh -c 'mkdir -p /kind/loaded; cat /kind/loaded/* 2>/dev/null; true')
    missing=()
    for ref; do grep -qxF "$ref $(docker image inspect --format '{{.Id}}' "$ref")" <<<"$present" || missing+=("$ref"); done
    [ ${#missing[@]} -gt 0 ] || continue
    say "loading into $node: ${missing[*]}"
    docker save "${missing[@]}" | docker exec -i "$node" ctr -n k8s.io images import - >/dev/null
    for ref in "${missing[@]}"; do
      docker image inspect --format "$ref {{.Id}}" "$ref" |
        docker exec -i "$node" sh -c "cat >/kind/loaded/$(sha <<<"$ref")"
    done
  done
}

command=${1:-}; [ $# -gt 0 ] && shift
case $command in
  up) locked "cluster$SUFFIX" up ;;
  down) in_ns kind delete cluster --name "$CLUSTER" >/dev/null 2>&1 || true ;;
  load) [ $# -gt 0 ] || usage; locked "cluster-load$SUFFIX" load "$@" ;;
  status) ready || die "the cluster does not answer; hack/cluster.sh up creates it" ;;
  *) usage ;;
esac
