#!/usr/bin/env bash
# Sends one measurement into a stack as a phone would, waits for it at the other end, and asks NEUROS about it.
# usage: try.sh [STACK] [NAMESPACE]      (default: demo auren)
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"
stack=${1:-demo} namespace=${2:-auren}
need curl=curl

user=anna
token=$("$HACK/token" "$user" "push:healthkit read:biometrics chat:neuros" "$stack" "$namespace")
authorization=$(mktemp)   # a file, so that the token stands in no list of processes
trap 'rm -f "$authorization"' EXIT
echo "Authorization: Bearer $token" >"$authorization"
call() { "$HACK/run" curl -sS --fail-with-body --max-time 20 -H "@$authorization" -H 'Content-Type: application/json' "$@"; }
pretty() { "$REPO/.venv/bin/python" -m json.tool --no-ensure-ascii; }
measurement() { # one heart rate and one night's variability, measured now
  printf '{"data": {"metrics": [
  {"name": "heart_rate", "units": "count/min", "data": [{"date": "%s", "Avg": %s, "source": "Watch"}]},
  {"name": "heart_rate_variability", "units": "ms", "data": [{"date": "%s", "qty": %s, "source": "Watch"}]}]}}' \
    "$1" "$2" "$1" "$((20 + RANDOM % 60))"
}

now=$(date '+%Y-%m-%d %H:%M:%S %z') rate=$((55 + RANDOM % 40)).$((RANDOM % 9 + 1))
echo "1. A phone pushes a heart rate of $rate/min: POST /webhooks/healthkit at $stack-biometric-bridge"
measurement "$now" "$rate" | call --data @- "http://$stack-biometric-bridge.$namespace:8889/webhooks/healthkit"
echo; echo

echo "2. It comes out of the database: GET /latest/$user at $stack-biometric-production"
found=
for _ in $(seq 60); do
  latest=$(call "http://$stack-biometric-production.$namespace:8888/latest/$user" || true)
  if grep -q "$rate" <<<"$latest"; then found=yes; break; fi
  sleep .5
done
pretty <<<"$latest"
[ -n "$found" ] || die "the measurement did not arrive within 30 s"
echo

echo "3. NEUROS answers from it: POST /api/agents/neuros/analyze at $stack-neuros-advanced"
call --data '{"message": "How am I doing right now?"}' \
  "http://$stack-neuros-advanced.$namespace:8000/api/agents/neuros/analyze" | pretty
