#!/usr/bin/env bash
# Signatures of all vendors by their formulas, made with openssl and not with the code that they test.
# usage: tests/unit/services/vectors/signatures.sh > tests/unit/services/vectors/signatures.json
set -euo pipefail

FIRST='wh_3f9a-secret/with+signs='
SECOND='whs_the-one-after: \t"quoted" ü'
BODY='{"user_id":456,"id":"550e8400-e29b-41d4-a716-446655440000","note":"naïve – ö"}'

digest() { # MESSAGE FORMAT
  printf '%s' "$1" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$(printf '%s' "$SECRET" | hex)" -binary | "${@:2}"
}
hex() { od -An -v -tx1 | tr -d ' \n'; }
upper() { hex | tr a-f A-F; }
b64() { openssl base64 -A; }
vector() { # PROVIDER TIMESTAMP HEADERS...
  local headers=''
  for pair in "${@:3}"; do headers+="${headers:+, }\"${pair%%: *}\": \"${pair#*: }\""; done
  printf '  {"provider": "%s", "time": %s, "secret": %s, "body": %s, "headers": {%s}}' \
    "$1" "$2" "$(json "$SECRET")" "$(json "$BODY")" "$headers"
}
json() { printf '%s' "$1" | python3 -c 'import json, sys; print(json.dumps(sys.stdin.read()))'; }

vectors() { # of one secret
  local hex
  hex=$(digest "1760000000.$BODY" hex)
  vector oura 1760000000 "x-oura-timestamp: 1760000000" "x-oura-signature: $(digest "1760000000$BODY" upper)"
  echo ,
  vector whoop 1760000000 "x-whoop-signature-timestamp: 1760000000123" \
    "x-whoop-signature: $(digest "1760000000123$BODY" b64)"
  echo ,
  vector terra 1760000000 "terra-signature: t=1760000000,v1=$hex"
  echo ,
  vector terra 1760000000 "x-terra-signature: t=1760000000,v1=$hex" "terra-signature: t=1760000000,v1=00"
}

{
  echo '['
  SECRET=$FIRST; vectors
  echo ,
  SECRET=$SECOND; vectors
  echo
  echo ']'
}
