//! The decision in tables and laws. `world` makes a copy that passes every check; each row changes one thing.

mod before_book;
mod laws;
mod order;
mod record;
mod with_book;
mod world;
