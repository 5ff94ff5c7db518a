//! Wake-ups between processes, on Redis Streams: one stream for each lease, read by the worker that holds the lease.
//!
//! In    wake-ups: there may be work for the holder of this lease; with the queue and the key of a job.
//! Out   the wake-ups for this worker. One is acknowledged when its job is done, so a wake-up that was read by a worker
//!       that died is claimed by the next holder of the lease.
//! Fails `RedisError`; the caller connects again. A lost wake-up costs latency, never work: the job is a row.

use std::collections::BTreeMap;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, RedisResult, cmd, pipe};

use crate::domain::events::lease::{LeaseName, WorkerId};
use crate::queue::job::Queue;
use crate::secret::Secret;

/// The one consumer group of every stream; its consumers are workers.
const GROUP: &str = "workers";
/// The length of a stream; Redis forgets older unread wake-ups. Polling finds their jobs anyway.
const CALLS_MAX: usize = 10_000;
/// How long one read waits for a wake-up. A lease taken during that time is not listened to until the read ends.
const WAIT_MS: usize = 500;
const READ_AT_ONCE: usize = 500;
/// The channel that wakes the pages of all processes.
pub const LIVE_CHANNEL: &str = "polymarketspy:live";

/// There may be work for the holder of a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteWakeup {
    pub lease: LeaseName,
    pub queue: Queue,
    /// The job's key.
    pub key: String,
}

/// A wake-up that was read from its stream and is not acknowledged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub call: RemoteWakeup,
    id: String,
}

/// Two connections to Redis: one may block while it waits for the next wake-up, the other never blocks.
#[derive(Clone)]
pub struct RedisWakeups {
    reading: MultiplexedConnection,
    writing: MultiplexedConnection,
}

/// A stream's entries as Redis returns them: id and fields.
type Entries = Vec<(String, Fields)>;
type Fields = BTreeMap<String, String>;

impl RedisWakeups {
    /// Connects to Redis.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer, or `url` is not a Redis address.
    pub async fn connect(url: &Secret) -> RedisResult<Self> {
        let client = Client::open(url.reveal())?;
        // A blocking read takes longer than the default timeout of half a second.
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        Ok(Self {
            reading: client.get_multiplexed_async_connection_with_config(&patient).await?,
            writing: client.get_multiplexed_async_connection().await?,
        })
    }

    /// Sends wake-ups to the streams of their leases.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer.
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

    /// Starts to listen as the holder of a lease. Returns the wake-ups that its last holder read and did not
    /// acknowledge.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer.
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

    /// Waits up to half a second for wake-ups of these leases, which must have been joined before. Do not drop the
    /// future: it may have read wake-ups already, and they would be lost.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer.
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

    /// Acknowledges and deletes wake-ups whose jobs are done.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer.
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

    /// Tells the pages of all processes that new rows were committed.
    ///
    /// # Errors
    /// `RedisError` when Redis does not answer.
    pub async fn wake_pages(&mut self, text: &str) -> RedisResult<()> {
        cmd("PUBLISH").arg(LIVE_CHANNEL).arg(text).query_async(&mut self.writing).await
    }
}

/// Whether the error means that the streams and their groups are gone, because Redis was emptied. Joining creates them
/// again.
pub fn was_emptied(error: &RedisError) -> bool {
    // `UNBLOCKED` is the error of a read that was waiting at that moment.
    matches!(error.code(), Some("NOGROUP" | "UNBLOCKED"))
}

fn stream(lease: LeaseName) -> String {
    format!("polymarketspy:bell:{lease}")
}

/// Decodes an entry; `None` for one that no version of this program has written.
fn read(lease: LeaseName, (id, mut fields): (String, Fields)) -> Option<Delivery> {
    let queue = fields.get("queue")?.parse().ok()?;
    Some(Delivery { call: RemoteWakeup { lease, queue, key: fields.remove("key")? }, id })
}
