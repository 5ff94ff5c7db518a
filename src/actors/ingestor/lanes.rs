//! Which rows must wait for which: an activity that waits for facts holds back the later rows of the same user in the
//! same condition, and nobody else. A conversion moves outcomes of every market of its event and is read off the
//! leader's positions: it waits for all earlier rows of its user, and all later ones wait for it.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::events::event::{ActivityEvent, ActivityKind, TradeEvent};
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::queue::Job;

/// One job with the event it is about.
#[derive(Debug, Clone)]
pub(super) struct Work {
    pub job: Job,
    pub event: Event,
}

#[derive(Debug, Clone)]
pub(super) enum Event {
    Trade(Box<TradeEvent>),
    Activity(Box<ActivityEvent>),
}

/// A user's rows of one condition; with `None`, all rows of the user.
pub(super) type LaneKey = (FollowedUserId, Option<MarketId>);

/// The lanes in which somebody waits; the first of each waits for facts, the others for the first.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<LaneKey, VecDeque<Work>>);

/// What a job taken from the queue is to the lanes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    /// It waits behind another; its lease is the new one now.
    Waiting,
    /// It is the first of its lane and may be tried again.
    First(LaneKey),
}

impl Work {
    /// The rows that an activity holds back while it waits.
    pub fn lane(&self) -> LaneKey {
        match &self.event {
            Event::Trade(trade) => (trade.followed_user, Some(trade.market.clone())),
            Event::Activity(row) => match row.kind {
                ActivityKind::Conversion | ActivityKind::Migration => (row.followed_user, None),
                _ => (row.followed_user, row.payload.condition_id.clone()),
            },
        }
    }
}

impl Lanes {
    /// Gives the work back when it may be done now; keeps it when somebody it must follow waits.
    pub fn enter(&mut self, work: Work) -> Option<Work> {
        let lane = work.lane();
        let whole_user = (lane.0, None);
        let held_by = if self.0.contains_key(&whole_user) { whole_user } else { lane };
        match self.0.get_mut(&held_by) {
            Some(waiting) => {
                waiting.push_back(work);
                None
            }
            None => Some(work),
        }
    }

    /// Whether nothing that came before this lane waits any more.
    pub fn is_next(&self, (user, condition): &LaneKey) -> bool {
        condition.is_some() || self.0.keys().filter(|(other, _)| other == user).count() == 1
    }

    /// The work waits for facts; what follows it in its lane waits for it.
    pub fn hold(&mut self, lane: LaneKey, work: Work) {
        self.0.entry(lane).or_default().push_back(work);
    }

    pub fn first(&self, lane: &LaneKey) -> Option<&Work> {
        self.0.get(lane).and_then(VecDeque::front)
    }

    /// The first is done, or given up: the lane is open, and its rows in order are the caller's.
    pub fn open(&mut self, lane: &LaneKey) -> VecDeque<Work> {
        self.0.remove(lane).unwrap_or_default()
    }

    /// A job may come again when its lease has ended: then the newer lease is the good one.
    pub fn renew(&mut self, job: &Job) -> Seen {
        for (lane, waiting) in &mut self.0 {
            if let Some(place) = waiting.iter().position(|work| work.job.id == job.id) {
                waiting[place].job = job.clone();
                return if place == 0 { Seen::First(lane.clone()) } else { Seen::Waiting };
            }
        }
        Seen::Never
    }

    pub fn n_waiting(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
