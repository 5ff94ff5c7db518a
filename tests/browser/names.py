"""Gives everybody and every market in the SQLite file, which nobody may have open, a name that a page is hard put to show."""

import sqlite3
import sys

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
NAMES = [
    "W" * 400,
    "\u202egnimoc er'ew " * 20,
    "</td></table><img src=x onerror=alert(1)><script>alert(2)</script><b style=position:fixed>",
    FAMILY * 40,
    "".join(letter + "\u0300\u0301\u0302\u0489" * 6 for letter in "a name that grows up and down"),
    "\u0647\u0644 \u0633\u064a\u062d\u062f\u062b \u0647\u0630\u0627\u061f " * 12 + "\u2067 and back \u2066",
    "{{ user.label | safe }} ${alert(3)} " * 8,
]


def name(number, length):
    return NAMES[number % len(NAMES)][:length].strip()


db = sqlite3.connect(sys.argv[1])
for table, column, length in [("followed_user", "label", 60), ("market", "question", 300), ("outcome_asset", "outcome", 80)]:
    rows = db.execute(f"select rowid from {table} order by rowid").fetchall()
    db.executemany(
        f"update {table} set {column} = ? where rowid = ?", [(name(n, length), row) for n, (row,) in enumerate(rows)]
    )
db.commit()
