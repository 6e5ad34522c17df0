//! Writes an archive as PyTorch does.

use std::io::{Cursor, Write};

use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use crate::domain::problem::{ErrorCode, Problem};

/// Where the data of records begins, as PyTorch has it: then they can be mapped into memory.
const ALIGNMENT: u16 = 64;

/// An archive whose records lie in one folder.
pub struct Writer {
    folder: &'static str,
    zip: ZipWriter<Cursor<Vec<u8>>>,
}

impl Writer {
    pub fn new(folder: &'static str) -> Self {
        Self { folder, zip: ZipWriter::new(Cursor::new(Vec::new())) }
    }

    /// Stored as it is; with no time in it, the same student is the same bytes.
    ///
    /// # Errors
    /// `internal`: the archive takes no more.
    pub fn record(&mut self, path: &str, bytes: &[u8]) -> Result<(), Problem> {
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(bytes.len() as u64 >= u64::from(u32::MAX))
            .with_alignment(ALIGNMENT);
        self.zip.start_file(format!("{}/{path}", self.folder), options).map_err(internal)?;
        self.zip.write_all(bytes).map_err(internal)
    }

    /// The bytes of the archive.
    ///
    /// # Errors
    /// `internal`: its list of records cannot be written.
    pub fn finish(self) -> Result<Vec<u8>, Problem> {
        Ok(self.zip.finish().map_err(internal)?.into_inner())
    }
}

fn internal(error: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::Internal, format!("The student cannot be packed: {error}."))
}
