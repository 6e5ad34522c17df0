//! Text as the code of a module with two layers.

#![no_main]

use std::io::{Cursor, Write};

use kegd_fuzz::{digest_file, options};
use libfuzzer_sys::fuzz_target;
use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

/// Net(first = tensor (8, 16), second = tensor (4, 8)), whose elements are the records 0 and 1.
const PICKLE: &[u8] = b"\x80\x02c__torch__\nNet\n)\x81}(X\x05\0\0\0firstctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
    ctorch\nFloatStorage\nX\x01\0\0\00X\x03\0\0\0cpuK\x80tQK\0(K\x08K\x10t(K\x10K\x01t\x89Nt\
    RX\x06\0\0\0secondctorch._utils\n_rebuild_tensor_v2\n((X\x07\0\0\0storage\
    ctorch\nFloatStorage\nX\x01\0\0\01X\x03\0\0\0cpuK\x20tQK\0(K\x04K\x08t(K\x08K\x01t\x89NtRub.";

fuzz_target!(|code: &str| {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let records: [(&str, &[u8]); 4] = [
        ("m/data/0", &[0x3d; 4 * 128]),
        ("m/data/1", &[0x3d; 4 * 32]),
        ("m/data.pkl", PICKLE),
        ("m/code/__torch__.py", code.as_bytes()),
    ];
    for (name, data) in records {
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        archive.start_file(name, options).expect("a record");
        archive.write_all(data).expect("its bytes");
    }
    let bytes = archive.finish().expect("an archive").into_inner();
    for shape in [&[16][..], &[3, 8, 8]] {
        digest_file(&bytes, &options(Some(shape), Default::default()));
    }
});
