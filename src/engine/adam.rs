//! Adam (Kingma and Ba, ICLR 2015) over named tensors: libtorch's own keeps its moments where tch cannot save them.

use tch::{TchError, Tensor, no_grad};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

struct Entry {
    weight: Tensor,
    first: Tensor,
    second: Tensor,
}

/// The optimizer of one set of weights.
pub struct Adam {
    entries: Vec<Entry>,
    steps: i32,
}

impl Adam {
    /// # Errors
    /// What libtorch reports.
    pub fn new(weights: impl IntoIterator<Item = Tensor>) -> Result<Self, TchError> {
        let entries = weights
            .into_iter()
            .map(|weight| Ok(Entry { first: weight.f_zeros_like()?, second: weight.f_zeros_like()?, weight }))
            .collect::<Result<_, TchError>>()?;
        Ok(Self { entries, steps: 0 })
    }

    /// One step down the gradient of `loss` with respect to these weights and no others.
    ///
    /// # Errors
    /// What libtorch reports.
    pub fn minimise(&mut self, loss: &Tensor, learning_rate: f64) -> Result<(), TchError> {
        let weights: Vec<&Tensor> = self.entries.iter().map(|entry| &entry.weight).collect();
        let gradients = Tensor::f_run_backward(&[loss], &weights, false, false)?;
        self.steps += 1;
        let correction1 = 1.0 - BETA1.powi(self.steps);
        let correction2 = (1.0 - BETA2.powi(self.steps)).sqrt();
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
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind};

    use super::*;

    #[test]
    fn follows_libtorchs_own_adam() {
        use tch::nn::{self, OptimizerConfig};
        tch::manual_seed(1);
        let target = Tensor::randn([7], (Kind::Float, Device::Cpu));
        let store = nn::VarStore::new(Device::Cpu);
        let theirs = store.root().zeros("w", &[7]);
        let mut reference = nn::Adam::default().build(&store, 0.05).unwrap();
        let ours = Tensor::zeros([7], (Kind::Float, Device::Cpu)).set_requires_grad(true);
        let mut adam = Adam::new([ours.shallow_clone()]).unwrap();
        let loss = |weight: &Tensor| (weight - &target).pow_tensor_scalar(4).sum(Kind::Float);
        for _ in 0..50 {
            reference.backward_step(&loss(&theirs));
            adam.minimise(&loss(&ours), 0.05).unwrap();
        }
        assert!((ours - theirs).abs().max().double_value(&[]) < 1e-5);
    }
}
