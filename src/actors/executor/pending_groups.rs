//! The groups that an executor has not finished: their order, their claimed jobs and their facts.
//!
//! Pure: no clock and no messages. The actor around it fetches, decides and records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::actors::book_fetcher::GroupBook;
use crate::domain::decision::exit::TheirHolding;
use crate::domain::events::global_order::GlobalOrder;
use crate::domain::events::group::EventGroup;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::Timestamp;
use crate::queue::Job;

/// The inputs of a decision besides the portfolio.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub market: Arc<Market>,
    /// `None` when no book is needed: the switches already decide the group, or it is not a trade.
    pub book: Option<Arc<GroupBook>>,
    /// What the leader held before the group, where exits are sized by it.
    pub their_holding: TheirHolding,
}

#[derive(Debug, Default)]
pub(super) struct PendingGroups {
    works: BTreeMap<GroupId, Work>,
    order: GlobalOrder<GroupId>,
    claimed: usize,
    committing: usize,
}

#[derive(Debug)]
pub(super) struct Work {
    pub group: Arc<EventGroup>,
    pub facts: Option<Facts>,
    pub due: Timestamp,
    /// The claimed job; `None` until it is claimed.
    job: Option<Job>,
    job_id: i64,
    committing: bool,
}

/// What to do with a job that was just claimed.
#[derive(Debug)]
pub(super) enum Claim {
    /// Fetch the facts of the group.
    Prepare,
    /// Its lease had ended while we worked on it. Only the new fencing token is valid now.
    Renewed,
    /// The group is not pending: read it first.
    Unknown(Job),
}

impl PendingGroups {
    /// Queues the group of a job, due or not. Returns false when it is pending already.
    pub fn enqueue(&mut self, group: EventGroup, job: &Job) -> bool {
        let id = group.id;
        if self.works.contains_key(&id) {
            return false;
        }
        self.order.enqueue(group.place());
        let work =
            Work { group: Arc::new(group), facts: None, due: job.due, job: None, job_id: job.id, committing: false };
        self.works.insert(id, work);
        true
    }

    /// Stores a claimed job with its group.
    pub fn claim(&mut self, id: GroupId, job: Job) -> Claim {
        let Some(work) = self.works.get_mut(&id) else { return Claim::Unknown(job) };
        work.job_id = job.id;
        if work.job.replace(job).is_some() {
            return Claim::Renewed;
        }
        self.claimed += 1;
        Claim::Prepare
    }

    pub fn work(&self, id: GroupId) -> Option<&Work> {
        self.works.get(&id)
    }

    /// Stores the facts of a group: it can be decided as soon as it is the head. Returns false when the group is not
    /// pending any more.
    pub fn prepared(&mut self, id: GroupId, facts: Facts) -> bool {
        let Some(work) = self.works.get_mut(&id) else { return false };
        work.facts = Some(facts);
        self.order.mark_ready(&work.group.key, id).is_ok()
    }

    /// Removes the head from the queue for its decision, if it is ready and fewer than `room` decisions are
    /// uncommitted.
    pub fn next(&mut self, room: usize) -> Option<GroupId> {
        if self.committing >= room {
            return None;
        }
        self.order.pop_ready()
    }

    /// Returns true when a group that is ahead of `id` in the order was queued after `id` had left the queue.
    pub fn is_overtaken(&self, id: GroupId) -> bool {
        let (Some(work), Some(first)) = (self.works.get(&id), self.order.head()) else { return false };
        *first < work.group.place()
    }

    /// Puts a group back into the queue, to be decided again. It keeps its facts.
    pub fn put_back(&mut self, id: GroupId) {
        let Some(work) = self.works.get_mut(&id) else { return };
        if std::mem::take(&mut work.committing) {
            self.committing -= 1;
        }
        self.order.enqueue(work.group.place());
        if work.facts.is_some() {
            let _ = self.order.mark_ready(&work.group.key, id);
        }
    }

    /// Puts a group back into the queue to wait for new facts, because its facts are not sufficient.
    pub fn put_back_without_facts(&mut self, id: GroupId) {
        if let Some(work) = self.works.get_mut(&id) {
            work.facts = None;
        }
        self.put_back(id);
    }

    /// Drops the facts of all groups that are not decided, and returns the groups whose facts must be fetched again.
    /// The group `deciding` loses its facts too, but is not in the queue now.
    pub fn forget_facts(&mut self, deciding: Option<GroupId>) -> Vec<GroupId> {
        let open = |(_, work): &(&GroupId, &mut Work)| work.job.is_some() && !work.committing;
        let mut forgotten = Vec::new();
        for (id, work) in self.works.iter_mut().filter(open) {
            forgotten.push(*id);
            if work.facts.take().is_some() && deciding != Some(*id) {
                self.order.remove(&work.group.key);
                self.order.enqueue(work.group.place());
            }
        }
        forgotten
    }

    /// Marks a group whose decision is accepted and not committed yet.
    pub fn is_committing(&mut self, id: GroupId) {
        if let Some(work) = self.works.get_mut(&id)
            && !std::mem::replace(&mut work.committing, true)
        {
            self.committing += 1;
        }
    }

    /// Removes a group that is done, or whose job belongs to another worker. Returns its job, if that was claimed.
    pub fn remove(&mut self, id: GroupId) -> Option<Job> {
        let work = self.works.remove(&id)?;
        self.order.remove(&work.group.key);
        if work.committing {
            self.committing -= 1;
        }
        if work.job.is_some() {
            self.claimed -= 1;
        }
        work.job
    }

    /// Removes the unclaimed groups of jobs up to `last` that are not in `open`, because another worker has finished
    /// their jobs. Returns their number.
    pub fn keep_open(&mut self, open: &BTreeSet<GroupId>, last: i64) -> usize {
        let gone = |(id, work): &(&GroupId, &Work)| work.job.is_none() && work.job_id <= last && !open.contains(id);
        let gone: Vec<_> = self.works.iter().filter(gone).map(|(id, _)| *id).collect();
        for id in &gone {
            self.remove(*id);
        }
        gone.len()
    }

    /// Returns the earliest detection of the head, if it is ready to be decided.
    pub fn first_detected(&self) -> Option<Timestamp> {
        let first = self.works.get(&GroupId::of(&self.order.head()?.key))?;
        first.facts.is_some().then_some(first.group.detect_time)
    }

    /// Returns when the job of the head became or becomes due, if it is not claimed.
    pub fn first_unclaimed(&self) -> Option<Timestamp> {
        let first = self.works.get(&GroupId::of(&self.order.head()?.key))?;
        first.job.is_none().then_some(first.due)
    }

    pub fn len(&self) -> usize {
        self.works.len()
    }

    pub fn n_claimed(&self) -> usize {
        self.claimed
    }

    pub fn n_committing(&self) -> usize {
        self.committing
    }
}

impl Work {
    pub fn job(&self) -> Option<&Job> {
        self.job.as_ref()
    }
}
