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
    /// Targets of its compression: a sweep where there are several.
    pub students: u32,
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
    Hindered,
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
    /// A run gets as far as a checkpoint.
    Checkpoint {
        run: Pick,
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
    /// One worker looks again and again, as it is meant to.
    Lapse {
        worker: usize,
        looks: u32,
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
    /// A retry that goes on where the job stopped.
    Resume {
        job: Pick,
    },
}

/// A choice among words, each as often as its number says.
fn often<T: Clone + std::fmt::Debug + 'static>(choices: &[(usize, T)]) -> impl Strategy<Value = T> + use<T> {
    select(choices.iter().flat_map(|(times, choice)| std::iter::repeat_n(choice.clone(), *times)).collect::<Vec<_>>())
}

pub fn operation() -> impl Strategy<Value = Operation> {
    use Operation::*;
    let order = (
        0..3,
        often(&[(6, "auto"), (2, "cpu"), (1, "cuda"), (1, "cuda:1")]),
        0..4u32,
        often(&[(4, 1), (1, 2), (1, 3)]),
    )
        .prop_map(|(priority, device, generators, students)| Order { priority, device, generators, students });
    let desk = (0..2usize, often(&[(6, "cpu"), (1, "cuda:0"), (1, "cuda:1")]))
        .prop_map(|(worker, device)| Desk { worker, device });
    let end = often(&[
        (7, End::Succeeded),
        (1, End::Failed),
        (1, End::Canceled),
        (3, End::Lost),
        (1, End::Interrupted),
        (1, End::Hindered),
    ]);
    let pick = any::<Pick>;
    prop_oneof![
        3 => order.prop_map(Submit),
        14 => desk.prop_map(Claim),
        4 => (pick(), 0..=100u8, any::<bool>()).prop_map(|(run, percent, metric)| Record { run, percent, metric }),
        2 => pick().prop_map(|run| Keep { run }),
        12 => (pick(), end).prop_map(|(run, end)| Finish { run, end }),
        2 => pick().prop_map(|run| Checkpoint { run }),
        2 => pick().prop_map(|run| WriteStale { run }),
        6 => often(&[(1, 1), (4, 15), (1, 16), (2, 60), (2, 400)]).prop_map(|seconds| Advance { seconds }),
        3 => select(vec![-864_000, -301, -60, -15, -1, 1, 60, 864_000]).prop_map(|by_seconds| SetClock { by_seconds }),
        8 => (0..2usize).prop_map(|worker| Reap { worker }),
        2 => (0..2usize, 1..6u32).prop_map(|(worker, looks)| Lapse { worker, looks }),
        1 => (0..2usize).prop_map(|worker| BeginLife { worker }),
        1 => pick().prop_map(|job| Cancel { job }),
        1 => (pick(), any::<bool>()).prop_map(|(job, force)| Delete { job, force }),
        2 => pick().prop_map(|job| Retry { job }),
        2 => pick().prop_map(|job| Resume { job }),
    ]
}
