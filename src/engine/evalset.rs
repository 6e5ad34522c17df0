//! The evaluation set that a user may send: for the report alone, never read before training ends.

use std::{fs::File, path::Path};

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::{NpzReader, ReadableElement};
use tch::{Device, Kind, TchError, Tensor};

use super::{axes, npz_headers, observer::Stop};
use crate::domain::{
    config::InputConfig,
    layout::Layout,
    problem::{ErrorCode, Problem},
};

/// Inputs as they were sent, images with their channels first, and their classes.
#[derive(Debug)]
pub struct EvalSet {
    x: Tensor,
    y: Tensor,
    /// Pixels from 0 to 255, which are normalised as declared.
    bytes: bool,
    input: InputConfig,
    /// One input of the teacher's graph, without the batch.
    shape: Vec<usize>,
    device: Device,
}

/// Rows that are made inputs of the teacher at once: bytes become floats, and images as large as the teacher's.
const ROWS: i64 = 1000;

const HINT: &str = "Send an .npz with `x` in the model's own layout, (N,C,H,W) or (N,H,W,C), (N,H,W) or (N,F), floats as the model \
    takes it or uint8, and `y` (N) integers.";

/// What can be read of inputs and of labels.
const INPUTS: [&str; 3] = ["float32", "float64", "uint8"];
const LABELS: [&str; 7] = ["int64", "int32", "int16", "int8", "uint32", "uint16", "uint8"];

/// The name that a user of NumPy knows for what it writes as `kind`, as in `f4`.
fn type_name(kind: &str) -> String {
    let bits = kind.get(1..).and_then(|bytes| bytes.parse::<u32>().ok()).map(|bytes| bytes.saturating_mul(8));
    match (kind.get(..1), bits) {
        (Some("f"), Some(bits)) => format!("float{bits}"),
        (Some("i"), Some(bits)) => format!("int{bits}"),
        (Some("u"), Some(bits)) => format!("uint{bits}"),
        (Some("b"), Some(_)) => "bool".to_owned(),
        _ => kind.to_owned(),
    }
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::InvalidEval, detail).param("eval").hint(HINT)
}

type Reader = NpzReader<std::io::BufReader<File>>;

fn open(path: &Path) -> Result<Reader, Stop> {
    let file = std::io::BufReader::new(File::open(path)?);
    NpzReader::new(file).map_err(|error| invalid(format!("the evaluation set is no .npz file: {error}")).into())
}

/// Refuses a set whose arrays cannot be read or cannot fit a graph's input `shape` in the `layout` of its file, from the arrays'
/// headers alone: no value is read.
///
/// # Errors
/// `invalid_eval`, naming what does not fit.
pub fn check_headers(path: &Path, (shape, layout): (&[usize], Layout)) -> Result<(), Stop> {
    let headers = npz_headers::read(path, &["x", "y"]).map_err(|error| match error {
        npz_headers::Error::Io(error) => Stop::from(error),
        npz_headers::Error::Invalid(detail) => invalid(format!("the evaluation set cannot be read: {detail}")).into(),
    })?;
    let [x, y] = &headers[..] else { return Err(invalid("the evaluation set has not two arrays").into()) };
    // Before its type: classes as rows of zeros and a one are mostly floats.
    if !matches!(y.shape[..], [_] | [_, 1]) {
        return Err(Problem::new(
            ErrorCode::InvalidEval,
            format!("`y` is {:?}, and can be (N): a class for each input", y.shape),
        )
        .param("eval")
        .hint("Where it has a row of scores for each input, with a one for the right class, send y.argmax(1).")
        .into());
    }
    for (name, array, known) in [("x", x, &INPUTS[..]), ("y", y, &LABELS[..])] {
        let found = type_name(&array.kind);
        if !known.contains(&found.as_str()) {
            return Err(invalid(format!("`{name}` is {found}, and can be {}", known.join(", "))).into());
        }
    }
    let (x, y) = (&x.shape, &y.shape);
    if x.first() != y.first() {
        return Err(invalid(format!("`x` is {x:?} and `y` {y:?}: they must have the same number of rows")).into());
    }
    if x.contains(&0) {
        return Err(invalid(format!("`x` is {x:?}: it holds nothing")).into());
    }
    let grey_image = shape.len() == 3 && shape[0] == 1 && x.len() == 3;
    let fits = match shape.len() {
        3 => x.len() == 4 && layout.inside(&x[1..])[0] == shape[0],
        _ => x[1..] == *shape,
    };
    if !fits && !grey_image {
        let declared = layout.outside(shape);
        return Err(invalid(format!("`x` is {x:?}, but one input of the model is {declared:?}")).into());
    }
    check_size(x, shape)
}

/// Most values of a set, as sent or as resized to the model's input: 4 GiB of float32.
const MAX_VALUES: usize = 1 << 30;

fn check_size(x: &[usize], shape: &[usize]) -> Result<(), Stop> {
    let product = |extents: &[usize]| extents.iter().fold(1usize, |product, &extent| product.saturating_mul(extent));
    let row = product(&x[1..]).max(product(shape)).max(1);
    let most = MAX_VALUES / row;
    if x[0] <= most {
        return Ok(());
    }
    Err(invalid(format!("`x` has {} rows of {row} values; the most are {most} rows of that size", x[0])).into())
}

fn names(reader: &mut Reader) -> Result<(String, String), Problem> {
    let names = reader.names().map_err(|error| invalid(format!("the evaluation set cannot be listed: {error}")))?;
    // NumPy writes `x.npy`; readers differ in whether they strip the suffix.
    let find =
        |wanted: &str| {
            names.iter().find(|name| name.trim_end_matches(".npy") == wanted).cloned().ok_or_else(|| {
                invalid(format!("the evaluation set has no array `{wanted}`; it has: {}", names.join(", ")))
            })
        };
    Ok((find("x")?, find("y")?))
}

impl EvalSet {
    /// Reads a set for a teacher with `classes` classes, whose graph's input is `shape` (without the batch), and whose file has
    /// images in `layout`.
    ///
    /// # Errors
    /// `invalid_eval`, naming what does not fit.
    pub fn read(
        path: &Path,
        (shape, layout): (&[usize], Layout),
        classes: usize,
        input: &InputConfig,
        device: Device,
    ) -> Result<Self, Stop> {
        // Reading allocates what the headers claim.
        check_headers(path, (shape, layout))?;
        let mut reader = open(path)?;
        let (x_name, y_name) = names(&mut reader)?;
        let y = read_labels(&mut reader, &y_name)?;
        let (x, bytes) = read_inputs(&mut reader, &x_name)?;
        let x = fit(&x, (shape, layout))?;
        if x.size()[0] != y.size()[0] || x.size()[0] == 0 {
            return Err(invalid(format!("`x` has {} rows and `y` {}", x.size()[0], y.size()[0])).into());
        }
        let (least, most) = (y.f_min()?.f_int64_value(&[])?, y.f_max()?.f_int64_value(&[])?);
        if least < 0 || most >= classes as i64 {
            return Err(
                invalid(format!("labels run from {least} to {most}, but the model has {classes} classes")).into()
            );
        }
        if let Some(row) = (!bytes).then(|| not_finite(&x)).transpose()?.flatten() {
            return Err(invalid(format!("`x` is NaN or infinite in row {row} (the first is 0)")).into());
        }
        Ok(Self { x, y, bytes, input: input.clone(), shape: shape.to_vec(), device })
    }

    /// What may make accuracy lower than it is, in words.
    pub fn doubt(&self) -> Option<String> {
        (self.bytes && self.input.mean.is_none()).then(|| {
            "`x` of the evaluation set is uint8. It was scaled to 0..1 and not normalised, since the configuration has no \
             `input.mean` and `input.std`: if the model learned from normalised images, its accuracy is higher than measured."
                .to_owned()
        })
    }

    /// Rows.
    pub fn count(&self) -> u64 {
        self.y.size()[0] as u64
    }

    /// In how many pieces [`Self::accuracy`] is answered by a network that runs so many rows at once.
    pub fn pieces(&self, at_once: i64) -> u64 {
        let of = |rows: u64| rows.div_ceil(at_once.max(1) as u64);
        let rows = ROWS as u64;
        self.count() / rows * of(rows) + of(self.count() % rows)
    }

    /// Share of the rows for which `answer`, which gives the logits of inputs, has the right class on top. Few rows at a time:
    /// as the teacher takes them, images may be many times as large as they were sent.
    ///
    /// # Errors
    /// What libtorch and `answer` report.
    pub fn accuracy<E: From<TchError>>(&self, mut answer: impl FnMut(&Tensor) -> Result<Tensor, E>) -> Result<f64, E> {
        let mut hits = 0;
        for (x, y) in self.x.f_split(ROWS, 0)?.iter().zip(self.y.f_split(ROWS, 0)?) {
            let x = prepare(x, self.bytes, &self.shape, &self.input)?.f_to_device(self.device)?;
            let right = answer(&x)?.f_argmax(-1, false)?.f_eq_tensor(&y.f_to_device(self.device)?)?;
            hits += right.f_sum(Kind::Int64)?.f_int64_value(&[])?;
        }
        Ok(hits as f64 / self.count() as f64)
    }
}

/// The first row that has a number which is none.
fn not_finite(x: &Tensor) -> Result<Option<usize>, TchError> {
    for (piece, x) in x.f_split(ROWS, 0)?.iter().enumerate() {
        let finite = x.f_isfinite()?.f_flatten(1, -1)?.f_all_dim(1, false)?;
        if !finite.f_all()?.f_int64_value(&[]).is_ok_and(|all| all == 1) {
            let row = finite.f_to_kind(Kind::Int64)?.f_argmin(-1, false)?.f_int64_value(&[])?;
            return Ok(Some(piece * ROWS as usize + row as usize));
        }
    }
    Ok(None)
}

fn read_labels(reader: &mut Reader, name: &str) -> Result<Tensor, Stop> {
    let values = (labels_of::<i64>(reader, name))
        .or_else(|| labels_of::<i32>(reader, name))
        .or_else(|| labels_of::<i16>(reader, name))
        .or_else(|| labels_of::<i8>(reader, name))
        .or_else(|| labels_of::<u32>(reader, name))
        .or_else(|| labels_of::<u16>(reader, name))
        .or_else(|| labels_of::<u8>(reader, name))
        .ok_or_else(|| invalid("`y` holds no integers"))?;
    Ok(Tensor::f_from_slice(&values)?)
}

/// The labels, if they are of this type.
fn labels_of<T: ReadableElement + Clone + Into<i64>>(reader: &mut Reader, name: &str) -> Option<Vec<i64>> {
    let array = reader.by_name::<ndarray::OwnedRepr<T>, IxDyn>(name).ok()?;
    Some(flat(array).into_iter().map(Into::into).collect())
}

/// Inputs, and whether they were bytes.
fn read_inputs(reader: &mut Reader, name: &str) -> Result<(Tensor, bool), Stop> {
    if let Ok(array) = reader.by_name::<ndarray::OwnedRepr<u8>, IxDyn>(name) {
        let shape: Vec<i64> = array.shape().iter().map(|&extent| extent as i64).collect();
        return Ok((Tensor::f_from_slice(&flat(array))?.f_view(shape.as_slice())?, true));
    }
    let array: ArrayD<f32> = match reader.by_name::<ndarray::OwnedRepr<f64>, IxDyn>(name) {
        Ok(array) => array.mapv(|value| value as f32),
        Err(_) => reader.by_name(name).map_err(|error| invalid(format!("`x` cannot be read: {error}")))?,
    };
    let shape: Vec<i64> = array.shape().iter().map(|&extent| extent as i64).collect();
    Ok((Tensor::f_from_slice(&flat(array))?.f_view(shape.as_slice())?, false))
}

fn flat<T: Clone>(array: ArrayD<T>) -> Vec<T> {
    // Files in Fortran order come out in another order than their shape says unless read element by element.
    if array.is_standard_layout() { array.into_raw_vec_and_offset().0 } else { array.iter().cloned().collect() }
}

/// Puts the channel axis first, and adds it where it is missing.
fn fit(x: &Tensor, (shape, layout): (&[usize], Layout)) -> Result<Tensor, Stop> {
    let is_grey = shape.len() == 3 && x.dim() == 3;
    let x = if is_grey { x.f_unsqueeze(1)? } else { axes::inside(x, layout)? };
    let wrong = |x: &Tensor| invalid(format!("`x` is {:?}, but one input of the model is {shape:?}", x.size()));
    let channels = shape.first().copied().unwrap_or(0) as i64;
    let matches = x.dim() == shape.len() + 1
        && (shape.len() == 3 || x.size()[1..].iter().zip(shape).all(|(&a, &b)| a == b as i64));
    if !matches || x.size()[1] != channels {
        return Err(wrong(&x).into());
    }
    Ok(x)
}

/// Scales bytes to 0..1, resizes images, and normalises bytes.
fn prepare(x: &Tensor, bytes: bool, shape: &[usize], input: &InputConfig) -> Result<Tensor, TchError> {
    // Turned images lie as they were sent.
    let mut x = x.f_to_kind(Kind::Float)?.f_contiguous()?;
    if bytes {
        x = x.f_div_scalar(255.0)?;
    }
    if let [_, height, width] = *shape {
        let extent = [height as i64, width as i64];
        if x.size()[2..] != extent {
            x = x.f_upsample_bilinear2d(extent, false, None, None)?;
        }
    }
    match (bytes, &input.mean, &input.std) {
        (true, Some(mean), Some(std)) => {
            let broadcast: Vec<i64> = std::iter::once(-1).chain(shape.iter().skip(1).map(|_| 1)).collect();
            let per_channel = |values: &[f64]| {
                let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
                Tensor::f_from_slice(&values)?.f_view(broadcast.as_slice())
            };
            x.f_sub(&per_channel(mean)?)?.f_div(&per_channel(std)?)
        }
        _ => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array, Array1, Array2};
    use ndarray_npy::{NpzWriter, WritableElement};
    use tempfile::NamedTempFile;

    use super::*;

    /// Four inputs of three features, with a NaN in this row.
    fn features(nan: Option<usize>) -> Array2<f32> {
        Array::from_shape_fn((4, 3), |(row, feature)| match nan {
            Some(nan) if (row, feature) == (nan, 2) => f32::NAN,
            _ => (row + feature) as f32,
        })
    }

    fn labels() -> Array1<i64> {
        Array1::from(vec![0, 1, 1, 0])
    }

    fn read<X, Y, D: ndarray::Dimension>(x: &Array2<X>, y: &Array<Y, D>, input: &InputConfig) -> Result<EvalSet, String>
    where
        X: WritableElement,
        Y: WritableElement,
    {
        let file = NamedTempFile::new().unwrap();
        let mut writer = NpzWriter::new(file.reopen().unwrap());
        writer.add_array("x", x).unwrap();
        writer.add_array("y", y).unwrap();
        writer.finish().unwrap();
        EvalSet::read(file.path(), (&[3], Layout::default()), 2, input, Device::Cpu).map_err(|stop| match stop {
            Stop::Failed(problem) => format!("{problem} {}", problem.hint.clone().unwrap_or_default()),
            stop => panic!("{stop:?}"),
        })
    }

    #[test]
    fn inputs_that_are_no_numbers_are_refused_by_their_row() {
        let read = |nan| read(&features(nan), &labels(), &InputConfig::default());
        assert_eq!(read(None).unwrap().count(), 4);
        let why = read(Some(2)).unwrap_err();
        assert!(why.contains("NaN or infinite in row 2"), "{why}");
    }

    #[test]
    fn labels_may_be_a_column_and_no_scores() {
        let read = |y: Array2<f64>| read(&features(None), &y, &InputConfig::default()).unwrap_err();
        let column = labels().into_shape_with_order((4, 1)).unwrap();
        let set = super::tests::read(&features(None), &column, &InputConfig::default()).unwrap();
        assert_eq!(Vec::<i64>::try_from(&set.y).unwrap(), [0, 1, 1, 0]);
        let why = read(Array2::zeros((4, 2)));
        assert!(why.contains("`y` is [4, 2]") && why.contains("y.argmax(1)"), "{why}");
        let why = read(Array2::zeros((4, 1)));
        assert!(why.contains("float64, and can be int64"), "{why}");
    }

    #[test]
    fn bytes_that_nothing_normalises_are_told() {
        let bytes = features(None).mapv(|value| value as u8);
        let doubt = |input: &InputConfig| read(&bytes, &labels(), input).unwrap().doubt();
        assert!(doubt(&InputConfig::default()).is_some_and(|doubt| doubt.contains("input.mean")));
        let given = InputConfig { mean: Some(vec![0.5; 3]), std: Some(vec![0.5; 3]), ..InputConfig::default() };
        assert_eq!(doubt(&given), None);
        assert_eq!(read(&features(None), &labels(), &InputConfig::default()).unwrap().doubt(), None);
    }
}
