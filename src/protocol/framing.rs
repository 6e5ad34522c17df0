//! One message is one line of JSON, no longer than [`MAX_LINE`].

use serde::{Serialize, de::DeserializeOwned};

/// Longest line in bytes, without its end. A reader gives up on a longer one instead of keeping it in memory.
pub const MAX_LINE: usize = 1 << 20;

/// A message as a line, with its end.
///
/// # Errors
/// The message cannot be JSON, or would be too long.
pub fn to_line<T: Serialize>(message: &T) -> std::io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    if line.len() > MAX_LINE {
        return Err(std::io::Error::other(format!("a message of {} bytes is too long to send", line.len())));
    }
    line.push(b'\n');
    Ok(line)
}

/// A line as a message.
///
/// # Errors
/// It is no such message.
pub fn from_line<T: DeserializeOwned>(line: &str) -> Result<T, serde_json::Error> {
    serde_json::from_str(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::job::{Phase, Progress},
        protocol::{Command, Event, FileRef, Role},
    };

    #[test]
    fn messages_survive_the_wire() {
        let file = FileRef { name: "a\nb".into(), bytes: 3, sha256: "00".into() };
        let progress = Progress { fraction: 0.5, phase: Phase::Distilling, step: 1, steps: 2, eta_seconds: None };
        for event in [Event::Alive, Event::Done, Event::Progress(progress), Event::Artifact { file, role: Role::Log }] {
            let line = String::from_utf8(to_line(&event).unwrap()).unwrap();
            assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line:?}");
            assert_eq!(from_line::<Event>(line.trim_end()).unwrap(), event);
        }
        assert_eq!(to_line(&Command::Cancel).unwrap(), b"{\"type\":\"cancel\"}\n");
    }

    #[test]
    fn a_message_that_the_reader_would_refuse_is_not_sent() {
        let name = "x".repeat(MAX_LINE);
        let file = FileRef { name, bytes: 0, sha256: String::new() };
        assert!(to_line(&Event::Artifact { file, role: Role::Log }).is_err());
    }
}
