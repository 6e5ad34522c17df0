//! Types and shapes of the arrays of an `.npz` that a stranger made, without reading a value. What an archive claims is compared
//! with what it has before anybody allocates by it.
//!
//! Formats: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html> and, for the end of an archive,
//! <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, section 4.3.16.

use std::{
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    path::Path,
};

use zip::ZipArchive;

/// Entries that an archive may have: its list is read as a whole.
const MAX_ENTRIES: u16 = 1000;

/// Bytes in which the header of an array with few axes ends.
const HEAD: u64 = 4096;

/// The end record of an archive, without its comment, and with the longest comment.
const END_RECORD: usize = 22;
const END_SEARCHED: u64 = END_RECORD as u64 + 0xffff;

#[derive(Debug)]
pub enum Error {
    Io(io::Error),
    /// In words for whoever sent the file.
    Invalid(String),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

fn invalid(detail: impl Into<String>) -> Error {
    Error::Invalid(detail.into())
}

/// What the header of an array says.
#[derive(Debug, PartialEq, Eq)]
pub struct Array {
    /// Of one value: NumPy's letter for its kind and the bytes of it, as in `f4`.
    pub kind: String,
    pub shape: Vec<usize>,
}

/// The arrays `names`, in their order.
///
/// # Errors
/// The file is no `.npz`, has not all of the arrays, or has another size than its headers claim.
pub fn read(path: &Path, names: &[&str]) -> Result<Vec<Array>, Error> {
    let mut file = File::open(path)?;
    let entries = count_entries(&mut file)?;
    if entries > MAX_ENTRIES {
        return Err(invalid(format!("it has {entries} entries or more; the most are {MAX_ENTRIES}")));
    }
    let mut archive =
        ZipArchive::new(BufReader::new(file)).map_err(|error| invalid(format!("it is no .npz file: {error}")))?;
    names.iter().map(|name| array(&mut archive, name)).collect()
}

/// How many entries the archive says that it has; a larger archive says 65535 here.
fn count_entries(file: &mut File) -> Result<u16, Error> {
    let length = file.seek(SeekFrom::End(0))?;
    file.seek(SeekFrom::Start(length.saturating_sub(END_SEARCHED)))?;
    let mut tail = Vec::new();
    file.by_ref().take(END_SEARCHED).read_to_end(&mut tail)?;
    file.rewind()?;
    let records = tail.windows(END_RECORD).filter(|record| record.starts_with(b"PK\x05\x06"));
    // Which of several the archive's reader takes is its business: the largest count holds for all.
    records
        .map(|record| u16::from_le_bytes([record[10], record[11]]))
        .max()
        .ok_or_else(|| invalid("it is no .npz file"))
}

fn array(archive: &mut ZipArchive<BufReader<File>>, name: &str) -> Result<Array, Error> {
    let there = archive.file_names().take(20).collect::<Vec<_>>().join(", ");
    let mut entry = archive
        .by_name(&format!("{name}.npy"))
        .map_err(|_| invalid(format!("it has no array `{name}`; it has: {there}")))?;
    let size = entry.size();
    let mut head = Vec::new();
    entry.by_ref().take(HEAD).read_to_end(&mut head)?;
    let header = Header::parse(&head).ok_or_else(|| invalid(format!("`{name}` is no array with a shape")))?;
    if header.bytes() != Some(size) {
        return Err(invalid(format!(
            "`{name}` has {size} bytes, which is not what its shape {:?} needs",
            header.array.shape
        )));
    }
    Ok(header.array)
}

struct Header {
    /// Bytes before the values.
    length: u64,
    /// Bytes of one value.
    item: u64,
    array: Array,
}

impl Header {
    fn parse(head: &[u8]) -> Option<Self> {
        if !head.starts_with(b"\x93NUMPY") {
            return None;
        }
        let (prefix, length) = match head.get(6)? {
            1 => (10, u32::from(u16::from_le_bytes(head.get(8..10)?.try_into().ok()?))),
            _ => (12, u32::from_le_bytes(head.get(8..12)?.try_into().ok()?)),
        };
        let text = String::from_utf8_lossy(head);
        let (_, descr) = text.split_once("'descr': '")?;
        let (descr, _) = descr.split_once('\'')?;
        let kind = descr.trim_start_matches(['<', '>', '|', '=']).to_owned();
        let item = kind.trim_start_matches(|c: char| !c.is_ascii_digit()).parse().ok()?;
        let (_, shape) = text.split_once("'shape': (")?;
        let (shape, _) = shape.split_once(')')?;
        let extents = shape.split(',').map(str::trim).filter(|part| !part.is_empty());
        Some(Self {
            length: prefix + u64::from(length),
            item,
            array: Array { kind, shape: extents.map(|part| part.parse().ok()).collect::<Option<_>>()? },
        })
    }

    /// Of header and values; `None` where no file has as many.
    fn bytes(&self) -> Option<u64> {
        self.array
            .shape
            .iter()
            .try_fold(self.item, |bytes, &extent| bytes.checked_mul(extent as u64))?
            .checked_add(self.length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use ndarray::{Array1, Array4};
    use ndarray_npy::NpzWriter;
    use zip::{ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn read_bytes(bytes: &[u8]) -> Result<Vec<Array>, Error> {
        read(file(bytes).path(), &["x", "y"])
    }

    fn refused(bytes: &[u8]) -> String {
        match read_bytes(bytes) {
            Err(Error::Invalid(detail)) => detail,
            other => panic!("{other:?}"),
        }
    }

    /// An archive of arrays with a header that claims a shape, and values that are zeros.
    fn archive(arrays: &[(&str, &str, &str, usize)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(io::Cursor::new(Vec::new()));
        for (name, descr, shape, bytes) in arrays {
            zip.start_file(format!("{name}.npy"), SimpleFileOptions::default()).unwrap();
            let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
            zip.write_all(b"\x93NUMPY\x01\x00").unwrap();
            zip.write_all(&(text.len() as u16).to_le_bytes()).unwrap();
            zip.write_all(text.as_bytes()).unwrap();
            zip.write_all(&vec![0; *bytes]).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    fn array_of(kind: &str, shape: &[usize]) -> Array {
        Array { kind: kind.to_owned(), shape: shape.to_vec() }
    }

    #[test]
    fn types_and_shapes_of_what_others_write() {
        let mut writer = NpzWriter::new_compressed(io::Cursor::new(Vec::new()));
        writer.add_array("x", &Array4::<f32>::zeros((5, 1, 2, 3))).unwrap();
        writer.add_array("y", &Array1::<u8>::zeros(5)).unwrap();
        let bytes = writer.finish().unwrap().into_inner();
        assert_eq!(read_bytes(&bytes).unwrap(), [array_of("f4", &[5, 1, 2, 3]), array_of("u1", &[5])]);
        let numpy = concat!(env!("CARGO_MANIFEST_DIR"), "/demo/mnist-test.npz");
        assert_eq!(read(Path::new(numpy), &["y"]).unwrap(), [array_of("i8", &[10_000])]);
    }

    #[test]
    fn a_header_that_claims_more_than_there_is() {
        for shape in ["(1099511627776, 4)", "(4611686018427387904, 4)", "(9, 9)"] {
            let text = refused(&archive(&[("x", "<f4", shape, 64), ("y", "|u1", "(3,)", 3)]));
            assert!(text.contains("`x` has "), "{text}");
        }
    }

    #[test]
    fn an_archive_that_unpacks_to_more_than_its_header_says() {
        let bomb = archive(&[("x", "<f4", "(1, 1)", 64 << 20), ("y", "|u1", "(1,)", 1)]);
        assert!(bomb.len() < 1 << 20, "it is small as it comes: {}", bomb.len());
        assert!(refused(&bomb).contains("`x` has "));
    }

    #[test]
    fn an_archive_of_very_many_entries() {
        let names: Vec<String> = (0..2000).map(|index| format!("a{index}")).collect();
        let arrays: Vec<_> = names.iter().map(|name| (name.as_str(), "|u1", "(1,)", 1)).collect();
        assert!(refused(&archive(&arrays)).contains("2000 entries"));
    }

    #[test]
    fn what_is_no_archive_of_arrays() {
        assert!(refused(b"PK\x03\x04 and no more").contains("no .npz"));
        assert!(refused(b"").contains("no .npz"));
        assert!(refused(&archive(&[("x", "<f4", "(1,)", 4)])).contains("no array `y`; it has: x.npy"));
        assert!(refused(&archive(&[("x", "O", "(1,)", 4), ("y", "|u1", "(1,)", 1)])).contains("no array with a shape"));
    }
}
