//! Contact sheets: small pictures in rows and columns, as PNG.

use std::{
    borrow::Cow,
    io::{Read, Seek},
};

use super::{
    ImagingError,
    npz::Npz,
    pixels::{InputShape, Rgb, Scaling, picture},
};

/// Most pixels of a sheet: 32 million are 96 MB while it is drawn.
const MAX_PIXELS: u64 = 32_000_000;

/// Pixels between pictures and around them.
const GAP: usize = 2;

const BACKGROUND: Rgb = [32, 34, 37];

/// The grid and the size of its cells, before magnification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub rows: usize,
    pub columns: usize,
    /// (width, height) of one picture.
    pub cell: (usize, usize),
    /// Pixels that each pixel of a picture becomes, in both directions.
    pub scale: usize,
}

/// A sheet being drawn. Cells that get no picture keep the background.
pub struct Sheet {
    layout: Layout,
    width: usize,
    height: usize,
    pixels: Vec<Rgb>,
}

impl Sheet {
    /// # Errors
    /// [`ImagingError::TooLarge`] where the layout has too many pixels.
    pub fn new(layout: Layout) -> Result<Self, ImagingError> {
        let side = |cells: usize, extent: usize| {
            let pitch = (extent as u64).saturating_mul(layout.scale as u64).saturating_add(GAP as u64);
            (cells as u64).saturating_mul(pitch).saturating_add(GAP as u64)
        };
        let width = side(layout.columns, layout.cell.0);
        let height = side(layout.rows, layout.cell.1);
        if width.saturating_mul(height) > MAX_PIXELS {
            return Err(ImagingError::TooLarge { width, height, limit: MAX_PIXELS });
        }
        let (width, height) = (width as usize, height as usize);
        Ok(Self { layout, width, height, pixels: vec![BACKGROUND; width * height] })
    }

    /// Draws `picture`, which has the size of a cell, into the cell at `row`, `column`.
    pub fn draw(&mut self, row: usize, column: usize, picture: &[Rgb]) {
        let Layout { cell: (width, height), scale, .. } = self.layout;
        let left = GAP + column * (width * scale + GAP);
        let top = GAP + row * (height * scale + GAP);
        for (y, line) in picture.chunks_exact(width).enumerate() {
            for repeat in 0..scale {
                let start = (top + y * scale + repeat) * self.width + left;
                let target = &mut self.pixels[start..start + width * scale];
                for (pixels, colour) in target.chunks_exact_mut(scale).zip(line) {
                    pixels.fill(*colour);
                }
            }
        }
    }

    /// # Errors
    /// Where the encoder fails, which it does for an empty sheet.
    pub fn encode(&self) -> Result<Vec<u8>, ImagingError> {
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        let mut writer = encoder.write_header()?;
        writer.write_image_data(self.pixels.as_flattened())?;
        writer.finish()?;
        Ok(file)
    }
}

/// What to show of a file of samples (`x` (N, …) float32, `y` (N) int64).
#[derive(Clone, Debug)]
pub struct Contents {
    /// The classes shown, one in each row.
    pub classes: Vec<i64>,
    pub per_class: usize,
    pub scale: usize,
    /// Images lie in the file as (H, W, C), and not as (C, H, W).
    pub channels_last: bool,
    /// The teacher's normalisation, where the job's configuration gives it.
    pub mean: Option<Vec<f64>>,
    pub std: Option<Vec<f64>>,
}

/// A sheet with a row for each class, from the samples whose label is that class.
///
/// Several files (one for each generator) take turns along each row, so that every generator is seen.
///
/// # Errors
/// Where a file is not one of samples, the files differ in shape, or the sheet would be too large.
pub fn by_class<R: Read + Seek>(files: Vec<R>, contents: &Contents) -> Result<Vec<u8>, ImagingError> {
    let mut files = files.into_iter().map(Npz::open).collect::<Result<Vec<_>, _>>()?;
    let labels = files.iter_mut().map(|file| file.labels("y")).collect::<Result<Vec<_>, _>>()?;
    let grid = (contents.classes.len(), contents.per_class);
    let mut sheet = blank(&mut files, grid, contents)?;
    let mut cells = vec![Vec::new(); files.len()];
    for (row, &class) in contents.classes.iter().enumerate() {
        for (column, (file, index)) in in_turns(&labels, class, contents.per_class).enumerate() {
            cells[file].push(Cell { index, row, column });
        }
    }
    for (file, mut cells) in files.iter_mut().zip(cells) {
        cells.sort_unstable_by_key(|cell| cell.index);
        draw(&mut sheet, file, &cells, contents)?;
    }
    sheet.encode()
}

/// The first `most` samples of `class` as (file, index): the first of each file, then the second of each, and so on.
fn in_turns(labels: &[Vec<i64>], class: i64, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let of_file = move |(file, labels): (usize, &Vec<i64>)| {
        let indices = labels.iter().enumerate().filter(|&(_, &label)| label == class).take(most);
        indices.enumerate().map(|(turn, (index, _))| (turn, file, index)).collect::<Vec<_>>()
    };
    let mut all: Vec<_> = labels.iter().enumerate().flat_map(of_file).collect();
    all.sort_unstable();
    all.into_iter().take(most).map(|(_, file, index)| (file, index))
}

/// A sheet of a grid as it lies in the file, in `rows` rows of equally many samples, whatever their labels.
///
/// # Errors
/// As [`by_class`].
pub fn by_position(file: impl Read + Seek, rows: usize, contents: &Contents) -> Result<Vec<u8>, ImagingError> {
    let mut files = [Npz::open(file)?];
    let count = files[0].header("x")?.rows();
    let columns = count.div_ceil(rows.max(1)).max(1);
    let mut sheet = blank(&mut files, (rows, columns), contents)?;
    let cells: Vec<_> = (0..count).map(|index| Cell { index, row: index / columns, column: index % columns }).collect();
    draw(&mut sheet, &mut files[0], &cells, contents)?;
    sheet.encode()
}

/// Which sample goes where.
#[derive(Clone, Copy, Debug)]
struct Cell {
    index: usize,
    row: usize,
    column: usize,
}

fn input_shape(file: &mut Npz<impl Read + Seek>, contents: &Contents) -> Result<InputShape, ImagingError> {
    let header = file.header("x")?;
    let shape = match header.shape[..] {
        [_, height, width, channels] if contents.channels_last => InputShape::new(&[channels, height, width]),
        _ => header.shape.get(1..).and_then(InputShape::new),
    };
    shape.ok_or_else(|| ImagingError::array("x", format!("{:?} is no shape of inputs", header.shape)))
}

/// An empty sheet for the samples of these files, which must have one shape.
fn blank<R: Read + Seek>(
    files: &mut [Npz<R>],
    (rows, columns): (usize, usize),
    contents: &Contents,
) -> Result<Sheet, ImagingError> {
    let shapes = files.iter_mut().map(|file| input_shape(file, contents)).collect::<Result<Vec<_>, _>>()?;
    let shape = *shapes.first().ok_or_else(|| ImagingError::array("x", "there is no file of samples"))?;
    if shapes.iter().any(|other| *other != shape) {
        return Err(ImagingError::array("x", "has another shape in another file"));
    }
    Sheet::new(Layout { rows, columns, cell: shape.picture(), scale: contents.scale })
}

/// `cells` ascend by index.
fn draw(
    sheet: &mut Sheet,
    file: &mut Npz<impl Read + Seek>,
    cells: &[Cell],
    contents: &Contents,
) -> Result<(), ImagingError> {
    let shape = input_shape(file, contents)?;
    let channels = if let InputShape::Image { channels, .. } = shape { channels } else { 0 };
    let scaling = Scaling::new(contents.mean.as_deref(), contents.std.as_deref(), channels);
    let indices: Vec<usize> = cells.iter().map(|cell| cell.index).collect();
    let mut cells = cells.iter();
    file.rows("x", &indices, |_, values| {
        if let Some(cell) = cells.next() {
            let is_woven = contents.channels_last && channels > 1;
            let values = if is_woven { Cow::Owned(planes(values, channels)) } else { Cow::Borrowed(values) };
            sheet.draw(cell.row, cell.column, &picture(&values, shape, &scaling));
        }
        Ok(())
    })
}

/// The values of an image (H, W, C), in the order of (C, H, W).
fn planes(values: &[f32], channels: usize) -> Vec<f32> {
    (0..channels).flat_map(|channel| values.iter().skip(channel).step_by(channels).copied()).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use ndarray::{Array1, Array4};
    use ndarray_npy::NpzWriter;

    use super::*;

    /// One-pixel images whose grey level is their position divided by ten.
    fn samples(labels: &[i64]) -> Cursor<Vec<u8>> {
        let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
        let x = Array4::from_shape_fn((labels.len(), 1, 1, 1), |(n, ..)| n as f32 / 10.0);
        writer.add_array("x", &x).unwrap();
        writer.add_array("y", &Array1::from(labels.to_vec())).unwrap();
        let mut file = writer.finish().unwrap();
        file.set_position(0);
        file
    }

    fn contents(classes: &[i64], per_class: usize) -> Contents {
        let (mean, std) = (Some(vec![0.0]), Some(vec![1.0]));
        Contents { classes: classes.to_vec(), per_class, scale: 3, channels_last: false, mean, std }
    }

    /// Size, and the colour in the middle of each cell, row by row.
    fn decode(png: &[u8], rows: usize, columns: usize) -> ((u32, u32), Vec<u8>) {
        let mut reader = png::Decoder::new(Cursor::new(png)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let centre = |cell: usize| GAP + cell * (3 + GAP) + 1;
        let cells = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        let greys =
            cells.map(|(row, column)| pixels[(centre(row) * info.width as usize + centre(column)) * 3]).collect();
        ((info.width, info.height), greys)
    }

    #[test]
    fn each_class_has_a_row_and_gaps_stay_empty() {
        let png = by_class(vec![samples(&[0, 1, 0, 0, 1])], &contents(&[0, 1, 2], 2)).unwrap();
        let (size, greys) = decode(&png, 3, 2);
        assert_eq!(size, (12, 17));
        assert_eq!(greys, [0, 51, 26, 102, BACKGROUND[0], BACKGROUND[0]]);
    }

    #[test]
    fn one_class_can_be_picked() {
        let png = by_class(vec![samples(&[0, 1, 0, 0, 1])], &contents(&[1], 2)).unwrap();
        assert_eq!(decode(&png, 1, 2).1, [26, 102]);
    }

    #[test]
    fn several_files_take_turns() {
        let files = vec![samples(&[0, 1, 0, 0]), samples(&[1, 1, 1, 0, 1])];
        let png = by_class(files, &contents(&[0, 1], 3)).unwrap();
        assert_eq!(decode(&png, 2, 3).1, [0, 77, 51, 26, 0, 26]);
    }

    #[test]
    fn a_grid_is_shown_in_its_own_order() {
        let png = by_position(samples(&[0, 1, 0, 0, 1]), 2, &contents(&[], 0)).unwrap();
        assert_eq!(decode(&png, 2, 3).1, [0, 26, 51, 77, 102, BACKGROUND[0]]);
    }

    #[test]
    fn channels_may_come_last() {
        // One image of 1 x 2 pixels: orange, then blue.
        let values = vec![1.0f32, 0.5, 0.0, 0.0, 0.0, 1.0];
        let sheet = |shape: [usize; 4], values: Vec<f32>, channels_last: bool| {
            let mut writer = NpzWriter::new(Cursor::new(Vec::new()));
            writer.add_array("x", &Array4::from_shape_vec(shape, values).unwrap()).unwrap();
            writer.add_array("y", &Array1::from(vec![0i64])).unwrap();
            let three = Contents { mean: Some(vec![0.0; 3]), std: Some(vec![1.0; 3]), ..contents(&[0], 1) };
            by_position(writer.finish().unwrap(), 1, &Contents { channels_last, ..three }).unwrap()
        };
        let last = sheet([1, 1, 2, 3], values, true);
        assert_eq!(last, sheet([1, 3, 1, 2], vec![1.0, 0.0, 0.5, 0.0, 0.0, 1.0], false));
        let mut reader = png::Decoder::new(Cursor::new(&last[..])).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let width = 2 * 3 + 2 * GAP;
        let at = |column: usize| &pixels[(GAP * width + column) * 3..][..3];
        assert_eq!((at(GAP), at(GAP + 3)), (&[255, 128, 0][..], &[0, 0, 255][..]));
    }

    #[test]
    fn a_sheet_that_would_fill_the_memory_is_refused() {
        let error = by_class(vec![samples(&[0])], &contents(&[0], usize::MAX)).unwrap_err();
        assert!(matches!(error, ImagingError::TooLarge { .. }), "{error}");
    }
}
