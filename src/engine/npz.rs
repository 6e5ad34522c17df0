//! Tensors in NumPy's `.npz`, for files that other tools read too.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use ndarray::{ArrayD, IxDyn};
use ndarray_npy::NpzWriter;
use tch::{Device, Kind, Tensor};

use super::observer::Stop;
use crate::domain::problem::{ErrorCode, Problem};

/// Writes float tensors as float32 and everything else as int64, compressed, under their names.
///
/// # Errors
/// What libtorch or the file system reports.
pub fn write(path: &Path, arrays: &[(&str, &Tensor)]) -> Result<(), Stop> {
    let mut writer = NpzWriter::new_compressed(BufWriter::new(File::create(path)?));
    for (name, tensor) in arrays {
        let tensor = tensor.f_detach()?.f_to_device(Device::Cpu)?.f_contiguous()?;
        let shape: Vec<usize> = tensor.size().into_iter().map(|extent| extent as usize).collect();
        if tensor.kind() == Kind::Float {
            let mut values = vec![0.0f32; tensor.numel()];
            tensor.f_copy_data(&mut values, tensor.numel())?;
            writer.add_array(*name, &array(shape, values)?).map_err(failed)?;
        } else {
            let tensor = tensor.f_to_kind(Kind::Int64)?;
            let mut values = vec![0i64; tensor.numel()];
            tensor.f_copy_data(&mut values, tensor.numel())?;
            writer.add_array(*name, &array(shape, values)?).map_err(failed)?;
        }
    }
    writer.finish().map_err(failed)?.flush()?;
    Ok(())
}

fn array<T>(shape: Vec<usize>, values: Vec<T>) -> Result<ArrayD<T>, Stop> {
    ArrayD::from_shape_vec(IxDyn(&shape), values).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Stop {
    Stop::Failed(Problem::new(ErrorCode::Internal, format!("writing an .npz failed: {error}")))
}
