//! The bell for queues whose workers live in this process. A lost ring is harmless: everybody also looks now and then.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::redis::Call;
use crate::domain::events::lease::LeaseName;
use crate::queue::job::Queue;

/// Calls that may wait for a Redis that does not answer; the rest are dropped.
const CALLS_MAX: usize = 4_096;

/// Says to whoever listens to a queue that there may be work. Cheap to clone; all clones are one bell.
#[derive(Debug, Clone)]
pub struct Bell {
    rings: Arc<Vec<watch::Sender<u64>>>,
    /// To the holders of leases in other processes.
    far: Option<mpsc::Sender<Call>>,
}

/// Hears every ring since it last asked, those before the first wait included; many rings are heard as one.
#[derive(Debug)]
pub struct Listener {
    rings: watch::Receiver<u64>,
}

impl Bell {
    pub fn new() -> Self {
        Self { rings: Arc::new(Queue::ALL.iter().map(|_| watch::Sender::new(0)).collect()), far: None }
    }

    /// A bell that is heard in other processes too, by whoever passes these calls on.
    pub fn far() -> (Self, mpsc::Receiver<Call>) {
        let (far, calls) = mpsc::channel(CALLS_MAX);
        (Self { far: Some(far), ..Self::new() }, calls)
    }

    pub fn ring(&self, queue: Queue) {
        if let Some(rings) = self.of(queue) {
            rings.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    /// Rings here, and for the holder of a lease wherever that is. `keys` are those of the jobs.
    pub fn call(&self, lease: LeaseName, queue: Queue, keys: impl IntoIterator<Item = String>) {
        self.ring(queue);
        if let Some(far) = &self.far {
            for key in keys {
                // A full channel means that Redis is away: the sweep goes on without it.
                let _ = far.try_send(Call { lease, queue, key });
            }
        }
    }

    pub fn listen(&self, queue: Queue) -> Listener {
        let rings = match self.of(queue) {
            Some(rings) => rings.subscribe(),
            None => watch::channel(0).1,
        };
        Listener { rings }
    }

    fn of(&self, queue: Queue) -> Option<&watch::Sender<u64>> {
        let place = Queue::ALL.iter().position(|other| *other == queue)?;
        self.rings.get(place)
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl Listener {
    /// Waits for the next ring. When the bell is gone there is none, and this never returns.
    pub async fn heard(&mut self) {
        if self.rings.changed().await.is_err() {
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
        let bell = Bell::new();
        let (mut one, mut two) = (bell.listen(Queue::GroupEvents), bell.listen(Queue::GroupEvents));
        let mut other = bell.listen(Queue::Prices);
        assert!(!ready(one.heard()));
        bell.clone().ring(Queue::GroupEvents);
        bell.ring(Queue::GroupEvents);
        assert!(ready(one.heard()));
        assert!(!ready(one.heard()));
        assert!(ready(two.heard()));
        assert!(!ready(other.heard()));
    }
}
