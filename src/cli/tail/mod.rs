//! `polymarketspy tail`: shows recorded rows in a terminal, read from the database beside a running bot.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::signal::unix::{Signal, SignalKind, signal};

use anyhow::Context;

use super::database::open;
use super::terminal::{has_colours, json, say};
use super::users::one_user;
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::{AttemptFilter, Cursor, Db, DbError, TradeFilter};
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::Timestamp;
use crate::web::{AttemptView, TradeView};

mod lines;
mod seen_window;

use seen_window::{SeenWindow, Unseen};

const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Rows read at a time.
const PAGE: usize = 500;
/// Rows of each table held in memory at a time; a long `--since` is shown in several such portions.
const AT_ONCE: usize = 1_000;
/// The limit of `--since`: 30 days.
const SINCE_MS_MAX: i64 = 30 * 86_400_000;

pub const HELP: &str = "Times are UTC, prices in cents, money in USDC. Colours appear only in a terminal, and never when NO_COLOR \
is set. --json prints one object per line: `table` names its table (trade_event, copy_attempt), the other fields are \
its columns and the names of trader, market and outcome.\n\n\
Exit codes: 0 ended by Ctrl-C or because the reader closed the pipe, 2 failed.";

#[derive(Args)]
pub struct TailArguments {
    /// Only this trader: id, wallet or label.
    #[arg(long, value_name = "TRADER")]
    user: Option<String>,
    /// Only copy attempts.
    #[arg(long, conflicts_with = "trades")]
    attempts: bool,
    /// Only leaders' trades.
    #[arg(long)]
    trades: bool,
    /// Starts with the rows recorded since then, such as 90s, 10m, 2h or 1d; without it only new rows are shown.
    #[arg(long, value_name = "SPAN", value_parser = parse_span)]
    since: Option<i64>,
    /// Prints one JSON object per line.
    #[arg(long)]
    json: bool,
}

/// A row as JSON shows it.
#[derive(Serialize)]
#[serde(tag = "table", rename_all = "snake_case")]
enum Row {
    TradeEvent(TradeView),
    CopyAttempt(AttemptView),
}

/// The tables that are followed, with the rows shown so far. `None` for a table that was not asked for.
struct Tail<'a> {
    db: &'a Db,
    user: Option<FollowedUserId>,
    trades: Option<SeenWindow>,
    attempts: Option<SeenWindow>,
}

pub async fn tail(settings: &Settings, arguments: &TailArguments) -> anyhow::Result<ExitCode> {
    // Before anything else, so that the command also ends well when the signal comes at once.
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let db = open(settings).await?;
    let mut tail = Tail::begin(&db, arguments).await?;
    let has_colours = has_colours();
    let mut is_open = arguments.json || say(lines::HEADS)?;
    let mut is_failing = false;
    while is_open {
        let mut has_more = false;
        match tail.fresh().await {
            Ok((rows, more)) => {
                has_more = more;
                if std::mem::take(&mut is_failing) {
                    eprintln!("the database is readable again");
                }
                for row in rows {
                    let line = if arguments.json { json(&row, false)? } else { lines::line(&row, has_colours) };
                    is_open = is_open && say(&line)?;
                }
            }
            // Nothing is lost: rows recorded meanwhile are shown afterwards.
            Err(error) if error.is_transient() => {
                if !std::mem::replace(&mut is_failing, true) {
                    eprintln!("cannot read the database, trying again: {error}");
                }
            }
            Err(error) => return Err(error.into()),
        }
        let pause = if has_more { Duration::ZERO } else { POLL_INTERVAL };
        if ended(&mut interrupt, &mut terminate, pause).await {
            break;
        }
    }
    db.close().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits until the next poll; returns true when a signal came instead.
async fn ended(interrupt: &mut Signal, terminate: &mut Signal, pause: Duration) -> bool {
    tokio::select! {
        _ = interrupt.recv() => true,
        _ = terminate.recv() => true,
        () = tokio::time::sleep(pause) => false,
    }
}

impl<'a> Tail<'a> {
    async fn begin(db: &'a Db, arguments: &TailArguments) -> anyhow::Result<Self> {
        let user = match &arguments.user {
            Some(trader) => Some(one_user(db, trader.trim()).await?.id),
            None => None,
        };
        let since = arguments.since.map(|span| Clock::System.now().plus_millis(-span));
        let (mut trades, mut attempts) = (None, None);
        if !arguments.attempts {
            let newest = db.newest_trade_cursor().await?;
            trades = Some(SeenWindow::begin(newest, since, async |from| db.trade_cursors(from).await).await?);
        }
        if !arguments.trades {
            let newest = db.newest_attempt_cursor().await?;
            attempts = Some(SeenWindow::begin(newest, since, async |from| db.attempt_cursors(from).await).await?);
        }
        Ok(Self { db, user, trades, attempts })
    }

    /// Returns the oldest unseen rows in order of time, and whether there are more.
    ///
    /// # Errors
    /// [`DbError`]; then no row counts as shown.
    async fn fresh(&mut self) -> Result<(Vec<Row>, bool), DbError> {
        let mut trades = match &self.trades {
            Some(window) => window.unseen(self.db.trade_cursors(window.from()).await?),
            None => Unseen::default(),
        };
        let mut attempts = match &self.attempts {
            Some(window) => window.unseen(self.db.attempt_cursors(window.from()).await?),
            None => Unseen::default(),
        };
        // Cut both tables at the earlier end, so that the rows of the two stay in order of time.
        let cut = [trades.cut(AT_ONCE), attempts.cut(AT_ONCE)].into_iter().flatten().min();
        if let Some(until) = cut {
            trades.keep_until(until);
            attempts.keep_until(until);
        }
        let mut rows: Vec<(Timestamp, Row)> = Vec::new();
        for view in self.trades_of(&trades).await? {
            rows.push((view.detect_time, Row::TradeEvent(view)));
        }
        for view in self.attempts_of(&attempts).await? {
            rows.push((view.created_at, Row::CopyAttempt(view)));
        }
        for (window, unseen) in [(&mut self.trades, trades), (&mut self.attempts, attempts)] {
            if let Some(window) = window {
                window.mark_seen(unseen);
            }
        }
        // The sort is stable: at the same time, a trade comes before its copy attempts.
        rows.sort_by_key(|(at, _)| *at);
        Ok((rows.into_iter().map(|(_, row)| row).collect(), cut.is_some()))
    }

    async fn trades_of(&self, unseen: &Unseen) -> Result<Vec<TradeView>, DbError> {
        let Some((from, to)) = unseen.span() else { return Ok(Vec::new()) };
        let filter = TradeFilter { user: self.user, from: Some(from), to: Some(to), ..TradeFilter::default() };
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.db.trades_page(&filter, cursor, PAGE).await?;
            let is_unseen = |trade: &crate::domain::events::event::TradeEvent| {
                unseen.has(Cursor { at: trade.detect_time, id: trade.id.0 })
            };
            found.extend(page.rows.into_iter().map(|listed| listed.trade).filter(is_unseen));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.reverse();
        TradeView::of(self.db, &found.iter().collect::<Vec<_>>()).await
    }

    async fn attempts_of(&self, unseen: &Unseen) -> Result<Vec<AttemptView>, DbError> {
        let Some((from, to)) = unseen.span() else { return Ok(Vec::new()) };
        let filter = AttemptFilter { user: self.user, from: Some(from), to: Some(to), ..AttemptFilter::default() };
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.db.attempts_page(&filter, cursor, PAGE).await?;
            let rows = page.rows.into_iter();
            found.extend(rows.filter(|row| unseen.has(Cursor { at: row.attempt.created_at, id: row.attempt.id.0 })));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        found.reverse();
        AttemptView::of_listed(self.db, &found).await
    }
}

/// Parses `90s`, `10m`, `2h` or `1d` into milliseconds.
fn parse_span(text: &str) -> Result<i64, String> {
    let wrong = || format!("`{text}` should be a number followed by s, m, h or d, up to 30d");
    let unit_ms = match text.chars().last() {
        Some('s') => 1_000,
        Some('m') => 60_000,
        Some('h') => 3_600_000,
        Some('d') => 86_400_000,
        _ => return Err(wrong()),
    };
    let digits = &text[..text.len() - 1];
    let number: i64 = digits.parse().map_err(|_| wrong())?;
    let millis = number.checked_mul(unit_ms).ok_or_else(wrong)?;
    if (0..=SINCE_MS_MAX).contains(&millis) { Ok(millis) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit_and_an_end() {
        assert_eq!(parse_span("90s"), Ok(90_000));
        assert_eq!(parse_span("10m"), Ok(600_000));
        assert_eq!((parse_span("2h"), parse_span("30d")), (Ok(7_200_000), Ok(SINCE_MS_MAX)));
        for wrong in ["", "10", "m", "-5m", "31d", "1.5h", "10 m", "9223372036854775807d", "ten m", "5é"] {
            assert!(parse_span(wrong).unwrap_err().contains("should be a number"), "{wrong}");
        }
    }
}
