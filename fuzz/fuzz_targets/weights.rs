//! Bytes as a safetensors file, for one of the architectures or for none.

#![no_main]

use kegd::{
    domain::architecture::Architecture,
    formats::{facts, imported::ImportOptions, weights},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (which, bytes) = input;
    let arch = Architecture::ALL.get(usize::from(which)).copied();
    if let Ok(imported) = weights::import(bytes, &ImportOptions { arch, ..ImportOptions::default() }) {
        facts::facts(&imported.graph).expect("an imported graph has shapes");
    }
});
