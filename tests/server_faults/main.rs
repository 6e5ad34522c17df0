//! What may befall a running service: it is killed, its database is locked, its disk fills up, its directory goes away. The
//! real binary, over real sockets. What each comes to is written down in `docs/FAULTS.md`.

#[path = "../common/mod.rs"]
mod common;

mod database;
mod directory;
mod disk;
mod killed;
mod log;
mod server;
