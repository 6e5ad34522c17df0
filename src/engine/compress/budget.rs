//! Ratio to ranks: the allocation of a parameter budget over all layers that loses least.
//!
//! A knapsack with one choice from each layer: leave it, or one of its rank pairs. Dynamic programming over a budget cut
//! into [`BINS`] is exact up to the cut; what the cut leaves over is then spent greedily.

use tch::Tensor;

use super::{
    action::Action,
    algebra,
    layer::Layer,
    measure::Measure,
    tucker::{ErrorTable, Ranks},
};
use crate::domain::problem::{ErrorCode, Problem};

/// Parts that the budget is cut into. A layer's choices are thinned to the best in each part, which bounds the work to
/// layers · BINS² / 2 whatever the layers' sizes.
const BINS: usize = 2048;

/// One thing that a layer can become.
#[derive(Clone, Copy, Debug)]
struct Choice {
    parameters: u64,
    loss: f64,
    action: Action,
}

/// The choices of one layer, none dominated: more parameters, less loss.
///
/// Parameters are those of weights that belong to this layer alone. Biases stay in any case, and exporters store equal ones
/// once, so that counting them with each layer would count more than the network has.
#[derive(Debug)]
pub struct Choices {
    /// Parameters of the layer as it is, which need not be a choice: a weight of low rank is the same for less.
    whole: u64,
    choices: Vec<Choice>,
}

impl Choices {
    /// Leaving the layer is always among them; a decomposition only if it is smaller than the layer.
    ///
    /// # Errors
    /// `internal` where libtorch fails, or the measure does not fit the layer.
    pub fn new(layer: &Layer, kernel: &Tensor, measure: &Measure) -> Result<Self, Problem> {
        let keep = |parameters| Choice { parameters, loss: 0.0, action: Action::Keep };
        if layer.obstacle.is_some() {
            return Ok(Self { whole: 0, choices: vec![keep(0)] });
        }
        let whitened = measure.whiten(kernel)?;
        let total = algebra::energy(&whitened)?;
        let actions = if layer.is_matrix() { Self::svd(&whitened)? } else { Self::tucker(layer, &whitened)? };
        let weights = |action: Action| action.cost(layer).parameters - layer.bias as u64;
        let whole = weights(Action::Keep);
        let mut choices = vec![keep(whole)];
        choices.extend(actions.into_iter().filter_map(|(action, lost)| {
            let choice = Choice { parameters: weights(action), loss: measure.loss(lost, total), action };
            (choice.parameters < whole).then_some(choice)
        }));
        Ok(Self { whole, choices: undominated(choices) })
    }

    /// Every rank of a matrix, with the energy of the spectrum's tail.
    fn svd(kernel: &Tensor) -> Result<Vec<(Action, f64)>, Problem> {
        let spectrum = algebra::spectrum(&kernel.f_flatten(1, -1)?)?;
        let mut tail = 0.0;
        let mut actions = Vec::with_capacity(spectrum.len());
        for (rank, square) in spectrum.iter().enumerate().skip(1).rev() {
            tail += square;
            actions.push((Action::Svd { rank }, tail));
        }
        Ok(actions)
    }

    /// Every pair of ranks that the other side can feed, with the energy that the truncation loses.
    fn tucker(layer: &Layer, kernel: &Tensor) -> Result<Vec<(Action, f64)>, Problem> {
        let table = ErrorTable::new(kernel)?;
        let taps = layer.taps();
        let mut actions = Vec::new();
        for output in 1..=layer.outputs {
            let low = output.div_ceil(taps).min(layer.inputs);
            for input in low..=layer.inputs.min(output * taps) {
                let ranks = Ranks { input, output };
                actions.push((Action::tucker(layer, ranks), table.at(ranks)));
            }
        }
        Ok(actions)
    }

    fn least(&self) -> u64 {
        self.choices.first().map_or(0, |choice| choice.parameters)
    }
}

/// Sorts by size, and drops what is no better than something smaller.
fn undominated(mut choices: Vec<Choice>) -> Vec<Choice> {
    choices.sort_by(|a, b| a.parameters.cmp(&b.parameters).then(a.loss.total_cmp(&b.loss)));
    let mut best = f64::INFINITY;
    choices.retain(|choice| {
        let better = choice.loss < best;
        best = best.min(choice.loss);
        better
    });
    choices
}

/// The action of each layer, in the order given, such that the student has at most `teacher / ratio` parameters.
/// `teacher` counts the whole network; what is no choice here stays as it is.
///
/// # Errors
/// `invalid_compression` where even the smallest choices are too large, naming the largest ratio possible.
pub fn allocate(layers: &[Choices], teacher: u64, ratio: f64) -> Result<Vec<Action>, Problem> {
    let outside = teacher.saturating_sub(layers.iter().map(|layer| layer.whole).sum::<u64>());
    let least = layers.iter().map(Choices::least).sum::<u64>();
    let target = (teacher as f64 / ratio).floor() as u64;
    let Some(budget) = target.checked_sub(outside).filter(|&budget| budget >= least) else {
        return Err(impossible(ratio, teacher as f64 / (outside + least) as f64));
    };
    let mut picks = knapsack(layers, budget).unwrap_or_else(|| vec![0; layers.len()]);
    spend_rest(layers, &mut picks, budget);
    Ok(picks.iter().zip(layers).map(|(&pick, layer)| layer.choices[pick].action).collect())
}

fn impossible(ratio: f64, largest: f64) -> Problem {
    let largest = (largest * 100.0).floor() / 100.0;
    Problem::new(
        ErrorCode::InvalidCompression,
        format!(
            "a ratio of {ratio} is impossible: with every layer at rank 1 this model becomes {largest} times smaller"
        ),
    )
    .param("config.compression.ratio")
    .hint(format!("Ask for a ratio of at most {largest}."))
}

/// Index of each layer's choice for the least total loss. `None` where rounding costs up to whole bins leaves no solution.
fn knapsack(layers: &[Choices], budget: u64) -> Option<Vec<usize>> {
    let unit = budget.div_ceil(BINS as u64).max(1);
    let bins = (budget / unit) as usize;
    let mut losses = vec![0.0; bins + 1];
    let mut picks: Vec<Vec<Option<usize>>> = Vec::with_capacity(layers.len());
    for layer in layers {
        let mut next = vec![f64::INFINITY; bins + 1];
        let mut pick = vec![None; bins + 1];
        for (size, index) in binned(layer, unit, bins) {
            let loss = layer.choices[index].loss;
            for bin in size..=bins {
                let sum = losses[bin - size] + loss;
                if sum < next[bin] {
                    next[bin] = sum;
                    pick[bin] = Some(index);
                }
            }
        }
        losses = next;
        picks.push(pick);
    }
    let mut bin = bins;
    let mut solution = Vec::with_capacity(layers.len());
    for (layer, pick) in layers.iter().zip(&picks).rev() {
        let index = pick[bin]?;
        bin -= size_in_bins(layer.choices[index].parameters, unit);
        solution.push(index);
    }
    solution.reverse();
    Some(solution)
}

fn size_in_bins(parameters: u64, unit: u64) -> usize {
    parameters.div_ceil(unit) as usize
}

/// The largest, so the best, choice of each size in bins.
fn binned(layer: &Choices, unit: u64, bins: usize) -> Vec<(usize, usize)> {
    let mut sizes: Vec<(usize, usize)> = Vec::new();
    for (index, choice) in layer.choices.iter().enumerate() {
        let size = size_in_bins(choice.parameters, unit);
        if size > bins {
            break;
        }
        match sizes.last_mut() {
            Some(last) if last.0 == size => last.1 = index,
            _ => sizes.push((size, index)),
        }
    }
    sizes
}

/// Spends what is left of the budget, each time where it lowers the loss most.
fn spend_rest(layers: &[Choices], picks: &mut [usize], budget: u64) {
    loop {
        let spent: u64 = picks.iter().zip(layers).map(|(&pick, layer)| layer.choices[pick].parameters).sum();
        let rest = budget.saturating_sub(spent);
        let gain = |layer: usize| {
            let (choices, pick) = (&layers[layer].choices, picks[layer]);
            let affordable = choices.partition_point(|choice| choice.parameters <= choices[pick].parameters + rest);
            (affordable > pick + 1).then(|| (choices[pick].loss - choices[affordable - 1].loss, affordable - 1))
        };
        let best = (0..layers.len())
            .filter_map(|layer| gain(layer).map(|(gain, pick)| (layer, gain, pick)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        match best {
            Some((layer, _, pick)) => picks[layer] = pick,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn layer() -> impl Strategy<Value = Choices> {
        let choice = (1_u64..60, 0.01_f64..1.0).prop_map(|(parameters, loss)| Choice {
            parameters,
            loss,
            action: Action::Svd { rank: 1 },
        });
        let whole = Choice { parameters: 60, loss: 0.0, action: Action::Keep };
        prop::collection::vec(choice, 1..6).prop_map(move |mut choices| {
            choices.push(whole);
            Choices { whole: whole.parameters, choices: undominated(choices) }
        })
    }

    fn sum<'a>(picked: impl Iterator<Item = &'a Choice>) -> (u64, f64) {
        picked.fold((0, 0.0), |(size, loss), choice| (size + choice.parameters, loss + choice.loss))
    }

    /// The least loss by trying every combination.
    fn exhaustive(layers: &[Choices], budget: u64) -> Option<f64> {
        let mut sums = vec![(0, 0.0)];
        for layer in layers {
            sums = sums
                .iter()
                .flat_map(|&(size, loss)| {
                    layer.choices.iter().map(move |choice| (size + choice.parameters, loss + choice.loss))
                })
                .collect();
        }
        sums.into_iter().filter(|&(size, _)| size <= budget).map(|(_, loss)| loss).min_by(f64::total_cmp)
    }

    proptest! {
        #[test]
        fn loses_the_least_possible(layers in prop::collection::vec(layer(), 1..5), budget in 20_u64..240) {
            let expected = exhaustive(&layers, budget);
            let picks = knapsack(&layers, budget);
            prop_assert_eq!(picks.is_some(), expected.is_some());
            if let (Some(mut picks), Some(expected)) = (picks, expected) {
                spend_rest(&layers, &mut picks, budget);
                let (size, loss) = sum(picks.iter().zip(&layers).map(|(&pick, layer)| &layer.choices[pick]));
                prop_assert!(size <= budget);
                prop_assert!((loss - expected).abs() < 1e-9, "{} for {}", loss, expected);
            }
        }

        #[test]
        fn a_budget_cut_into_bins_stays_a_budget(layers in prop::collection::vec(layer(), 2..5), share in 0.05_f64..1.0) {
            // Large sizes: a bin then holds many parameters, and rounding must not overspend nor lose a feasible budget.
            let scale = |choice: Choice| Choice { parameters: choice.parameters * 10_007, ..choice };
            let wide = |layer: Choices| Choices {
                whole: layer.whole * 10_007,
                choices: layer.choices.into_iter().map(scale).collect(),
            };
            let layers: Vec<Choices> = layers.into_iter().map(wide).collect();
            let teacher: u64 = layers.iter().map(|layer| layer.whole).sum();
            let least: u64 = layers.iter().map(Choices::least).sum();
            let target = least as f64 + share * (teacher - least) as f64;
            let actions = allocate(&layers, teacher, teacher as f64 / target);
            prop_assert!(actions.is_ok());
        }
    }
}
