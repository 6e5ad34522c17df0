//! Adam (Kingma and Ba, ICLR 2015) over named tensors: libtorch's own keeps its moments where tch cannot save them.

use tch::{Device, Kind, TchError, Tensor, no_grad};

use super::checkpoint::State;

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// A weight counts as at least this large, as root mean square, where steps are relative to it: one that begins at zero could
/// not leave it.
const LEAST: f64 = 0.01;

/// How far a step goes.
#[derive(Clone, Copy, Debug)]
pub enum Rate {
    /// Adam's learning rate.
    Absolute(f64),
    /// A share of each weight's own size, its root mean square as it is now (Shazeer and Stern, ICML 2018, section 8).
    Relative(f64),
}

impl Rate {
    /// The step of `weight` in `direction`.
    fn step(self, weight: &Tensor, direction: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Absolute(rate) => direction.f_mul_scalar(rate),
            Self::Relative(share) => {
                let size = weight.f_square()?.f_mean(weight.kind())?.f_sqrt()?.f_clamp_min(LEAST)?;
                direction.f_mul(&size.f_mul_scalar(share)?)
            }
        }
    }

    fn divided_by(self, divisor: f64) -> Self {
        match self {
            Self::Absolute(rate) => Self::Absolute(rate / divisor),
            Self::Relative(share) => Self::Relative(share / divisor),
        }
    }
}

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
    pub fn minimise(&mut self, loss: &Tensor, rate: Rate) -> Result<(), TchError> {
        let weights: Vec<&Tensor> = self.entries.iter().map(|entry| &entry.weight).collect();
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        let _ = self.steps.f_add_scalar_(1)?;
        let steps = self.steps.f_int64_value(&[0])? as i32;
        let rate = rate.divided_by(1.0 - BETA1.powi(steps));
        let correction = (1.0 - BETA2.powi(steps)).sqrt();
        no_grad(|| {
            for (entry, gradient) in self.entries.iter_mut().zip(gradients) {
                let _ = entry.first.f_lerp_(&gradient, 1.0 - BETA1)?;
                let _ = entry.second.f_lerp_(&gradient.f_square()?, 1.0 - BETA2)?;
                let scale = entry.second.f_sqrt()?.f_div_scalar(correction)?.f_add_scalar(EPSILON)?;
                let step = rate.step(&entry.weight, &entry.first.f_div(&scale)?)?;
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
            adam.minimise(&loss(&ours, &target), Rate::Absolute(0.05)).unwrap();
        }
        assert!((ours - theirs).abs().max().double_value(&[]) < 1e-5);
    }

    #[test]
    fn relative_steps_move_each_weight_by_the_same_share_of_its_size() {
        let target = target();
        let far = [0.0, 0.3, 30.0].map(|size| {
            let begin = Tensor::ones([7], (Kind::Float, Device::Cpu)) * size;
            let (weight, mut adam) = fresh(&begin);
            adam.minimise(&loss(&weight, &(&target * 100.0)), Rate::Relative(0.01)).unwrap();
            (weight.detach() - begin).square().mean(Kind::Float).sqrt().double_value(&[])
        });
        // Adam's first step is the rate, in each direction.
        for (moved, size) in far.into_iter().zip([LEAST, 0.3, 30.0]) {
            assert!((moved / (0.01 * size) - 1.0).abs() < 1e-3, "{moved} from {size}");
        }
    }

    #[test]
    fn resumed_is_uninterrupted_to_the_bit_and_started_cold_is_not() {
        let target = target();
        let run = |(weight, adam): &mut (Tensor, Adam), steps| {
            for _ in 0..steps {
                adam.minimise(&loss(weight, &target), Rate::Absolute(0.05)).unwrap();
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
