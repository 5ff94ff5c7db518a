"""Counts what the pages show from the SQLite file, without the program's own code."""

import json
import sqlite3
import sys

file, name, *words = sys.argv[1:]
db = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
GLOBAL = "portfolio_scope = 'EXEC_GLOBAL'"


def ledger():
    """Closed lots and their cash, and what is held, lot by lot."""
    held, cash, closed, last = {}, {}, [], None
    for asset, leader, kind, shares, money, ref in db.execute(
        f"""select asset_id, attributed_user_id, entry_type, share_delta_micros, cash_delta_micros, ref_id
            from ledger_entry where {GLOBAL} and asset_id is not null order by id"""
    ):
        lot = (asset, leader)
        if kind == "FEE":
            if last and last[:2] == (lot, ref):
                closed[-1] += money
            elif lot in held:
                cash[lot] += money
            continue
        held[lot] = held.get(lot, 0) + shares
        cash[lot] = cash.get(lot, 0) + money
        if held[lot] == 0:
            closed.append(cash.pop(lot))
            del held[lot]
            last = (lot, ref)
    return held, closed


def newest(query, *values):
    return [row[0].hex() for row in db.execute(query, values)]


def attempts(user, decision, reason):
    return newest(
        """select id from copy_attempt where (? = '' or followed_user_id = ?) and (? = '' or decision = ?)
           and (? = '' or ',' || reason_codes || ',' like '%,' || ? || ',%') order by created_at desc, id desc limit 50""",
        user, user or 0, decision, decision, reason, reason,
    )


def portfolio():
    equity, cash, exposure, unrealized, realized = db.execute(
        f"""select equity_micros, cash_micros, exposure_micros, unrealized_pnl_micros, realized_pnl_micros
            from portfolio_snapshot where {GLOBAL} order by bucket_time desc limit 1"""
    ).fetchone()
    _, closed = ledger()
    return {
        "equity": equity, "cash": cash, "exposure": exposure, "pnl": unrealized + realized,
        "closed": len(closed), "won": sum(1 for cash in closed if cash > 0),
    }


answers = {
    "global": portfolio,
    "lots": lambda: list(ledger()[0].values()),
    "trades": lambda: newest(
        "select id from trade_event where is_canonical order by detect_time desc, id desc limit 50"
    ),
    "attempts": attempts,
}
print(json.dumps(answers[name](*words)))
