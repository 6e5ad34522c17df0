//! The linear algebra that the decompositions share, in float64 on the CPU.

use tch::{Kind, TchError, Tensor};

use crate::{
    domain::problem::{ErrorCode, Problem},
    formats::graph,
};

/// The constant as a float64 tensor.
///
/// # Errors
/// `invalid_weights` where it holds no floats, or NaN or infinity.
pub fn load(name: &str, constant: &graph::Tensor) -> Result<Tensor, Problem> {
    let values = constant.as_f32().filter(|values| values.iter().all(|value| value.is_finite())).ok_or_else(|| {
        Problem::new(ErrorCode::InvalidWeights, format!("weight `{name}` is not made of finite floats"))
            .hint("Export the model again from a checkpoint without NaN or infinity.")
    })?;
    let shape: Vec<i64> = constant.shape.iter().map(|&extent| extent as i64).collect();
    Ok(Tensor::f_from_slice(values)?.f_to_kind(Kind::Double)?.f_reshape(&shape)?)
}

/// The tensor as a float32 constant.
pub fn store(tensor: &Tensor) -> Result<graph::Tensor, TchError> {
    let shape = tensor.size().iter().map(|&extent| extent as usize).collect();
    Ok(graph::Tensor::f32(shape, Vec::try_from(tensor.f_contiguous()?.f_flatten(0, -1)?)?))
}

/// Elements of a float64 tensor, row-major.
pub fn values(tensor: &Tensor) -> Result<Vec<f64>, TchError> {
    Vec::<f64>::try_from(tensor.f_contiguous()?.f_flatten(0, -1)?)
}

/// ‖tensor‖².
pub fn energy(tensor: &Tensor) -> Result<f64, TchError> {
    f64::try_from(tensor.f_square()?.f_sum(Kind::Double)?)
}

/// ‖a − b‖ / ‖a‖; 0 where `a` is zero.
pub fn relative_error(a: &Tensor, b: &Tensor) -> Result<f64, TchError> {
    let total = energy(a)?;
    let lost = energy(&a.f_sub(b)?)?;
    Ok(if total > 0.0 { (lost / total).sqrt() } else { 0.0 })
}

/// The rows of mode `mode` of a tensor, (extent of the mode, everything else).
pub fn unfold(tensor: &Tensor, mode: i64) -> Result<Tensor, TchError> {
    tensor.f_movedim_int(mode, 0)?.f_flatten(1, -1)
}

/// `tensor ×_mode matrixᵀ`: each fibre of the mode, of length n, becomes `matrixᵀ fibre`; `matrix` is (n, r).
pub fn project(tensor: &Tensor, mode: i64, matrix: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_tensordot(matrix, [mode], [0])?.f_movedim_int(-1, mode)
}

/// `tensor ×_mode matrix`: the reverse direction of [`project`], from r to n.
pub fn expand(tensor: &Tensor, mode: i64, matrix: &Tensor) -> Result<Tensor, TchError> {
    tensor.f_tensordot(matrix, [mode], [1])?.f_movedim_int(-1, mode)
}

/// Eigenvalues and eigenvectors (columns) of a symmetric matrix, largest first.
pub fn eigen(symmetric: &Tensor) -> Result<(Tensor, Tensor), TchError> {
    let (values, vectors) = symmetric.f_linalg_eigh("L")?;
    Ok((values.f_flip([0])?, vectors.f_flip([1])?))
}

/// Rows beyond which [`principal`] does without their Gram matrix, where the columns are fewer.
const MANY_ROWS: i64 = 1024;

/// The `rank` leading left singular vectors of a matrix (m, n), as columns (m, rank).
pub fn principal(matrix: &Tensor, rank: usize) -> Result<Tensor, TchError> {
    let size = matrix.size();
    if size[0] > size[1].max(MANY_ROWS) {
        return by_columns(matrix, rank as i64);
    }
    let (_, vectors) = eigen(&matrix.f_matmul(&matrix.f_tr()?)?)?;
    vectors.f_narrow(1, 0, rank as i64)
}

/// As [`principal`], from the Gram matrix of the columns: M V of its eigenvectors V, which are orthogonal columns, and which a
/// QR decomposition brings to length one. It completes them with others where `rank` is larger than their number: Householder's
/// reflections make orthonormal columns of zeros too.
fn by_columns(matrix: &Tensor, rank: i64) -> Result<Tensor, TchError> {
    let (_, vectors) = eigen(&matrix.f_tr()?.f_matmul(matrix)?)?;
    let known = rank.min(matrix.size()[1]);
    let images = matrix.f_matmul(&vectors.f_narrow(1, 0, known)?)?;
    Ok(Tensor::f_linalg_qr(&images.f_constant_pad_nd([0, rank - known])?, "reduced")?.0)
}

/// Squared singular values of a matrix, largest first, from the smaller of its two Gram matrices.
pub fn spectrum(matrix: &Tensor) -> Result<Vec<f64>, TchError> {
    let size = matrix.size();
    let transposed = matrix.f_tr()?;
    spectrum_of(&if size[0] <= size[1] { matrix.f_matmul(&transposed)? } else { transposed.f_matmul(matrix)? })
}

/// Eigenvalues of a positive semidefinite matrix, largest first.
pub fn spectrum_of(gram: &Tensor) -> Result<Vec<f64>, TchError> {
    values(&gram.f_linalg_eigvalsh("L")?.f_flip([0])?.f_clamp_min(0.0)?)
}

pub fn identity(extent: i64) -> Result<Tensor, TchError> {
    Tensor::f_eye(extent, (Kind::Double, tch::Device::Cpu))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::fixture::random;

    #[test]
    fn columns_lead_to_the_same_subspace_as_rows() {
        let matrix = random(1, &[60, 8]);
        for rank in [1, 5, 8] {
            let (one, other) = (principal(&matrix, rank).unwrap(), by_columns(&matrix, rank as i64).unwrap());
            assert_eq!(one.size(), other.size());
            assert!(relative_error(&one.matmul(&one.tr()), &other.matmul(&other.tr())).unwrap() < 1e-9, "{rank}");
        }
    }

    /// The Gram matrix of the rows would have 300 GB.
    #[test]
    fn a_long_matrix_has_orthonormal_vectors_of_any_rank() {
        let matrix = random(1, &[200_000, 4]);
        let whole = principal(&matrix, 4).unwrap();
        for rank in [2, 4, 6] {
            let vectors = principal(&matrix, rank).unwrap();
            assert_eq!(vectors.size(), [200_000, rank as i64]);
            assert!(relative_error(&identity(rank as i64).unwrap(), &vectors.tr().matmul(&vectors)).unwrap() < 1e-9);
            // Whatever comes behind the columns' own subspace is outside of it.
            let known = rank.min(4) as i64;
            let inside = energy(&whole.tr().matmul(&vectors)).unwrap();
            assert!((inside - known as f64).abs() < 1e-9, "{rank}: {inside}");
        }
    }
}
