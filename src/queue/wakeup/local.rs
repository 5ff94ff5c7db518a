//! Wake-ups for the consumers of a queue in this process. A lost one is harmless, because consumers also poll.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::sync::{Notify, mpsc};

use super::redis::RemoteWakeup;
use crate::domain::events::lease::LeaseName;
use crate::queue::job::Queue;

/// Remote wake-ups that may wait for a Redis that does not answer; further ones are dropped.
const CALLS_MAX: usize = 4_096;

/// Tells the listeners of a queue that there may be work. Cheap to clone; all clones share their listeners.
#[derive(Debug, Clone)]
pub struct Wakeups {
    /// The listeners of each queue, woken in the order in which they began to listen.
    listeners: Arc<Vec<Mutex<Vec<Weak<Notify>>>>>,
    /// Goes to the holders of leases in other processes.
    remote: Option<mpsc::Sender<RemoteWakeup>>,
}

/// Waits for wake-ups of one queue. It also sees those sent since its last wait, and takes several as one.
#[derive(Debug)]
pub struct WakeupListener {
    woken: Arc<Notify>,
}

impl Wakeups {
    /// Creates wake-ups for this process only.
    pub fn new() -> Self {
        Self { listeners: Arc::new(Queue::ALL.iter().map(|_| Mutex::default()).collect()), remote: None }
    }

    /// Creates wake-ups that other processes receive too; the owner of the receiver forwards them.
    pub fn remote() -> (Self, mpsc::Receiver<RemoteWakeup>) {
        let (remote, calls) = mpsc::channel(CALLS_MAX);
        (Self { remote: Some(remote), ..Self::new() }, calls)
    }

    /// Wakes the listeners of `queue` in this process.
    pub fn notify(&self, queue: Queue) {
        if let Some(listeners) = self.of(queue) {
            let listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.iter().filter_map(Weak::upgrade).for_each(|woken| woken.notify_one());
        }
    }

    /// Wakes the listeners in this process, and the holder of `lease` in whichever process it runs. `keys` are the keys
    /// of the jobs.
    pub fn notify_remote(&self, lease: LeaseName, queue: Queue, keys: impl IntoIterator<Item = String>) {
        self.notify(queue);
        if let Some(remote) = &self.remote {
            for key in keys {
                // A full channel means that Redis does not answer; polling finds the jobs without it.
                let _ = remote.try_send(RemoteWakeup { lease, queue, key });
            }
        }
    }

    /// Starts to listen to `queue`.
    pub fn listen(&self, queue: Queue) -> WakeupListener {
        let woken = Arc::new(Notify::new());
        if let Some(listeners) = self.of(queue) {
            let mut listeners = listeners.lock().unwrap_or_else(PoisonError::into_inner);
            listeners.retain(|listener| listener.strong_count() > 0);
            listeners.push(Arc::downgrade(&woken));
        }
        WakeupListener { woken }
    }

    fn of(&self, queue: Queue) -> Option<&Mutex<Vec<Weak<Notify>>>> {
        let place = Queue::ALL.iter().position(|other| *other == queue)?;
        self.listeners.get(place)
    }
}

impl Default for Wakeups {
    fn default() -> Self {
        Self::new()
    }
}

impl WakeupListener {
    /// Waits for the next wake-up. When every [`Wakeups`] is dropped there is none, and this never returns.
    pub async fn notified(&mut self) {
        self.woken.notified().await;
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
    fn a_notification_before_the_wait_reaches_each_listener_of_its_queue_once() {
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
