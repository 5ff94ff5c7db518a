#!/usr/bin/env bash
# The official Python client of Polymarket gives up a whole page of tokens for one token of a newer contract family.
#
# `GET /v2/tokens` says of each outcome token which family issued it, in the field `module`. Range events are issued by
# the module `directional`: the Rust client polyoxide-polymarket 0.44.0 lists it from the schema that the host serves.
# The Python client 0.14.0 knows four modules and no other. A page in which 1 of 50 tokens is `directional` raises an
# error that names neither the token nor the field, and the settled prices of the other 49 are lost with it. The same
# client keeps a row of activity whose kind it does not know, so a reader who has seen it cope with a new kind of row
# expects the same of a new kind of token.
#
# Why it matters here: the settled price of a market is the second source of our payouts. One range market among the
# asked ones would leave all of them unsettled. Our reader takes the rows one by one.
set -euo pipefail
CLIENT=0.14.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install "polymarket-client==$CLIENT"

cat >tokens.py <<'PY'
from polymarket.errors import UnexpectedResponseError
from polymarket.models.data.activity import parse_activities
from polymarket.models.data.tokens import TokenReference


def token(number, module):
    return {
        "token_id": str(number), "opposite_token_id": str(number + 1), "module": module,
        "condition_id": "0x" + "ab" * 32, "structural_condition_id": None,
        "outcome_index": 0, "clob_index": 0, "outcome": "Yes", "resolved": True, "final_price": 1.0,
        "title": "A market", "market_slug": "a-market", "closed": True, "neg_risk": False,
        "neg_risk_market_id": None, "question_index": None, "event_id": 1, "event_slug": "an-event",
    }


def read(*modules):
    rows = [token(10 * n, module) for n, module in enumerate(modules, start=1)]
    try:
        return f"{len(TokenReference.parse_response_list(rows))} tokens"
    except UnexpectedResponseError as error:
        return f"{type(error).__name__}: {error}"


print("v1_ctf, binary, neg_risk, combo:", read("v1_ctf", "binary", "neg_risk", "combo"))
print("v1_ctf, directional:", read("v1_ctf", "directional"))
row = {"proxy_wallet": "0x" + "11" * 20, "timestamp": 1790000000, "transaction_hash": "0x" + "22" * 32}
print("activity THRESHOLD_COMPOSE:", type(parse_activities([{**row, "type": "THRESHOLD_COMPOSE"}])[0]).__name__)
PY

output=$(venv/bin/python tokens.py)
echo "polymarket-client $CLIENT"
echo "$output"
expected='v1_ctf, binary, neg_risk, combo: 4 tokens
v1_ctf, directional: UnexpectedResponseError: TokenReference response did not match expected shape
activity THRESHOLD_COMPOSE: UnknownActivity'
if [ "$output" != "$expected" ]; then
    echo "the behaviour has changed; seen on 2026-11-30 was:"
    echo "$expected"
    exit 1
fi
echo "one token of a newer module still costs the whole page"
