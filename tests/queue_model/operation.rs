//! What can happen.

use proptest::{prelude::*, sample::select};

/// One of the things that are there, whichever there are: its number is taken modulo how many.
pub type Pick = u8;

#[derive(Clone, Copy, Debug)]
pub struct Order {
    pub priority: i32,
    pub device: &'static str,
    /// 0: a baseline, which trains none.
    pub generators: u32,
}

/// Who asks for work, and for which device.
#[derive(Clone, Copy, Debug)]
pub struct Desk {
    /// Each worker has a store handle of its own.
    pub worker: usize,
    pub device: &'static str,
}

#[derive(Clone, Copy, Debug)]
pub enum End {
    Succeeded,
    Failed,
    Canceled,
    Lost,
    Interrupted,
}

#[derive(Clone, Copy, Debug)]
pub enum Operation {
    Submit(Order),
    Claim(Desk),
    /// A run that holds its task reports, `percent` of the way.
    Record {
        run: Pick,
        percent: u8,
        metric: bool,
    },
    Keep {
        run: Pick,
    },
    Finish {
        run: Pick,
        end: End,
    },
    /// A run that has lost its task tries to write all the same.
    WriteStale {
        run: Pick,
    },
    /// Time passes.
    Advance {
        seconds: u32,
    },
    /// Somebody sets the clock.
    SetClock {
        by_seconds: i64,
    },
    Reap {
        worker: usize,
    },
    BeginLife {
        worker: usize,
    },
    Cancel {
        job: Pick,
    },
    Delete {
        job: Pick,
        force: bool,
    },
    Retry {
        job: Pick,
    },
}

pub fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let order = (0..3, select(vec!["auto", "auto", "cpu", "cuda", "cuda:1"]), 0..4u32)
        .prop_map(|(priority, device, generators)| Order { priority, device, generators });
    let desk = (0..2usize, select(vec!["cpu", "cpu", "cuda:0", "cuda:1"]))
        .prop_map(|(worker, device)| Desk { worker, device });
    let end = select(vec![
        End::Succeeded,
        End::Succeeded,
        End::Succeeded,
        End::Failed,
        End::Canceled,
        End::Lost,
        End::Lost,
        End::Interrupted,
    ]);
    let pick = any::<Pick>;
    prop_oneof![
        4 => order.prop_map(Submit),
        12 => desk.prop_map(Claim),
        4 => (pick(), 0..=100u8, any::<bool>()).prop_map(|(run, percent, metric)| Record { run, percent, metric }),
        2 => pick().prop_map(|run| Keep { run }),
        10 => (pick(), end).prop_map(|(run, end)| Finish { run, end }),
        2 => pick().prop_map(|run| WriteStale { run }),
        4 => select(vec![1, 15, 16, 60, 400]).prop_map(|seconds| Advance { seconds }),
        2 => select(vec![-864_000, -301, -60, -1, 1, 60, 301, 864_000]).prop_map(|by_seconds| SetClock { by_seconds }),
        5 => (0..2usize).prop_map(|worker| Reap { worker }),
        1 => (0..2usize).prop_map(|worker| BeginLife { worker }),
        2 => pick().prop_map(|job| Cancel { job }),
        1 => (pick(), any::<bool>()).prop_map(|(job, force)| Delete { job, force }),
        2 => pick().prop_map(|job| Retry { job }),
    ]
}
