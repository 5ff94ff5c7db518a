//! Slow browsers, late browsers and bursts.

use super::*;

/// A browser that never reads: its session handles no message.
struct Stalled;

impl Actor for Stalled {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        ctx.wait(fut::wrap_future(std::future::pending::<()>()));
    }
}

impl Handler<Outgoing> for Stalled {
    type Result = ();

    fn handle(&mut self, _: Outgoing, _: &mut Context<Self>) {}
}

/// A browser that keeps up.
#[derive(Default)]
struct Reading(Vec<ByteString>);

#[derive(Message)]
#[rtype(result = "Vec<ByteString>")]
struct Seen;

impl Actor for Reading {
    type Context = Context<Self>;
}

impl Handler<Outgoing> for Reading {
    type Result = ();

    fn handle(&mut self, outgoing: Outgoing, _: &mut Context<Self>) {
        if let Outgoing::Frames(texts) = outgoing {
            self.0.extend(texts);
        }
    }
}

impl Handler<Seen> for Reading {
    type Result = actix::MessageResult<Seen>;

    fn handle(&mut self, _: Seen, _: &mut Context<Self>) -> Self::Result {
        actix::MessageResult(std::mem::take(&mut self.0))
    }
}

async fn broadcaster() -> (Broadcaster, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::connect(&format!("sqlite:{}", folder.path().join("web.db").display())).await.unwrap();
    let clock = Clock::starting_at(Timestamp::from_millis(1_800_000_000_000));
    let (supervisor, _) = SupervisorContext::new(clock);
    let live = LiveHub::start(clock, &supervisor);
    (Broadcaster::new(BroadcasterDeps { db, clock, live, templates: Templates::load().unwrap() }), folder)
}

fn batch(numbers: std::ops::RangeInclusive<u64>) -> Batch {
    let upto = *numbers.end();
    let rows = numbers.map(|seq| Frame { seq, topic: Topic::Trades, text: format!("row {seq}").into() });
    Batch { rows: rows.collect(), regions: BTreeMap::new(), upto, complete: true }
}

fn member(outbox: Recipient<Outgoing>, socket: Socket) -> Member {
    Member { outbox, topics: vec![Topic::Trades], socket }
}

#[actix_web::test]
async fn a_slow_browser_is_cut_off_and_the_others_get_everything() {
    let (mut broadcaster, _folder) = broadcaster().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut browser = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (served, _) = listener.accept().unwrap();
    served.set_nonblocking(true).unwrap();
    let served = actix_web::rt::net::TcpStream::from_std(served).unwrap();
    let reading = Reading::default().start();
    broadcaster.members.push(member(Stalled.start().recipient(), Socket::of(&served)));
    broadcaster.members.push(member(reading.clone().recipient(), Socket::default()));
    let mut seen = Vec::new();
    for seq in 1..=100 {
        broadcaster.publish(batch(seq..=seq));
        seen.extend(reading.send(Seen).await.unwrap());
    }
    assert_eq!((broadcaster.members.len(), broadcaster.cut_off), (1, 1));
    assert_eq!(seen.len(), 100);
    let read = std::io::Read::read(&mut browser, &mut [0; 16]).unwrap();
    assert_eq!(read, 0, "the stalled connection is closed while the server still holds it");
}

#[actix_web::test]
async fn buffered_rows_are_replayed_and_older_ones_are_read_again() {
    let (mut broadcaster, _folder) = broadcaster().await;
    let buffered = u64::try_from(BUFFERED).unwrap();
    broadcaster.publish(batch(1..=buffered + 10));
    let missed = |after, topic| broadcaster.missed(after, &[topic]).map(|texts| texts.len());
    assert_eq!(missed(buffered + 10, Topic::Trades), Some(0));
    assert_eq!(missed(buffered + 5, Topic::Trades), Some(5));
    assert_eq!(missed(10, Topic::Trades), Some(BUFFERED));
    assert_eq!(missed(buffered + 5, Topic::Attempts), Some(0));
    assert_eq!(missed(9, Topic::Trades), None, "row 10 is gone");
    assert_eq!(missed(buffered + 11, Topic::Trades), None, "a number that was never sent");
}

#[test]
fn a_burst_keeps_what_a_list_has_room_for() {
    let mut pending = VecDeque::new();
    (0..1_000).for_each(|n| keep_newest(&mut pending, n));
    assert_eq!(pending.len(), ROWS_SHOWN);
    assert_eq!((pending.front(), pending.back()), (Some(&950), Some(&999)));
}

/// Joins as a page does, and waits for the greeting and for a text that contains `expected`.
async fn joins_and_receives(broadcaster: &Addr<Broadcaster>, expected: &str) {
    let reading = Reading::default().start();
    let (outbox, topics) = (reading.clone().recipient(), vec![Topic::Health]);
    // Joining alone makes the figures due.
    let joined = broadcaster.send(Join { outbox, topics, after: None, socket: Socket::default() }).await.unwrap();
    assert!(joined.first[0].contains("hello"), "{:?}", joined.first);
    let received = async {
        while !reading.send(Seen).await.unwrap().iter().any(|text| text.contains(expected)) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), received).await.unwrap_or_else(|_| panic!("receives {expected}"));
    assert!(joined.membership.upgrade().is_some(), "the page stays joined");
}

#[actix_web::test]
async fn the_broadcaster_comes_back_and_pages_join_again() {
    use crate::actors::supervise::fault_injection::InjectPanic::{AfterWork, BeforeWork, InFuture, InHandler};
    use crate::actors::supervise::fault_injection::{provoke, restarts};
    const FIGURES: &str = r#""region":"health""#;
    const READ_AGAIN: &str = r#""resumed":false"#;
    let (built, _folder) = broadcaster().await;
    let deps = BroadcasterDeps { clock: Clock::System, ..built.deps.clone() };
    deps.db.migrate().await.unwrap();
    let (supervisor, _failures) = SupervisorContext::new(Clock::System);
    let broadcaster = Broadcaster::start(deps, &supervisor);
    joins_and_receives(&broadcaster, FIGURES).await;
    for (n, (panics, loses)) in [(InHandler, BeforeWork), (InFuture, AfterWork)].into_iter().enumerate() {
        provoke("broadcaster", panics);
        while restarts("broadcaster") as usize <= n {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        joins_and_receives(&broadcaster, FIGURES).await;
        // Pages read the rows of a lost batch again.
        provoke("broadcaster", loses);
        joins_and_receives(&broadcaster, READ_AGAIN).await;
        joins_and_receives(&broadcaster, FIGURES).await;
    }
}
