#!/usr/bin/env bash
# Talk with a stack's NEUROS in this terminal, as a person of it: replies come sentence by sentence, interventions too.
# usage: chat.sh [USER] [STACK] [NAMESPACE]      (default: simulated-0001 demo auren; hack/simulate.sh makes that person)
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
user=${1:-simulated-0001} stack=${2:-demo} namespace=${3:-auren}
AUREN_TOKEN=$("$HACK/token" "$user" "chat:neuros" "$stack" "$namespace")
export AUREN_TOKEN
exec "$HACK/run" "$REPO/.venv/bin/python" -m auren.neuros chat --url "http://$stack-neuros-advanced.$namespace.svc:8000"
