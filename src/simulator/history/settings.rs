//! How much history to write.

use crate::simulator::traders::TraderSettings;

pub const MINUTE_MS: i64 = 60_000;
pub const DAY_MS: i64 = 86_400_000;

/// How much history to write.
#[derive(Debug, Clone, PartialEq)]
pub struct HistorySettings {
    pub days: i64,
    /// How many traders there are, in how many markets, and how often they trade.
    pub traders: TraderSettings,
    /// At least this many assets are held at the end; that many are bought for it.
    pub held_assets: usize,
    /// How often prices are stored: a multiple of a minute.
    pub prices_every_ms: i64,
    /// The prices of so many last days are stored every 30 s, as the running bot stores them before it thins them.
    pub fresh_price_days: i64,
    /// How often holdings are marked: a multiple of a minute. Curves have a point each minute in any case.
    pub marks_every_ms: i64,
    /// Replaces the rate of `traders`, so that the history has at least this much at its end.
    pub totals: Option<Totals>,
    /// Adds hostile names, dead letters, blacklisted markets and changes of configuration.
    pub edge_cases: bool,
}

/// How much a history must have at its end, at least; zero requires nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub attempts: usize,
    pub entries: usize,
}

impl HistorySettings {
    /// Returns the settings of `demo`: a day of three leaders, about 600 fills.
    pub fn day() -> Self {
        Self {
            days: 1,
            traders: TraderSettings { fills_per_second: 600.0 / 86_400.0, leaders: 3, markets: 24 },
            held_assets: 0,
            prices_every_ms: 10 * MINUTE_MS,
            fresh_price_days: 0,
            marks_every_ms: MINUTE_MS,
            totals: None,
            edge_cases: false,
        }
    }

    /// Returns thirty days of three leaders, for measurements on a large database. Prices are stored every ten minutes.
    /// Every half minute would be forty million rows, which show nothing more about what grows with history.
    pub fn month(held_assets: usize) -> Self {
        let traders = TraderSettings { markets: 120, ..Self::day().traders };
        Self { days: 30, traders, held_assets, marks_every_ms: 10 * MINUTE_MS, ..Self::day() }
    }

    /// Returns settings with these totals and with all edge cases that are hard for a page. It has the prices that a bot
    /// holds that ran all that time: every 30 s for seven days, every five minutes before (spec 9).
    pub fn bulk(days: i64, leaders: usize, held_assets: usize, totals: Totals) -> Self {
        let traders = TraderSettings { leaders, ..Self::day().traders };
        Self {
            days,
            traders,
            totals: Some(totals),
            edge_cases: true,
            prices_every_ms: 5 * MINUTE_MS,
            fresh_price_days: 7,
            ..Self::month(held_assets)
        }
    }
}
