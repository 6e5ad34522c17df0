//! Measured latency of two networks side by side, and of their layers.

use std::time::{Duration, Instant};

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::executor::Executor;
use crate::domain::report::{Latency, Percentiles};

const WARM_UP: usize = 10;
const MOST_RUNS: usize = 200;
const LEAST_RUNS: usize = 5;

/// Wall time after which one comparison ends, so that a large network does not hold up its job. What takes a part of it is
/// warm after one run.
const BUDGET: Duration = Duration::from_secs(3);

/// Times both networks in turn on the same input, batch 1, so that what slows the machine slows both.
///
/// # Errors
/// What libtorch reports.
pub fn compare(teacher: &Executor, student: &Executor, shape: &[usize], threads: usize) -> Result<Latency, TchError> {
    let x = input(shape, teacher.device())?;
    let (mut teacher_ms, mut student_ms) = (Vec::new(), Vec::new());
    let started = Instant::now();
    for run in 0..WARM_UP + MOST_RUNS {
        let is_warm = run >= WARM_UP || (run > 0 && started.elapsed() > BUDGET / 3);
        let pair = (time(teacher, &x)?, time(student, &x)?);
        if is_warm {
            teacher_ms.push(pair.0);
            student_ms.push(pair.1);
        }
        if teacher_ms.len() >= LEAST_RUNS && started.elapsed() > BUDGET {
            break;
        }
    }
    let device = match teacher.device() {
        Device::Cuda(index) => format!("cuda:{index}"),
        _ => format!("cpu, {threads} {}", if threads == 1 { "thread" } else { "threads" }),
    };
    Ok(Latency { device, batch: 1, teacher: percentiles(teacher_ms), student: percentiles(student_ms) })
}

/// Median milliseconds of each node of a network's graph, in order, batch 1.
///
/// # Errors
/// What libtorch reports.
pub fn nodes(network: &Executor, shape: &[usize]) -> Result<Vec<f64>, TchError> {
    let x = input(shape, network.device())?;
    let started = Instant::now();
    let mut runs: Vec<Vec<f64>> = Vec::new();
    while runs.len() < LEAST_RUNS || (runs.len() < MOST_RUNS && started.elapsed() < BUDGET / 3) {
        runs.push(no_grad(|| network.profile(&x))?.into_iter().map(milliseconds).collect());
    }
    let count = runs.first().map_or(0, Vec::len);
    Ok((0..count).map(|node| percentiles(runs.iter().map(|run| run[node]).collect()).p50).collect())
}

fn input(shape: &[usize], device: Device) -> Result<Tensor, TchError> {
    let extents: Vec<i64> = std::iter::once(1).chain(shape.iter().map(|&extent| extent as i64)).collect();
    Tensor::f_randn(extents, (Kind::Float, device))
}

fn time(network: &Executor, x: &Tensor) -> Result<f64, TchError> {
    let started = Instant::now();
    let y = no_grad(|| network.forward(x))?;
    // Reading a value waits for a GPU to finish.
    let _ = y.f_double_value(&[0, 0])?;
    Ok(milliseconds(started.elapsed()))
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

fn percentiles(mut values: Vec<f64>) -> Percentiles {
    values.sort_by(f64::total_cmp);
    let at =
        |share: f64| values.get(((values.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(0.0);
    Percentiles { p50: at(0.5), p95: at(0.95) }
}

#[cfg(test)]
mod tests {
    use super::percentiles;

    #[test]
    fn percentiles_are_of_the_sorted_values() {
        let found = percentiles((0..=100).rev().map(f64::from).collect());
        assert_eq!((found.p50, found.p95), (50.0, 95.0));
    }
}
