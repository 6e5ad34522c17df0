//! Adam (Kingma and Ba, ICLR 2015) over named tensors: libtorch's own keeps its moments where tch cannot save them.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::checkpoint::State;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

struct Entry {
    name: String,
    weight: Tensor,
    first: Tensor,
    second: Tensor,
}

/// The optimizer of one set of weights.
pub struct Adam {
    entries: Vec<Entry>,
    /// How many were taken, as a tensor: so that everything that a checkpoint holds is one.
    steps: Tensor,
}

impl Adam {
    /// # Errors
    /// What libtorch reports.
    pub fn new(weights: impl IntoIterator<Item = (String, Tensor)>) -> Result<Self, TchError> {
        let entry = |(name, weight): (String, Tensor)| {
            Ok(Entry { name, first: weight.f_zeros_like()?, second: weight.f_zeros_like()?, weight })
        };
        let entries = weights.into_iter().map(entry).collect::<Result<_, TchError>>()?;
        Ok(Self { entries, steps: Tensor::f_zeros([1], (Kind::Int64, Device::Cpu))? })
    }

    /// One step down the gradient of `loss` with respect to these weights and no others.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn minimise(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        let weights: Vec<&Tensor> = self.entries.iter().map(|entry| &entry.weight).collect();
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        let _ = self.steps.f_add_scalar_(1)?;
        let steps = self.steps.f_int64_value(&[0])? as i32;
        let correction1 = 1.0 - BETA1.powi(steps);
        let correction2 = (1.0 - BETA2.powi(steps)).sqrt();
        no_grad(|| {
            for (entry, gradient) in self.entries.iter_mut().zip(gradients) {
                let _ = entry.first.f_lerp_(&gradient, 1.0 - BETA1)?;
                let _ = entry.second.f_lerp_(&gradient.f_square()?, 1.0 - BETA2)?;
                let scale = entry.second.f_sqrt()?.f_div_scalar(correction2)?.f_add_scalar(EPSILON)?;
                let step = entry.first.f_div(&scale)?.f_mul_scalar(learning_rate / correction1)?;
                let _ = entry.weight.f_sub_(&step)?;
            }
            Ok(())
        })
    }

    /// How many steps were taken.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn steps(&self) -> Result<i64, TchError> {
        self.steps.f_int64_value(&[0])
    }

    /// Moments and step count, but not the weights: those belong to their network.
    pub fn state(&self) -> State {
        let moments = |entry: &Entry| {
            let named = |moment: &str, tensor: &Tensor| (format!("{moment}.{}", entry.name), tensor.shallow_clone());
            [named("first", &entry.first), named("second", &entry.second)]
        };
        let steps = ("steps".to_owned(), self.steps.shallow_clone());
        self.entries.iter().flat_map(moments).chain([steps]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Tensor {
        tch::manual_seed(1);
        Tensor::randn([7], (Kind::Float, Device::Cpu))
    }

    fn loss(weight: &Tensor, target: &Tensor) -> Tensor {
        (weight - target).pow_tensor_scalar(4).sum(Kind::Float)
    }

    fn fresh(values: &Tensor) -> (Tensor, Adam) {
        let weight = values.detach().copy().set_requires_grad(true);
        let adam = Adam::new([("w".to_owned(), weight.shallow_clone())]).unwrap();
        (weight, adam)
    }

    #[test]
    fn follows_libtorchs_own_adam() {
        use tch::nn::{self, OptimizerConfig};
        let target = target();
        let store = nn::VarStore::new(Device::Cpu);
        let theirs = store.root().zeros("w", &[7]);
        let mut reference = nn::Adam::default().build(&store, 0.05).unwrap();
        let (ours, mut adam) = fresh(&Tensor::zeros([7], (Kind::Float, Device::Cpu)));
        for _ in 0..50 {
            reference.backward_step(&loss(&theirs, &target));
            adam.minimise(&loss(&ours, &target), 0.05).unwrap();
        }
        assert!((ours - theirs).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn resumed_is_uninterrupted_to_the_bit_and_started_cold_is_not() {
        let target = target();
        let run = |(weight, adam): &mut (Tensor, Adam), steps| {
            for _ in 0..steps {
                adam.minimise(&loss(weight, &target), 0.05).unwrap();
            }
        };
        let mut whole = fresh(&Tensor::zeros([7], (Kind::Float, Device::Cpu)));
        run(&mut whole, 20);
        let weight = whole.0.detach().copy();
        let state: Vec<_> = whole.1.state().into_iter().map(|(name, tensor)| (name, tensor.copy())).collect();
        let mut resumed = fresh(&weight);
        for ((name, mut into), (from, value)) in resumed.1.state().into_iter().zip(state) {
            assert_eq!(name, from);
            into.copy_(&value);
        }
        let mut cold = fresh(&weight);
        for training in [&mut whole, &mut resumed, &mut cold] {
            run(training, 20);
        }
        assert_eq!(resumed.0, whole.0);
        assert_ne!(cold.0, whole.0);
    }
}
