#!/usr/bin/env bash
# Shows a stack without a wearable: made-up people's phones and Terra deliver to its bridge, signed as in life, and what
# the stack has learnt of the first one is read back from its API. Switches the provider `terra` on, with a new secret
# where the stack has none.
# usage: simulate.sh [--history-days N] [--bad-night] [SECONDS] [DELIVERIES-PER-SECOND] [STACK] [NAMESPACE]
# default: 20 10 demo auren, without a history. --history-days 21 --bad-night: three weeks before, so that it is known
# what is usual, and a last night that is a bad one, so that the mode becomes reflex.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

days=0 more=() mode=() words=()
while [ $# -gt 0 ]; do
  case $1 in
    --history-days) days=${2:-}; shift ;;
    --history-days=*) days=${1#*=} ;;
    --bad-night) more=(--bad-night) ;;
    -*) usage ;;
    *) words+=("$1") ;;
  esac
  shift || usage
done
seconds=${words[0]:-20} rate=${words[1]:-10} stack=${words[2]:-demo} namespace=${words[3]:-auren}
case $seconds$rate in *[!0-9.]* | "") usage ;; esac
case $days in *[!0-9]* | "" | ???*) usage ;; esac
# fewer days are no usual value that a night could be compared with
if [ ${#more[@]} -gt 0 ] && [ "$days" -ge 7 ]; then mode=(--mode reflex); fi
need openssl=openssl

kubectl() { "$HACK/kubectl" -n "$namespace" "$@"; }
secret=terra-credentials
folder=$(mktemp -d)   # nobody else may read it; secrets stand in no list of processes
trap 'rm -rf "$folder"' EXIT

if ! kubectl get secret "$secret" >/dev/null 2>&1; then
  mkdir "$folder/new"
  openssl rand -hex 24 >"$folder/new/signing-secret"
  kubectl create secret generic "$secret" --from-file="$folder/new/signing-secret"
fi
kubectl patch aurenstack "$stack" --type=merge \
  -p '{"spec": {"bridge": {"providers": {"terra": {"enabled": true, "credentials": {"name": "'"$secret"'"}}}}}}'
kubectl wait --for=condition=Progressing=False --timeout=180s "aurenstack/$stack" >/dev/null
kubectl wait --for=condition=Ready --timeout=180s "aurenstack/$stack"

mkdir "$folder/terra"
kubectl get secret "$secret" -o jsonpath='{.data.signing-secret}' | base64 -d >"$folder/terra/signing-secret"
auth=$(kubectl get aurenstack "$stack" -o jsonpath='{.spec.auth.issuer} {.spec.auth.audience}')
kubectl get secret "$stack-auth" -o jsonpath='{.data.private\.pem}' | base64 -d |
  "$HACK/run" "$REPO/.venv/bin/python" -m auren.bridge simulate --providers healthkit,terra --users 3 \
    --rate "$rate" --seconds "$seconds" --url "http://$stack-biometric-bridge.$namespace.svc:8889" \
    --history-days "$days" "${more[@]}" \
    --secrets-dir "$folder" --token-key /dev/stdin --issuer "${auth% *}" --audience "${auth#* }"

user=simulated-0001
echo
echo "What $stack-biometric-production has of $user"
echo "Authorization: Bearer $("$HACK/token" "$user" read:biometrics "$stack" "$namespace")" >"$folder/authorization"
"$HACK/run" "$REPO/.venv/bin/python" "$HACK/learnt" "$user" --authorization "$folder/authorization" \
  --url "http://$stack-biometric-production.$namespace.svc:8888" --page "$REPO/build/report-$user.html" \
  --sources terra,healthkit --days "$days" "${mode[@]}" ||
  die "not all of it was learnt; the collector's lag and dead letters say why"
