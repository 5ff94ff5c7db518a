//! Value types that everything else uses: ids, texts, and money, shares, prices and time as integers with a unit.

pub mod email;
pub mod ids;
pub mod label;
pub mod text_enum;
pub mod units;
