//! Zip archives as PyTorch writes them: records stored as they are, below one folder. They are slices of the file: nothing is
//! unpacked, so nothing can unpack to more than was sent. The exception is the code of a module, up to a bound.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    io::{Cursor, Read},
    ops::Range,
};

use zip::{CompressionMethod, ZipArchive};

pub use self::writer::Writer;
use super::problems::invalid;
use crate::domain::problem::Problem;

mod writer;

/// More records than any network has weights, and fewer than need a list of the larger form.
const MAX_RECORDS: u16 = 65_000;

/// The folder of code, whose records are compressed.
const CODE: &str = "code/";
/// Most that the code of one module unpacks to, in bytes; a scripted DenseNet-121 has 230,242.
const MAX_CODE: u64 = 1 << 23;

/// Bytes of the record that ends an archive, before its comment.
const END: usize = 22;

/// What a record holds: a slice of the file, or code that was unpacked.
type Content<'a> = Cow<'a, [u8]>;

/// The records of an archive, by their paths below its one folder.
#[derive(Debug)]
pub struct Archive<'a> {
    records: BTreeMap<String, Content<'a>>,
}

impl<'a> Archive<'a> {
    /// Reads the list of records. The name of the folder they lie in does not matter.
    ///
    /// # Errors
    /// `invalid_model`: no zip archive, one cut short, records that are compressed, encrypted, twice there or lie over each
    /// other.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Problem> {
        let entries = entries(bytes).map_err(|reason| {
            invalid(format!("The archive cannot be read: {reason}."))
                .hint("Compare its size with the original, and send the file as torch wrote it, not packed again.")
        })?;
        let folder = folder(&entries);
        let mut records = BTreeMap::new();
        for (name, data) in entries {
            records.insert(name.strip_prefix(folder.as_str()).unwrap_or(&name).to_owned(), data);
        }
        Ok(Self { records })
    }

    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.records.get(path).map(AsRef::as_ref)
    }

    /// A short record as text, without the white space around it.
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim)
    }

    /// Paths that begin with `prefix`, in order.
    pub fn below<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s str> {
        let from = self.records.range(prefix.to_owned()..);
        from.map(|(path, _)| path.as_str()).take_while(move |path| path.starts_with(prefix))
    }
}

/// The folder that all records lie in, with its slash; empty where they lie in none.
fn folder(entries: &[(String, Content<'_>)]) -> String {
    let first = entries.first().and_then(|(name, _)| name.split_once('/')).map(|(folder, _)| format!("{folder}/"));
    first.filter(|folder| entries.iter().all(|(name, _)| name.starts_with(folder.as_str()))).unwrap_or_default()
}

/// Names and contents of the records.
fn entries(bytes: &[u8]) -> Result<Vec<(String, Content<'_>)>, String> {
    let listed = listed(bytes).ok_or("its end is missing, so the file may be cut short")?;
    if listed > MAX_RECORDS {
        return Err(format!("it has {listed} records or more; the most are {MAX_RECORDS}"));
    }
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    // Of records with one name the reader keeps the last, and says nothing.
    if archive.len() != usize::from(listed) {
        return Err(format!("it lists {listed} records, but {} names", archive.len()));
    }
    let found = (0..archive.len()).map(|index| place(&mut archive, index)).collect::<Result<Vec<_>, _>>()?;
    let mut spans: Vec<Range<usize>> = found.iter().map(|place| place.span.clone()).collect();
    let mut room = MAX_CODE;
    let mut entries = Vec::with_capacity(found.len());
    for (index, place) in found.into_iter().enumerate() {
        let outside = || format!("its record \"{}\" lies outside of it", place.name);
        let data = bytes.get(place.span.clone()).ok_or_else(outside)?;
        let data = if place.packed { unpack(&mut archive, index, &mut room)?.into() } else { data.into() };
        entries.push((place.name, data));
    }
    spans.sort_unstable_by_key(|span| (span.start, span.end));
    if spans.windows(2).any(|pair| pair[0].end > pair[1].start) {
        return Err("its records lie over each other".into());
    }
    Ok(entries)
}

/// How many records the end of the archive says that there are.
fn listed(bytes: &[u8]) -> Option<u16> {
    let first = bytes.len().saturating_sub(END + usize::from(u16::MAX));
    let tail = &bytes[first..];
    let number = |record: &[u8], at: usize| u16::from_le_bytes([record[at], record[at + 1]]);
    let is_end = |at: &usize| {
        let record = &tail[*at..];
        record.starts_with(b"PK\x05\x06") && record.len() == END + usize::from(number(record, 20))
    };
    let at = (0..=tail.len().checked_sub(END)?).rev().find(is_end)?;
    Some(number(&tail[at..], 10))
}

/// Where the content of a record lies in the file.
struct Place {
    name: String,
    span: Range<usize>,
    packed: bool,
}

fn place(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize) -> Result<Place, String> {
    let record = archive.by_index_raw(index).map_err(|error| error.to_string())?;
    let name = record.name().to_owned();
    if record.encrypted() {
        return Err(format!("its record \"{name}\" is encrypted"));
    }
    let stored = record.compression() == CompressionMethod::Stored && record.compressed_size() == record.size();
    let code = record.compression() == CompressionMethod::Deflated && is_code(&name);
    if !stored && !code {
        return Err(format!("its record \"{name}\" is compressed, and PyTorch stores records as they are"));
    }
    let start = usize::try_from(record.data_start()).ok();
    let length = usize::try_from(record.compressed_size()).ok();
    let span = start.zip(length).and_then(|(start, length)| Some(start..start.checked_add(length)?));
    Ok(Place { span: span.ok_or_else(|| format!("its record \"{name}\" lies outside of it"))?, name, packed: !stored })
}

fn is_code(name: &str) -> bool {
    name.starts_with(CODE) || name.split_once('/').is_some_and(|(_, path)| path.starts_with(CODE))
}

/// A compressed record, as long as the code unpacked so far leaves `room` for it.
fn unpack(archive: &mut ZipArchive<Cursor<&[u8]>>, index: usize, room: &mut u64) -> Result<Vec<u8>, String> {
    let record = archive.by_index(index).map_err(|error| error.to_string())?;
    let mut data = Vec::new();
    let count = record.take(*room + 1).read_to_end(&mut data).map_err(|error| format!("its code: {error}"))?;
    *room = room.checked_sub(count as u64).ok_or_else(|| format!("its code unpacks to more than {MAX_CODE} bytes"))?;
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

    use super::*;

    fn packed(records: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, data) in records {
            writer.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
            writer.write_all(data).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    fn reason(bytes: &[u8]) -> String {
        Archive::read(bytes).unwrap_err().detail
    }

    #[test]
    fn records_lie_below_one_folder_or_none() {
        let bytes = packed(&[("m/a", b"one"), ("m/data/b", b" two\n")], CompressionMethod::Stored);
        let archive = Archive::read(&bytes).unwrap();
        assert_eq!((archive.get("a"), archive.text("data/b")), (Some(&b"one"[..]), Some("two")));
        assert_eq!(archive.below("data/").collect::<Vec<_>>(), ["data/b"]);
        let bytes = packed(&[("a", b"one"), ("m/b", b"two")], CompressionMethod::Stored);
        assert!(Archive::read(&bytes).unwrap().get("m/b").is_some());
    }

    #[test]
    fn code_is_unpacked_up_to_a_bound() {
        let bytes = packed(&[("m/code/a.py", &[b' '; 4000])], CompressionMethod::Deflated);
        assert_eq!(Archive::read(&bytes).unwrap().get("code/a.py").map(<[u8]>::len), Some(4000));
        let long = vec![b' '; MAX_CODE as usize];
        let bytes = packed(&[("m/code/a.py", &long), ("m/code/b.py", b"  ")], CompressionMethod::Deflated);
        assert!(bytes.len() < 100_000 && reason(&bytes).contains("unpacks to more"), "{}", reason(&bytes));
    }

    #[test]
    fn archives_that_lie_are_refused() {
        let records: &[(&str, &[u8])] = &[("m/a", &[7; 40]), ("m/b", &[8; 40])];
        assert!(reason(&packed(records, CompressionMethod::Deflated)).contains("compressed"));
        let whole = packed(records, CompressionMethod::Stored);
        for cut in 0..whole.len() {
            assert!(Archive::read(&whole[..cut]).is_err(), "cut at {cut}");
        }
        let central = whole.windows(4).position(|window| window == b"PK\x01\x02").unwrap();
        let second = central + whole[central + 4..].windows(4).position(|window| window == b"PK\x01\x02").unwrap() + 4;
        let mut twice = whole.clone();
        // The second entry becomes the first one again.
        twice.copy_within(central..second, second);
        assert!(reason(&twice).contains("2 records, but 1 names"), "{}", reason(&twice));
        let mut over = whole.clone();
        // The second record's list entry leads into the first one, under its own name.
        over.copy_within(central + 42..central + 46, second + 42);
        assert!(reason(&over).contains("over each other"), "{}", reason(&over));
        let mut large = whole.clone();
        large[central + 20..central + 28].copy_from_slice(&[0xf0, 0xff, 0xff, 0x7f, 0xf0, 0xff, 0xff, 0x7f]);
        assert!(reason(&large).contains("outside"));
    }
}
