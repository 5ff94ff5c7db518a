//! Tables and properties of the decision. A [`scenario`] is a copy that passes every check; each row changes one thing.

mod before_book;
mod close_by_hand;
mod laws;
mod order;
mod record;
mod scenario;
mod venue;
mod with_book;
