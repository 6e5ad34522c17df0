//! Zip archives as PyTorch writes them: records stored as they are, below one folder.
//!
//! Format: <https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT>, sections 4.3.7, 4.3.12 and 4.3.14 to 4.3.16. Records
//! are slices of the file: nothing is unpacked, so nothing can unpack to more than was sent.

use std::collections::BTreeMap;

use super::problems::invalid;
use crate::domain::problem::Problem;

/// More records than any network has weights.
const MAX_RECORDS: u64 = 200_000;
const END: usize = 22;
const CENTRAL: usize = 46;
const LOCAL: usize = 30;
/// Stands in a field of 32 bits whose value is in the extra field instead.
const ELSEWHERE: u64 = 0xffff_ffff;

/// The records of an archive, by their paths below its one folder.
#[derive(Debug)]
pub struct Archive<'a> {
    records: BTreeMap<String, &'a [u8]>,
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
        for entry in entries {
            let path = entry.name.strip_prefix(folder.as_str()).unwrap_or(&entry.name).to_owned();
            if records.insert(path, entry.data).is_some() {
                return Err(invalid(format!("The archive has the record \"{}\" twice.", entry.name)));
            }
        }
        Ok(Self { records })
    }

    pub fn get(&self, path: &str) -> Option<&'a [u8]> {
        self.records.get(path).copied()
    }

    /// A short record as text, without the white space around it.
    pub fn text(&self, path: &str) -> Option<&'a str> {
        self.get(path).and_then(|bytes| std::str::from_utf8(bytes).ok()).map(str::trim)
    }

    /// Paths that begin with `prefix`, in order.
    pub fn below<'s>(&'s self, prefix: &'s str) -> impl Iterator<Item = &'s str> {
        let from = self.records.range(prefix.to_owned()..);
        from.map(|(path, _)| path.as_str()).take_while(move |path| path.starts_with(prefix))
    }
}

struct Entry<'a> {
    name: String,
    data: &'a [u8],
    /// Where the local header begins and the data ends.
    span: (usize, usize),
}

/// The folder that all entries lie in, with its slash; empty where they lie in none.
fn folder(entries: &[Entry]) -> String {
    let first = entries.first().and_then(|entry| entry.name.split_once('/')).map(|(folder, _)| format!("{folder}/"));
    first.filter(|folder| entries.iter().all(|entry| entry.name.starts_with(folder.as_str()))).unwrap_or_default()
}

fn entries(bytes: &[u8]) -> Result<Vec<Entry<'_>>, String> {
    let (count, start) = directory(bytes).ok_or("its end is missing, so the file may be cut short")?;
    if count > MAX_RECORDS {
        return Err(format!("it has {count} records; the most are {MAX_RECORDS}"));
    }
    let mut at = usize::try_from(start).map_err(|_| "its list of records lies outside")?;
    let mut entries = Vec::new();
    for _ in 0..count {
        let header = bytes.get(at..).filter(|rest| rest.starts_with(b"PK\x01\x02") && rest.len() >= CENTRAL);
        let header = header.ok_or("its list of records is damaged")?;
        entries.push(entry(bytes, header)?);
        at += CENTRAL + length(header, 28) + length(header, 30) + length(header, 32);
    }
    let mut spans: Vec<(usize, usize)> = entries.iter().map(|entry| entry.span).collect();
    spans.sort_unstable();
    if spans.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err("its records lie over each other".into());
    }
    Ok(entries)
}

/// How many records there are, and where their list begins.
fn directory(bytes: &[u8]) -> Option<(u64, u64)> {
    let first = bytes.len().saturating_sub(END + 0xffff);
    let is_end = |at: &usize| {
        let rest = &bytes[*at..];
        rest.starts_with(b"PK\x05\x06") && rest.len() == END + length(rest, 20)
    };
    let at = (first..bytes.len().checked_sub(END)? + 1).rev().find(is_end)?;
    let end = &bytes[at..];
    let (count, start) = (number(end, 10, 2)?, number(end, 16, 4)?);
    if count != 0xffff && start != ELSEWHERE {
        return Some((count, start));
    }
    let locator = bytes.get(at.checked_sub(20)?..at).filter(|locator| locator.starts_with(b"PK\x06\x07"))?;
    let at = usize::try_from(number(locator, 8, 8)?).ok()?;
    let end = bytes.get(at..).filter(|end| end.starts_with(b"PK\x06\x06"))?;
    Some((number(end, 32, 8)?, number(end, 48, 8)?))
}

/// One record, from its header in the list.
fn entry<'a>(bytes: &'a [u8], header: &[u8]) -> Result<Entry<'a>, String> {
    let name = header.get(CENTRAL..CENTRAL + length(header, 28)).ok_or("its list of records is damaged")?;
    let name = std::str::from_utf8(name).map_err(|_| "a name in it is not UTF-8")?;
    let damaged = || format!("its record \"{name}\" lies outside of it or is damaged");
    let field = |at, size| number(header, at, size).unwrap_or(0);
    if field(8, 2) & 1 != 0 {
        return Err(format!("its record \"{name}\" is encrypted"));
    }
    if field(10, 2) != 0 {
        return Err(format!("its record \"{name}\" is compressed, and PyTorch stores records as they are"));
    }
    let (packed, size, offset) = sizes(header).ok_or_else(damaged)?;
    if packed != size {
        return Err(damaged());
    }
    let from = usize::try_from(offset).map_err(|_| damaged())?;
    let local = bytes.get(from..).filter(|rest| rest.starts_with(b"PK\x03\x04") && rest.len() >= LOCAL);
    let local = local.ok_or_else(damaged)?;
    if local.get(LOCAL..LOCAL + length(local, 26)) != Some(name.as_bytes()) {
        return Err(damaged());
    }
    let start = from + LOCAL + length(local, 26) + length(local, 28);
    let end = usize::try_from(size).ok().and_then(|size| start.checked_add(size)).ok_or_else(damaged)?;
    let data = bytes.get(start..end).ok_or_else(damaged)?;
    Ok(Entry { name: name.to_owned(), data, span: (from, end) })
}

/// Stored size, real size and offset; those that do not fit 32 bits are in the extra field, in this order.
fn sizes(header: &[u8]) -> Option<(u64, u64, u64)> {
    let (mut packed, mut size, mut offset) = (number(header, 20, 4)?, number(header, 24, 4)?, number(header, 42, 4)?);
    let start = CENTRAL + length(header, 28);
    let mut extra = header.get(start..start + length(header, 30))?;
    while let Some((kind, rest)) = number(extra, 0, 2).zip(extra.get(4..)) {
        let (field, rest) = rest.split_at_checked(length(extra, 2))?;
        if kind == 1 {
            let mut at = 0;
            for value in [&mut size, &mut packed, &mut offset] {
                if *value == ELSEWHERE {
                    *value = number(field, at, 8)?;
                    at += 8;
                }
            }
        }
        extra = rest;
    }
    Some((packed, size, offset))
}

/// A little-endian number of up to eight bytes.
fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// A length of 16 bits; 0 where it is cut off, which the caller's own bounds then notice.
fn length(bytes: &[u8], at: usize) -> usize {
    number(bytes, at, 2).unwrap_or(0) as usize
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
        assert!(reason(&twice).contains("over each other"), "{}", reason(&twice));
        let mut large = whole.clone();
        large[central + 20..central + 28].copy_from_slice(&[0xf0, 0xff, 0xff, 0x7f, 0xf0, 0xff, 0xff, 0x7f]);
        assert!(reason(&large).contains("outside"));
    }
}
