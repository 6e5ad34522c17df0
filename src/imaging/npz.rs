//! `.npz` archives, one row at a time: a bank of samples can be larger than memory, and a picture needs a few rows of it.
//!
//! The format of each entry: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.

use std::io::{self, Read, Seek, Write};

use zip::{CompressionMethod, ZipArchive, ZipWriter, read::ZipFile, write::SimpleFileOptions};

use super::ImagingError;

/// Longest header that is read; NumPy's own are 128 bytes for the arrays we write.
const MAX_HEADER: usize = 64 << 10;

/// Largest row and largest array: several times what a run writes. The files come from processes that have read a stranger's
/// model, so a header is a claim, and what it claims must not be allocated, nor unpacked for hours.
const MAX_ROW: usize = 256 << 20;
const MAX_ARRAY: usize = 4 << 30;

/// Most labels, which are read at once: a job may ask for 32 generators with a million samples of each.
const MAX_LABELS: usize = 32 << 20;

/// Most arrays of an archive.
const MAX_ARRAYS: usize = 64;

/// Element types that we write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    F32,
    I64,
}

impl Element {
    fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I64 => 8,
        }
    }

    fn descr(self) -> &'static str {
        match self {
            Self::F32 => "<f4",
            Self::I64 => "<i8",
        }
    }
}

/// What stands before an array's data: little-endian elements in row-major order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub element: Element,
    pub shape: Vec<usize>,
}

impl Header {
    /// Rows along the first axis.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Elements of one row.
    pub fn row_len(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    fn read(array: &str, reader: &mut impl Read) -> Result<Self, ImagingError> {
        let mut magic = [0; 8];
        reader.read_exact(&mut magic)?;
        if &magic[..6] != b"\x93NUMPY" {
            return Err(ImagingError::array(array, "is no .npy array"));
        }
        let mut length = [0; 4];
        let length_bytes = if magic[6] == 1 { 2 } else { 4 };
        reader.read_exact(&mut length[..length_bytes])?;
        let length = u32::from_le_bytes(length) as usize;
        if length > MAX_HEADER {
            return Err(ImagingError::array(array, format!("has a header of {length} bytes")));
        }
        let mut text = vec![0; length];
        reader.read_exact(&mut text)?;
        Self::parse(&String::from_utf8_lossy(&text))
            .ok_or_else(|| ImagingError::array(array, "is not a row-major array of float32 or int64, or is too large"))
    }

    /// `{'descr': '<f4', 'fortran_order': False, 'shape': (10, 1, 28, 28), }`
    fn parse(text: &str) -> Option<Self> {
        let after = |key: &str| text.split_once(key).map(|(_, rest)| rest.trim_start_matches(['\'', '"', ':', ' ']));
        let descr = after("descr")?;
        let element = [Element::F32, Element::I64].into_iter().find(|element| descr.starts_with(element.descr()))?;
        if !after("fortran_order")?.starts_with("False") {
            return None;
        }
        let (_, shape) = after("shape")?.split_once('(')?;
        let (shape, _) = shape.split_once(')')?;
        let shape: Vec<usize> = shape
            .split(',')
            .map(str::trim)
            .filter(|extent| !extent.is_empty())
            .map(|extent| extent.parse().ok())
            .collect::<Option<_>>()?;
        let bytes =
            |shape: &[usize]| shape.iter().try_fold(element.bytes(), |bytes, &extent| bytes.checked_mul(extent));
        let row = bytes(shape.get(1..).unwrap_or_default())?;
        (row <= MAX_ROW && bytes(&shape)? <= MAX_ARRAY).then_some(Self { element, shape })
    }

    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let shape: String = self.shape.iter().map(|extent| format!("{extent}, ")).collect();
        let mut text = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}",
            self.element.descr(),
            shape.trim_end()
        );
        // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
        while (10 + text.len() + 1) % 64 != 0 {
            text.push(' ');
        }
        text.push('\n');
        let length = u16::try_from(text.len()).map_err(io::Error::other)?;
        out.write_all(b"\x93NUMPY\x01\x00")?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(text.as_bytes())
    }
}

/// An archive opened for reading.
pub struct Npz<R> {
    archive: ZipArchive<R>,
}

impl<R: Read + Seek> Npz<R> {
    /// # Errors
    /// Where `reader` holds no zip archive.
    pub fn open(reader: R) -> Result<Self, ImagingError> {
        let archive = ZipArchive::new(reader)?;
        if archive.len() > MAX_ARRAYS {
            return Err(ImagingError::array("*", format!("is one of {}, which are too many", archive.len())));
        }
        Ok(Self { archive })
    }

    fn entry(&mut self, array: &str) -> Result<(Header, ZipFile<'_, R>), ImagingError> {
        let mut entry = self
            .archive
            .by_name(&format!("{array}.npy"))
            .map_err(|_| ImagingError::array(array, "is not in the file"))?;
        let header = Header::read(array, &mut entry)?;
        Ok((header, entry))
    }

    /// # Errors
    /// Where the array is missing or of another kind than we write.
    pub fn header(&mut self, array: &str) -> Result<Header, ImagingError> {
        self.entry(array).map(|(header, _)| header)
    }

    /// All of a one-dimensional int64 array: labels.
    ///
    /// # Errors
    /// Where the array is missing, truncated, too long, or not of that kind.
    pub fn labels(&mut self, array: &str) -> Result<Vec<i64>, ImagingError> {
        let (header, mut entry) = self.entry(array)?;
        if header.element != Element::I64 || header.shape.len() != 1 {
            return Err(ImagingError::array(array, "is not a vector of int64"));
        }
        if header.rows() > MAX_LABELS {
            return Err(ImagingError::array(array, format!("has {} labels; {MAX_LABELS} are read", header.rows())));
        }
        let mut labels = Vec::new();
        let mut bytes = [0; 8];
        for _ in 0..header.rows() {
            entry.read_exact(&mut bytes)?;
            labels.push(i64::from_le_bytes(bytes));
        }
        Ok(labels)
    }

    /// Hands each wanted row of a float32 array to `row`, in the array's order. `wanted` must be ascending.
    ///
    /// # Errors
    /// Where the array is missing, truncated or of another kind, and whatever `row` returns.
    pub fn rows(
        &mut self,
        array: &str,
        wanted: &[usize],
        mut row: impl FnMut(usize, &[f32]) -> Result<(), ImagingError>,
    ) -> Result<(), ImagingError> {
        debug_assert!(wanted.is_sorted());
        let (header, mut entry) = self.entry(array)?;
        if header.element != Element::F32 {
            return Err(ImagingError::array(array, "is not float32"));
        }
        let mut bytes = vec![0; header.row_len() * 4];
        let mut next = 0;
        for &index in wanted {
            let skipped = (index - next) as u64 * bytes.len() as u64;
            io::copy(&mut (&mut entry).take(skipped), &mut io::sink())?;
            entry.read_exact(&mut bytes)?;
            next = index + 1;
            let values: Vec<f32> = bytes
                .chunks_exact(4)
                .map(|chunk| f32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
                .collect();
            row(index, &values)?;
        }
        Ok(())
    }

    /// Copies the first `n` rows of every array into a new archive, in constant memory.
    ///
    /// # Errors
    /// Where an array is of another kind than we write, or `out` cannot be written.
    pub fn first_rows<W: Write + Seek>(&mut self, n: usize, out: W) -> Result<W, ImagingError> {
        let mut writer = ZipWriter::new(out);
        // Noise does not compress; the size of large entries must be announced.
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        let names: Vec<String> = self.archive.file_names().map(str::to_owned).collect();
        for name in names {
            let array = name.strip_suffix(".npy").unwrap_or(&name);
            let (mut header, entry) = self.entry(array)?;
            if let Some(rows) = header.shape.first_mut() {
                *rows = n.min(*rows);
            }
            writer.start_file(&*name, options)?;
            header.write(&mut writer)?;
            let bytes = (header.rows() * header.row_len() * header.element.bytes()) as u64;
            if io::copy(&mut entry.take(bytes), &mut writer)? != bytes {
                return Err(ImagingError::array(array, "is truncated"));
            }
        }
        Ok(writer.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ndarray::{Array1, Array2, Array4};
    use ndarray_npy::{NpzReader, NpzWriter};

    use super::*;

    fn bank() -> Npz<Cursor<Vec<u8>>> {
        let mut writer = NpzWriter::new_compressed(Cursor::new(Vec::new()));
        let x = Array4::from_shape_fn((5, 1, 2, 3), |(n, _, h, w)| (n * 10 + h * 3 + w) as f32);
        writer.add_array("x", &x).unwrap();
        writer.add_array("y", &Array1::from(vec![0i64, 1, 0, 2, 1])).unwrap();
        writer.add_array("teacher_logits", &Array2::<f32>::ones((5, 3))).unwrap();
        let mut file = writer.finish().unwrap();
        file.set_position(0);
        Npz::open(file).unwrap()
    }

    #[test]
    fn reads_headers_labels_and_chosen_rows() {
        let mut bank = bank();
        assert_eq!(bank.header("x").unwrap(), Header { element: Element::F32, shape: vec![5, 1, 2, 3] });
        assert_eq!(bank.labels("y").unwrap(), [0, 1, 0, 2, 1]);
        let mut seen = Vec::new();
        bank.rows("x", &[1, 4], |index, row| {
            seen.push((index, row.to_vec()));
            Ok(())
        })
        .unwrap();
        assert_eq!(
            seen,
            [(1, vec![10.0, 11.0, 12.0, 13.0, 14.0, 15.0]), (4, vec![40.0, 41.0, 42.0, 43.0, 44.0, 45.0])]
        );
    }

    #[test]
    fn a_slice_is_an_archive_that_other_readers_take() {
        let sliced = bank().first_rows(2, Cursor::new(Vec::new())).unwrap();
        let mut reader = NpzReader::new(sliced).unwrap();
        let x: Array4<f32> = reader.by_name("x").unwrap();
        assert_eq!(x.shape(), [2, 1, 2, 3]);
        assert_eq!(x[[1, 0, 1, 2]], 15.0);
        let y: Array1<i64> = reader.by_name("y").unwrap();
        assert_eq!(y.to_vec(), [0, 1]);
        let logits: Array2<f32> = reader.by_name("teacher_logits").unwrap();
        assert_eq!(logits.shape(), [2, 3]);
    }

    #[test]
    fn more_rows_than_there_are_give_all_of_them() {
        let sliced = bank().first_rows(100, Cursor::new(Vec::new())).unwrap();
        assert_eq!(Npz::open(sliced).unwrap().labels("y").unwrap().len(), 5);
    }

    #[test]
    fn a_missing_array_is_named() {
        let error = bank().labels("z").unwrap_err();
        assert_eq!(error.to_string(), "array `z`: is not in the file");
    }

    #[test]
    fn labels_without_end_are_refused() {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        writer.start_file("y.npy", SimpleFileOptions::default()).unwrap();
        // What follows it does not matter: the header's claim is enough.
        Header { element: Element::I64, shape: vec![MAX_LABELS + 1] }.write(&mut writer).unwrap();
        let error = Npz::open(writer.finish().unwrap()).unwrap().labels("y").unwrap_err();
        assert!(error.to_string().contains("33554433 labels"), "{error}");
    }

    #[test]
    fn what_numpy_writes_otherwise_is_refused() {
        for text in [
            "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 2), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551615, 9), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (0, 1099511627776), }",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 4294967296), }",
            "{'descr': '<i8', 'fortran_order': False, 'shape': (1099511627776,), }",
            "{'descr': '<f4'",
        ] {
            assert_eq!(Header::parse(text), None, "{text}");
        }
    }
}
