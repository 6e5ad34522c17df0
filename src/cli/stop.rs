//! Ctrl-C on the command line: the run ends at its next step, and its half-finished files go with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::shutdown;

/// Sets `stop` on the first Ctrl-C or SIGTERM; the second one ends the process at once.
///
/// # Errors
/// The signal handlers cannot be installed.
pub fn on_interrupt(stop: Arc<AtomicBool>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // The engine computes in the main thread; this one only waits.
    std::thread::spawn(move || {
        runtime.block_on(async {
            if let Ok(signal) = shutdown::on_signal() {
                signal.cancelled().await;
                stop.store(true, Ordering::Relaxed);
                eprintln!("\nstopping at the next step; once more stops at once");
                std::future::pending::<()>().await;
            }
        });
    });
    Ok(())
}
