//! What of a list was seen, when rows may appear behind the newest that was seen.
//!
//! Ids are made from content, so their order says nothing about time; and a row carries the moment at which it was made,
//! which is before it is committed. Of two rows made one after the other, the first may become visible last: behind a
//! wait for a connection or the lock (40 s at most before the write is given up), on PostgreSQL behind a slower commit.
//! A cursor that stands at the newest row would pass such a row by. So each look reads the places (time and id, from the
//! index alone) of the last five minutes before the newest row, and what is not among those seen is new. No clock of ours
//! takes part: the span is counted from the newest row, whoever's clock dated it.

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::db::{Cursor, DbError};
use crate::domain::money::units::Timestamp;

/// How long before the newest row one may still appear. Only a writer that was suspended between dating and committing
/// a row takes longer.
const LATE_MS: i64 = 300_000;

/// The places of a list that were seen, as far back as others may still appear.
pub struct Places {
    seen: BTreeSet<Cursor>,
    from: Timestamp,
}

/// Places that were not seen yet.
#[derive(Default)]
pub struct Unseen(BTreeSet<Cursor>);

impl Places {
    /// Begins behind what there is; with `since`, behind what there was before it.
    pub async fn begin(
        newest: Option<Cursor>,
        since: Option<Timestamp>,
        read: impl AsyncFnOnce(Timestamp) -> Result<Vec<Cursor>, DbError>,
    ) -> Result<Self, DbError> {
        // In an empty list everything is still to come.
        let late = newest.map_or(Timestamp::from_millis(i64::MIN), |newest| newest.at.plus_millis(-LATE_MS));
        let Some(since) = since else {
            let seen = read(late).await?.into_iter().collect();
            return Ok(Self { seen, from: late });
        };
        let from = late.min(since);
        let seen = read(from).await?.into_iter().filter(|place| place.at < since).collect();
        Ok(Self { seen, from })
    }

    /// From when on to look.
    pub const fn from(&self) -> Timestamp {
        self.from
    }

    pub fn unseen(&self, places: Vec<Cursor>) -> Unseen {
        Unseen(places.into_iter().filter(|place| !self.seen.contains(place)).collect())
    }

    /// These were shown, and need not be looked at once the list has moved on.
    pub fn saw(&mut self, unseen: Unseen) {
        self.seen.extend(unseen.0);
        if let Some(newest) = self.seen.last() {
            self.from = self.from.max(newest.at.plus_millis(-LATE_MS));
        }
        self.seen = self.seen.split_off(&Cursor { at: self.from, id: Uuid::nil() });
    }
}

impl Unseen {
    /// Leaves the oldest `most`; the time of the last of them when there were more.
    pub fn cut(&mut self, most: usize) -> Option<Timestamp> {
        let first_left_out = *self.0.iter().nth(most)?;
        self.0.split_off(&first_left_out);
        self.0.last().map(|place| place.at)
    }

    pub fn keep_until(&mut self, at: Timestamp) {
        self.0.retain(|place| place.at <= at);
    }

    /// From the oldest to the newest.
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

    /// A list as a database shows it, and what a follower says of it.
    struct Follower {
        list: BTreeSet<Cursor>,
        places: Places,
    }

    impl Follower {
        async fn begin(list: &[Cursor], since: Option<Timestamp>) -> Self {
            let list: BTreeSet<Cursor> = list.iter().copied().collect();
            let read = async |from| Ok(list.iter().copied().filter(|place| place.at >= from).collect());
            let places = Places::begin(list.last().copied(), since, read).await.unwrap();
            Self { list, places }
        }

        fn look(&mut self, appeared: &[Cursor]) -> Vec<Cursor> {
            self.list.extend(appeared);
            let visible = self.list.iter().copied().filter(|place| place.at >= self.places.from()).collect();
            let unseen = self.places.unseen(visible);
            let shown = unseen.0.iter().copied().collect();
            self.places.saw(unseen);
            shown
        }
    }

    #[tokio::test]
    async fn each_row_is_shown_once_even_when_it_appears_behind_newer_ones() {
        let mut it = Follower::begin(&[place(0, 9)], None).await;
        assert_eq!(it.look(&[]), []);
        assert_eq!(it.look(&[place(100, 5), place(90_000, 1)]), [place(100, 5), place(90_000, 1)]);
        // Made before, committed after; with the same time too, and with a smaller id.
        assert_eq!(
            it.look(&[place(50, 3), place(90_000, 0), place(100, 4)]),
            [place(50, 3), place(100, 4), place(90_000, 0)]
        );
        assert_eq!(it.look(&[place(-200_000, 7)]), [place(-200_000, 7)], "made before we began, seen since");
        assert_eq!(it.look(&[]), []);
    }

    #[tokio::test]
    async fn what_was_there_at_the_beginning_is_not_shown_unless_asked_for() {
        let list = [place(-700_000, 1), place(-400_000, 2), place(-10, 3), place(0, 4)];
        assert_eq!(Follower::begin(&list, None).await.look(&[place(1, 5)]), [place(1, 5)]);
        let since = |millis| Some(Timestamp::from_millis(BASE + millis));
        assert_eq!(Follower::begin(&list, since(-10)).await.look(&[]), list[2..]);
        assert_eq!(Follower::begin(&list, since(-400_000)).await.look(&[place(1, 5)]).len(), 4);
        assert_eq!(
            Follower::begin(&list, since(5)).await.look(&[place(1, 5)]),
            [place(1, 5)],
            "it came after we began"
        );
        assert_eq!(Follower::begin(&[], None).await.look(&list), list);
    }

    #[tokio::test]
    async fn what_is_shown_in_portions_is_shown_whole_even_within_one_moment() {
        let list: Vec<Cursor> = (0..10).map(|n| place(i64::from(n / 4) * 400_000, u128::from(n as u32))).collect();
        let mut places = Places::begin(None, None, async |_| Ok(Vec::new())).await.unwrap();
        let mut shown = Vec::new();
        loop {
            let visible = list.iter().copied().filter(|place| place.at >= places.from()).collect();
            let mut unseen = places.unseen(visible);
            let more = unseen.cut(3);
            assert!(unseen.0.len() <= 3);
            shown.extend(unseen.0.iter().copied());
            places.saw(unseen);
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
        assert_eq!(it.places.seen.len() as i64, LATE_MS / 1_000 + 1);
    }
}
