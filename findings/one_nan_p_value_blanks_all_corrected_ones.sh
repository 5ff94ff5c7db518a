#!/usr/bin/env bash
# In statsmodels one missing p-value blanks every corrected p-value, while the verdicts stay right.
#
# multipletests(method="fdr_bh") given one NaN returns NaN as the corrected p-value of every test, but its array of
# rejections is the one that the other p-values deserve. A program that compares corrected p-values with its alpha
# therefore rejects nothing and sees no error; a program that reads the rejections works. scipy's
# false_discovery_control refuses the same input with a ValueError.
#
# Why it matters here: a leader with too few closed events has no p-value. Leave such a leader out before the
# correction, and never pass a NaN as "unknown".
set -euo pipefail
STATSMODELS=0.14.5
SCIPY=1.16.3

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip --quiet --disable-pip-version-check install "statsmodels==$STATSMODELS" "scipy==$SCIPY"

cat >correct.py <<'PY'
from scipy.stats import false_discovery_control
from statsmodels.stats.multitest import multipletests

p = [0.001, 0.01, 0.2, float("nan")]
rejected, corrected, *_ = multipletests(p, alpha=0.1, method="fdr_bh")
print("statsmodels rejects:", rejected.tolist())
print("statsmodels corrects:", corrected.tolist())
print("without the NaN:", multipletests(p[:3], alpha=0.1, method="fdr_bh")[1].round(6).tolist())
try:
    print("scipy:", false_discovery_control(p).tolist())
except ValueError as error:
    print("scipy: ValueError:", error)
PY

echo "statsmodels $STATSMODELS, scipy $SCIPY:"
seen=$(venv/bin/python correct.py)
printf '%s\n' "$seen"

# Seen on 2026-11-30.
expected='statsmodels rejects: [True, True, False, False]
statsmodels corrects: [nan, nan, nan, nan]
without the NaN: [0.003, 0.015, 0.2]
scipy: ValueError: `ps` must include only numbers between 0 and 1.'
if [ "$seen" != "$expected" ]; then
    echo "this changed"
    exit 1
fi
