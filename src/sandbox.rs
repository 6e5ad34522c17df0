//! What children may do: how they are started, and what they give up before they read a byte of an upload.
//!
//! Two halves. Before exec, [`Terms::command`] sets what the child must not be able to undo and what holds for whatever
//! program is started: limits, no new privileges, death with its parent. After exec, the child itself gives up the rest with
//! [`enter`]. Why there: once its libraries are loaded it needs neither exec nor most of the file system, and can give up
//! both; set before exec, the same rules would have to leave a program and its loader everything that they begin with.
//!
//! All of it works without privileges, in containers too. A network namespace does not (it needs a user namespace, which
//! containers and many distributions refuse), so it is seccomp that refuses sockets.

mod calls;
mod enter;
mod excess;
mod files;
mod launch;
mod memory;
mod rights;
mod spawner;
mod support;

pub use self::{
    enter::{enter, on_gpu},
    excess::{Excess, Look, field},
    launch::{Place, Terms},
    spawner::Spawner,
    support::Support,
};
pub use crate::config::SandboxMode;
