//! Random sequences of all that can happen to the queue, on a real SQLite file with two store handles, beside a small
//! model of what should become of it. After every step the two agree, and the rules of [`common::ledger`] hold.
//!
//! A failure is shrunk, and prints the shortest sequence that shows it. `PROPTEST_CASES` asks for more than the usual.

#[path = "../common/mod.rs"]
mod common;

mod model;
mod operation;
mod world;

use proptest::prelude::*;

use crate::{operation::operation, world::World};

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, max_shrink_iters: 4096, ..ProptestConfig::default() })]

    #[test]
    fn the_queue_keeps_its_promises(operations in proptest::collection::vec(operation(), 1..160)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for operation in &operations {
                world.play(operation).await;
            }
            world.close().await;
        });
    }
}

/// Each takes tenths of a second.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}
