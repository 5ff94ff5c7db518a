//! The newest blocks: when each was made, which fills wait to learn that, and which blocks were replaced by others.
//!
//! In    heads, and fills as their logs come. Logs and heads of one block come in any order.
//! Out   fills with their block's time; fills once more as `removed` when another block took the place of theirs.
//!
//! Most nodes take logs back themselves with `removed: true`; some never do. A head of the same number and another hash
//! says the same, so we believe either. Saying it twice is harmless.

use std::collections::{BTreeMap, BTreeSet};

use super::order_filled::ChainFill;
use crate::domain::money::units::Timestamp;

/// Reorganisations of Polygon are a few blocks deep; one that is deeper is left to the canonical source.
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
    /// Fills without a time, in the order their logs came.
    undated: Vec<ChainFill>,
    /// Blocks that the node was asked about.
    asked: BTreeSet<u64>,
    /// What was said of the newest blocks and not taken back.
    said: BTreeMap<u64, Vec<ChainFill>>,
}

impl Blocks {
    /// Takes a fill: what can be said of it now, and the block to ask for when its time is not known.
    pub fn fill(&mut self, mut fill: ChainFill) -> (Option<ChainFill>, Option<u64>) {
        let number = fill.block_number;
        // A log that is taken back must not overtake itself.
        if self.undated.iter().any(|waiting| waiting.block_number == number) {
            self.undated.push(fill);
            return (None, None);
        }
        fill.block_time = fill.block_time.or_else(|| self.time_of(&fill));
        // Which log is taken back does not depend on its time.
        if fill.block_time.is_some() || fill.removed {
            return (Some(self.saying(fill)), None);
        }
        self.undated.push(fill);
        (None, self.asked.insert(number).then_some(number))
    }

    /// Takes a new head: what it dates, and what it replaces.
    pub fn head(&mut self, block: Block) -> Vec<ChainFill> {
        let mut says = Vec::new();
        if let (Some(hash), Some(said)) = (&block.hash, self.said.get_mut(&block.number)) {
            let replaced = said.extract_if(.., |fill| fill.place.block_hash != *hash);
            says.extend(replaced.map(|fill| ChainFill { removed: true, ..fill }));
        }
        says.extend(self.answer(block));
        says
    }

    /// Takes a block that was asked for. It replaces nothing: behind one address there may be several nodes, and one that
    /// lags answers with the block that the log's has just replaced.
    pub fn answer(&mut self, block: Block) -> Vec<ChainFill> {
        let says = self.release(|fill| fill.block_number == block.number, Some(block.time));
        self.asked.remove(&block.number);
        self.known.insert(block.number, block);
        while self.known.len() > BLOCKS_KEPT {
            self.known.pop_first();
        }
        says
    }

    /// Says what still waits without a time: the node does not tell it.
    pub fn wait_no_longer(&mut self) -> Vec<ChainFill> {
        self.asked.clear();
        self.release(|_| true, None)
    }

    pub fn is_waiting(&self) -> bool {
        !self.undated.is_empty()
    }

    fn time_of(&self, fill: &ChainFill) -> Option<Timestamp> {
        let block = self.known.get(&fill.block_number)?;
        // A fill of a fork we know no head of.
        let other = block.hash.as_ref().is_some_and(|hash| *hash != fill.place.block_hash);
        (!other).then_some(block.time)
    }

    /// A block at the same height but of another fork is dated within seconds of the right one, closer than our clock.
    fn release(&mut self, which: impl Fn(&ChainFill) -> bool, time: Option<Timestamp>) -> Vec<ChainFill> {
        let released: Vec<ChainFill> = self.undated.extract_if(.., |fill| which(fill)).collect();
        released
            .into_iter()
            .map(|fill| ChainFill { block_time: fill.block_time.or(time), ..fill })
            .map(|fill| self.saying(fill))
            .collect()
    }

    fn saying(&mut self, fill: ChainFill) -> ChainFill {
        let said = self.said.entry(fill.block_number).or_default();
        said.retain(|known| known.place != fill.place);
        if !fill.removed {
            said.push(fill.clone());
        }
        while self.said.len() > BLOCKS_KEPT {
            self.said.pop_first();
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
    fn a_fill_whose_block_is_known_is_said_at_once() {
        let mut blocks = Blocks::default();
        assert!(blocks.head(block(7, "0xa")).is_empty());
        let (said, ask) = blocks.fill(fill(7, "0xa", 1));
        assert_eq!((places(&[said.unwrap()]), ask), (vec![(1, false, Some(7))], None));
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
    fn a_log_taken_back_while_it_waits_comes_after_itself() {
        let mut blocks = Blocks::default();
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(blocks.fill(ChainFill { removed: true, ..fill(7, "0xa", 1) }), (None, None));
        assert_eq!(places(&blocks.head(block(7, "0xa"))), [(1, false, Some(7)), (1, true, Some(7))]);
    }

    #[test]
    fn a_fill_is_said_without_a_time_when_the_node_tells_none() {
        let mut blocks = Blocks::default();
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(places(&blocks.wait_no_longer()), [(1, false, None)]);
        assert_eq!(blocks.fill(fill(7, "0xa", 2)), (None, Some(7)), "asked for once more");
    }

    #[test]
    fn another_head_of_the_same_number_takes_back_what_was_said_of_the_old_block() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xa", 1));
        assert_eq!(blocks.fill(fill(7, "0xb", 2)), (None, Some(7)), "of a fork whose head is unknown");
        assert!(blocks.head(block(6, "0xc")).is_empty(), "another number says nothing");
        assert_eq!(places(&blocks.head(block(7, "0xb"))), [(1, true, Some(7)), (2, false, Some(7))]);
        assert!(blocks.head(block(7, "0xb")).is_empty(), "once");
    }

    #[test]
    fn a_node_that_lags_behind_takes_nothing_back() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xb", 1));
        assert_eq!(places(&blocks.answer(block(7, "0xa"))), [(1, false, Some(7))]);
        assert!(blocks.head(block(7, "0xb")).is_empty());
    }

    #[test]
    fn what_the_node_took_back_itself_is_not_taken_back_again() {
        let mut blocks = Blocks::default();
        blocks.head(block(7, "0xa"));
        blocks.fill(fill(7, "0xa", 1));
        let (said, _) = blocks.fill(ChainFill { removed: true, ..fill(7, "0xa", 1) });
        assert!(said.unwrap().removed);
        assert!(blocks.head(block(7, "0xb")).is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut blocks = Blocks::default();
        for number in 0..1_000 {
            blocks.head(block(number, "0xa"));
            blocks.fill(fill(number, "0xa", 1));
        }
        assert_eq!((blocks.known.len(), blocks.said.len()), (BLOCKS_KEPT, BLOCKS_KEPT));
    }
}
