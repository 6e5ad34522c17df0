//! Bytes as an ONNX file, and the same bytes as its side file.

#![no_main]

use std::collections::BTreeMap;

use kegd_fuzz::{digest, options};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let external = BTreeMap::from([("weights.bin".to_owned(), bytes.to_vec())]);
    digest(bytes, &options(None, external.clone()));
    // A shape that a client gives is used where the file leaves extents open.
    digest(bytes, &options(Some(&[1, 8, 8]), external));
});
