//! The teacher in the engine: the checked graph, its logits, and an executor that never changes a weight.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{executor::Executor, record::Record};
use crate::{
    domain::problem::Problem,
    formats::{facts, graph::Graph},
};

/// Multiply-accumulates that a network may spend on one set of inputs: seconds on a few cores.
const MOST_MACS: i64 = 200_000_000_000;

/// Where networks are large there are fewer inputs, but not fewer than this: an interval of ± 6 % at 50 %.
const FEWEST_INPUTS: i64 = 300;

pub struct Teacher {
    /// As uploaded, with its last softmax where it has one.
    pub graph: Graph,
    executor: Executor,
    record: Record,
}

impl Teacher {
    /// # Errors
    /// Where the graph cannot run.
    pub fn new(graph: Graph, device: Device) -> Result<Self, Problem> {
        let executor = Executor::new(&graph.logits().unwrap_or_else(|| graph.clone()), device)?;
        let record = Record::new(&graph, &executor)?;
        Ok(Self { graph, executor, record })
    }

    pub fn device(&self) -> Device {
        self.executor.device()
    }

    /// What runs it: [`Self::graph`] without its last softmax.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Logits (N, classes), with gradients to `x`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn logits(&self, x: &Tensor) -> Result<Tensor, TchError> {
        self.executor.forward(x)
    }

    /// Whether there is a record that counts with this weight.
    pub fn has_record(&self, weight: f64) -> bool {
        weight > 0.0 && !self.record.is_empty()
    }

    /// Logits, and the distance of the batch `x` from what batch norm recorded (see [`Record::distance`]), both with gradients
    /// to `x`; no distance where it would not count with `weight`.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn logits_on_record(&self, x: &Tensor, weight: f64) -> Result<(Tensor, Option<Tensor>), TchError> {
        if !self.has_record(weight) {
            return Ok((self.logits(x)?, None));
        }
        let (logits, values) = self.executor.forward_with(x, self.record.names())?;
        Ok((logits, Some(self.record.distance(&values)?)))
    }

    /// Logits, and the named values on the way to them.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn logits_with(&self, x: &Tensor, names: &[String]) -> Result<(Tensor, Vec<Tensor>), TchError> {
        self.executor.forward_with(x, names)
    }

    /// How many inputs it may be asked about at once, of `most`: fewer where it is large, but not fewer than
    /// [`FEWEST_INPUTS`].
    ///
    /// # Errors
    /// Where the graph's cost cannot be told.
    pub fn bearable(&self, most: i64) -> Result<i64, Problem> {
        let (macs, _) = facts::facts(&self.graph)?;
        // What cannot be counted is taken to be much.
        let macs = if self.graph.is_opaque() { u64::MAX } else { macs };
        let by_cost = MOST_MACS / i64::try_from(macs).unwrap_or(i64::MAX).max(1);
        Ok(most.min(by_cost.max(FEWEST_INPUTS)))
    }

    /// Logits without gradients, in [`pieces`].
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn answer(&self, x: &Tensor) -> Result<Tensor, TchError> {
        answer(&self.executor, x)
    }
}

/// Logits of a network for any number of inputs, without gradients.
///
/// # Errors
/// What libtorch reports.
pub fn answer(executor: &Executor, x: &Tensor) -> Result<Tensor, TchError> {
    answer_paced(executor, x, || Ok(()))
}

/// As [`answer`], with `after` called after each of [`pieces`]: large networks need minutes for many inputs, and whoever
/// watches a run must see that it lives.
///
/// # Errors
/// What libtorch and `after` report.
pub fn answer_paced<E: From<TchError>>(
    executor: &Executor,
    x: &Tensor,
    mut after: impl FnMut() -> Result<(), E>,
) -> Result<Tensor, E> {
    let mut parts = Vec::new();
    for piece in x.f_split(executor.at_once(), 0)? {
        parts.push(no_grad(|| executor.forward(&piece))?);
        after()?;
    }
    Ok(Tensor::f_cat(&parts, 0)?)
}

/// In how many pieces a network answers `x`: see [`Executor::at_once`].
pub fn pieces(executor: &Executor, x: &Tensor) -> u64 {
    (x.size()[0] as u64).div_ceil(executor.at_once() as u64)
}

/// Share of inputs whose largest logit is the given class.
///
/// # Errors
/// What libtorch reports.
pub fn accuracy(logits: &Tensor, classes: &Tensor) -> Result<f64, TchError> {
    // In float32 nine of ten would be a little less than 0.9.
    let hits = logits.f_argmax(-1, false)?.f_eq_tensor(classes)?.f_mean(Kind::Double)?;
    hits.f_double_value(&[])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{compress::fixture::random, pieces::tests::wide};

    #[test]
    fn a_wide_network_answers_in_as_many_pieces_as_it_says() {
        let executor = Executor::new(&wide(), Device::Cpu).unwrap();
        let x = random(1, &[7, 4]).to_kind(Kind::Float);
        let mut calls = 0;
        let found = answer_paced(&executor, &x, || {
            calls += 1;
            Ok::<_, TchError>(())
        });
        assert_eq!((calls, pieces(&executor, &x)), (3, 3));
        let whole = executor.forward(&x).unwrap();
        assert!((found.unwrap() - whole).abs().max().double_value(&[]) < 1e-6);
    }
}
