//! The student while it trains: an executor whose weights learn, and their exponential average.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::{
    adam::{Adam, Rate},
    checkpoint::{State, shared, under},
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
        let weights = executor.train()?;
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

    /// What `look` sees in the averaged weights, where there is an average; training goes on as if it had not looked.
    ///
    /// # Errors
    /// What libtorch and `look` report.
    pub fn averaged<T, E: From<TchError>>(&self, look: impl FnOnce(&Self) -> Result<T, E>) -> Result<T, E> {
        let Some(average) = &self.average else { return look(self) };
        let own = self.copy()?;
        self.executor.copy_from(&average.named())?;
        let seen = look(self);
        self.executor.copy_from(&own)?;
        seen
    }

    /// A copy of the network, for [`Self::go_to`].
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn copy(&self) -> Result<State, TchError> {
        self.executor.weights().into_iter().map(|(name, weight)| Ok((name, weight.f_detach_copy()?))).collect()
    }

    /// Takes the weights that lie at `share` of the way from one [`Self::copy`] to another, into the average too.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn go_to(&mut self, (from, to): (&State, &State), share: f64) -> Result<(), TchError> {
        let at = |from: &Tensor, to: &Tensor| match share {
            // Next to weights that are no numbers, the beginning would be none either.
            ..=0.0 => Ok(from.shallow_clone()),
            1.0.. => Ok(to.shallow_clone()),
            _ if from.is_floating_point() => from.f_lerp(to, share),
            _ => Ok(from.shallow_clone()),
        };
        let between = from.iter().zip(to).map(|((name, from), (_, to))| Ok((name.clone(), at(from, to)?)));
        self.executor.copy_from(&between.collect::<Result<State, TchError>>()?)?;
        if let Some(average) = &mut self.average {
            *average = Average::new(average.decay, shared(&average.of))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::fixture;

    fn value(network: &State) -> f64 {
        network[0].1.mean(Kind::Float).double_value(&[])
    }

    #[test]
    fn a_look_at_the_average_leaves_the_student_as_it_was() {
        let mut student = Student::new(fixture::network(), Device::Cpu, 0.9).unwrap();
        let begun = value(&student.copy().unwrap());
        let loss = student.weights.iter().map(|(_, weight)| weight.sum(Kind::Float)).sum();
        student.minimise(&loss, Rate::Absolute(0.1)).unwrap();
        let own = student.copy().unwrap();
        let seen = student.averaged(|student| Ok::<_, TchError>(value(&student.copy()?))).unwrap();
        assert!((begun - seen) * 9.0 < begun - value(&own) + 1e-5 && seen < begun, "{begun}, {seen}, {}", value(&own));
        assert_eq!(student.copy().unwrap(), own);
    }

    #[test]
    fn the_weights_go_any_share_of_a_way_and_the_average_with_them() {
        let mut student = Student::new(fixture::network(), Device::Cpu, 0.9).unwrap();
        let from = student.copy().unwrap();
        for _ in 0..3 {
            let loss = student.weights.iter().map(|(_, weight)| weight.sum(Kind::Float)).sum();
            student.minimise(&loss, Rate::Absolute(0.1)).unwrap();
        }
        let to = student.copy().unwrap();
        assert!(value(&from) - value(&to) > 0.2);
        for share in [0.25, 1.0, 0.0] {
            student.go_to((&from, &to), share).unwrap();
            let expected = value(&from) + share * (value(&to) - value(&from));
            assert!((value(&student.copy().unwrap()) - expected).abs() < 1e-5, "{share}");
        }
        let lost: State = to.iter().map(|(name, weight)| (name.clone(), weight * f64::NAN)).collect();
        student.go_to((&from, &lost), 0.0).unwrap();
        assert!(student.finish().unwrap());
        assert!(student.copy().unwrap().iter().zip(&from).all(|((_, own), (_, from))| own == from));
    }
}
