#!/usr/bin/env bash
# The two official clients of Polymarket's order book build different market orders from the same numbers.
#
# Both cut the price of a market order down to the tick. The TypeScript client leaves a number alone that already has few
# enough decimals. The Python client multiplies a float and takes the floor: 0.29 * 100 is 28.999999999999996, so a
# market order at 0.29 is signed at 0.28. A purchase at a best ask of 0.29 then asks for more shares than the book sells
# at that price, and a sale accepts one cent less. The same happens to 0.57, 0.58, and to 573 of the 10,000 sizes
# from 0.01 to 100.00.
#
# Why it matters here: people who copy a trader with the Python client get other fills than the order they meant. Our
# bot keeps prices and shares in integer millionths, so a price on the tick stays what it is.
set -euo pipefail
PYTHON_CLIENT=1.2.1
TYPESCRIPT_CLIENT=1.1.0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install "py-clob-client-v2==$PYTHON_CLIENT"
npm init --yes >/dev/null
npm install --silent --no-audit --no-fund "@polymarket/clob-client-v2@$TYPESCRIPT_CLIENT"

cat >order.py <<'PY'
from py_clob_client_v2.order_builder.builder import OrderBuilder, ROUNDING_CONFIG
from py_clob_client_v2.order_builder.helpers import round_down

builder = OrderBuilder.__new__(OrderBuilder)
_, cash, shares = builder.get_market_order_amounts("BUY", 29, 0.29, ROUNDING_CONFIG["0.01"])
print(f"29 USDC at 0.29: {cash} micro-USDC for {shares} micro-shares")
cents = [n / 100 for n in range(1, 100)]
print("prices that move:", [price for price in cents if round_down(price, 2) != price])
sizes = [n / 100 for n in range(1, 10_001)]
print("sizes that move:", sum(round_down(size, 2) != size for size in sizes))
PY
cat >order.mjs <<'JS'
const dist = "node_modules/@polymarket/clob-client-v2/dist";
const { getMarketOrderRawAmounts } = await import(`./${dist}/order-builder/helpers/getMarketOrderRawAmounts.js`);
const { rawMakerAmt, rawTakerAmt } = getMarketOrderRawAmounts("BUY", 29, 0.29, { price: 2, size: 2, amount: 4 });
console.log(`29 USDC at 0.29: ${Math.round(rawMakerAmt * 1e6)} micro-USDC for ${Math.round(rawTakerAmt * 1e6)} micro-shares`);
JS

echo "py-clob-client-v2 $PYTHON_CLIENT:"
python=$(venv/bin/python order.py)
printf '%s\n' "$python"
echo "@polymarket/clob-client-v2 $TYPESCRIPT_CLIENT:"
typescript=$(node order.mjs)
printf '%s\n' "$typescript"

# Seen on 2026-11-30.
expected_python='29 USDC at 0.29: 29000000 micro-USDC for 103571400 micro-shares
prices that move: [0.29, 0.57, 0.58]
sizes that move: 573'
expected_typescript='29 USDC at 0.29: 29000000 micro-USDC for 100000000 micro-shares'
if [ "$python" != "$expected_python" ] || [ "$typescript" != "$expected_typescript" ]; then
    echo "this changed"
    exit 1
fi
