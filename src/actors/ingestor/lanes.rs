//! The order in which rows wait for each other. An activity that waits for market facts holds back the later rows of
//! the same user in the same condition, and no others. A conversion moves outcomes of every market of its event, and is
//! computed from the leader's positions: it waits for all earlier rows of its user, and all later ones wait for it.

use std::collections::{BTreeMap, VecDeque};

use crate::domain::events::event::{ActivityEvent, ActivityKind, TradeEvent};
use crate::domain::money::ids::{FollowedUserId, MarketId};
use crate::queue::Job;

/// A job with its event.
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

/// The rows of one user in one condition; with `None`, all rows of the user.
pub(super) type LaneKey = (FollowedUserId, Option<MarketId>);

/// The lanes with waiting rows. The first row of a lane waits for facts, the others wait for the first.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<LaneKey, VecDeque<Work>>);

/// Where a claimed job is in the lanes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ClaimedJob {
    /// In no lane.
    Unknown,
    /// It waits behind another job; it has the new lease now.
    Waiting,
    /// It is the first of its lane and may be retried.
    First(LaneKey),
}

impl Work {
    /// Returns the lane that an activity holds back while it waits.
    pub fn lane(&self) -> LaneKey {
        match &self.event {
            Event::Trade(trade) => (trade.followed_user, Some(trade.market.clone())),
            Event::Activity(row) => match row.kind {
                ActivityKind::Conversion | ActivityKind::Migration => (row.followed_user, None),
                _ if row.kind.is_range() => (row.followed_user, None),
                _ => (row.followed_user, row.payload.condition_id.clone()),
            },
        }
    }
}

impl Lanes {
    /// Returns the work when it may be done now. Keeps it, and returns `None`, when a row that it must follow waits.
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

    /// Returns whether no row waits that this lane must follow.
    pub fn is_next(&self, (user, condition): &LaneKey) -> bool {
        condition.is_some() || self.0.keys().filter(|(other, _)| other == user).count() == 1
    }

    /// Adds work that waits for facts; later rows of its lane wait for it.
    pub fn hold(&mut self, lane: LaneKey, work: Work) {
        self.0.entry(lane).or_default().push_back(work);
    }

    /// Returns the row for whose facts the lane waits.
    pub fn first(&self, lane: &LaneKey) -> Option<&Work> {
        self.0.get(lane).and_then(VecDeque::front)
    }

    /// Removes the lane, because its first row is done or given up, and returns its rows in order.
    pub fn open(&mut self, lane: &LaneKey) -> VecDeque<Work> {
        self.0.remove(lane).unwrap_or_default()
    }

    /// Updates a waiting job that was claimed again because its lease had ended: only the new lease is valid.
    pub fn renew(&mut self, job: &Job) -> ClaimedJob {
        for (lane, waiting) in &mut self.0 {
            if let Some(index) = waiting.iter().position(|work| work.job.id == job.id) {
                waiting[index].job = job.clone();
                return if index == 0 { ClaimedJob::First(lane.clone()) } else { ClaimedJob::Waiting };
            }
        }
        ClaimedJob::Unknown
    }

    pub fn n_waiting(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
