//! Numbers, ids and names: money, shares, prices and time as integers that carry their unit.

pub mod email;
pub mod ids;
pub mod label;
pub mod text_enum;
pub mod units;
