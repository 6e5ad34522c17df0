//! Budget to ranks: the allocation of parameters, multiply-accumulates or time over all layers that loses least.
//!
//! A knapsack with one choice from each layer: leave it, or one of its rank pairs. Dynamic programming over a budget cut
//! into [`BINS`] is exact up to the cut; what the cut leaves over is then spent greedily.

use tch::Tensor;

use super::{
    action::Action,
    algebra,
    layer::{Cost, Layer},
    measure::{self, Measure},
    tucker::{ErrorTable, Ranks},
};
use crate::domain::problem::Problem;

/// Parts that the budget is cut into. A layer's choices are thinned to the best in each part, which bounds the work to
/// layers · BINS² / 2 whatever the layers' sizes.
const BINS: usize = 2048;

/// Share of the loss that the weight alone decides, where something is known about the layer's inputs. They are not the
/// teacher's own: followed blindly, they leave out what a real input may need, and not asked at all, the weight keeps what no
/// input has.
const ALONE: f64 = 0.1;

/// What a budget is spent in, where the shape of a layer tells its price. Times are measured instead: see [`Choices::priced`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Currency {
    Parameters,
    Macs,
}

impl Currency {
    /// The price of a layer.
    ///
    /// Parameters are those of weights that belong to this layer alone. Biases stay in any case, and exporters store equal ones
    /// once, so that counting them with each layer would count more than the network has.
    fn price(self, cost: Cost, layer: &Layer) -> u64 {
        match self {
            Self::Parameters => cost.parameters - layer.bias as u64,
            Self::Macs => cost.macs,
        }
    }
}

/// One thing that a layer can become.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// In the budget's currency.
    pub cost: u64,
    pub loss: f64,
    pub action: Action,
}

/// The choices of one layer, none dominated: more cost, less loss.
#[derive(Clone, Debug)]
pub struct Choices {
    /// Cost of the layer as it is, which need not be a choice: a weight of low rank is the same for less.
    whole: u64,
    choices: Vec<Choice>,
}

impl Choices {
    /// Of a layer that stays as it is, and counts for the rest of the network.
    pub fn kept() -> Self {
        Self { whole: 0, choices: vec![Choice { cost: 0, loss: 0.0, action: Action::Keep }] }
    }

    /// Leaving the layer is always among them; a decomposition only if it costs less than the layer.
    ///
    /// # Errors
    /// `internal` where libtorch fails, or the measure does not fit the layer.
    pub fn new(layer: &Layer, kernel: &Tensor, measure: Option<&Measure>, currency: Currency) -> Result<Self, Problem> {
        if layer.obstacle.is_some() {
            return Ok(Self::kept());
        }
        let mut choices = Self::decompositions(layer, kernel, measure)?;
        if measure.is_some() {
            for ((_, loss), (_, alone)) in choices.iter_mut().zip(Self::decompositions(layer, kernel, None)?) {
                *loss = ALONE * alone + (1.0 - ALONE) * *loss;
            }
        }
        let price = |action: Action| currency.price(action.cost(layer), layer);
        let choices = choices.into_iter().map(|(action, loss)| Choice { cost: price(action), loss, action });
        Ok(Self::priced(price(Action::Keep), choices))
    }

    /// Of a layer that costs `whole`: to leave it, and those of `choices` that cost less.
    pub fn priced(whole: u64, choices: impl Iterator<Item = Choice>) -> Self {
        let mut all = vec![Choice { cost: whole, loss: 0.0, action: Action::Keep }];
        all.extend(choices.filter(|choice| choice.cost < whole));
        Self { whole, choices: undominated(all) }
    }

    /// The same, where every loss counts `weight` times.
    pub fn weighed(&self, weight: f64) -> Self {
        let weighed = |choice: &Choice| Choice { loss: weight * choice.loss, ..*choice };
        Self { whole: self.whole, choices: self.choices.iter().map(weighed).collect() }
    }

    /// At most one decomposition for each of `levels`, which are shares of the layer's cost: the best that costs no more.
    pub fn thinned(&self, levels: &[f64]) -> Vec<Choice> {
        let mut thinned: Vec<Choice> = Vec::with_capacity(levels.len());
        for level in levels {
            let most = (self.whole as f64 * level) as u64;
            let affordable = self.choices.partition_point(|choice| choice.cost <= most);
            let best = self.choices[..affordable].last().filter(|choice| choice.action != Action::Keep);
            thinned.extend(best.filter(|best| thinned.last().is_none_or(|last| last.action != best.action)));
        }
        thinned
    }

    /// Everything that a layer can be decomposed into, with what it loses.
    fn decompositions(
        layer: &Layer,
        kernel: &Tensor,
        measure: Option<&Measure>,
    ) -> Result<Vec<(Action, f64)>, Problem> {
        let (actions, total) =
            if layer.is_matrix() { Self::svd(kernel, measure)? } else { Self::tucker(layer, kernel, measure)? };
        Ok(actions.into_iter().map(|(action, lost)| (action, measure::loss(lost, total))).collect())
    }

    /// Every rank of a matrix, with the energy of the spectrum's tail; and the energy of all of it.
    fn svd(kernel: &Tensor, measure: Option<&Measure>) -> Result<(Vec<(Action, f64)>, f64), Problem> {
        // Responses have as many directions as outputs, the weight no more than inputs.
        let ranks = kernel.size()[..2].iter().min().map_or(0, |extent| *extent as usize);
        let mut spectrum = measure::spectrum(&kernel.f_flatten(1, -1)?, measure)?;
        spectrum.truncate(ranks);
        let mut tail = 0.0;
        let mut actions = Vec::with_capacity(spectrum.len());
        for (rank, square) in spectrum.iter().enumerate().skip(1).rev() {
            tail += square;
            actions.push((Action::Svd { rank }, tail));
        }
        Ok((actions, spectrum.iter().sum()))
    }

    /// Every pair of ranks that the other side can feed, with the energy that the truncation loses; and all the energy.
    fn tucker(layer: &Layer, kernel: &Tensor, measure: Option<&Measure>) -> Result<(Vec<(Action, f64)>, f64), Problem> {
        let whitened = measure::whiten(kernel, measure)?;
        let table = ErrorTable::new(&whitened)?;
        let taps = layer.taps();
        let mut actions = Vec::new();
        for output in 1..=layer.outputs {
            let low = output.div_ceil(taps).min(layer.inputs);
            for input in low..=layer.inputs.min(output * taps) {
                let ranks = Ranks { input, output };
                actions.push((Action::tucker(layer, ranks), table.at(ranks)));
            }
        }
        Ok((actions, algebra::energy(&whitened)?))
    }

    fn least(&self) -> u64 {
        self.choices.first().map_or(0, |choice| choice.cost)
    }
}

/// The action of each layer that costs least.
pub fn cheapest(layers: &[Choices]) -> Vec<Action> {
    layers.iter().map(|layer| layer.choices.first().map_or(Action::Keep, |choice| choice.action)).collect()
}

/// Sorts by cost, and drops what is no better than something cheaper.
fn undominated(mut choices: Vec<Choice>) -> Vec<Choice> {
    choices.sort_by(|a, b| a.cost.cmp(&b.cost).then(a.loss.total_cmp(&b.loss)));
    let mut best = f64::INFINITY;
    choices.retain(|choice| {
        let better = choice.loss < best;
        best = best.min(choice.loss);
        better
    });
    choices
}

/// The action of each layer, in the order given, such that the student costs at most `allowed`. The teacher costs `total`;
/// what is no choice here stays as it is.
///
/// # Errors
/// What the student costs at least, where that is more.
pub fn allocate(layers: &[Choices], total: u64, allowed: u64) -> Result<Vec<Action>, u64> {
    let outside = total.saturating_sub(layers.iter().map(|layer| layer.whole).sum::<u64>());
    let least = layers.iter().map(Choices::least).sum::<u64>();
    let Some(budget) = allowed.checked_sub(outside).filter(|&budget| budget >= least) else {
        return Err(outside + least);
    };
    let mut picks = knapsack(layers, budget).unwrap_or_else(|| vec![0; layers.len()]);
    spend_rest(layers, &mut picks, budget);
    Ok(picks.iter().zip(layers).map(|(&pick, layer)| layer.choices[pick].action).collect())
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
        bin -= size_in_bins(layer.choices[index].cost, unit);
        solution.push(index);
    }
    solution.reverse();
    Some(solution)
}

fn size_in_bins(cost: u64, unit: u64) -> usize {
    cost.div_ceil(unit) as usize
}

/// The largest, so the best, choice of each size in bins.
fn binned(layer: &Choices, unit: u64, bins: usize) -> Vec<(usize, usize)> {
    let mut sizes: Vec<(usize, usize)> = Vec::new();
    for (index, choice) in layer.choices.iter().enumerate() {
        let size = size_in_bins(choice.cost, unit);
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
        let spent: u64 = picks.iter().zip(layers).map(|(&pick, layer)| layer.choices[pick].cost).sum();
        let rest = budget.saturating_sub(spent);
        let gain = |layer: usize| {
            let (choices, pick) = (&layers[layer].choices, picks[layer]);
            let affordable = choices.partition_point(|choice| choice.cost <= choices[pick].cost + rest);
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
        let choice =
            (1_u64..60, 0.01_f64..1.0).prop_map(|(cost, loss)| Choice { cost, loss, action: Action::Svd { rank: 1 } });
        let whole = Choice { cost: 60, loss: 0.0, action: Action::Keep };
        prop::collection::vec(choice, 1..6).prop_map(move |mut choices| {
            choices.push(whole);
            Choices { whole: whole.cost, choices: undominated(choices) }
        })
    }

    fn sum<'a>(picked: impl Iterator<Item = &'a Choice>) -> (u64, f64) {
        picked.fold((0, 0.0), |(size, loss), choice| (size + choice.cost, loss + choice.loss))
    }

    /// The least loss by trying every combination.
    fn exhaustive(layers: &[Choices], budget: u64) -> Option<f64> {
        let mut sums = vec![(0, 0.0)];
        for layer in layers {
            sums = sums
                .iter()
                .flat_map(|&(size, loss)| {
                    layer.choices.iter().map(move |choice| (size + choice.cost, loss + choice.loss))
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
            // Large sizes: a bin then holds many units, and rounding must not overspend nor lose a feasible budget.
            let scale = |choice: Choice| Choice { cost: choice.cost * 10_007, ..choice };
            let wide = |layer: Choices| Choices {
                whole: layer.whole * 10_007,
                choices: layer.choices.into_iter().map(scale).collect(),
            };
            let layers: Vec<Choices> = layers.into_iter().map(wide).collect();
            let teacher: u64 = layers.iter().map(|layer| layer.whole).sum();
            let least: u64 = layers.iter().map(Choices::least).sum();
            let allowed = least + (share * (teacher - least) as f64) as u64;
            prop_assert!(allocate(&layers, teacher, allowed).is_ok());
            prop_assert_eq!(allocate(&layers, teacher, least.saturating_sub(1)), Err(least));
        }
    }
}
