//! Copies SQLite's write-ahead log back into the database file beside the writer instead of in its way.
//!
//! Left to itself SQLite does this inside whichever commit fills the log, and that commit then waits for megabytes to
//! reach the disk. A passive checkpoint on a connection of its own makes nobody wait. It is no actor and has no timer:
//! commits count themselves, and every so many of them wake its thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions, Connection};

/// Commits between two looks.
const COMMITS: u32 = 64;

/// The thread and how to wake it; `None` once it was stopped.
#[derive(Debug)]
pub struct Checkpointer {
    commits: AtomicU32,
    thread: Mutex<Option<(SyncSender<()>, JoinHandle<()>)>>,
}

impl Checkpointer {
    pub(crate) fn start(options: SqliteConnectOptions) -> Self {
        let (wake, woken) = sync_channel(1);
        let spawned = std::thread::Builder::new().name("checkpointer".to_owned()).spawn(move || run(&options, &woken));
        let thread = match spawned {
            Ok(thread) => Some((wake, thread)),
            Err(error) => {
                tracing::warn!(%error, "no thread for checkpoints: the writer makes them");
                None
            }
        };
        Self { commits: AtomicU32::new(0), thread: Mutex::new(thread) }
    }

    /// Counts one commit.
    pub(crate) fn committed(&self) {
        if !(self.commits.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(COMMITS) {
            return;
        }
        if let Ok(thread) = self.thread.lock()
            && let Some((wake, _)) = &*thread
        {
            // Full means that it is awake, or about to be.
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
    // The connection's calls are futures; nothing else runs here, so waiting for the next wake may block.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => return tracing::warn!(%error, "no runtime for checkpoints: the writer makes them"),
    };
    runtime.block_on(async {
        let mut connection: Option<SqliteConnection> = None;
        while woken.recv().is_ok() {
            if connection.is_none() {
                connection = options.connect().await.ok();
            }
            let Some(open) = &mut connection else { continue };
            // Whoever reads or writes goes first; what could not be copied is copied the next time.
            if let Err(error) = sqlx::query("pragma wal_checkpoint(passive)").execute(open).await {
                tracing::warn!(%error, "a checkpoint failed");
                connection = None;
            }
        }
        if let Some(open) = connection {
            let _ = open.close().await;
        }
    });
}
