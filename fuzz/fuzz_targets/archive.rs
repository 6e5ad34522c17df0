//! Bytes as a file of whichever format they speak of.

#![no_main]

use kegd_fuzz::{digest_file, options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for shape in [None, Some(&[2, 9, 9][..])] {
        digest_file(bytes, &options(shape, Default::default()));
    }
});
