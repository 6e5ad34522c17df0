//! Two ways to spend one budget. Which one serves better after training, no measure of the untrained network tells.

use tch::Device;

use super::{
    layer::layers,
    measure::Measures,
    network::Network,
    pace::Pace,
    plan::{Plan, allocator, plan_measured, planned},
};
use crate::domain::{config::Compression, problem::Problem, targets::Measured};

/// The plan of [`plan_measured`] for the first target, and one that spares large layers, if that differs. Where there is no
/// target, or one of time, it never does.
///
/// # Errors
/// As [`plan_measured`].
pub fn alternatives<'a, E: From<Problem>>(
    network: impl Into<Network<'a>>,
    compression: &Compression,
    (measures, device): (&Measures, Device),
    pace: Pace<'_, E>,
) -> Result<(Plan, Option<Plan>), E> {
    let network = network.into();
    let Some(target) = compression.target().filter(|target| target.by != Measured::Latency) else {
        return Ok((plan_measured(network, compression, (measures, device), pace)?, None));
    };
    let layers = layers(network.whole)?;
    let allocator = allocator(network, &layers, (compression, measures), pace)?;
    let (first, other) = (allocator.decide(target)?, allocator.sparing_the_large().decide(target)?);
    let other = (other != first).then(|| planned(network.whole, layers.clone(), other, pace)).transpose()?;
    Ok((planned(network.whole, layers.clone(), first, pace)?, other))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::compress::{action::Action, apply, fixture, plan};

    fn of(compression: &Compression) -> (Plan, Option<Plan>) {
        let measures = Measures::new();
        alternatives::<Problem>(&fixture::network(), compression, (&measures, Device::Cpu), &mut || Ok(())).unwrap()
    }

    #[test]
    fn each_spends_the_budget_and_the_second_spares_the_largest_layer() {
        let graph = fixture::network();
        let compression = Compression { ratio: Some(2.0.into()), ..Compression::default() };
        let (first, other) = of(&compression);
        let other = other.unwrap();
        assert_eq!(first.rows(), plan(&graph, &compression).unwrap().rows());
        let size = |plan: &Plan| apply(&graph, plan).unwrap().parameters() as f64;
        assert!(size(&first).max(size(&other)) <= graph.parameters() as f64 / 2.0);
        let largest = |plan: &Plan| plan.rows().into_iter().max_by_key(|row| row.parameters_before).unwrap();
        assert!(largest(&other).parameters_after > largest(&first).parameters_after);
    }

    #[test]
    fn without_a_budget_there_is_one() {
        let (first, other) = of(&Compression { layers: Some(Default::default()), ..Compression::default() });
        assert!(first.layers.iter().all(|planned| planned.action == Action::Keep) && other.is_none());
        assert!(of(&Compression { ratio: Some(1.0.into()), ..Compression::default() }).1.is_none(), "twice the same");
    }
}
