//! The groups an executor has before it: who stands where in line, whose job is taken, whose facts are there.
//!
//! Pure: no clock, no mail. The actor around it fetches, decides and records.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::actors::book_fetcher::GroupBook;
use crate::domain::events::global_order::GlobalOrder;
use crate::domain::events::group::EventGroup;
use crate::domain::market::facts::Market;
use crate::domain::money::ids::GroupId;
use crate::domain::money::units::Timestamp;
use crate::queue::Job;

/// What a decision looks at besides the portfolio.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub market: Arc<Market>,
    /// `None` when the switches said that no book is needed.
    pub book: Option<Arc<GroupBook>>,
}

#[derive(Debug, Default)]
pub(super) struct PendingGroups {
    works: BTreeMap<GroupId, Work>,
    line: GlobalOrder<GroupId>,
    claimed: usize,
    committing: usize,
}

#[derive(Debug)]
pub(super) struct Work {
    pub group: Arc<EventGroup>,
    pub facts: Option<Facts>,
    pub due: Timestamp,
    /// The job as it was taken; `None` until it is.
    job: Option<Job>,
    job_id: i64,
    committing: bool,
}

/// What to do with a job that was just taken.
#[derive(Debug)]
pub(super) enum Claim {
    /// It is time to gather the group's facts.
    Prepare,
    /// Its lease had run out while we were at it. The new fence counts from now on.
    Renewed,
    /// The group was never seen: read it first.
    Unknown(Job),
}

impl PendingGroups {
    /// Lines a group up by its job, due or not. False when it stands there already.
    pub fn place(&mut self, group: EventGroup, job: &Job) -> bool {
        let id = group.id;
        if self.works.contains_key(&id) {
            return false;
        }
        self.line.enqueue(group.detect_time, group.key.clone());
        let work =
            Work { group: Arc::new(group), facts: None, due: job.due, job: None, job_id: job.id, committing: false };
        self.works.insert(id, work);
        true
    }

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

    /// The group can be decided as soon as it is first in line. False when nobody waits for it any more.
    pub fn prepared(&mut self, id: GroupId, facts: Facts) -> bool {
        let Some(work) = self.works.get_mut(&id) else { return false };
        work.facts = Some(facts);
        self.line.mark_ready(&work.group.key, id).is_ok()
    }

    /// The first in line leaves it to be decided, if it is ready and `room` decisions may still be uncommitted.
    pub fn next(&mut self, room: usize) -> Option<GroupId> {
        if self.committing >= room {
            return None;
        }
        self.line.pop_ready()
    }

    /// True when somebody who stands before `id` has come into line since `id` left it.
    pub fn is_overtaken(&self, id: GroupId) -> bool {
        let (Some(work), Some(first)) = (self.works.get(&id), self.line.head()) else { return false };
        let first = self.works.get(&GroupId::of(first)).map(|first| (first.group.detect_time, &first.group.key));
        first.is_some_and(|first| first < (work.group.detect_time, &work.group.key))
    }

    /// Back to its old place, to be decided again: with its facts if it has them.
    pub fn put_back(&mut self, id: GroupId) {
        let Some(work) = self.works.get_mut(&id) else { return };
        if std::mem::take(&mut work.committing) {
            self.committing -= 1;
        }
        self.line.enqueue(work.group.detect_time, work.group.key.clone());
        if work.facts.is_some() {
            let _ = self.line.mark_ready(&work.group.key, id);
        }
    }

    /// Its facts are not enough: it waits in its place for new ones.
    pub fn put_back_without_facts(&mut self, id: GroupId) {
        if let Some(work) = self.works.get_mut(&id) {
            work.facts = None;
        }
        self.put_back(id);
    }

    /// Whoever has not been decided waits for new facts; `deciding` has left the line and finds itself without. Gives
    /// those whose facts are to be gathered again.
    pub fn forget_facts(&mut self, deciding: Option<GroupId>) -> Vec<GroupId> {
        let open = |(_, work): &(&GroupId, &mut Work)| work.job.is_some() && !work.committing;
        let mut forgotten = Vec::new();
        for (id, work) in self.works.iter_mut().filter(open) {
            forgotten.push(*id);
            if work.facts.take().is_some() && deciding != Some(*id) {
                self.line.remove(&work.group.key);
                self.line.enqueue(work.group.detect_time, work.group.key.clone());
            }
        }
        forgotten
    }

    pub fn is_committing(&mut self, id: GroupId) {
        if let Some(work) = self.works.get_mut(&id)
            && !std::mem::replace(&mut work.committing, true)
        {
            self.committing += 1;
        }
    }

    /// Done, or not ours to do: the group leaves the desk. Gives its job, if that was taken.
    pub fn remove(&mut self, id: GroupId) -> Option<Job> {
        let work = self.works.remove(&id)?;
        self.line.remove(&work.group.key);
        if work.committing {
            self.committing -= 1;
        }
        if work.job.is_some() {
            self.claimed -= 1;
        }
        work.job
    }

    /// Removes places taken up to job `last` whose job is no longer open: somebody finished it. Gives their number.
    pub fn keep_open(&mut self, open: &BTreeSet<GroupId>, last: i64) -> usize {
        let gone = |(id, work): &(&GroupId, &Work)| work.job.is_none() && work.job_id <= last && !open.contains(id);
        let gone: Vec<_> = self.works.iter().filter(gone).map(|(id, _)| *id).collect();
        for id in &gone {
            self.remove(*id);
        }
        gone.len()
    }

    /// The earliest detection of the first in line, if it is ready to be decided.
    pub fn first_detected(&self) -> Option<Timestamp> {
        let first = self.works.get(&GroupId::of(self.line.head()?))?;
        first.facts.is_some().then_some(first.group.detect_time)
    }

    /// When the first in line could have been taken, if it has not been.
    pub fn first_unclaimed(&self) -> Option<Timestamp> {
        let first = self.works.get(&GroupId::of(self.line.head()?))?;
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
