//! The bell for queues whose workers live in this process. A lost ring is harmless: everybody also looks now and then.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::redis::RemoteWakeup;
use crate::domain::events::lease::LeaseName;
use crate::queue::job::Queue;

/// Calls that may wait for a Redis that does not answer; the rest are dropped.
const CALLS_MAX: usize = 4_096;

/// Says to whoever listens to a queue that there may be work. Cheap to clone; all clones are one bell.
#[derive(Debug, Clone)]
pub struct Wakeups {
    notifications: Arc<Vec<watch::Sender<u64>>>,
    /// To the holders of leases in other processes.
    remote: Option<mpsc::Sender<RemoteWakeup>>,
}

/// Hears every ring since it last asked, those before the first wait included; many rings are heard as one.
#[derive(Debug)]
pub struct WakeupListener {
    notifications: watch::Receiver<u64>,
}

impl Wakeups {
    pub fn new() -> Self {
        Self { notifications: Arc::new(Queue::ALL.iter().map(|_| watch::Sender::new(0)).collect()), remote: None }
    }

    /// A bell that is heard in other processes too, by whoever passes these calls on.
    pub fn remote() -> (Self, mpsc::Receiver<RemoteWakeup>) {
        let (remote, calls) = mpsc::channel(CALLS_MAX);
        (Self { remote: Some(remote), ..Self::new() }, calls)
    }

    pub fn notify(&self, queue: Queue) {
        if let Some(notifications) = self.of(queue) {
            notifications.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Rings here, and for the holder of a lease wherever that is. `keys` are those of the jobs.
    pub fn notify_remote(&self, lease: LeaseName, queue: Queue, keys: impl IntoIterator<Item = String>) {
        self.notify(queue);
        if let Some(remote) = &self.remote {
            for key in keys {
                // A full channel means that Redis is away: the sweep goes on without it.
                let _ = remote.try_send(RemoteWakeup { lease, queue, key });
            }
        }
    }

    pub fn listen(&self, queue: Queue) -> WakeupListener {
        let notifications = match self.of(queue) {
            Some(notifications) => notifications.subscribe(),
            None => watch::channel(0).1,
        };
        WakeupListener { notifications }
    }

    fn of(&self, queue: Queue) -> Option<&watch::Sender<u64>> {
        let place = Queue::ALL.iter().position(|other| *other == queue)?;
        self.notifications.get(place)
    }
}

impl Default for Wakeups {
    fn default() -> Self {
        Self::new()
    }
}

impl WakeupListener {
    /// Waits for the next ring. When the bell is gone there is none, and this never returns.
    pub async fn notified(&mut self) {
        if self.notifications.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::task::{Context, Waker};

    use super::*;

    fn ready(future: impl Future<Output = ()>) -> bool {
        std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_ring_before_the_wait_is_heard_once_and_by_everybody_on_that_queue() {
        let wakeups = Wakeups::new();
        let (mut one, mut two) = (wakeups.listen(Queue::GroupEvents), wakeups.listen(Queue::GroupEvents));
        let mut other = wakeups.listen(Queue::Prices);
        assert!(!ready(one.notified()));
        wakeups.clone().notify(Queue::GroupEvents);
        wakeups.notify(Queue::GroupEvents);
        assert!(ready(one.notified()));
        assert!(!ready(one.notified()));
        assert!(ready(two.notified()));
        assert!(!ready(other.notified()));
    }
}
