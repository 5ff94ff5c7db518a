//! From a fill at the simulated exchange to the ledger and the page, with the whole bot.

pub(super) mod api_lag;
pub(super) mod books;
pub(super) mod chain;
pub(super) mod controls;
pub(super) mod late_rows;
pub(super) mod marks;
pub(super) mod polymarket;
pub(super) mod reading;
pub(super) mod reasons;
pub(super) mod replay;
pub(super) mod venue_facts;
pub(super) mod what_if;
