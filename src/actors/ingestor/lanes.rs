//! Which rows must wait for which: an activity that waits for facts holds back the later rows of the same user in the
//! same condition, and nobody else.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    domain::{
        event::{ActivityEvent, ActivityKind, Side, TradeEvent},
        ids::{AssetId, FollowedUserId, MarketId},
        units::{ShareMicros, UnitError},
    },
    queue::Job,
};

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

/// A user's rows of one condition.
pub(super) type LaneKey = (FollowedUserId, MarketId);

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
    /// `None` for a row that names no condition, and moves nothing.
    pub fn lane(&self) -> Option<LaneKey> {
        match &self.event {
            Event::Trade(trade) => Some((trade.followed_user, trade.market.clone())),
            Event::Activity(activity) => {
                activity.payload.condition_id.clone().map(|condition| (activity.followed_user, condition))
            }
        }
    }
}

impl Lanes {
    /// Gives the work back when it may be done now; keeps it when somebody of its lane waits.
    pub fn enter(&mut self, work: Work) -> Option<Work> {
        let waiting = work.lane().and_then(|lane| self.0.get_mut(&lane));
        match waiting {
            Some(waiting) => {
                waiting.push_back(work);
                None
            }
            None => Some(work),
        }
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

    /// What the rows behind the first will still add to an asset: a position read now holds them already.
    pub fn behind(&self, lane: &LaneKey, asset: &AssetId) -> Result<ShareMicros, UnitError> {
        let mut sum = ShareMicros::ZERO;
        for work in self.0.get(lane).into_iter().flatten().skip(1) {
            sum = match &work.event {
                Event::Trade(trade) if trade.asset == *asset => match trade.side {
                    Side::Buy => sum.plus(trade.shares)?,
                    Side::Sell => sum.minus(trade.shares)?,
                },
                Event::Activity(row) if row.kind == ActivityKind::Split => sum.plus(row.payload.share_micros)?,
                Event::Activity(row) if row.kind == ActivityKind::Merge => sum.minus(row.payload.share_micros)?,
                _ => sum,
            };
        }
        Ok(sum)
    }

    pub fn n_waiting(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }
}
