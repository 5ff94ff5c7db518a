//! Finds the new rows of a table, although a new row may be older than the newest row already shown.
//!
//! Ids are made from content, so their order says nothing about time. A row carries the time at which it was made, which
//! is before its commit. Of two rows, the older one may become visible last: after a wait for a connection or the lock
//! (40 s at most, then the write fails), or on PostgreSQL after a slower commit. A cursor at the newest row would miss
//! such a row. So each poll reads the cursors (time and id, from the index alone) of the last five minutes before the
//! newest row; those not seen before are new. This machine's clock plays no role: the span is counted from the newest
//! row, whichever machine's clock dated it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::db::{Cursor, DbError};
use crate::domain::money::units::Timestamp;

/// How much older than the newest row a new row may be. Only a writer that was suspended between dating and committing a
/// row can take longer.
const LATE_MS: i64 = 300_000;

/// The cursors of a table that were shown, as far back as new rows may still appear.
pub struct SeenWindow {
    seen: BTreeSet<Cursor>,
    from: Timestamp,
}

/// Cursors of rows that were not shown yet.
#[derive(Default)]
pub struct Unseen(BTreeSet<Cursor>);

impl SeenWindow {
    /// Counts all rows as seen; with `since`, only the rows before it.
    ///
    /// # Errors
    /// The error of `read`.
    pub async fn begin(
        newest: Option<Cursor>,
        since: Option<Timestamp>,
        read: impl AsyncFnOnce(Timestamp) -> Result<Vec<Cursor>, DbError>,
    ) -> Result<Self, DbError> {
        // In an empty table every row is new.
        let late = newest.map_or(Timestamp::from_millis(i64::MIN), |newest| newest.at.plus_millis(-LATE_MS));
        let Some(since) = since else {
            let seen = read(late).await?.into_iter().collect();
            return Ok(Self { seen, from: late });
        };
        let from = late.min(since);
        let seen = read(from).await?.into_iter().filter(|place| place.at < since).collect();
        Ok(Self { seen, from })
    }

    /// Returns the time from which to read cursors.
    pub const fn from(&self) -> Timestamp {
        self.from
    }

    /// Returns those cursors that were not shown yet.
    pub fn unseen(&self, places: Vec<Cursor>) -> Unseen {
        Unseen(places.into_iter().filter(|place| !self.seen.contains(place)).collect())
    }

    /// Marks these as shown, and forgets cursors older than a new row can be.
    pub fn mark_seen(&mut self, unseen: Unseen) {
        self.seen.extend(unseen.0);
        if let Some(newest) = self.seen.last() {
            self.from = self.from.max(newest.at.plus_millis(-LATE_MS));
        }
        self.seen = self.seen.split_off(&Cursor { at: self.from, id: Uuid::nil() });
    }
}

impl Unseen {
    /// Keeps the oldest `most`. Returns the time of the last one kept, if there were more.
    pub fn cut(&mut self, most: usize) -> Option<Timestamp> {
        let first_left_out = *self.0.iter().nth(most)?;
        self.0.split_off(&first_left_out);
        self.0.last().map(|place| place.at)
    }

    /// Drops the cursors after `at`.
    pub fn keep_until(&mut self, at: Timestamp) {
        self.0.retain(|place| place.at <= at);
    }

    /// Returns the time of the oldest and of the newest.
    pub fn span(&self) -> Option<(Timestamp, Timestamp)> {
        Some((self.0.first()?.at, self.0.last()?.at))
    }

    pub fn has(&self, place: Cursor) -> bool {
        self.0.contains(&place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: i64 = 1_768_478_400_000;

    fn place(millis: i64, id: u128) -> Cursor {
        Cursor { at: Timestamp::from_millis(BASE + millis), id: Uuid::from_u128(id) }
    }

    /// A table as the database shows it, and the window that follows it.
    struct Follower {
        list: BTreeSet<Cursor>,
        window: SeenWindow,
    }

    impl Follower {
        async fn begin(list: &[Cursor], since: Option<Timestamp>) -> Self {
            let list: BTreeSet<Cursor> = list.iter().copied().collect();
            let read = async |from| Ok(list.iter().copied().filter(|place| place.at >= from).collect());
            let window = SeenWindow::begin(list.last().copied(), since, read).await.unwrap();
            Self { list, window }
        }

        fn look(&mut self, appeared: &[Cursor]) -> Vec<Cursor> {
            self.list.extend(appeared);
            let visible = self.list.iter().copied().filter(|place| place.at >= self.window.from()).collect();
            let unseen = self.window.unseen(visible);
            let shown = unseen.0.iter().copied().collect();
            self.window.mark_seen(unseen);
            shown
        }
    }

    #[tokio::test]
    async fn each_row_is_shown_once_even_when_it_appears_behind_newer_ones() {
        let mut it = Follower::begin(&[place(0, 9)], None).await;
        assert_eq!(it.look(&[]), []);
        assert_eq!(it.look(&[place(100, 5), place(90_000, 1)]), [place(100, 5), place(90_000, 1)]);
        // Made earlier, committed later; one also has the time of a shown row, and a smaller id.
        assert_eq!(
            it.look(&[place(50, 3), place(90_000, 0), place(100, 4)]),
            [place(50, 3), place(100, 4), place(90_000, 0)]
        );
        assert_eq!(it.look(&[place(-200_000, 7)]), [place(-200_000, 7)], "made before the start, visible since");
        assert_eq!(it.look(&[]), []);
    }

    #[tokio::test]
    async fn rows_from_before_the_start_are_shown_only_with_since() {
        let list = [place(-700_000, 1), place(-400_000, 2), place(-10, 3), place(0, 4)];
        assert_eq!(Follower::begin(&list, None).await.look(&[place(1, 5)]), [place(1, 5)]);
        let since = |millis| Some(Timestamp::from_millis(BASE + millis));
        assert_eq!(Follower::begin(&list, since(-10)).await.look(&[]), list[2..]);
        assert_eq!(Follower::begin(&list, since(-400_000)).await.look(&[place(1, 5)]).len(), 4);
        assert_eq!(
            Follower::begin(&list, since(5)).await.look(&[place(1, 5)]),
            [place(1, 5)],
            "it was recorded after the start"
        );
        assert_eq!(Follower::begin(&[], None).await.look(&list), list);
    }

    #[tokio::test]
    async fn rows_shown_in_portions_are_all_shown_even_when_they_have_the_same_time() {
        let list: Vec<Cursor> = (0..10).map(|n| place(i64::from(n / 4) * 400_000, u128::from(n as u32))).collect();
        let mut window = SeenWindow::begin(None, None, async |_| Ok(Vec::new())).await.unwrap();
        let mut shown = Vec::new();
        loop {
            let visible = list.iter().copied().filter(|place| place.at >= window.from()).collect();
            let mut unseen = window.unseen(visible);
            let more = unseen.cut(3);
            assert!(unseen.0.len() <= 3);
            shown.extend(unseen.0.iter().copied());
            window.mark_seen(unseen);
            if more.is_none() {
                break;
            }
        }
        assert_eq!(shown, list);
        let mut unseen = Unseen(list.iter().copied().collect());
        unseen.keep_until(place(0, 0).at);
        assert_eq!(unseen.0.len(), 4);
    }

    #[tokio::test]
    async fn only_the_last_minutes_are_remembered() {
        let mut it = Follower::begin(&[], None).await;
        for n in 0..1_000 {
            assert_eq!(it.look(&[place(n * 1_000, 1)]).len(), 1);
        }
        assert_eq!(it.window.seen.len() as i64, LATE_MS / 1_000 + 1);
    }
}
