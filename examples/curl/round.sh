#!/bin/sh
# One whole round by curl: a set-up by the operator, a drop-off by one agent, a pick-up and completion by another, and
# the refusals in between. Each answer is checked; the first wrong one ends it with 1.
#
#   DROPOFF_URL      the broker, if not http://127.0.0.1:8787
#   DROPOFF_BEARER   the operator's bearer: one line, dropoff_bearer_…
#
# May be run again and again on the same broker. Nothing else is needed: answers are compact JSON, so sed finds a field.
set -eu

url=${DROPOFF_URL:-http://127.0.0.1:8787}
operator=${DROPOFF_BEARER:?is not set: the line in operator.bearer in the data folder of the broker}
contract=$(dirname "$0")/../../schemas/payloads/curl.question@1.json
run=$(date +%s)-$$ # agents are new each time, because a bearer is shown only once

# ask WHO METHOD PATH [BODY|@FILE]: sets $status and $body. The bearer goes in by a pipe, for others can read our arguments.
ask() {
  answer=$(printf 'authorization: Bearer %s\n' "$1" |
    curl --silent --show-error --max-time 60 --noproxy '*' -H @- -w '\n%{http_code}' -X "$2" "$url$3" ${4:+-d "$4"})
  status=${answer##*
}
  body=${answer%
*}
}

# expect STATUS TEXT WHAT: the last answer has this status and holds this text.
expect() {
  case $body in *"$2"*) found=yes ;; *) found=no ;; esac
  if [ "$status" != "$1" ] || [ $found = no ]; then
    printf '✗ %s\n  expected %s with %s\n  got %s: %s\n' "$3" "$1" "$2" "$status" "$body" >&2
    exit 1
  fi
  printf '✓ %s\n' "$3"
}

# field NAME: the text of this field in the last answer.
field() { printf '%s' "$body" | sed -n "s/.*\"$1\":\"\([^\"]*\)\".*/\1/p"; }

ask "$operator" POST /v1/schemas/curl.question "@$contract"
expect 200 '"schema":"curl.question@' "a schema is registered"

ask "$operator" POST /v1/queues '{"name": "curl.questions", "schema": "curl.question@1", "purpose": "Questions by curl."}'
expect 200 '"name":"curl.questions"' "a queue is made"

ask "$operator" POST /v1/agents "{\"name\": \"curl.asker.$run\", \"grants\": [\"drop:curl.questions\"]}"
expect 200 '"bearer":"dropoff_bearer_' "an agent that may drop off"
asker=$(field bearer)

ask "$operator" POST /v1/agents "{\"name\": \"curl.answerer.$run\", \"grants\": [\"pick:curl.questions\"]}"
expect 200 '"bearer":"dropoff_bearer_' "an agent that may pick up"
answerer=$(field bearer)

ask "$asker" POST /v1/drop_off '{"queue": "curl.questions", "payload": {"qestion": "Why?"}}'
expect 422 "did you mean 'question'?" "a payload that does not fit is refused, with what to mend"

ask "$answerer" POST /v1/drop_off '{"queue": "curl.questions", "payload": {"question": "Why?"}}'
expect 403 '"code":"not_allowed"' "who may only pick up cannot drop off"

ask "" POST /v1/drop_off '{"queue": "curl.questions", "payload": {"question": "Why?"}}'
expect 401 '"code":"unauthenticated"' "a stranger is not heard"

ask "$asker" POST /v1/drop_off '{"queue": "curl.questions", "payload": {"question": "Why two processes?"}}'
expect 200 '"status":"dropped_off"' "a question is dropped off"
handoff=$(field handoff_id)

ask "$answerer" POST /v1/pick_up '{"queue": "curl.questions", "wait_seconds": 5}'
expect 200 "\"handoff_id\":\"$handoff\"" "the other agent picks it up"
expect 200 '"payload":{"question":"Why two processes?"}' "as it was sent"
expect 200 "\"from_agent\":\"curl.asker.$run\"" "and is told by whom"
lease=$(field lease_id)

ask "$asker" POST /v1/complete "{\"lease_id\": \"$lease\", \"result\": {\"answer\": \"Mine!\"}}"
expect 404 '"code":"lease_unknown"' "a lease id is worth nothing to somebody else"

ask "$answerer" POST /v1/complete "{\"lease_id\": \"$lease\", \"result\": {\"answer\": \"So that one may fail.\"}}"
expect 200 '"status":"completed"' "the holder completes it"

ask "$answerer" POST /v1/complete "{\"lease_id\": \"$lease\", \"result\": {\"answer\": \"So that one may fail.\"}}"
expect 200 '"status":"completed"' "the same again is the same success"

ask "$answerer" POST /v1/complete "{\"lease_id\": \"$lease\", \"result\": {\"answer\": \"No, wait.\"}}"
expect 409 '"code":"already_settled"' "another result is not: one outcome"

ask "$asker" POST /v1/check "{\"handoff_id\": \"$handoff\"}"
expect 200 '"result":{"answer":"So that one may fail."}' "the sender reads the result"

ask "$operator" GET "/v1/handoffs/$handoff"
expect 200 '"step":"complete"' "the ledger has the outcome"
expect 200 "\"actor\":\"curl.asker.$run\"" "and names the one"
expect 200 "\"actor\":\"curl.answerer.$run\"" "and the other"

for agent in asker answerer; do
  ask "$operator" POST "/v1/agents/curl.$agent.$run/revoke" '{"reason": "the example has ended"}'
  expect 200 '"standing":"revoked"' "the $agent is revoked"
done

ask "$asker" POST /v1/check "{\"handoff_id\": \"$handoff\"}"
expect 401 '"code":"unauthenticated"' "from the very next call on"
