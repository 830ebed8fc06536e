//! Jobs that one replica does at a time, and effects that happen after their transaction.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tollgate::app::{App, Server};
use tollgate::clock::Clock;
use tollgate::database::Write;
use tollgate::ids::WorkerId;
use tollgate::jobs::{Claim, ClaimError, Job};
use tollgate::outbox::{self, Consumer, Dispatcher, Message, Topic};

use crate::both_databases;
use crate::world::{TestDatabase, World};

const LEASE: Duration = Duration::from_secs(10);
const TOPIC: Topic = Topic::new("test");

async fn take(world: &World) -> Option<Claim> {
    let now = world.clock.machine_now();
    let owner = WorkerId::generate(now);
    Claim::take(&world.app.database, "job", owner, now, LEASE)
        .await
        .unwrap()
}

/// A transaction that leaves a trace when it is committed.
async fn traced(world: &World, trace: &str) -> Write {
    let mut tx = world.app.database.begin_write().await.unwrap();
    let now = world.clock.machine_now();
    outbox::enqueue(&mut tx, TOPIC, trace, &trace, now)
        .await
        .unwrap();
    tx
}

async fn pending(world: &World) -> u64 {
    outbox::pending(&world.app, TOPIC).await.unwrap()
}

both_databases! {
    async fn a_job_has_one_holder(database: TestDatabase) {
        let world = World::new(database).await;
        let held = take(&world).await.unwrap();
        assert_eq!(take(&world).await, None);
        world.clock.advance_machine(LEASE - Duration::from_millis(1));
        assert_eq!(take(&world).await, None);
        held.release(&world.app.database).await.unwrap();
        assert!(take(&world).await.is_some());
    }

    async fn many_who_want_a_job_at_once_get_it_once(database: TestDatabase) {
        let world = World::new(database).await;
        let other = World::new(world.database.clone()).await;
        let takers: Vec<_> = (0..16)
            .map(|n| {
                let world = if n % 2 == 0 { world.clone() } else { other.clone() };
                tokio::spawn(async move { take(&world).await })
            })
            .collect();
        let mut holders = 0;
        for taker in takers {
            holders += usize::from(taker.await.unwrap().is_some());
        }
        assert_eq!(holders, 1);
    }

    async fn who_lost_its_claim_cannot_commit_or_renew(database: TestDatabase) {
        let world = World::new(database).await;
        let lost = take(&world).await.unwrap();
        world.clock.advance_machine(LEASE);
        let held = take(&world).await.unwrap();
        let stale = lost.commit(traced(&world, "lost").await).await;
        assert!(matches!(stale, Err(ClaimError::Lost { .. })), "{stale:?}");
        assert_eq!(pending(&world).await, 0);
        let until = world.clock.machine_now().after(LEASE);
        assert!(lost.renew(&world.app.database, until).await.is_err());
        assert!(lost.release(&world.app.database).await.is_err());
        held.commit(traced(&world, "held").await).await.unwrap();
        assert_eq!(pending(&world).await, 1);
    }

    async fn a_claim_is_lost_with_the_row_that_kept_it(database: TestDatabase) {
        let world = World::new(database).await;
        let lost = take(&world).await.unwrap();
        let mut tx = world.app.database.begin_write().await.unwrap();
        sqlx::query("DELETE FROM jobs").execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
        // Tokens begin anew: the next holder has the same.
        let held = take(&world).await.unwrap();
        let stale = lost.commit(traced(&world, "lost").await).await;
        assert!(matches!(stale, Err(ClaimError::Lost { .. })), "{stale:?}");
        assert!(lost.release(&world.app.database).await.is_err());
        held.commit(traced(&world, "held").await).await.unwrap();
        assert_eq!(pending(&world).await, 1);
    }

    async fn a_claim_outlives_its_lease_until_someone_takes_over(database: TestDatabase) {
        let world = World::new(database).await;
        let held = take(&world).await.unwrap();
        world.clock.advance_machine(LEASE * 100);
        held.commit(traced(&world, "late").await).await.unwrap();
        assert_eq!(pending(&world).await, 1);
    }

    async fn a_rolled_back_effect_is_not_enqueued(database: TestDatabase) {
        let world = World::new(database).await;
        drop(traced(&world, "never").await);
        assert_eq!(pending(&world).await, 0);
    }

    async fn messages_of_a_key_come_in_order_and_survive_failures(database: TestDatabase) {
        let world = World::new(database).await;
        let recorder = Recorder::failing_first(["a1", "b2"]);
        for trace in ["a1", "b1", "a2", "b2", "a3", "b3"] {
            let mut tx = world.app.database.begin_write().await.unwrap();
            let now = world.clock.machine_now();
            outbox::enqueue(&mut tx, TOPIC, &trace[..1], &trace, now).await.unwrap();
            tx.commit().await.unwrap();
        }
        let dispatcher = Dispatcher::new(world.app.clone(), recorder.clone());
        let claim = take(&world).await.unwrap();
        dispatcher.run(&claim).await.unwrap();
        // a1 failed and holds up a2 and a3; b goes on until b2 fails.
        assert_eq!(recorder.delivered(), ["b1"]);
        world.clock.advance_machine(Duration::from_millis(249));
        dispatcher.run(&claim).await.unwrap();
        assert_eq!(recorder.delivered(), ["b1"]);
        world.clock.advance_machine(Duration::from_millis(1));
        dispatcher.run(&claim).await.unwrap();
        let of = |key: &str| -> Vec<String> {
            recorder.delivered().into_iter().filter(|text| text.starts_with(key)).collect()
        };
        assert_eq!(of("a"), ["a1", "a2", "a3"]);
        assert_eq!(of("b"), ["b1", "b2", "b3"]);
        assert_eq!(pending(&world).await, 0);
    }

    async fn the_wait_doubles_up_to_the_longest(database: TestDatabase) {
        let world = World::new(database).await;
        let recorder = Recorder::failing_always();
        traced(&world, "x").await.commit().await.unwrap();
        let dispatcher = Dispatcher::new(world.app.clone(), recorder.clone());
        let claim = take(&world).await.unwrap();
        for attempt in 0..80_u32 {
            let wait_ms = 250_u64.saturating_mul(1 << attempt.min(20)).min(60_000);
            dispatcher.run(&claim).await.unwrap();
            assert_eq!(recorder.tries(), attempt + 1);
            world.clock.advance_machine(Duration::from_millis(wait_ms - 1));
            dispatcher.run(&claim).await.unwrap();
            assert_eq!(recorder.tries(), attempt + 1, "too early after {attempt}");
            world.clock.advance_machine(Duration::from_millis(1));
        }
    }

    async fn a_dispatcher_that_lost_its_claim_forgets_nothing(database: TestDatabase) {
        let world = World::new(database).await;
        traced(&world, "x").await.commit().await.unwrap();
        let lost = take(&world).await.unwrap();
        world.clock.advance_machine(LEASE);
        let held = take(&world).await.unwrap();
        let recorder = Recorder::default();
        let dispatcher = Dispatcher::new(world.app.clone(), recorder.clone());
        assert!(dispatcher.run(&lost).await.unwrap_err().is::<ClaimError>());
        assert_eq!(pending(&world).await, 1);
        dispatcher.run(&held).await.unwrap();
        // At least once: the repeat has the same id.
        let ids = recorder.ids();
        assert_eq!((ids.len(), &ids[0]), (2, &ids[1]));
        assert_eq!(pending(&world).await, 0);
    }

    async fn a_commit_wakes_its_effect_and_a_restart_carries_on(database: TestDatabase) {
        // Polling this seldom, only the wake-up can be what is seen.
        let settings = [("TOLLGATE_OUTBOX_POLL_MS", "3600000")];
        let world = World::with(database, &settings).await;
        let recorder = Recorder::default();
        let jobs = Jobs::start(&world.app, recorder.clone());
        traced(&world, "x").await.commit().await.unwrap();
        recorder.wait_for(1).await;
        jobs.stop().await;
        traced(&world, "y").await.commit().await.unwrap();
        assert_eq!(recorder.delivered().len(), 1);
        let again = World::with(world.database.clone(), &settings).await;
        let jobs = Jobs::start(&again.app, recorder.clone());
        recorder.wait_for(2).await;
        assert_eq!(recorder.delivered(), ["x", "y"]);
        jobs.stop().await;
    }

    async fn another_replica_takes_over_when_one_dies(database: TestDatabase) {
        let settings =
            [("TOLLGATE_OUTBOX_POLL_MS", "20"), ("TOLLGATE_JOBS_LEASE_SECONDS", "1")];
        let first = App::build(crate::world::config(&database, &settings), Clock::system());
        let second = App::build(crate::world::config(&database, &settings), Clock::system());
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        let recorder = Recorder::default();
        let dying = Jobs::start(&first, recorder.clone());
        let enqueue = async |app: &App, text: &str| {
            let mut tx = app.database.begin_write().await.unwrap();
            let now = app.clock.machine_now();
            outbox::enqueue(&mut tx, TOPIC, "key", &text, now).await.unwrap();
            tx.commit().await.unwrap();
        };
        enqueue(&first, "one").await;
        recorder.wait_for(1).await;
        let heir = Jobs::start(&second, recorder.clone());
        // Gone without a word, so that its lease has to run out.
        dying.die();
        enqueue(&second, "two").await;
        recorder.wait_for(2).await;
        assert_eq!(recorder.delivered(), ["one", "two"]);
        heir.stop().await;
    }

    async fn a_panic_ends_one_run_and_not_the_job(database: TestDatabase) {
        let settings = [("TOLLGATE_OUTBOX_POLL_MS", "10")];
        let world = World::with(database, &settings).await;
        let recorder = Recorder { panics: Arc::new(Mutex::new(1)), ..Recorder::default() };
        let jobs = Jobs::start(&world.app, recorder.clone());
        traced(&world, "x").await.commit().await.unwrap();
        recorder.wait_for(1).await;
        jobs.stop().await;
    }
}

/// One dispatcher running as the control plane runs it.
struct Jobs {
    shutdown: tollgate::app::ShutdownSender,
    task: tokio::task::JoinHandle<()>,
}

impl Jobs {
    fn start(app: &App, recorder: Recorder) -> Self {
        let (shutdown, watched) = tollgate::app::Shutdown::new();
        let dispatcher = Dispatcher::new(app.clone(), recorder);
        let run = tollgate::jobs::run_until_shutdown(app.clone(), dispatcher, watched);
        Self {
            shutdown,
            task: tokio::spawn(run),
        }
    }

    async fn stop(self) {
        self.shutdown.request();
        self.task.await.unwrap();
    }

    fn die(self) {
        self.task.abort();
    }
}

/// Notes what is delivered; some deliveries fail.
#[derive(Clone, Default)]
struct Recorder {
    log: Arc<Mutex<Vec<(String, Outcome)>>>,
    ids: Arc<Mutex<Vec<String>>>,
    fail_first: Arc<Vec<&'static str>>,
    fail_always: bool,
    panics: Arc<Mutex<u32>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Delivered,
    Failed,
}

impl Recorder {
    fn failing_first<const N: usize>(texts: [&'static str; N]) -> Self {
        Self {
            fail_first: Arc::new(texts.to_vec()),
            ..Self::default()
        }
    }

    fn failing_always() -> Self {
        Self {
            fail_always: true,
            ..Self::default()
        }
    }

    fn delivered(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        let delivered = log
            .iter()
            .filter(|(_, outcome)| *outcome == Outcome::Delivered);
        delivered.map(|(text, _)| text.clone()).collect()
    }

    fn tries(&self) -> u32 {
        self.log.lock().unwrap().len().try_into().unwrap()
    }

    fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }

    async fn wait_for(&self, count: usize) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while self.delivered().len() < count {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{:?}",
                self.delivered()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Consumer for Recorder {
    const TOPIC: Topic = TOPIC;
    const JOB: &'static str = "test-outbox";

    async fn deliver(&self, message: &Message) -> anyhow::Result<()> {
        let text: String = message.payload()?;
        {
            let mut panics = self.panics.lock().unwrap();
            if *panics > 0 {
                *panics -= 1;
                drop(panics);
                panic!("as the test wants it");
            }
        }
        self.ids.lock().unwrap().push(message.id.to_string());
        let first = !self
            .log
            .lock()
            .unwrap()
            .iter()
            .any(|(logged, _)| *logged == text);
        let fails = self.fail_always || (first && self.fail_first.contains(&text.as_str()));
        let outcome = if fails {
            Outcome::Failed
        } else {
            Outcome::Delivered
        };
        self.log.lock().unwrap().push((text, outcome));
        anyhow::ensure!(!fails, "as the test wants it");
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_on_sqlite_does_not_wait_for_the_lease_of_who_was_killed() {
    let settings = [("TOLLGATE_JOBS_LEASE_SECONDS", "3600")];
    let database = TestDatabase::sqlite();
    let world = World::with(database, &settings).await;
    assert!(take(&world).await.is_some());
    let config = crate::world::config(&world.database, &settings);
    let app = App::build(config, Clock::system()).await.unwrap();
    let server = Server::start(app, &[tollgate::app::Role::Jobs], None)
        .await
        .unwrap();
    assert!(take(&world).await.is_some());
    server.shut_down().await.unwrap();
}
