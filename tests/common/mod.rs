//! What the tests share: a real store and real files in a directory of their own, and jobs to put there.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod facts;
pub mod house;
