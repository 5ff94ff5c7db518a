//! When a leader's rows are read again, whatever the checkpoints say (spec 3.1).
//!
//! In    the number of leaders, how often they are polled, and how many requests a read takes.
//! Out   by how much all cadences are stretched so that reading stays within half of the request budget.

use crate::domain::money::text_enum::text_enum;

/// Who asks for a span of a leader's time, from the shortest span to the longest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reader {
    /// The regular poll, from the checkpoints on.
    Poll,
    /// A search for a transaction of the chain, or a span that a job names.
    Asked,
    /// The last two minutes, each minute.
    Recent,
    /// The last hour, every ten minutes.
    Hour,
    /// The last 24 hours, every hour.
    Day,
}
text_enum!(Reader { Poll => "poll", Asked => "asked", Recent => "recent", Hour => "hour", Day => "day" });

impl Reader {
    /// The readers of a fixed span, the longest first.
    pub const AGAIN: [Self; 3] = [Self::Day, Self::Hour, Self::Recent];

    /// Returns how far back the reader reads, in milliseconds; `None` for a reader without a fixed span.
    pub const fn span_ms(self) -> Option<i64> {
        match self {
            Self::Poll | Self::Asked => None,
            Self::Recent => Some(120_000),
            Self::Hour => Some(3_600_000),
            Self::Day => Some(86_400_000),
        }
    }

    /// Returns how often the reader reads under a light load, in milliseconds; `None` for a reader without a fixed span.
    pub const fn every_ms(self) -> Option<i64> {
        match self {
            Self::Poll | Self::Asked => None,
            Self::Recent => Some(60_000),
            Self::Hour => Some(600_000),
            Self::Day => Some(3_600_000),
        }
    }
}

/// Half of the requests that may be sent to Polymarket, per second (spec 3.1, 3.3).
pub const READS_PER_SECOND: i64 = 10;

/// Returns the factor, in thousandths, by which every cadence is stretched: 1000 while all reads of `leaders` leaders
/// fit into [`READS_PER_SECOND`]. `requests` is how many requests, in thousandths, a read of each reader takes.
pub fn stretch_permille(leaders: i64, poll_every_ms: i64, requests: impl Fn(Reader) -> i64) -> i64 {
    let every = |reader: Reader| reader.every_ms().unwrap_or(poll_every_ms).max(1);
    let readers = Reader::AGAIN.into_iter().chain([Reader::Poll]);
    // In billionths of a request per second, so that little is lost by division.
    let load = readers.fold(0_i128, |sum, reader| {
        let billionths = i128::from(requests(reader).max(1)).saturating_mul(1_000_000_000);
        let per_leader = billionths.checked_div(i128::from(every(reader))).unwrap_or(billionths);
        sum.saturating_add(per_leader.saturating_mul(i128::from(leaders.max(0))))
    });
    let budget = i128::from(READS_PER_SECOND).saturating_mul(1_000_000_000);
    let permille = load.saturating_mul(1_000).checked_div(budget).unwrap_or(1_000);
    i64::try_from(permille.max(1_000)).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cadences_are_stretched_in_proportion_when_reading_takes_more_than_half_of_the_budget() {
        let check = |leaders: i64, poll_every_ms: i64, requests: i64, expected: i64| {
            assert_eq!(stretch_permille(leaders, poll_every_ms, |_| requests), expected, "{leaders} leaders");
        };
        check(0, 30_000, 1_000, 1_000);
        check(3, 30_000, 1_000, 1_000);
        check(192, 30_000, 1_000, 1_000);
        // 0.0519 requests a second for each leader.
        check(193, 30_000, 1_000, 1_002);
        check(1_000, 30_000, 1_000, 5_194);
        check(1_000, 30_000, 2_000, 10_388);
        check(1_000, 1, 1_000, 100_001_861);
    }

    #[test]
    fn a_longer_span_is_read_less_often() {
        for two in Reader::AGAIN.windows(2) {
            assert!(two[0].span_ms() > two[1].span_ms() && two[0].every_ms() > two[1].every_ms() && two[0] > two[1]);
        }
    }
}
