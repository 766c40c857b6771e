#!/usr/bin/env bash
# From nothing to a whole stack on a real cluster: what is missing is set up, what is there is used.
# usage: demo.sh
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

NAMESPACE=auren
OPERATOR_NAMESPACE=auren-system
SAMPLE=$REPO/manifests/samples/demo.yaml
begin=$SECONDS

step() { # TITLE COMMAND...
  local title=$1 started=$SECONDS; shift
  printf '\n=== %s\n' "$title"
  "$@" || die "stopped at: $title. Run make demo again, and it goes on from there."
  printf '    done in %d s\n' $((SECONDS - started))
}
quiet() {
  local log
  log=$("$@" 2>&1) || { printf '%s\n' "$log" >&2; return 1; }
}
namespace() {
  "$HACK/kubectl" create namespace "$1" --dry-run=client -o yaml | quiet "$HACK/kubectl" apply -f -
  # only pods of the strictest kind may run there; the operator's and the stack's do
  quiet "$HACK/kubectl" label --overwrite namespace "$1" pod-security.kubernetes.io/enforce=restricted
}
install_operator() {
  namespace "$OPERATOR_NAMESPACE"
  # an interrupted Helm leaves its last record as pending, and refuses to go on from it
  quiet "$HACK/kubectl" -n "$OPERATOR_NAMESPACE" delete secret \
    -l 'owner=helm,name=auren-operator,status in (pending-install,pending-upgrade,pending-rollback)'
  quiet "$HACK/helm" upgrade --install auren-operator "$REPO/charts/auren-operator" --namespace "$OPERATOR_NAMESPACE" \
    --values "$REPO/build/values-dev.yaml" --take-ownership --wait --timeout 3m || { operator_state >&2; return 1; }
}
operator_state() {
  "$HACK/kubectl" -n "$OPERATOR_NAMESPACE" get pods
  "$HACK/kubectl" -n "$OPERATOR_NAMESPACE" logs deployment/auren-operator --tail 10
}
stack() {
  namespace "$NAMESPACE"
  "$HACK/kubectl" apply -f "$SAMPLE"
  "$HACK/watch-stack" demo --namespace "$NAMESPACE" --timeout 600
}
endpoints() {
  # shellcheck disable=SC2016 # kubectl expands it
  "$HACK/kubectl" -n "$NAMESPACE" get aurenstack demo \
    -o go-template='{{range $name, $address := .status.endpoints}}{{printf "  %-21s %s\n" $name $address}}{{end}}'
}

step "Programs and packages (the first time on a machine: about fifteen minutes)" "$HACK/prepare.sh" kind
step "Cluster" "$HACK/cluster.sh" up
step "Images" "$HACK/load.sh"
step "Operator, installed by Helm" install_operator
step "The stack: kubectl apply -f manifests/samples/demo.yaml" stack

cat <<END

=== The stack is ready, $((SECONDS - begin)) s after you asked for it

$("$HACK/kubectl" -n "$NAMESPACE" get aurenstack demo)

Where its parts answer, inside the cluster:
$(endpoints)

What to try next:
  hack/try.sh                                        a measurement on its way, and NEUROS' answer to it
  hack/simulate.sh --history-days 21 --bad-night     three weeks of made-up people: what is usual, and a mode with its reason
  hack/kubectl -n auren delete deployment demo-neuros-advanced
  hack/kubectl -n auren get deployment,aurenstack    it is back
  hack/kubectl -n auren get events --field-selector reason=Healed
  hack/kubectl -n auren get aurenstack demo -o jsonpath='{.status.healed}{"\n"}'
  hack/forward demo-neuros-advanced 8000             NEUROS on this machine's own port 8000
  hack/token anna                                    a token for it
  hack/kubectl explain aurenstack.spec               what a stack can be
  make down                                          remove it all
END
