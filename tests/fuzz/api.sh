#!/bin/sh
# Thousands of generated requests against a fresh server: no answer may be a 5xx, undocumented, or of another shape
# than the OpenAPI document says. `sh run fuzz` sets it up. Arguments go to Schemathesis, e.g. --seed 7.
set -eu
cd "$(dirname "$0")/../.."
data=$(mktemp -d)
trap 'exit 130' INT TERM
trap 'lepton down --data "$data" >/dev/null || true; rm -rf "$data"' EXIT
lepton up --data "$data" --port 0 -d
LEPTON_URL=$(cat "$data/url") LEPTON_TOKEN=$(cat "$data/token")
export LEPTON_URL LEPTON_TOKEN SCHEMATHESIS_HOOKS=tests.fuzz.hooks PYTHONPATH=.
FUZZ_KNOWN=$(python tests/fuzz/seed.py)
export FUZZ_KNOWN
${SCHEMATHESIS:-schemathesis} run "$LEPTON_URL/api/v1/openapi.json" \
  -H "Authorization: Bearer $LEPTON_TOKEN" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-80}" --request-timeout 20 --continue-on-failure \
  --no-color "$@"
if grep -n "ERROR\|Traceback" "$data/server.log"; then
  echo "The server's log has errors." >&2
  exit 1
fi
