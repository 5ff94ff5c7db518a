//! The events of a leader, the groups made of them, the order in which groups are decided, and the leases of workers.

pub mod event;
pub mod global_order;
pub mod group;
pub mod group_windows;
pub mod lease;
pub mod reading;
