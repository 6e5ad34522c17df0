//! Generated inputs as pictures: reads `.npz` files row by row, and draws contact sheets. No tensor library.

pub mod npz;
pub mod pixels;
pub mod sheet;

use std::io;

/// Why a picture or a slice cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ImagingError {
    #[error("the file cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("the file is no .npz archive: {0}")]
    Archive(#[from] zip::result::ZipError),
    #[error("array `{array}`: {detail}")]
    Array { array: String, detail: String },
    /// The request asks for more than a picture may hold.
    #[error("the picture would have {width} x {height} pixels, more than {limit} in all")]
    TooLarge { width: u64, height: u64, limit: u64 },
    #[error("the picture cannot be encoded: {0}")]
    Encoding(#[from] png::EncodingError),
}

impl ImagingError {
    fn array(array: &str, detail: impl Into<String>) -> Self {
        Self::Array { array: array.to_owned(), detail: detail.into() }
    }
}
