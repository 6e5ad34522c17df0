//! Named tensors and a header in one file: safetensors (<https://huggingface.co/docs/safetensors>), with the header as
//! JSON in its metadata.

use std::{
    borrow::Cow,
    collections::HashMap,
    fs::{self, File},
    io,
    path::Path,
};

use safetensors::{Dtype, SafeTensors, View, serialize_to_file};
use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::State;

/// The metadata's key for the header.
const HEADER: &str = "kegd";

/// The kinds of tensors that trainings hold.
const KINDS: [(Kind, Dtype); 4] =
    [(Kind::Float, Dtype::F32), (Kind::Double, Dtype::F64), (Kind::Int64, Dtype::I64), (Kind::Bool, Dtype::BOOL)];

/// Writes beside `path`, syncs, and renames: whatever happens in between, a file of that name is whole.
///
/// # Errors
/// What libtorch or the file system reports, in words. Nothing is left behind then.
pub(super) fn write(path: &Path, header: String, state: &State) -> Result<(), String> {
    let partial = path.with_extension("part");
    let written = write_to(&partial, header, state).and_then(|()| {
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, path)?;
        // The name is in the directory.
        path.parent().map_or(Ok(()), |directory| File::open(directory)?.sync_all())
    });
    written.map_err(|error| {
        // It may not have come that far.
        let _ = fs::remove_file(&partial);
        error.to_string()
    })
}

fn write_to(path: &Path, header: String, state: &State) -> io::Result<()> {
    let tensors = state.iter().map(|(name, tensor)| Ok((name.as_str(), Bytes::of(tensor)?)));
    let tensors = tensors.collect::<Result<Vec<_>, String>>().map_err(io::Error::other)?;
    serialize_to_file(tensors, Some(HashMap::from([(HEADER.to_owned(), header)])), path).map_err(io::Error::other)
}

/// A tensor on the CPU whose elements lie one after the other.
struct Bytes {
    tensor: Tensor,
    dtype: Dtype,
    shape: Vec<usize>,
    length: usize,
}

impl Bytes {
    fn of(tensor: &Tensor) -> Result<Self, String> {
        let kind = tensor.kind();
        let known = KINDS.iter().find(|(known, _)| *known == kind);
        let dtype = known.map(|(_, dtype)| *dtype).ok_or_else(|| format!("a tensor is of kind {kind:?}"))?;
        let laid_out = || tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous();
        let tensor = laid_out().map_err(|error: TchError| error.to_string())?;
        let length = tensor.numel() * kind.elt_size_in_bytes();
        Ok(Self { dtype, shape: extents(&tensor), length, tensor })
    }
}

/// Little-endian, as every machine is that libtorch is published for.
impl View for Bytes {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.length == 0 {
            return Cow::Borrowed(&[]);
        }
        // SAFETY: the tensor is contiguous, on the CPU and not empty, so its elements are that many bytes from there on;
        // it lives as long as the slice, and nobody trains while a checkpoint is written.
        Cow::Borrowed(unsafe { std::slice::from_raw_parts(self.tensor.data_ptr().cast(), self.length) })
    }

    fn data_len(&self) -> usize {
        self.length
    }
}

fn extents(tensor: &Tensor) -> Vec<usize> {
    tensor.size().into_iter().map(|extent| extent as usize).collect()
}

/// The tensors of a file.
pub(super) struct Tensors(HashMap<String, Tensor>);

/// Header and tensors of a file that [`write`] wrote.
///
/// # Errors
/// It is no such file; why, in words.
pub(super) fn read(path: &Path) -> Result<(String, Tensors), String> {
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|error| error.to_string())?;
    let header = metadata.metadata().as_ref().and_then(|entries| entries.get(HEADER)).ok_or("it has no header")?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| error.to_string())?;
    let mut tensors = HashMap::new();
    for (name, view) in file.iter() {
        let dtype = view.dtype();
        let known = KINDS.iter().find(|(_, known)| *known == dtype);
        let kind = known.map(|(kind, _)| *kind).ok_or_else(|| format!("`{name}` is of type {dtype:?}"))?;
        let shape: Vec<i64> = view.shape().iter().map(|&extent| extent as i64).collect();
        let tensor = Tensor::f_from_data_size(view.data(), &shape, kind).map_err(|error| error.to_string())?;
        tensors.insert(name.to_owned(), tensor);
    }
    Ok((header.clone(), Tensors(tensors)))
}

impl Tensors {
    /// Whether they are those of `state`: by name, kind and shape.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn fit(&self, state: &State) -> Result<(), String> {
        self.hold(state)?;
        if self.0.len() > state.len() {
            return Err(format!("it has {} tensors, and should have {}", self.0.len(), state.len()));
        }
        Ok(())
    }

    /// Whether those of `state` are among them, by name, kind and shape.
    ///
    /// # Errors
    /// What does not fit, in words.
    pub(super) fn hold(&self, state: &State) -> Result<(), String> {
        for (name, tensor) in state {
            let kept = self.0.get(name).ok_or_else(|| format!("it has no `{name}`"))?;
            if (kept.kind(), kept.size()) != (tensor.kind(), tensor.size()) {
                let (kept, tensor) = (kept.size(), tensor.size());
                return Err(format!("`{name}` is {kept:?}, and should be {tensor:?}"));
            }
        }
        Ok(())
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Overwrites the tensors of a `state` that they [`hold`](Self::hold).
    ///
    /// # Errors
    /// What libtorch reports.
    pub(super) fn write_into(&self, state: &State) -> Result<(), TchError> {
        no_grad(|| {
            for (name, tensor) in state {
                if let Some(kept) = self.0.get(name) {
                    tensor.shallow_clone().f_copy_(kept)?;
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        tch::manual_seed(7);
        let float = Tensor::randn([2, 3], (Kind::Float, Device::Cpu)).transpose(0, 1);
        let learned = Tensor::randn([4], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let named = [
            ("a", float),
            ("b.weight", learned),
            ("empty", Tensor::zeros([0, 5], (Kind::Float, Device::Cpu))),
            ("steps", Tensor::from_slice(&[41_i64])),
            ("mask", Tensor::from_slice(&[true, false])),
            ("double", Tensor::from_slice(&[0.1_f64])),
        ];
        named.into_iter().map(|(name, tensor)| (name.to_owned(), tensor)).collect()
    }

    #[test]
    fn what_was_written_is_read_to_the_bit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.checkpoint");
        let before = state();
        write(&path, "the header".to_owned(), &before).unwrap();
        let (header, tensors) = read(&path).unwrap();
        assert_eq!(header, "the header");
        let after: State = before.iter().map(|(name, tensor)| (name.clone(), tensor.zeros_like())).collect();
        tensors.fit(&after).unwrap();
        tensors.write_into(&after).unwrap();
        for ((name, before), (_, after)) in before.iter().zip(&after) {
            assert_eq!(before, after, "{name}");
        }
        let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["x.checkpoint"]);
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.checkpoint");
        write(&path, String::new(), &state()).unwrap();
        let (_, tensors) = read(&path).unwrap();
        let told = |change: &dyn Fn(&mut State)| {
            let mut state = state();
            change(&mut state);
            tensors.fit(&state).unwrap_err()
        };
        assert!(told(&|state| state[0].0.push('x')).contains("no `ax`"));
        assert!(told(&|state| state[1].1 = Tensor::zeros([1, 4], (Kind::Float, Device::Cpu))).contains("[1, 4]"));
        assert!(told(&|state| state[3].1 = Tensor::from_slice(&[41_f64])).contains("steps"));
        assert!(told(&|state| drop(state.pop())).contains("6 tensors"));
    }

    #[test]
    fn no_file_is_read_that_is_not_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.checkpoint");
        write(&path, "the header".to_owned(), &state()).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 8, 100, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} of {} bytes", whole.len());
        }
        assert!(read(&directory.path().join("missing")).is_err());
        assert!(write(&directory.path().join("no/such/directory"), String::new(), &state()).is_err());
    }
}
