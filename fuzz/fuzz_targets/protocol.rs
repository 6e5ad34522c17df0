//! What a child may say, through the supervisor's own reader; and what a supervisor may say.

#![no_main]

use arbitrary::Arbitrary;
use futures::executor::block_on;
use kegd::{
    protocol::{Command, from_line, to_line},
    worker::Events,
};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Before the rest: so many bytes that belong to one line.
    filler: u32,
    bytes: &'a [u8],
}

fuzz_target!(|input: Input| {
    // Also lines beyond the longest that is kept.
    let mut bytes = vec![b'x'; if input.filler % 64 == 0 { input.filler as usize % (3 << 20) } else { 0 }];
    bytes.extend(input.bytes);
    let lines = bytes.split(|&byte| byte == b'\n').count();
    let mut events = Events::new(&bytes[..]);
    let mut heard = 0;
    while let Some(event) = block_on(events.next()) {
        heard += 1;
        // A line that is too long is one complaint, and its end is thrown away.
        assert!(heard <= lines + 1, "more events than lines");
        match event {
            Ok(event) => drop(to_line(&event).expect("what was read can be sent")),
            Err(complaint) => assert!(complaint.len() < 5000, "a complaint is for people"),
        }
    }
    if let Ok(line) = std::str::from_utf8(input.bytes) {
        let _ = from_line::<Command>(line);
    }
});
