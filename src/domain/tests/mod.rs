//! Tests of the whole domain: its purity, the laws of portfolios, and lives replayed from events to ledgers.

mod imports;
mod portfolio_laws;
mod portfolio_tables;
mod replays;
