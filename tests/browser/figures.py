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


def letters():
    """Which dead letters nobody has dealt with, newest first, of what queue."""
    return db.execute(
        "select id, queue from dead_letter where replayed_at is null and dropped_at is null order by id desc"
    ).fetchall()


def letter(id):
    """What became of a dead letter: how it was dealt with, who noted it, and the same work since."""
    replayed, dropped, queue, key = db.execute(
        "select replayed_at is not null, dropped_at is not null, queue, key from dead_letter where id = ?", [id]
    ).fetchone()
    audits = db.execute("select action from audit_log where subject = 'dead_letter:' || ?", [id]).fetchall()
    jobs = db.execute("select count(*) from job where queue = ? and key = ?", [queue, key]).fetchone()[0]
    again = db.execute(
        "select count(*) from dead_letter where queue = ? and key = ? and id > ?", [queue, key, id]
    ).fetchone()[0]
    return {
        "replayed": bool(replayed), "dropped": bool(dropped),
        "audits": [action for (action,) in audits], "worked_on": jobs + again > 0,
    }


def groups(start, end):
    """Groups detected within the window, in milliseconds."""
    return db.execute(
        "select count(*) from event_group where detect_time >= ? and detect_time < ?", [int(start), int(end)]
    ).fetchone()[0]


answers = {
    "global": portfolio,
    "lots": lambda: list(ledger()[0].values()),
    "trades": lambda: newest(
        "select id from trade_event where is_canonical order by detect_time desc, id desc limit 50"
    ),
    "attempts": attempts,
    "letters": letters,
    "letter": letter,
    "groups": groups,
}
print(json.dumps(answers[name](*words)))
