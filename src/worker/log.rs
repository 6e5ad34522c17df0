//! What a run prints: read as it comes, and kept within bounds. A child has a pipe for it and no file, so one that prints
//! without end fills neither the disk nor the memory.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::Notify};

/// Kept from the beginning, in bytes: what it found, and how it began.
const HEAD: usize = 256 << 10;
/// Kept from the end: why it ended.
const TAIL: usize = 768 << 10;
/// Read at once.
const CHUNK: usize = 64 << 10;
/// The wait after each chunk beyond what is kept: printing must not cost this side a core.
const PACE: Duration = Duration::from_millis(1);
/// How long something that a child left behind may keep its pipe open.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The log of one run. Clones are the same log.
#[derive(Clone, Debug, Default)]
pub(super) struct RunLog(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    kept: Mutex<Kept>,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes between the two that are gone.
    dropped: u64,
}

impl RunLog {
    /// Reads what comes through `pipe`, until its end.
    pub(super) fn listen(mut pipe: pipe::Receiver) -> Self {
        let log = Self::default();
        let own = log.clone();
        tokio::spawn(async move {
            let mut chunk = vec![0; CHUNK];
            // An error is an end too: there is nobody to tell, and the run goes on without its log.
            while let Ok(read @ 1..) = pipe.read(&mut chunk).await {
                if own.kept().take(&chunk[..read]) {
                    tokio::time::sleep(PACE).await;
                }
            }
            own.0.ended.notify_one();
        });
        log
    }

    /// Adds a line of the supervisor's own.
    pub(super) fn note(&self, line: &str) {
        let mut kept = self.kept();
        let inside_a_line = kept.tail.back().or(kept.head.last()).is_some_and(|&byte| byte != b'\n');
        let start = if inside_a_line { "\n" } else { "" };
        kept.take(format!("{start}[kegd] {line}\n").as_bytes());
    }

    /// Waits until all is read, or until it is clear that something else holds the pipe open.
    pub(super) async fn ended(&self) {
        let _ = tokio::time::timeout(LAST_WORDS, self.0.ended.notified()).await;
    }

    /// What is kept; where something is missing, it says how much.
    pub(super) fn content(&self) -> Vec<u8> {
        let kept = self.kept();
        let mut content = kept.head.clone();
        if kept.dropped > 0 {
            content.extend(format!("\n[kegd] {} bytes are not kept\n", kept.dropped).into_bytes());
        }
        content.extend(&kept.tail);
        content
    }

    /// Its last lines, as one line of the service's own: what a child printed must not pass for a line of its own.
    pub(super) fn last_words(&self) -> String {
        last_words(&self.content())
    }

    /// Whether it ends with words of a program that found no memory and gave up: those of Rust, and of C++.
    pub(super) fn tells_of_memory(&self) -> bool {
        const SIGNS: [&str; 3] = ["memory allocation of", "std::bad_alloc", "can't allocate memory"];
        const NEAR_THE_END: usize = 16 << 10;
        let content = self.content();
        let end = String::from_utf8_lossy(&content[content.len().saturating_sub(NEAR_THE_END)..]);
        SIGNS.iter().any(|sign| end.contains(sign))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns whether something had to go.
    fn take(&mut self, bytes: &[u8]) -> bool {
        let (first, rest) = bytes.split_at(bytes.len().min(HEAD - self.head.len()));
        self.head.extend(first);
        self.tail.extend(rest);
        let excess = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..excess);
        self.dropped += excess as u64;
        excess > 0
    }
}

fn last_words(log: &[u8]) -> String {
    const LINES: usize = 5;
    const MOST: usize = 200;
    let text = String::from_utf8_lossy(log);
    let mut lines: Vec<&str> = text.lines().rev().filter(|line| !line.trim().is_empty()).take(LINES).collect();
    lines.reverse();
    let plain = |line: &str| line.chars().take(MOST).map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    lines.into_iter().map(plain).collect::<Vec<_>>().join(" | ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_plain_line() {
        assert_eq!(last_words(b"a\nb\n\nc\nd\ne\nf\n"), "b | c | d | e | f");
        assert_eq!(last_words(b"\x1b[31mred\r\n\xff"), " [31mred | \u{fffd}");
        assert_eq!(last_words("é".repeat(1000).as_bytes()).chars().count(), 200);
        assert_eq!(last_words(b"\n \n"), "");
    }

    #[test]
    fn beginning_and_end_are_kept() {
        let log = RunLog::default();
        log.kept().take(b"begin\n");
        assert!(!log.kept().take(&vec![b'x'; HEAD]));
        assert!(log.kept().take(&vec![b'y'; 3 * TAIL]));
        log.kept().take(b"memory allocation of 8 bytes failed");
        log.note("it was killed");
        let content = String::from_utf8(log.content()).unwrap();
        assert!(content.starts_with("begin\nxxx") && content.ends_with("failed\n[kegd] it was killed\n"));
        assert!(content.contains("bytes are not kept") && content.len() < HEAD + TAIL + 100, "{}", content.len());
        assert!(log.tells_of_memory());
    }
}
