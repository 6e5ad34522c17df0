//! A thread that starts children, and does nothing else for as long as the worker lives.
//!
//! A child asks to die with its parent, and for the kernel the parent is the thread that forked: started from a thread of
//! a pool, a child would be killed when that thread is no longer needed.

use std::{io, sync::mpsc, thread};

use tokio::{
    process::{Child, Command},
    runtime::Handle,
    sync::oneshot,
};

#[derive(Debug)]
pub struct Spawner {
    orders: mpsc::Sender<Order>,
}

#[derive(Debug)]
struct Order {
    command: Command,
    started: oneshot::Sender<io::Result<Child>>,
}

impl Spawner {
    /// Starts the thread; it ends when the spawner is dropped. Must be called within a runtime.
    pub fn start() -> Self {
        let (orders, inbox) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        thread::spawn(move || {
            // Children are waited for by the runtime of those who ordered them.
            let _inside = runtime.enter();
            for mut order in inbox {
                // Whoever no longer waits has dropped the receiver, and the child is killed as it is dropped.
                let _ = order.started.send(order.command.spawn());
            }
        });
        Self { orders }
    }

    /// Starts `command`.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn spawn(&self, command: Command) -> io::Result<Child> {
        let (started, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts children is gone");
        self.orders.send(Order { command, started }).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}
