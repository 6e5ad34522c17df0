//! The first bytes of a file of any size.

#![no_main]

use kegd::formats::sniff::{Format, HEAD, sniff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u64, &[u8])| {
    let (more, bytes) = input;
    let head = &bytes[..bytes.len().min(HEAD)];
    // A head is never longer than its file.
    if let Ok(format) = sniff(head, (head.len() as u64).saturating_add(more)) {
        assert_eq!(Format::named(format.name()), Some(format));
    }
});
