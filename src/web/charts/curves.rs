//! The equity curves of portfolios: `/api/series/portfolio` and `/api/series/user/{id}`.

use actix_web::web::{Data, Path, Query};
use serde::Deserialize;

use super::series::{Chart, Line, Pane, Range, Role, Span, Unit};
use crate::clock::Clock;
use crate::db::{CurvePoint, Db, DbError};
use crate::domain::accounting::ledger::{PortfolioId, PortfolioScope};
use crate::domain::config::effective::effective;
use crate::domain::money::ids::FollowedUserId;
use crate::domain::money::units::{Bps, Timestamp, UsdcMicros};
use crate::web::server::error::WebError;
use crate::web::server::json::Json;
use crate::web::views::pnl::share_of;

/// `?range=24h`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RangeQuery {
    #[serde(default)]
    range: Range,
}

/// `?range=24h&of=global`: `global`, or `EXEC_USER:7`, `SHADOW_USER:7`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortfolioQuery {
    #[serde(default)]
    range: Range,
    of: Option<String>,
}

/// `GET /api/series/portfolio`: equity, its lowest and highest value between two points, and the drawdown.
///
/// # Errors
/// [`WebError::Mistake`] for an unknown portfolio, [`WebError::Ours`].
pub async fn portfolio(
    db: Data<Db>,
    clock: Data<Clock>,
    query: Query<PortfolioQuery>,
) -> Result<Json<Chart>, WebError> {
    let of = match query.of.as_deref() {
        None | Some("global") => PortfolioId::ExecGlobal,
        Some(text) => text.parse().map_err(|_| WebError::Mistake(format!("`of`: `{text}` is not a portfolio")))?,
    };
    Ok(Json(equity_chart(&db, of, query.range, clock.now()).await?))
}

/// `GET /api/series/user/{id}`: the result of the copies, the result of the leader's own trades at the copied share of
/// their size, both since the start of the range, and the gap between the two.
///
/// # Errors
/// [`WebError::Ours`] when the database does not answer.
pub async fn user(
    db: Data<Db>,
    clock: Data<Clock>,
    user: Path<FollowedUserId>,
    query: Query<RangeQuery>,
) -> Result<Json<Chart>, WebError> {
    Ok(Json(tracking_chart(&db, *user, query.range, clock.now()).await?))
}

async fn equity_chart(db: &Db, of: PortfolioId, range: Range, now: Timestamp) -> Result<Chart, DbError> {
    let span = range.span(now, first_of(db, range, of).await?);
    let points = db.curve(of, (span.from, span.to), span.stretch_ms).await?;
    let since =
        db.peak_reset(of).await?.map_or((Timestamp::EPOCH, UsdcMicros::ZERO), |reset| (reset.at, reset.equity_micros));
    let before = db.peak_within(of, since.0, span.from.plus_millis(-1)).await?.unwrap_or(since.1).max(since.1);
    let equity = Pane {
        unit: Unit::UsdcMicros,
        lines: vec![
            line("Equity", Role::Main, &points, |point| Some(point.equity)),
            line("Low", Role::Low, &points, |point| Some(point.low)),
            line("High", Role::High, &points, |point| Some(point.high)),
        ],
    };
    let drawdown = Line { label: "Drawdown", role: Role::Fall, values: falls(&points, before) };
    Ok(chart(range, span, &points, vec![equity, Pane { unit: Unit::Bps, lines: vec![drawdown] }]))
}

/// Returns the drawdown at the lowest equity of each point: a negative share of the peak, in bps. `before` is the peak
/// before the first point.
fn falls(points: &[CurvePoint], before: UsdcMicros) -> Vec<Option<i64>> {
    let mut peak = before;
    let fall = |point: &CurvePoint| {
        let value = point.low.minus(peak).ok().and_then(|fall| Bps::of(fall.0.min(0), peak.0).ok()).map(|bps| bps.0);
        peak = peak.max(point.high);
        value
    };
    points.iter().map(fall).collect()
}

async fn tracking_chart(db: &Db, user: FollowedUserId, range: Range, now: Timestamp) -> Result<Chart, DbError> {
    let (copy, shadow) = (PortfolioId::ExecUser(user), PortfolioId::ShadowUser(user));
    let span = range.span(now, first_of(db, range, copy).await?);
    let copies = db.curve(copy, (span.from, span.to), span.stretch_ms).await?;
    let shadows = db.curve(shadow, (span.from, span.to), span.stretch_ms).await?;
    let directory = db.directory().await?;
    let config = effective(&directory.config, directory.overrides.get(&user), PortfolioScope::ExecUser);
    let share = config.sizing.copy_pct_notional;
    let executable = from_start(&copies);
    let by_time: std::collections::BTreeMap<Timestamp, i64> =
        shadows.iter().map(|point| point.time).zip(from_start(&shadows)).collect();
    let scaled: Vec<Option<i64>> =
        copies.iter().map(|point| by_time.get(&point.time).and_then(|pnl| share_of(*pnl, share))).collect();
    let gap = executable.iter().zip(&scaled).map(|(made, could)| could.and_then(|could| made.checked_sub(could)));
    let gap = Line { label: "Tracking gap", role: Role::Gap, values: gap.collect() };
    let compared = Pane {
        unit: Unit::UsdcMicros,
        lines: vec![
            Line { label: "Copies", role: Role::Main, values: executable.into_iter().map(Some).collect() },
            Line { label: "Leader at the copied share", role: Role::Second, values: scaled },
        ],
    };
    Ok(chart(range, span, &copies, vec![compared, Pane { unit: Unit::UsdcMicros, lines: vec![gap] }]))
}

/// Returns the equity as the change since the first point.
fn from_start(points: &[CurvePoint]) -> Vec<i64> {
    let start = points.first().map_or(0, |point| point.equity.0);
    points.iter().map(|point| point.equity.0.saturating_sub(start)).collect()
}

/// Returns the time of the first stored point, if the range needs it.
async fn first_of(db: &Db, range: Range, of: PortfolioId) -> Result<Option<Timestamp>, DbError> {
    if range == Range::All { db.curve_start(of).await } else { Ok(None) }
}

fn line(
    label: &'static str,
    role: Role,
    points: &[CurvePoint],
    value: impl Fn(&CurvePoint) -> Option<UsdcMicros>,
) -> Line {
    Line { label, role, values: points.iter().map(|point| value(point).map(|amount| amount.0)).collect() }
}

fn chart(range: Range, span: Span, points: &[CurvePoint], panes: Vec<Pane>) -> Chart {
    Chart {
        range,
        from: span.from,
        to: span.to,
        stretch_seconds: span.stretch_ms / 1_000,
        times: points.iter().map(|point| point.time.seconds()).collect(),
        panes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(minute: i64, equity: i64, low: i64, high: i64) -> CurvePoint {
        CurvePoint {
            time: Timestamp::from_millis(minute * 60_000),
            equity: UsdcMicros(equity),
            low: UsdcMicros(low),
            high: UsdcMicros(high),
            exposure: UsdcMicros::ZERO,
        }
    }

    #[test]
    fn a_drawdown_counts_from_the_highest_equity_before_it_even_outside_the_range() {
        let points = [point(0, 1_000, 950, 1_000), point(1, 1_200, 1_000, 1_250), point(2, 1_000, 1_000, 1_100)];
        assert_eq!(falls(&points, UsdcMicros(1_000)), [Some(-500), Some(0), Some(-2_000)]);
        assert_eq!(falls(&points, UsdcMicros(2_000)), [Some(-5_250), Some(-5_000), Some(-5_000)]);
        assert_eq!(falls(&[point(0, 0, 0, 0)], UsdcMicros::ZERO), [Some(0)], "a peak of zero has no share");
    }

    #[test]
    fn a_result_is_counted_from_the_first_point() {
        assert_eq!(from_start(&[point(0, 500, 0, 0), point(1, 480, 0, 0)]), [0, -20]);
    }
}
