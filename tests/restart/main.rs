//! The real binary, killed and stopped in the middle of its work: what comes out is what would have come out anyway.
//!
//! Every job here is struck once while its generators train, once in the pool, once in the game, and once in its evaluation,
//! each time in the same way. Student and metrics are those of a job that nothing disturbed, to the bit.

#[path = "../common/mod.rs"]
mod common;

mod endless;
mod made;
mod process;
mod rig;
mod strikes;
mod struck;
