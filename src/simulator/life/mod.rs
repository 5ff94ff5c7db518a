//! Where trades come from: traders generated from a seed, and recorded rows replayed.

pub(super) mod replay;
pub mod rng;
pub(super) mod traders;
