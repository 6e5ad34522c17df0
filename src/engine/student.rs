//! The student while it trains: an executor whose weights learn, and their exponential average.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    adam::Adam,
    checkpoint::{State, under},
    executor::Executor,
};
use crate::{domain::problem::Problem, formats::graph::Graph};

pub struct Student {
    /// With the last softmax of the uploaded network, where it has one.
    graph: Graph,
    pub executor: Executor,
    weights: Vec<(String, Tensor)>,
    average: Option<Average>,
    adam: Adam,
}

struct Average {
    decay: f64,
    weights: Vec<Tensor>,
}

impl Student {
    /// `average_decay` 0 keeps the last weights.
    ///
    /// # Errors
    /// Where the graph cannot run.
    pub fn new(graph: Graph, device: Device, average_decay: f64) -> Result<Self, Problem> {
        let executor = Executor::new(&graph.logits().unwrap_or_else(|| graph.clone()), device)?;
        let weights = executor.train();
        let adam = Adam::new(weights.iter().map(|(name, weight)| (name.clone(), weight.shallow_clone())))?;
        let average = if average_decay > 0.0 {
            let copies = weights.iter().map(|(_, weight)| weight.f_detach_copy()).collect::<Result<_, TchError>>()?;
            Some(Average { decay: average_decay, weights: copies })
        } else {
            None
        };
        Ok(Self { graph, executor, weights, average, adam })
    }

    /// One step down the gradient of `loss`, and one of the average.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn minimise(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        self.adam.minimise(loss, learning_rate)?;
        if let Some(average) = &mut self.average {
            no_grad(|| {
                for (mean, (_, weight)) in average.weights.iter_mut().zip(&self.weights) {
                    let _ = mean.f_lerp_(weight, 1.0 - average.decay)?;
                }
                Ok::<_, TchError>(())
            })?;
        }
        Ok(())
    }

    /// The compressed graph, with the weights that it began with.
    pub fn beginning(&self) -> &Graph {
        &self.graph
    }

    /// Everything that the next step depends on.
    pub fn state(&self) -> State {
        let mut state = self.network();
        state.extend(under("adam", self.adam.state()));
        if let Some(average) = &self.average {
            let means = self.weights.iter().zip(&average.weights);
            let means = means.map(|((name, _), mean)| (name.clone(), mean.shallow_clone()));
            state.extend(under("average", means.collect()));
        }
        state
    }

    /// The network alone: all that is left of the state once training is over.
    pub fn network(&self) -> State {
        under("student", self.executor.weights())
    }

    /// Training is over, and the weights stay as they are.
    pub fn leave_as_it_is(&mut self) {
        self.average = None;
    }

    /// Ends training: the averaged weights, where there is an average, become the student's. False if any is not finite.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn finish(&mut self) -> Result<bool, TchError> {
        if let Some(average) = self.average.take() {
            let named: Vec<(String, Tensor)> =
                self.weights.iter().map(|(name, _)| name.clone()).zip(average.weights).collect();
            self.executor.copy_from(&named)?;
        }
        for (_, weight) in &self.weights {
            let _ = weight.f_set_requires_grad(false)?;
            if weight.f_isfinite()?.f_all()?.f_to_kind(Kind::Int64)?.f_int64_value(&[])? == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The graph with the weights as they are now.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn graph(&self) -> Result<Graph, Problem> {
        self.executor.write_back(&self.graph)
    }
}
