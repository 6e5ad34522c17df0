//! Waiting for conditions, never for a time.

use std::time::{Duration, Instant};

/// How long a condition may take on a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `look` finds something.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begin.elapsed() < PATIENCE, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until the process `pid` is no more: gone, or a zombie that nobody has collected yet.
pub async fn gone(pid: &str) {
    let status = format!("/proc/{pid}/stat");
    until(&format!("process {pid} ends"), async || {
        let stat = std::fs::read_to_string(&status).unwrap_or_default();
        let state = stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next());
        matches!(state, None | Some('Z' | 'X')).then_some(())
    })
    .await;
}
