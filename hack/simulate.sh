#!/usr/bin/env bash
# Shows a stack without a wearable: made-up people's phones and Terra deliver to its bridge, signed as in life, and what
# they sent is read back from its API. Switches the provider `terra` on, with a new secret where the stack has none.
# usage: simulate.sh [SECONDS] [DELIVERIES-PER-SECOND] [STACK] [NAMESPACE]      (default: 20 10 demo auren)
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
seconds=${1:-20} rate=${2:-10} stack=${3:-demo} namespace=${4:-auren}
case $seconds$rate in *[!0-9.]* | "") usage ;; esac
need curl=curl openssl=openssl

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
    --secrets-dir "$folder" --token-key /dev/stdin --issuer "${auth% *}" --audience "${auth#* }"

user=simulated-0001
echo "What is stored of $user: GET /latest/$user at $stack-biometric-production"
echo "Authorization: Bearer $("$HACK/token" "$user" read:biometrics "$stack" "$namespace")" >"$folder/authorization"
for _ in $(seq 60); do
  if "$HACK/run" curl -sS --fail --max-time 10 -H "@$folder/authorization" -o "$folder/latest" \
    "http://$stack-biometric-production.$namespace.svc:8888/latest/$user" 2>/dev/null &&
    grep -q '"source":"terra' "$folder/latest" && grep -q '"source":"healthkit' "$folder/latest"; then
    "$REPO/.venv/bin/python" -m json.tool --no-ensure-ascii "$folder/latest"
    exit 0
  fi
  sleep 1
done
cat "$folder/latest" 2>/dev/null || true
die "within a minute not both providers' values were stored; the collector's lag and dead letters say why"
