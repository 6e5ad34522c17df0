//! Makes a calibration from students whose loss of accuracy was measured, and says how it does on teachers left out.

use std::collections::BTreeSet;

use super::{Calibration, FEATURES, FLOOR, Features, LeftOut, Term};

/// One student whose accuracy was measured.
#[derive(Clone, Debug)]
pub struct Cell {
    /// Of teachers with one name, all are left out together.
    pub teacher: String,
    pub features: Features,
    /// Accuracy of the teacher less that of the student, as a share.
    pub loss: f64,
}

/// Share of students whose loss the interval shall hold.
pub const LEVEL: f64 = 0.9;

/// Weight of the ridge penalty: that of one cell, on standardised features.
const RIDGE: f64 = 1.0;

/// Without three teachers, none can be left out of a calibration that leaves one out itself.
const FEWEST_TEACHERS: usize = 3;

/// Fewer cells have no such quantile of their residuals.
const FEWEST_CELLS: usize = 20;

/// Fits the regression to all cells. The interval comes from the residuals on teachers left out of the fit, since a user's
/// teacher is a new one: conformal prediction with groups left out in turn (Vovk, 2015; Barber et al., 2021).
///
/// # Errors
/// Too few teachers or cells, in words.
pub fn fit(cells: &[Cell]) -> Result<Calibration, String> {
    let teachers = teachers(cells);
    if teachers.len() < FEWEST_TEACHERS || cells.len() < FEWEST_CELLS {
        return Err(format!(
            "{} cells of {} teachers: a calibration needs {FEWEST_CELLS} of {FEWEST_TEACHERS} at least",
            cells.len(),
            teachers.len()
        ));
    }
    let left_out = teachers.iter().map(|teacher| leave_out(cells, teacher)).collect();
    Ok(Calibration { left_out, ..calibrate(cells) })
}

/// How a calibration on all other teachers does on `teacher`.
fn leave_out(cells: &[Cell], teacher: &str) -> LeftOut {
    let (own, others) = split(cells, teacher);
    let calibration = calibrate(&others);
    let (mut covered, mut in_range, mut covered_in_range, mut width, mut error) = (0, 0, 0, 0.0, 0.0);
    for cell in &own {
        let (loss, low, high) = calibration.interval(&cell.features);
        let actual = cell.loss.max(0.0);
        let is_in_range = calibration.is_in_range(&cell.features);
        let is_covered = (calibration.score(&cell.features) - target(cell)).abs() <= calibration.half_width;
        covered += u64::from(is_covered);
        in_range += u64::from(is_in_range);
        covered_in_range += u64::from(is_covered && is_in_range);
        width += high - low;
        error += (loss - actual).abs();
    }
    let count = own.len() as f64;
    let (width, error) = (width / count, error / count);
    LeftOut { teacher: teacher.to_owned(), cells: own.len() as u64, covered, in_range, covered_in_range, width, error }
}

/// The regression on all of `cells`, and the interval from leaving out one of their teachers after the other.
fn calibrate(cells: &[Cell]) -> Calibration {
    let mut residuals: Vec<f64> = Vec::with_capacity(cells.len());
    for teacher in teachers(cells) {
        let (own, others) = split(cells, &teacher);
        let (intercept, terms) = regress(&others);
        let without = Calibration { intercept, terms, half_width: 0.0, level: LEVEL, cells: 0, left_out: Vec::new() };
        residuals.extend(own.iter().map(|cell| (target(cell) - without.score(&cell.features)).abs()));
    }
    let (intercept, terms) = regress(cells);
    let half_width = conformal(residuals);
    Calibration { intercept, terms, half_width, level: LEVEL, cells: cells.len() as u64, left_out: Vec::new() }
}

/// The ⌈(n + 1) · level⌉-th smallest residual (Lei et al., 2018), or the largest where there are too few.
fn conformal(mut residuals: Vec<f64>) -> f64 {
    residuals.sort_by(f64::total_cmp);
    let rank = ((residuals.len() + 1) as f64 * LEVEL).ceil() as usize;
    residuals.get(rank.saturating_sub(1)).or(residuals.last()).copied().unwrap_or(f64::INFINITY)
}

/// What the regression is of. A student that gained counts as one that lost nothing.
fn target(cell: &Cell) -> f64 {
    (cell.loss.max(0.0) + FLOOR).ln()
}

/// Ridge regression of the targets on the standardised features: (XᵀX + λI) w = Xᵀ(y − ȳ).
fn regress(cells: &[Cell]) -> (f64, Vec<Term>) {
    let count = cells.len() as f64;
    let mut terms: Vec<Term> = (0..FEATURES.len()).map(|index| term(cells, index)).collect();
    let intercept = cells.iter().map(target).sum::<f64>() / count;
    let mut system = [[0.0; FEATURES.len() + 1]; FEATURES.len()];
    for cell in cells {
        let x: Vec<f64> =
            terms.iter().zip(&cell.features).map(|(term, value)| (value - term.mean) / term.deviation).collect();
        for (row, &left) in system.iter_mut().zip(&x) {
            let right = x.iter().copied().chain([target(cell) - intercept]);
            row.iter_mut().zip(right).for_each(|(sum, value)| *sum += left * value);
        }
    }
    for (index, row) in system.iter_mut().enumerate() {
        row[index] += RIDGE;
    }
    for (term, weight) in terms.iter_mut().zip(solve(system)) {
        term.weight = weight;
    }
    (intercept, terms)
}

fn term(cells: &[Cell], index: usize) -> Term {
    let values = || cells.iter().map(|cell| cell.features[index]);
    let mean = values().sum::<f64>() / cells.len() as f64;
    let variance = values().map(|value| (value - mean).powi(2)).sum::<f64>() / cells.len() as f64;
    // A feature that never changes says nothing, and is divided by nothing.
    let deviation = if variance > 1e-12 { variance.sqrt() } else { 1.0 };
    let (least, greatest) =
        values().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    Term { name: FEATURES[index].to_owned(), weight: 0.0, mean, deviation, least, greatest }
}

/// Gauss and Jordan; the matrix is symmetric and positive definite, so the diagonal needs no search for a pivot.
fn solve<const N: usize, const M: usize>(mut system: [[f64; M]; N]) -> [f64; N] {
    for pivot in 0..N {
        let scale = system[pivot][pivot];
        system[pivot].iter_mut().for_each(|value| *value /= scale);
        let row = system[pivot];
        for (index, other) in system.iter_mut().enumerate() {
            let factor = other[pivot];
            if index != pivot {
                other.iter_mut().zip(row).for_each(|(value, part)| *value -= factor * part);
            }
        }
    }
    system.map(|row| row[N])
}

fn teachers(cells: &[Cell]) -> Vec<String> {
    cells.iter().map(|cell| cell.teacher.clone()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The cells of a teacher, and all others.
fn split(cells: &[Cell], teacher: &str) -> (Vec<Cell>, Vec<Cell>) {
    cells.iter().cloned().partition(|cell| cell.teacher == teacher)
}
