//! The messages of the live updates: between the broadcaster, the websocket sessions and the pages that are built.
//!
//! This file imports no page, so that pages may import it. They hold a `Recipient` of a message, not the address of the
//! broadcaster.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Weak},
};

use actix::{Message, MessageResponse, Recipient};
use bytestring::ByteString;

use crate::actors::live_hub::{HealthChanged, PortfolioChanged, Topic};
use crate::domain::decision::attempt::CopyAttempt;
use crate::domain::events::event::TradeEvent;
use crate::web::server::connection::Socket;

/// Rows that a list on a page holds. Older rows of a batch are not rendered, because the newer ones would push them
/// out.
pub const ROWS_SHOWN: usize = 50;

/// The newest figures that the live hub sent. They are fresher than the minute snapshots.
#[derive(Debug, Clone, Default)]
pub struct LiveFigures {
    pub global: Option<PortfolioChanged>,
    /// By part.
    pub health: BTreeMap<String, HealthChanged>,
}

/// Texts for the browser, in order.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub enum Outgoing {
    Frames(Vec<ByteString>),
    /// The server stops.
    GoingAway,
}

/// A websocket session subscribes to every later frame of `topics`, and asks for those it missed.
#[derive(Message, Debug)]
#[rtype(result = "Joined")]
pub struct Join {
    pub outbox: Recipient<Outgoing>,
    pub topics: Vec<Topic>,
    /// The number of the last frame that the page has; `None` asks for no missed rows.
    pub after: Option<u64>,
    pub socket: Socket,
}

/// The answer to [`Join`].
#[derive(MessageResponse, Debug)]
pub struct Joined {
    /// The greeting, the missed rows and the newest figures.
    pub first: Vec<ByteString>,
    /// Dead once the broadcaster has restarted and no longer knows the session.
    pub membership: Weak<()>,
}

/// Asks for the number of the last published frame. A page asks before it reads the database, so that every row up to
/// this number is on the page.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "StreamPosition")]
pub struct GetStreamPosition;

/// The answer to [`GetStreamPosition`].
#[derive(MessageResponse, Debug, Clone, Default)]
pub struct StreamPosition {
    pub seq: u64,
    pub figures: LiveFigures,
}

/// Closes the websocket of every page, because the server stops.
#[derive(Message, Debug, Clone, Copy)]
#[rtype(result = "()")]
pub struct CloseAll;

/// A row or a region as it is sent to every page.
#[derive(Debug, Clone)]
pub struct Frame {
    pub seq: u64,
    pub topic: Topic,
    pub text: ByteString,
}

/// Facts that are not rendered yet, each with its number.
#[derive(Debug, Default)]
pub struct PendingFacts {
    pub trades: VecDeque<(u64, Arc<TradeEvent>)>,
    pub attempts: VecDeque<(u64, Arc<CopyAttempt>)>,
    /// Figures, users and health are due.
    pub regions: bool,
}
