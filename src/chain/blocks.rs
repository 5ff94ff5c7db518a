//! The newest blocks: the time of each, the fills that wait for a block's time, and the blocks that a reorganisation
//! replaced.
//!
//! In    heads, and fills from logs. Logs and heads of one block come in any order.
//! Out   fills with the time of their block; a fill once more, as `removed`, when another block has replaced its block.
//!
//! Most nodes withdraw logs themselves with `removed: true`; some never do. A head with the same number and another
//! hash means the same, so we accept either. Reporting a removal twice is harmless.

use std::collections::{BTreeMap, BTreeSet};

use super::order_filled::ChainFill;
use crate::domain::money::units::Timestamp;

/// Reorganisations of Polygon are a few blocks deep. A deeper one is corrected only by the canonical source.
const BLOCKS_KEPT: usize = 64;

/// A block as a node describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub number: u64,
    pub hash: Option<String>,
    pub time: Timestamp,
}

#[derive(Debug, Default)]
pub struct Blocks {
    known: BTreeMap<u64, Block>,
    /// Fills that wait for a time, in the order of their logs.
    undated: Vec<ChainFill>,
    /// Numbers of the blocks that the node was asked for.
    asked: BTreeSet<u64>,
    /// Fills of the newest blocks that were reported and not withdrawn.
    reported: BTreeMap<u64, Vec<ChainFill>>,
}

impl Blocks {
    /// Takes a fill. Returns it when it can be reported now, and the number of the block to ask for when its time is
    /// unknown.
    pub fn fill(&mut self, mut fill: ChainFill) -> (Option<ChainFill>, Option<u64>) {
        let number = fill.block_number;
        // While a fill of this block waits, later ones wait behind it: the removal of a log must not overtake the log.
        if self.undated.iter().any(|waiting| waiting.block_number == number) {
            self.undated.push(fill);
            return (None, None);
        }
        fill.block_time = fill.block_time.or_else(|| self.time_of(&fill));
        // The removal of a log needs no time.
        if fill.block_time.is_some() || fill.removed {
            return (Some(self.report(fill)), None);
        }
        self.undated.push(fill);
        (None, self.asked.insert(number).then_some(number))
    }

    /// Takes a new head. Returns the removals of the fills that it replaces, then the fills that it gives a time.
    pub fn head(&mut self, block: Block) -> Vec<ChainFill> {
        let mut fills = Vec::new();
        if let (Some(hash), Some(reported)) = (&block.hash, self.reported.get_mut(&block.number)) {
            let replaced = reported.extract_if(.., |fill| fill.place.block_hash != *hash);
            fills.extend(replaced.map(|fill| ChainFill { removed: true, ..fill }));
        }
        fills.extend(self.answer(block));
        fills
    }

    /// Takes a block that was asked for; returns the fills that it gives a time. It replaces no block: one address may
    /// lead to several nodes, and a node that lags answers with the block that was just replaced by that of the log.
    pub fn answer(&mut self, block: Block) -> Vec<ChainFill> {
        let released = self.release(|fill| fill.block_number == block.number, Some(block.time));
        self.asked.remove(&block.number);
        self.known.insert(block.number, block);
        while self.known.len() > BLOCKS_KEPT {
            self.known.pop_first();
        }
        released
    }

    /// Returns the fills that still wait, without a time: the node does not answer with it.
    pub fn wait_no_longer(&mut self) -> Vec<ChainFill> {
        self.asked.clear();
        self.release(|_| true, None)
    }

    /// Returns whether a fill waits for a time.
    pub fn is_waiting(&self) -> bool {
        !self.undated.is_empty()
    }

    fn time_of(&self, fill: &ChainFill) -> Option<Timestamp> {
        let block = self.known.get(&fill.block_number)?;
        // Another hash: the fill belongs to a fork whose head we have not seen.
        let other = block.hash.as_ref().is_some_and(|hash| *hash != fill.place.block_hash);
        (!other).then_some(block.time)
    }

    /// Returns the waiting fills that match, with `time`. The time may come from a block of another fork at the same
    /// height: it is within seconds of the right one, which is closer than our clock.
    fn release(&mut self, which: impl Fn(&ChainFill) -> bool, time: Option<Timestamp>) -> Vec<ChainFill> {
        let released: Vec<ChainFill> = self.undated.extract_if(.., |fill| which(fill)).collect();
        released
            .into_iter()
            .map(|fill| ChainFill { block_time: fill.block_time.or(time), ..fill })
            .map(|fill| self.report(fill))
            .collect()
    }

    /// Remembers the fill as reported, or forgets it when it is a removal.
    fn report(&mut self, fill: ChainFill) -> ChainFill {
        let reported = self.reported.entry(fill.block_number).or_default();
        reported.retain(|known| known.place != fill.place);
        if !fill.removed {
            reported.push(fill.clone());
        }
        while self.reported.len() > BLOCKS_KEPT {
            self.reported.pop_first();
        }
        fill
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::chain::order_filled::LogPlace;
    use crate::domain::events::event::Side;
    use crate::domain::money::ids::{AssetId, Wallet};
    use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};

    pub(crate) fn fill(number: u64, hash: &str, log_index: i64) -> ChainFill {
        ChainFill {
            place: LogPlace { tx_hash: "0xab".to_owned(), log_index, block_hash: hash.to_owned() },
            block_number: number,
            block_time: None,
            wallet: Wallet::parse("0xd9d1b59c93188b6972c614f81a09c49d27d22df7").unwrap(),
            is_taker: true,
            asset: AssetId::parse("1234").unwrap(),
            side: Side::Buy,
            price: PriceMicros::new(500_000).unwrap(),
            shares: ShareMicros(10_000_000),
            notional: UsdcMicros(5_000_000),
            fee: UsdcMicros(0),
            removed: false,
        }
    }

    fn block(number: u64, hash: &str) -> Block {
        let time = Timestamp::from_seconds(i64::try_from(number).unwrap()).unwrap();
        Block { number, hash: Some(hash.to_owned()), time }
    }

    fn places(fills: &[ChainFill]) -> Vec<(i64, bool, Option<i64>)> {
        fills.iter().map(|fill| (fill.place.log_index, fill.removed, fill.block_time.map(Timestamp::seconds))).collect()
    }

    #[test]
    fn a_fill_whose_block_is_known_is_reported_at_once() {
        let mut blocks = Blocks::default();
        assert!(blocks.head(block(7, "0xa")).is_empty());
        let (fill, ask) = blocks.fill(fill(7, "0xa", 1));
        assert_eq!((places(&[fill.unwrap()]), ask), (vec![(1, false, Some(7))], None));
    }

    #[test]
    fn a_block_is_asked_for_once_and_dates_all_its_fills_in_order() {
        let mut blocks = Blocks::default();
        assert_eq!(blocks.fill(fill(7, "0xa", 1)), (None, Some(7)));
        assert_eq!(blocks.fill(fill(7, "0xa", 2)), (None, None));
        assert_eq!(blocks.fill(fill(8, "0xb", 3)), (None, Some(8)));
        assert_eq!(places(&blocks.head(block(7, "0xa"))), [(1, false, Some(7)), (2, false, Some(7))]);
        assert!(blocks.is_waiting());
        assert_eq!(places(&blocks.head(block(8, "0xb"))), [(3, false, Some(8))]);
        assert!(!blocks.is_waiting());
    }

    #[test]
    fn the_removal_of_a_waiting_log_comes_after_the_log() {
        let mut blocks = Blocks::default();
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(blocks.fill(ChainFill { removed: true, ..fill(7, "0xa", 1) }), (None, None));
        assert_eq!(places(&blocks.head(block(7, "0xa"))), [(1, false, Some(7)), (1, true, Some(7))]);
    }

    #[test]
    fn a_fill_is_reported_without_a_time_when_the_node_answers_without_one() {
        let mut blocks = Blocks::default();
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(places(&blocks.wait_no_longer()), [(1, false, None)]);
        assert_eq!(blocks.fill(fill(7, "0xa", 2)), (None, Some(7)), "asked for once more");
    }

    #[test]
    fn another_head_of_the_same_number_withdraws_the_fills_of_the_old_block() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(blocks.fill(fill(7, "0xb", 2)), (None, Some(7)), "of a fork whose head is unknown");
        assert!(blocks.head(block(6, "0xc")).is_empty(), "another number withdraws nothing");
        assert_eq!(places(&blocks.head(block(7, "0xb"))), [(1, true, Some(7)), (2, false, Some(7))]);
        assert!(blocks.head(block(7, "0xb")).is_empty(), "once");
    }

    #[test]
    fn the_answer_of_a_node_that_lags_withdraws_nothing() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xb", 1));
        assert_eq!(places(&blocks.answer(block(7, "0xa"))), [(1, false, Some(7))]);
        assert!(blocks.head(block(7, "0xb")).is_empty());
    }

    #[test]
    fn a_log_that_the_node_withdrew_is_not_withdrawn_again() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xa", 1));
        let (removal, _) = blocks.fill(ChainFill { removed: true, ..fill(7, "0xa", 1) });
        assert!(removal.unwrap().removed);
        assert!(blocks.head(block(7, "0xb")).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut blocks = Blocks::default();
        for number in 0..1_000 {
            blocks.head(block(number, "0xa"));
            blocks.fill(fill(number, "0xa", 1));
        }
        assert_eq!((blocks.known.len(), blocks.reported.len()), (BLOCKS_KEPT, BLOCKS_KEPT));
    }
}
