//! Many who ask at once: slots, store handles, processes. A task has one run, and what follows is enqueued once.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
};

use kegd::{
    clock::Clock,
    domain::{
        device::may_run,
        ids::TaskId,
        presets::TeacherKind,
        task::{TaskKind, TaskStatus},
    },
    queue::{Claim, Ending, Product, Queue, QueueConfig},
    store::{Slot, Store},
};
use serde_json::json;

use crate::common::{
    facts,
    house::{House, cpu},
};

async fn handle(database: &Path) -> Queue {
    Queue::new(Store::open(database, Clock::System).await.unwrap(), QueueConfig::default())
}

/// Claims until nothing is left.
async fn claim_all(queue: &Queue, worker: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    while let Some(claim) = queue.claim(&cpu(worker)).await.unwrap() {
        claims.push(claim);
        tokio::task::yield_now().await;
    }
    claims
}

async fn inspected(house: &House, generators: u32) {
    house.submit(json!({"extraction": {"sampler": "kegnet", "generators": generators}})).await;
    let inspect = house.claim().await.unwrap();
    let inspection = Product::Inspected(Box::new(facts::inspection(TeacherKind::PlainImage)));
    house.queue.finish(&inspect, Ending::Succeeded(inspection)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_generators_of_one_job_are_trained_side_by_side() {
    let house = House::living().await;
    inspected(&house, 4).await;
    let asking = (0..8).map(|index| {
        let queue = house.queue.clone();
        tokio::spawn(async move { queue.claim(&cpu(&format!("worker-{index}"))).await.unwrap() })
    });
    let claims: Vec<Claim> = futures::future::join_all(asking).await.into_iter().filter_map(Result::unwrap).collect();
    let mut generators: Vec<_> = claims.iter().filter_map(|claim| claim.kind().generator()).collect();
    generators.sort_unstable();
    assert_eq!(generators, [0, 1, 2, 3]);
    house.ledger().await.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn siblings_that_finish_together_enqueue_what_follows_once() {
    let house = House::living().await;
    let other = handle(&house.directory.path().join("kegd.db")).await;
    for _ in 0..10 {
        inspected(&house, 4).await;
        let claims = claim_all(&house.queue, "worker-1").await;
        assert_eq!(claims.len(), 4);
        let id = claims[0].fence().job;
        let ends = claims.into_iter().enumerate().map(|(index, claim)| {
            let queue = if index % 2 == 0 { house.queue.clone() } else { other.clone() };
            tokio::spawn(async move { queue.finish(&claim, Ending::Succeeded(Product::Extracted)).await })
        });
        for end in futures::future::join_all(ends).await {
            end.unwrap().unwrap();
        }
        let tasks = house.store.tasks(id).await.unwrap();
        let waiting: Vec<_> =
            tasks.iter().filter(|task| task.status == TaskStatus::Queued).map(|task| task.kind).collect();
        assert_eq!(waiting, [TaskKind::Distill { target: 0 }]);
        house.store.delete(id, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_handles_on_one_file_never_get_the_same_task() {
    let house = House::living().await;
    for _ in 0..40 {
        house.submit(json!({})).await;
    }
    let path = house.directory.path().join("kegd.db");
    let queues = [house.queue.clone(), handle(&path).await, handle(&path).await];
    let asking = queues
        .into_iter()
        .enumerate()
        .map(|(index, queue)| tokio::spawn(async move { claim_all(&queue, &format!("worker-{index}")).await }));
    let claims = futures::future::join_all(asking).await.into_iter().flat_map(Result::unwrap);
    let tasks: Vec<TaskId> = claims.map(|claim| claim.fence().task).collect();
    assert_eq!((tasks.len(), tasks.iter().collect::<BTreeSet<_>>().len()), (40, 40));
    house.ledger().await.check().await;
}

/// Names the database to the test below, in a process of its own.
const DATABASE: &str = "KEGD_TEST_DATABASE";

/// Not a test of its own: the part of one process in the test after it.
#[tokio::test]
#[ignore = "started by `two_processes_never_get_the_same_task`"]
async fn one_of_several_processes() {
    let Some(database) = std::env::var_os(DATABASE) else { return };
    let queue = handle(Path::new(&database)).await;
    for claim in claim_all(&queue, &std::process::id().to_string()).await {
        println!("claimed {}", claim.fence().task);
    }
}

#[tokio::test]
async fn two_processes_never_get_the_same_task() {
    let house = House::living().await;
    for _ in 0..60 {
        house.submit(json!({})).await;
    }
    let start = || {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "slots::one_of_several_processes", "--ignored", "--nocapture"])
            .env(DATABASE, house.directory.path().join("kegd.db"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let processes = [start(), start(), start()];
    let mut claimed = Vec::new();
    for process in processes {
        let output = process.wait_with_output().unwrap();
        assert!(output.status.success());
        let text = String::from_utf8(output.stdout).unwrap();
        claimed.extend(text.lines().filter_map(|line| line.split("claimed ").nth(1)).map(str::to_owned));
    }
    assert_eq!((claimed.len(), claimed.iter().collect::<BTreeSet<_>>().len()), (60, 60));
    house.ledger().await.check().await;
}

#[tokio::test]
async fn what_a_slot_takes_is_what_it_is_said_to_take() {
    let house = House::living().await;
    for wanted in ["auto", "cpu", "cuda", "cuda:0", "cuda:1", "cuda:10"] {
        for slot in ["cpu", "cuda:0", "cuda:1", "cuda:10"] {
            let id = house.submit(json!({"device": wanted})).await;
            let claim = house.queue.claim(&Slot { worker: "w".into(), device: slot.into() }).await.unwrap();
            assert_eq!(claim.is_some(), may_run(wanted, slot), "{wanted} on {slot}");
            house.store.delete(id, true).await.unwrap();
        }
    }
}

#[tokio::test]
async fn what_is_offered_is_what_workers_offer_that_are_there() {
    let house = House::standing().await;
    let offered = async || house.store.offered_devices().await.unwrap();
    let alive = async || {
        let workers = house.store.workers().await.unwrap().into_iter();
        let alive = workers.filter(|worker| worker.is_alive(house.clock.now()));
        alive.map(|worker| worker.name).collect::<Vec<_>>()
    };
    assert_eq!(offered().await, [""; 0]);
    let slots = |devices: &[&str]| devices.iter().map(|&device| device.to_owned()).collect::<Vec<_>>();
    house.queue.begin_life("one", &slots(&["cpu", "cpu"])).await.unwrap();
    house.queue.begin_life("other", &slots(&["cuda:0", "cpu"])).await.unwrap();
    assert_eq!(offered().await, ["cpu", "cuda:0"]);
    // Longer than a worker is silent that is there.
    house.clock.advance(std::time::Duration::from_secs(61));
    house.queue.reap(Some("one")).await.unwrap();
    assert_eq!(offered().await, ["cpu"], "the other one is gone");
    assert_eq!(alive().await, ["one"]);
    house.clock.set(house.clock.now() - 86_400_000);
    assert_eq!(alive().await, [""; 0], "seen in the future, and not since");
    house.queue.reap(Some("other")).await.unwrap();
    assert_eq!(offered().await, ["cpu", "cuda:0"], "whatever the clock was before");
    assert_eq!(alive().await, ["other"]);
}
