//! Facts of a market: its order book, its fees, and the walk through the book that fills an order.

pub mod book;
pub mod book_walk;
pub mod facts;
pub mod fee;
pub mod payout;
