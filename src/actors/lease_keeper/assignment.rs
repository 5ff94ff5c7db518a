//! Decides which leases to take and which to give up: each worker gets a fair share, and no lease is taken from a live
//! worker.
//!
//! In    the leases and workers that a round read, and the time of our own clock.
//! Out   steps. Pure: no clock, no database.

use std::collections::BTreeMap;

use crate::db::{LeaseRow, Round};
use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::domain::money::units::Timestamp;

/// A worker whose beat has not changed for this long counts as dead. Add a round of two seconds and the start of a
/// leader's actors: the work goes on within the promised fifteen seconds.
pub const DEAD_AFTER_MS: i64 = 8_000;
/// A worker whose beat has not changed for this long is deleted from the table.
const FORGOTTEN_AFTER_MS: i64 = 60_000;
/// The longest time between two rounds that counts as time in which we looked: a round and some delay.
const BETWEEN_ROUNDS_MS: i64 = 4_000;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Take(LeaseRow),
    GiveUp(LeaseName),
    Forget(WorkerId, i64),
}

/// The last beat seen of every lease and worker, and since when it has not changed. The times are of our own clock, so
/// the workers need no common clock.
#[derive(Debug, Default)]
pub struct Watch {
    leases: BTreeMap<LeaseName, (i64, i64, Timestamp)>,
    workers: BTreeMap<WorkerId, (i64, Timestamp)>,
    looked_at: Option<Timestamp>,
}

impl Watch {
    /// Returns the steps that this round asks of the worker `me`.
    pub fn plan(&mut self, me: &WorkerId, round: &Round, now: Timestamp) -> Vec<Step> {
        self.leave_out_unseen_time(now);
        self.note(round, now);
        let mut steps: Vec<Step> = self.forgotten(me, now).collect();
        let n_live = 1 + self.workers.iter().filter(|(id, seen)| *id != me && is_live(seen.1, now)).count();
        let of_users = |row: &&LeaseRow| row.name != LeaseName::Global;
        let share = round.leases.iter().filter(of_users).count().div_ceil(n_live);
        let mine: Vec<&LeaseRow> =
            round.leases.iter().filter(of_users).filter(|row| row.holder.as_ref() == Some(me)).collect();
        steps.extend(mine.iter().skip(share).map(|row| Step::GiveUp(row.name)));
        let mut room = share.saturating_sub(mine.len());
        for row in round.leases.iter().filter(|row| row.holder.as_ref() != Some(me)) {
            if !self.is_unattended(row, now) {
                continue;
            }
            if row.name == LeaseName::Global {
                steps.push(Step::Take(row.clone()));
            } else if room > 0 {
                room -= 1;
                steps.push(Step::Take(row.clone()));
            }
        }
        steps
    }

    /// Returns the number of live workers.
    pub fn n_live(&self, now: Timestamp) -> usize {
        self.workers.values().filter(|(_, since)| is_live(*since, now)).count()
    }

    /// Leaves out the time in which we did not look: our clock leapt, or our machine slept, and perhaps with it those of
    /// the other workers.
    fn leave_out_unseen_time(&mut self, now: Timestamp) {
        let passed = self.looked_at.replace(now).map_or(0, |before| now.millis_since(before));
        let unseen = passed.saturating_sub(BETWEEN_ROUNDS_MS).max(0);
        let times = self.leases.values_mut().map(|seen| &mut seen.2);
        for since in times.chain(self.workers.values_mut().map(|seen| &mut seen.1)) {
            *since = since.plus_millis(unseen);
        }
    }

    fn note(&mut self, round: &Round, now: Timestamp) {
        for row in &round.leases {
            let seen = self.leases.entry(row.name).or_insert((row.epoch, row.beat, now));
            if (seen.0, seen.1) != (row.epoch, row.beat) {
                *seen = (row.epoch, row.beat, now);
            }
        }
        self.workers.retain(|id, _| round.workers.iter().any(|(other, _)| other == id));
        for (id, beat) in &round.workers {
            let seen = self.workers.entry(id.clone()).or_insert((*beat, now));
            if seen.0 != *beat {
                *seen = (*beat, now);
            }
        }
    }

    fn is_unattended(&self, row: &LeaseRow, now: Timestamp) -> bool {
        let still_since = self.leases.get(&row.name).map_or(now, |seen| seen.2);
        row.holder.is_none() || !is_live(still_since, now)
    }

    fn forgotten<'a>(&'a self, me: &'a WorkerId, now: Timestamp) -> impl Iterator<Item = Step> + 'a {
        let gone = move |(id, seen): &(&WorkerId, &(i64, Timestamp))| {
            *id != me && now.millis_since(seen.1) >= FORGOTTEN_AFTER_MS
        };
        self.workers.iter().filter(gone).map(|(id, seen)| Step::Forget(id.clone(), seen.0))
    }
}

fn is_live(since: Timestamp, now: Timestamp) -> bool {
    now.millis_since(since) < DEAD_AFTER_MS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::ids::FollowedUserId;

    fn worker(name: &str) -> WorkerId {
        WorkerId::new(name)
    }

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    /// The `holders` of the leases of user 1, 2, and so on; the last holder is of the global lease.
    fn round(holders: &[Option<&str>], workers: &[(&str, i64)], beat: i64) -> Round {
        let n_users = holders.len() - 1;
        let row = |(n, holder): (usize, &Option<&str>)| LeaseRow {
            name: if n == n_users { LeaseName::Global } else { LeaseName::User(FollowedUserId(n as i64 + 1)) },
            holder: holder.map(worker),
            epoch: 1,
            beat,
        };
        Round {
            leases: holders.iter().enumerate().map(row).collect(),
            workers: workers.iter().map(|(name, beat)| (worker(name), *beat)).collect(),
        }
    }

    fn texts(steps: &[Step]) -> Vec<String> {
        let text = |step: &Step| match step {
            Step::Take(row) => format!("take {}", row.name),
            Step::GiveUp(name) => format!("give up {name}"),
            Step::Forget(worker, _) => format!("forget {}", worker.as_str()),
        };
        steps.iter().map(text).collect()
    }

    #[test]
    fn a_worker_alone_takes_every_free_lease() {
        let free = round(&[None, None, None], &[("me", 1)], 0);
        let steps = Watch::default().plan(&worker("me"), &free, at(0));
        assert_eq!(texts(&steps), ["take user:1", "take user:2", "take global"]);
    }

    #[test]
    fn two_workers_end_with_a_fair_share_each() {
        let both = [("me", 1), ("you", 1)];
        let all_mine = round(&[Some("me"), Some("me"), Some("me"), Some("me")], &both, 0);
        assert_eq!(texts(&Watch::default().plan(&worker("me"), &all_mine, at(0))), ["give up user:3"]);
        assert_eq!(texts(&Watch::default().plan(&worker("you"), &all_mine, at(0))), [""; 0]);
        let given_up = round(&[Some("me"), Some("me"), None, Some("me")], &both, 0);
        assert_eq!(texts(&Watch::default().plan(&worker("you"), &given_up, at(0))), ["take user:3"]);
        assert_eq!(texts(&Watch::default().plan(&worker("me"), &given_up, at(0))), [""; 0], "a share is enough");
    }

    #[test]
    fn leases_of_a_dead_worker_are_taken_when_its_beat_has_not_changed_for_the_time_agreed() {
        let mut watch = Watch::default();
        let mut plan = |holders: &[Option<&str>], beat: i64, my_beat: i64, now: i64| {
            let round = round(holders, &[("me", my_beat), ("you", beat)], beat);
            texts(&watch.plan(&worker("me"), &round, at(now)))
        };
        let held = [Some("you"), Some("you"), Some("you")];
        assert_eq!(plan(&held, 1, 1, 0), [""; 0]);
        assert_eq!(plan(&held, 2, 2, 5_000), [""; 0]);
        assert_eq!(plan(&held, 2, 3, 9_000), [""; 0]);
        assert_eq!(plan(&held, 2, 3, 5_000 + DEAD_AFTER_MS - 1), [""; 0]);
        assert_eq!(plan(&held, 2, 4, 5_000 + DEAD_AFTER_MS), ["take user:1", "take user:2", "take global"]);
        for second in (15..65).step_by(2) {
            assert_eq!(plan(&[Some("me"); 3], 2, second, second * 1_000), [""; 0]);
        }
        assert_eq!(plan(&[Some("me"); 3], 2, 99, 5_000 + FORGOTTEN_AFTER_MS), ["forget you"]);
    }

    #[test]
    fn a_live_worker_keeps_its_leases_when_our_clock_leaps_or_our_machine_sleeps() {
        let mut watch = Watch::default();
        let mut plan = |beat: i64, my_beat: i64, now: i64| {
            let round = round(&[Some("you"), Some("you")], &[("me", my_beat), ("you", beat)], beat);
            texts(&watch.plan(&worker("me"), &round, at(now)))
        };
        assert_eq!(plan(1, 1, 0), [""; 0]);
        assert_eq!(plan(2, 2, 2_000), [""; 0]);
        let three_days = 3 * 86_400_000;
        assert_eq!(plan(2, 3, three_days), [""; 0], "it slept as long as we did");
        assert_eq!(plan(2, 4, three_days + 2_000), [""; 0]);
        assert_eq!(plan(2, 5, three_days + 4_000), ["take user:1", "take global"], "now it is dead");
    }
}
