//! What a supervisor listens to: a child's event pipe, bounded lines read as messages, and what is asked of its job.

use futures::StreamExt;
use tokio::{io::AsyncRead, net::unix::pipe, sync::broadcast};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::{
    domain::ids::JobId,
    protocol::{Event, MAX_LINE, from_line},
    store::Signal,
};

/// Over anything that can be read, so that what a hostile child may say can be tried without a child.
#[derive(Debug)]
pub struct Events<R = pipe::Receiver>(FramedRead<R, LinesCodec>);

impl<R: AsyncRead + Unpin> Events<R> {
    pub fn new(pipe: R) -> Self {
        Self(FramedRead::new(pipe, LinesCodec::new_with_max_length(MAX_LINE)))
    }

    /// The next event; `None` when the pipe is closed; what was wrong with the line, in words.
    ///
    /// May be given up and called again: a line that was read half-way is kept.
    pub async fn next(&mut self) -> Option<Result<Event, String>> {
        let line = match self.0.next().await? {
            Ok(line) => line,
            Err(LinesCodecError::MaxLineLengthExceeded) => {
                return Some(Err(format!("it sent a line of more than {MAX_LINE} bytes")));
            }
            Err(LinesCodecError::Io(error)) => return Some(Err(format!("its events cannot be read: {error}"))),
        };
        let start: String = line.chars().take(200).collect();
        Some(from_line(&line).map_err(|error| format!("it sent what is no event: {error}: {}", start.escape_debug())))
    }
}

/// Waits until runs of `job` are to stop, or until that may have been missed.
pub(super) async fn asked(signals: &mut broadcast::Receiver<Signal>, job: JobId) {
    loop {
        match signals.recv().await {
            Ok(Signal::StopAsked(asked)) if asked == job => return,
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}
