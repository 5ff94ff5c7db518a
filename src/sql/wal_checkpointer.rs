//! Copies SQLite's write-ahead log back into the database file, in parallel to the writer.
//!
//! By default SQLite does this inside the commit that fills the log, and that commit then waits for megabytes to reach
//! the disk. A passive checkpoint on a separate connection blocks no reader and no writer. The checkpointer is not an
//! actor and has no timer: every commit is counted, and every 64th wakes its thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

/// Commits between two checkpoints.
const COMMITS: u32 = 64;

/// The thread that checkpoints, and the channel that wakes it.
#[derive(Debug)]
pub struct Checkpointer {
    commits: AtomicU32,
    /// `None` once stopped, or when no thread could be started.
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl Checkpointer {
    /// Starts the thread. Without one, the writer checkpoints as SQLite does by default.
    pub(crate) fn start(options: SqliteConnectOptions) -> Self {
        let (wake, woken) = sync_channel(1);
        let spawned = std::thread::Builder::new().name("checkpointer".to_owned()).spawn(move || run(&options, &woken));
        let thread = match spawned {
            Ok(thread) => Some((wake, thread)),
            Err(error) => {
                tracing::warn!(%error, "cannot start the checkpoint thread; the writer checkpoints instead");
                None
            }
        };
        Self { commits: AtomicU32::new(0), thread: Mutex::new(thread) }
    }

    /// Returns a checkpointer that never checkpoints.
    #[cfg(any(test, feature = "testkit"))]
    pub(crate) fn none() -> Self {
        Self { commits: AtomicU32::new(0), thread: Mutex::new(None) }
    }

    /// Counts one commit.
    pub(crate) fn committed(&self) {
        if !(self.commits.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COMMITS) {
            return;
        }
        if let Ok(thread) = self.thread.lock()
            && let Some((wake, _)) = &*thread
        {
            // A full channel means that the thread is awake or will wake.
            let _ = wake.try_send(());
        }
    }

    /// Ends the thread and waits until its connection is closed.
    pub(crate) async fn stop(&self) {
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some((wake, thread)) = thread {
            drop(wake);
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

fn run(options: &SqliteConnectOptions, woken: &Receiver<()>) {
    // The connection's calls are futures; nothing else runs on this thread, so it may block while it waits.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return tracing::warn!(%error, "cannot start the checkpoint runtime; the writer checkpoints instead");
        }
    };
    runtime.block_on(async {
        let mut connection: Option<SqliteConnection> = None;
        while woken.recv().is_ok() {
            if connection.is_none() {
                connection = options.connect().await.ok();
            }
            let Some(open) = &mut connection else { continue };
            // Readers and writers have priority; pages that could not be copied are copied the next time.
            if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").execute(open).await {
                tracing::warn!(%error, "checkpoint failed");
                connection = None;
            }
        }
        if let Some(open) = connection {
            let _ = open.close().await;
        }
    });
}
