#!/usr/bin/env bash
# Removes the development cluster and the private engine, whatever state they are in.
# usage: down.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

if [ "$ENGINE_MODE" = docker ]; then
  kind delete cluster --name "$CLUSTER"
else
  # A killed engine would start the node again the next time, with all its old state: so it has to come back once more,
  # for its containers to be removed.
  if [ -n "$(ls -A "$ENGINE/data/containers" 2>/dev/null)" ]; then
    timeout 10 docker info >/dev/null 2>&1 || "$HACK/engine.sh" up 2>/dev/null || true
    docker ps --all --quiet | xargs -r timeout 120 docker rm --force --volumes >/dev/null || true
    docker image prune --force >/dev/null || true
  fi
  "$HACK/engine.sh" down
fi
rm -f "$KUBECONFIG" "$KUBECONFIG.inside"
say "the cluster and its engine are gone; downloads and builds stay in $CACHE"
