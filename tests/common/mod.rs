//! What the tests share: a real store and real files in a directory of their own, jobs to put there, teachers, and children that
//! speak the protocol as a shell script says.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod child;
pub mod engine;
pub mod facts;
pub mod house;
pub mod ledger;
pub mod rights;
pub mod script;
pub mod service;
pub mod teacher;
pub mod wait;
