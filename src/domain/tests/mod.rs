//! Tests of the whole domain: its imports, properties of portfolios, and replays from events to ledgers.

mod books;
mod imports;
mod portfolio_laws;
mod portfolio_tables;
mod replays;
