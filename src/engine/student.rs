//! The student while it trains: an executor whose weights learn, and their exponential average.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    adam::{Adam, Rate},
    checkpoint::{State, under},
    executor::{Executor, Statistics},
};
use crate::{domain::problem::Problem, formats::graph::Graph};

pub struct Student {
    /// With the last softmax of the uploaded network, where it has one.
    graph: Graph,
    pub executor: Executor,
    weights: Vec<(String, Tensor)>,
    average: Option<Average>,
    adam: Adam,
    /// How batch norm normalises while the student learns.
    statistics: Statistics,
}

struct Average {
    decay: f64,
    /// What is averaged, as it lives.
    of: Vec<(String, Tensor)>,
    means: Vec<Tensor>,
}

impl Average {
    fn new(decay: f64, of: Vec<(String, Tensor)>) -> Result<Self, TchError> {
        let means = of.iter().map(|(_, weight)| weight.f_detach_copy()).collect::<Result<_, TchError>>()?;
        Ok(Self { decay, of, means })
    }

    fn named(&self) -> State {
        let named = self.of.iter().zip(&self.means);
        named.map(|((name, _), mean)| (name.clone(), mean.shallow_clone())).collect()
    }
}

impl Student {
    /// `average_decay` 0 keeps the last weights.
    ///
    /// # Errors
    /// Where the graph cannot run.
    pub fn new(graph: Graph, device: Device, average_decay: f64) -> Result<Self, Problem> {
        let executor = Executor::new(&graph.logits().unwrap_or_else(|| graph.clone()), device)?;
        let weights = executor.train();
        let adam = Adam::new(shared(&weights))?;
        let average = if average_decay > 0.0 { Some(Average::new(average_decay, shared(&weights))?) } else { None };
        Ok(Self { graph, executor, weights, average, adam, statistics: Statistics::Running })
    }

    /// A student that was initialised anew: its batch norm learns its statistics too, and they are averaged with the weights.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn learning_statistics(mut self) -> Result<Self, TchError> {
        if let Some(average) = self.average.take() {
            let of = average.of.into_iter().chain(self.executor.statistics()).collect();
            self.average = Some(Average::new(average.decay, of)?);
        }
        Ok(Self { statistics: Statistics::Batch, ..self })
    }

    /// Logits for `x` as it learns, and the named values on the way to them.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn answer_with(&self, x: &Tensor, names: &[String]) -> Result<(Tensor, Vec<Tensor>), TchError> {
        self.executor.forward_by(x, names, self.statistics)
    }

    /// One step down the gradient of `loss`, and one of the average.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn minimise(&mut self, loss: &Tensor, rate: Rate) -> Result<(), TchError> {
        self.adam.minimise(loss, rate)?;
        if let Some(average) = &mut self.average {
            let decay = match self.statistics {
                Statistics::Running => average.decay,
                // What a student begins with that is initialised anew is worth nothing: it must not stay in the average.
                Statistics::Batch => {
                    let steps = self.adam.steps()? as f64;
                    average.decay.min((1.0 + steps) / (10.0 + steps))
                }
            };
            no_grad(|| {
                for (mean, (_, weight)) in average.means.iter_mut().zip(&average.of) {
                    let _ = mean.f_lerp_(weight, 1.0 - decay)?;
                }
                Ok::<_, TchError>(())
            })?;
        }
        Ok(())
    }

    /// The student's graph, with the weights that it began with.
    pub fn beginning(&self) -> &Graph {
        &self.graph
    }

    /// Everything that the next step depends on.
    pub fn state(&self) -> State {
        let mut state = self.network();
        state.extend(under("adam", self.adam.state()));
        if let Some(average) = &self.average {
            state.extend(under("average", average.named()));
        }
        state
    }

    /// The network alone: all that is left of the state once training is over.
    pub fn network(&self) -> State {
        under("student", self.executor.weights())
    }

    /// Takes the averaged weights, where there is an average, and forgets how it came there: from here on it trains anew.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn settle(&mut self) -> Result<(), TchError> {
        self.adam = Adam::new(shared(&self.weights))?;
        if let Some(average) = &self.average {
            self.executor.copy_from(&average.named())?;
        }
        Ok(())
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
            self.executor.copy_from(&average.named())?;
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

/// The same tensors once more.
fn shared(weights: &[(String, Tensor)]) -> Vec<(String, Tensor)> {
    weights.iter().map(|(name, weight)| (name.clone(), weight.shallow_clone())).collect()
}
