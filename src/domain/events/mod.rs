//! What a leader did: events, the groups made of them, and the order in which groups are decided.

pub mod event;
pub mod global_order;
pub mod group;
pub mod lease;
