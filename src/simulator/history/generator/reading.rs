//! The leaders' rows, read with the bot's own parser.

use std::collections::HashMap;

use super::HistoryGenerator;
use crate::domain::events::event::{ActivityEvent, TradeEvent};
use crate::domain::money::ids::{FollowedUserId, Wallet};
use crate::domain::money::units::Timestamp;
use crate::polymarket::{Window, WireRow};
use crate::simulator::history::error::HistoryError;
use crate::simulator::history::rate::Period;
use crate::simulator::rng::noise;
use crate::simulator::state::exchange::Exchange;

/// The longest time from a row's first appearance until we detect it. It is short, since the chain has announced the fill
/// already.
const DETECTED_AFTER_MS: f64 = 900.0;

/// An event with the time of its detection.
pub enum DetectedEvent {
    Trade(TradeEvent),
    Activity(ActivityEvent),
}

impl DetectedEvent {
    pub fn detect_time(&self) -> Timestamp {
        match self {
            Self::Trade(trade) => trade.detect_time,
            Self::Activity(activity) => activity.detect_time,
        }
    }
}

impl HistoryGenerator {
    /// Reads the leaders' rows of a period with the bot's own parser.
    ///
    /// # Errors
    /// [`HistoryError::Row`] when the parser refuses a row.
    pub fn read(&mut self, exchange: &Exchange, period: &Period) -> Result<(), HistoryError> {
        let to = if period.last { i64::MAX } else { period.to.seconds() };
        for (user, wallet) in self.leaders.clone() {
            let events = self.read_wallet(exchange, user, &wallet, (period.from.seconds(), to))?;
            self.events.extend(events);
        }
        // Some events of the period before may not be ingested yet.
        self.events.make_contiguous().sort_by_key(DetectedEvent::detect_time);
        Ok(())
    }

    fn read_wallet(
        &mut self,
        exchange: &Exchange,
        user: FollowedUserId,
        wallet: &Wallet,
        (from, to): (i64, i64),
    ) -> Result<Vec<DetectedEvent>, HistoryError> {
        // Rows of one transaction are shown, and so detected, together.
        let mut shown_at: HashMap<String, Timestamp> = HashMap::new();
        let mut texts = Vec::new();
        for row in exchange.rows_between(wallet, from, to) {
            let delay = noise(exchange.seed, row.visible_at.millis(), 77) * DETECTED_AFTER_MS;
            shown_at.entry(row.tx_hash.clone()).or_insert(row.visible_at.plus_millis(100 + delay as i64));
            if row.kind == "CONVERSION" {
                self.conversions.insert(row.tx_hash.clone(), row.share_changes.clone());
            }
            texts.push(exchange.row_text(row, row.complete_at));
        }
        let window = Window::of(texts.iter().map(|text| WireRow::parse(text)), wallet);
        if let Some(bad) = window.bad.into_iter().next() {
            return Err(HistoryError::Row { reason: bad.reason, text: bad.text });
        }
        let detected_at = |tx: &str, event: Timestamp| shown_at.get(tx).copied().unwrap_or(event);
        let trades = window.trades.into_iter().map(|draft| {
            let at = detected_at(&draft.tx_hash, draft.event_time);
            DetectedEvent::Trade(draft.into_event(user, wallet.clone(), at))
        });
        let activities = window.activities.into_iter().map(|draft| {
            let at = detected_at(&draft.payload.tx_hash, draft.event_time);
            DetectedEvent::Activity(draft.into_event(user, wallet.clone(), at))
        });
        Ok(trades.chain(activities).collect())
    }
}
