//! `.npz` archives: evaluation sets that a client sends, and banks of samples that a child made.

#![no_main]

use std::{
    fs::File,
    io::{Cursor, Write},
    path::PathBuf,
    sync::LazyLock,
};

use kegd::{domain::layout::Layout, engine::evalset, imaging::npz::Npz};
use libfuzzer_sys::fuzz_target;

/// On a file system of memory.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| PathBuf::from(format!("/dev/shm/kegd-fuzz-{}.npz", std::process::id())));

fuzz_target!(|bytes: &[u8]| {
    File::create(&*FILE).and_then(|mut file| file.write_all(bytes)).unwrap();
    let (first, last) = (Layout::ChannelsFirst, Layout::ChannelsLast);
    for wanted in [(&[1, 8, 8][..], first), (&[3, 8, 8], first), (&[3, 8, 8], last), (&[4], first)] {
        if evalset::check_headers(&FILE, wanted).is_ok() {
            let input = kegd::domain::config::InputConfig::default();
            let _ = evalset::EvalSet::read(&FILE, wanted, 10, &input, tch::Device::Cpu);
        }
    }
    let Ok(mut bank) = Npz::open(Cursor::new(bytes)) else { return };
    for array in ["x", "y", "teacher_logits"] {
        let _ = bank.header(array);
        let _ = bank.labels(array);
        let _ = bank.rows(array, &[0, 1, 5], |_, _| Ok(()));
    }
    let _ = bank.first_rows(2, Cursor::new(Vec::new()));
});
