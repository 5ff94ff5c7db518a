//! The requests of the bot, one file per subject.

pub mod activity_feed;
pub mod books;
pub mod events;
pub mod markets;
pub mod payouts;
pub mod positions;
pub mod prices;
pub mod profiles;
pub mod resolutions;
pub mod status;
pub mod token_names;
pub mod tokens;
pub mod traders;
