//! The bell between processes, on Redis Streams: a stream for each lease, read by whoever holds it.
//!
//! In    calls: "there may be work for the holder of this lease", with the queue and the key of a job.
//! Out   the calls to us. A call is acknowledged when its job is done, so one that was read by a worker that died is
//!       claimed by the next holder.
//! Fails `RedisError`; the caller connects again. A lost call costs latency, never work: the job is a row.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, cmd, pipe};

use crate::config::Secret;
use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::queue::job::Queue;

/// The one consumer group of every stream; its consumers are workers.
const GROUP: &str = "workers";
/// Calls that nobody reads are forgotten beyond this: the sweep finds their jobs all the same.
const CALLS_MAX: usize = 10_000;
/// How long one read waits for a call: so long a lease that has just come is not listened to.
const WAIT_MS: usize = 500;
const READ_AT_ONCE: usize = 500;
/// Wakes the pages of all processes.
pub const LIVE_CHANNEL: &str = "polymarketspy:live";

/// There may be work for the holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWakeup {
    pub lease: LeaseName,
    pub queue: Queue,
    /// The key of the job.
    pub key: String,
}

/// A call as it was read, to be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub call: RemoteWakeup,
    id: String,
}

/// Two connections: one may wait for the next call, the other never waits.
#[derive(Clone)]
pub struct RedisWakeups {
    reading: MultiplexedConnection,
    writing: MultiplexedConnection,
}

/// A stream's entries as Redis gives them: id and fields.
type Entries = Vec<(String, Fields)>;
type Fields = BTreeMap<String, String>;

impl RedisWakeups {
    /// # Errors
    /// When Redis does not answer, or the address is none.
    pub async fn connect(url: &Secret) -> RedisResult<Self> {
        let client = Client::open(url.reveal())?;
        // A read waits longer than the half second that answers may take by default.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(Self {
            reading: client.get_multiplexed_async_connection_with_config(&patient).await?,
            writing: client.get_multiplexed_async_connection().await?,
        })
    }

    pub async fn call(&mut self, calls: &[RemoteWakeup]) -> RedisResult<()> {
        let mut all = pipe();
        for call in calls {
            all.cmd("XADD")
                .arg(stream(call.lease))
                .arg("MAXLEN")
                .arg("~")
                .arg(CALLS_MAX)
                .arg("*")
                .arg("queue")
                .arg(call.queue.as_str())
                .arg("key")
                .arg(&call.key)
                .ignore();
        }
        all.query_async(&mut self.writing).await
    }

    /// Begins to listen for the holder of a lease; gives the calls that its last holder read and did not finish.
    pub async fn join(&mut self, lease: LeaseName, worker: &WorkerId) -> RedisResult<Vec<Delivery>> {
        let stream = stream(lease);
        let made: RedisResult<()> =
            cmd("XGROUP").arg(&["CREATE", &stream, GROUP, "0", "MKSTREAM"]).query_async(&mut self.writing).await;
        made.or_else(|error| if error.code() == Some("BUSYGROUP") { Ok(()) } else { Err(error) })?;
        let mut heard = Vec::new();
        let mut start = "0-0".to_owned();
        loop {
            let (next, entries, _): (String, Entries, Vec<String>) = cmd("XAUTOCLAIM")
                .arg(&[&stream, GROUP, worker.as_str(), "0", &start])
                .arg("COUNT")
                .arg(READ_AT_ONCE)
                .query_async(&mut self.writing)
                .await?;
            heard.extend(entries.into_iter().map(|entry| read(lease, entry)));
            if next == "0-0" {
                return Ok(heard.into_iter().flatten().collect());
            }
            start = next;
        }
    }

    /// Waits a moment for calls to the holder of these leases, which must have been joined. Dropping the future may lose
    /// what it was just given: let it end.
    pub async fn next(mut self, leases: Vec<LeaseName>, worker: WorkerId) -> RedisResult<Vec<Delivery>> {
        let streams: BTreeMap<String, LeaseName> = leases.into_iter().map(|lease| (stream(lease), lease)).collect();
        let mut ask = cmd("XREADGROUP");
        ask.arg("GROUP").arg(GROUP).arg(worker.as_str()).arg("COUNT").arg(READ_AT_ONCE).arg("BLOCK").arg(WAIT_MS);
        ask.arg("STREAMS").arg(streams.keys().collect::<Vec<_>>()).arg(vec![">"; streams.len()]);
        let answer: Option<Vec<(String, Entries)>> = ask.query_async(&mut self.reading).await?;
        let of_stream = |(name, entries): (String, Entries)| {
            let lease = streams.get(&name).copied();
            entries.into_iter().filter_map(move |entry| read(lease?, entry))
        };
        Ok(answer.unwrap_or_default().into_iter().flat_map(of_stream).collect())
    }

    /// Their jobs are done: nobody needs to hear of them again.
    pub async fn acknowledge(&mut self, done: &[Delivery]) -> RedisResult<()> {
        let mut by_stream: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for heard in done {
            by_stream.entry(stream(heard.call.lease)).or_default().push(&heard.id);
        }
        let mut all = pipe();
        all.atomic();
        for (stream, ids) in by_stream {
            all.cmd("XACK").arg(&stream).arg(GROUP).arg(&ids).ignore();
            all.cmd("XDEL").arg(&stream).arg(&ids).ignore();
        }
        all.query_async(&mut self.writing).await
    }

    /// Tells the pages of all processes that something was committed.
    pub async fn wake_pages(&mut self, text: &str) -> RedisResult<()> {
        cmd("PUBLISH").arg(LIVE_CHANNEL).arg(text).query_async(&mut self.writing).await
    }
}

/// The streams are gone with their groups: somebody emptied Redis. They are made again by joining.
pub fn was_emptied(error: &RedisError) -> bool {
    // The second while a read was waiting for it.
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}

fn stream(lease: LeaseName) -> String {
    format!("polymarketspy:bell:{lease}")
}

/// `None` for what no version of ours has written.
fn read(lease: LeaseName, (id, mut fields): (String, Fields)) -> Option<Delivery> {
    let queue = fields.get("queue")?.parse().ok()?;
    Some(Delivery { call: RemoteWakeup { lease, queue, key: fields.remove("key")? }, id })
}
