//! What batch norm recorded of the data that a network was trained on, and how far other inputs are from it.
//!
//! Mean and variance of each channel, layer by layer, say much of how images of that data look: to small and to large
//! neighbourhoods. A generator that keeps to them shows what such data may look like, where labels alone leave patterns
//! (Yin et al., "Dreaming to Distill: Data-free Knowledge Transfer via DeepInversion", CVPR 2020).

use std::collections::HashMap;

use tch::{Kind, TchError, Tensor};

use super::executor::Executor;
use crate::formats::graph::{Graph, Node, Op};

/// The record of every batch norm of a network, in order: none where it has none.
#[derive(Debug, Default)]
pub struct Record {
    names: Vec<String>,
    norms: Vec<Norm>,
}

/// The record of one batch norm, over the channels of what it normalises.
#[derive(Debug)]
struct Norm {
    mean: Tensor,
    /// With the norm's ε.
    variance: Tensor,
    epsilon: f64,
}

impl Record {
    /// That of `graph`, which `executor` runs.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn new(graph: &Graph, executor: &Executor) -> Result<Self, TchError> {
        let weights: HashMap<String, Tensor> = executor.weights().into_iter().collect();
        let mut record = Self::default();
        for node in &graph.nodes {
            if let Some((name, norm)) = Norm::of(node, &weights)? {
                record.names.push(name);
                record.norms.push(norm);
            }
        }
        Ok(record)
    }

    /// The values that are normalised, by their names in the graph.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn is_empty(&self) -> bool {
        self.norms.is_empty()
    }

    /// How far these values (N, C, …), in the order of [`Self::names`], are from the record: mean over the norms of
    /// [`Norm::distance`].
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn distance(&self, values: &[Tensor]) -> Result<Tensor, TchError> {
        let distances: Vec<Tensor> =
            self.norms.iter().zip(values).map(|(norm, x)| norm.distance(x)).collect::<Result<_, _>>()?;
        Tensor::f_stack(&distances, 0)?.f_mean(Kind::Float)
    }
}

impl Norm {
    /// The name of what `node` normalises, and its record, where it is a batch norm.
    fn of(node: &Node, weights: &HashMap<String, Tensor>) -> Result<Option<(String, Self)>, TchError> {
        let (Op::BatchNorm { epsilon }, [x, _, _, mean, variance]) = (&node.op, node.inputs.as_slice()) else {
            return Ok(None);
        };
        // One whose statistics are computed has recorded nothing.
        let (Some(mean), Some(variance)) = (weights.get(mean), weights.get(variance)) else { return Ok(None) };
        let epsilon = f64::from(*epsilon);
        let variance = variance.f_add_scalar(epsilon)?;
        Ok(Some((x.clone(), Self { mean: mean.shallow_clone(), variance, epsilon })))
    }

    /// Kullback-Leibler divergence, in nats, of a normal distribution with the record's mean and variance from one with those
    /// of the batch `x` (N, C, …), as ln(1 + d) and mean over the channels: a channel that never moved while the network was
    /// trained would be farther away than all others together.
    fn distance(&self, x: &Tensor) -> Result<Tensor, TchError> {
        let all_but_channels: Vec<i64> = (0..x.dim() as i64).filter(|&axis| axis != 1).collect();
        let mean = x.f_mean_dim(all_but_channels.as_slice(), false, Kind::Float)?;
        let variance = x.f_var_dim(all_but_channels.as_slice(), false, false)?.f_add_scalar(self.epsilon)?;
        let shift = mean.f_sub(&self.mean)?.f_square()?.f_div(&self.variance)?;
        let ratio = variance.f_div(&self.variance)?;
        let doubled = ratio.f_add(&shift)?.f_sub(&ratio.f_log()?)?.f_sub_scalar(1.0)?;
        doubled.f_mul_scalar(0.5)?.f_log1p()?.f_mean(Kind::Float)
    }
}

#[cfg(test)]
mod tests {
    use tch::Device;

    use super::*;
    use crate::{
        domain::config::Form,
        engine::{
            adam::{Adam, Rate},
            checkpoint::trainable,
            rival::{Sought, challenge},
            sampler::{Draw, Trained},
            teacher::Teacher,
        },
        formats::graph::{self, Port},
        nets::{generator::Shape, pixels::Pixels},
    };

    const EPSILON: f64 = 1e-3;

    /// x (N, 2) → `nodes` → logits.
    fn network(nodes: Vec<Node>, weights: &[(&str, &[f32])]) -> Teacher {
        let port = |name: &str| Port { name: name.to_owned(), shape: vec![2] };
        let tensor = |values: &[f32]| graph::Tensor::f32(vec![2; values.len() / 2], values.to_vec());
        let affine: [(&str, &[f32]); 2] = [("scale", &[1.0, 1.0]), ("bias", &[0.0, 0.0])];
        let weights = affine.iter().chain(weights).map(|(name, values)| ((*name).to_owned(), tensor(values)));
        let (input, output) = (port("x"), port("logits"));
        let (layout, weights) = (Default::default(), weights.collect());
        Teacher::new(Graph { input, layout, output, nodes, weights, opset: 17, metadata: [].into() }, Device::Cpu)
            .unwrap()
    }

    fn norm(input: &str) -> Node {
        Node {
            name: "norm".to_owned(),
            op: Op::BatchNorm { epsilon: EPSILON as f32 },
            inputs: [input, "scale", "bias", "mean", "variance"].map(str::to_owned).to_vec(),
            outputs: vec!["logits".to_owned()],
        }
    }

    /// Of the input itself, means 1 and -2 and variances 4 and 0.25 are recorded.
    fn teacher() -> Teacher {
        network(vec![norm("x")], &[("mean", &[1.0, -2.0]), ("variance", &[4.0, 0.25])])
    }

    /// Of the sum and the difference of its two inputs, the variances that they have where both vary by 1 and are alike in
    /// most.
    fn of_alike_inputs() -> Teacher {
        let mix = Node {
            name: "mix".to_owned(),
            op: Op::Gemm { alpha: 1.0, beta: 1.0, trans_b: true },
            inputs: ["x", "mixed"].map(str::to_owned).to_vec(),
            outputs: vec!["h".to_owned()],
        };
        let mixing = ("mixed", &[1.0f32, 1.0, 1.0, -1.0][..]);
        network(vec![mix, norm("h")], &[mixing, ("mean", &[0.0, 0.0]), ("variance", &[3.8, 0.2])])
    }

    fn distance(x: &Tensor) -> Tensor {
        teacher().logits_on_record(x, 1.0).unwrap().1.unwrap()
    }

    #[test]
    fn distance_is_that_of_two_normal_distributions() {
        // Means 1 and -2, variances 4 and 0.25: on the record.
        let on = Tensor::from_slice2(&[[3.0f32, -1.5], [-1.0, -2.5]]);
        assert!(distance(&on).double_value(&[]).abs() < 1e-6);
        // Mean 2 and variance 9 of the first channel.
        let off = Tensor::from_slice2(&[[5.0f32, -1.5], [-1.0, -2.5]]);
        let (ours, theirs) = (9.0 + EPSILON, 4.0 + EPSILON);
        let divergence: f64 = 0.5 * (ours / theirs + 1.0 / theirs - 1.0 - (ours / theirs).ln());
        let expected = divergence.ln_1p() / 2.0;
        assert!((distance(&off).double_value(&[]) - expected).abs() < 1e-5);
    }

    #[test]
    fn its_gradient_leads_inputs_to_the_record() {
        tch::manual_seed(3);
        let x = Tensor::randn([64, 2], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut adam = Adam::new(vec![("x".to_owned(), x.shallow_clone())]).unwrap();
        for _ in 0..400 {
            adam.minimise(&distance(&x), Rate::Absolute(0.03)).unwrap();
        }
        assert!(distance(&x).double_value(&[]) < 1e-3);
        let mean = x.mean_dim([0i64].as_slice(), false, Kind::Float);
        assert!((mean.double_value(&[0]) - 1.0).abs() < 0.05 && (mean.double_value(&[1]) + 2.0).abs() < 0.05);
    }

    /// How far a generator is from the record after 150 steps of the game's search, where no input tells the two apart.
    fn found(batch_norm: f64) -> f64 {
        tch::manual_seed(5);
        let shape = Shape { classes: 2, latent: 4, output: vec![2], pixels: Pixels::Standardised };
        let generator = Trained::fresh(shape, Form::Smooth, Device::Cpu);
        let mut adam = Adam::new(trainable(&generator.store)).unwrap();
        let (teacher, sought) = (of_alike_inputs(), Sought { floor: 1.0, batch_norm });
        for _ in 0..150 {
            challenge((&generator, &mut adam), (&teacher, teacher.executor()), sought, 64, 1e-2).unwrap();
        }
        let draw = Draw::random(&generator.shape, 256, Device::Cpu).unwrap();
        let x = generator.net.forward(&draw.labels, &draw.z, true).unwrap();
        teacher.logits_on_record(&x, 1.0).unwrap().1.unwrap().double_value(&[])
    }

    #[test]
    fn a_search_keeps_to_it_as_far_as_its_weight_says() {
        let (free, bound) = (found(0.0), found(1.0));
        assert!(bound < free / 2.0, "{bound} with the weight, {free} without");
    }

    #[test]
    fn a_weight_of_zero_asks_for_nothing() {
        let x = Tensor::zeros([2, 2], (Kind::Float, Device::Cpu));
        let (logits, off_record) = teacher().logits_on_record(&x, 0.0).unwrap();
        assert!(off_record.is_none() && logits.size() == [2, 2]);
    }
}
