//! Wake-ups between processes, on a real Redis.

use polymarketspy::config::Secret;
use polymarketspy::db::random_worker_id;
use polymarketspy::domain::events::lease::LeaseName;
use polymarketspy::domain::money::ids::FollowedUserId;
use polymarketspy::queue::Queue;
use polymarketspy::queue::wakeup::redis::{Delivery, RedisWakeups, RemoteWakeup, was_emptied};
use polymarketspy::testkit::TestRedis;

const USER: LeaseName = LeaseName::User(FollowedUserId(7));

fn call(lease: LeaseName, key: &str) -> RemoteWakeup {
    RemoteWakeup { lease, queue: Queue::CopyAttemptGlobal, key: key.to_owned() }
}

fn keys(heard: &[Delivery]) -> Vec<&str> {
    heard.iter().map(|heard| heard.call.key.as_str()).collect()
}

mod on_redis {
    use super::*;

    #[tokio::test]
    async fn a_wakeup_is_delivered_to_the_lease_holder_until_its_job_is_done() {
        let server = TestRedis::start();
        let url = Secret::new(server.url());
        let (me, you) = (random_worker_id(), random_worker_id());
        let (mut mine, mut yours) =
            (RedisWakeups::connect(&url).await.unwrap(), RedisWakeups::connect(&url).await.unwrap());
        // A wake-up that was sent before any listener joined is delivered too.
        yours.call(&[call(LeaseName::Global, "early"), call(USER, "of another lease")]).await.unwrap();
        assert_eq!(mine.join(LeaseName::Global, &me).await.unwrap(), []);
        let heard = mine.clone().next(vec![LeaseName::Global], me.clone()).await.unwrap();
        assert_eq!(keys(&heard), ["early"]);
        assert_eq!(heard[0].call, call(LeaseName::Global, "early"));
        assert_eq!(mine.clone().next(vec![LeaseName::Global], me.clone()).await.unwrap(), [], "once");
        yours.call(&[call(LeaseName::Global, "second")]).await.unwrap();
        let second = mine.clone().next(vec![LeaseName::Global], me.clone()).await.unwrap();
        mine.acknowledge(&heard).await.unwrap();

        // The holder ends with one job unfinished: the next holder receives that one, and no finished one.
        drop(mine);
        assert_eq!(yours.join(LeaseName::Global, &you).await.unwrap(), second);
        yours.acknowledge(&second).await.unwrap();
        assert_eq!(yours.join(LeaseName::Global, &you).await.unwrap(), []);
        assert_eq!(server.command::<u32>(&["XLEN", "polymarketspy:bell:global"]).await, 0);
        assert_eq!(server.command::<u32>(&["XLEN", "polymarketspy:bell:user:7"]).await, 1);
    }

    #[tokio::test]
    async fn an_emptied_redis_is_noticed_and_listened_to_again() {
        let server = TestRedis::start();
        let me = random_worker_id();
        let mut wakeups = RedisWakeups::connect(&Secret::new(server.url())).await.unwrap();
        wakeups.join(USER, &me).await.unwrap();
        server.command::<()>(&["FLUSHALL"]).await;
        let error = wakeups.clone().next(vec![USER], me.clone()).await.unwrap_err();
        assert!(was_emptied(&error), "{error}");
        wakeups.acknowledge(&[]).await.unwrap();
        wakeups.call(&[call(USER, "after")]).await.unwrap();
        wakeups.join(USER, &me).await.unwrap();
        assert_eq!(keys(&wakeups.clone().next(vec![USER], me).await.unwrap()), ["after"]);
    }
}
