//! What the teacher's layers read and answer on images from formulas: where a budget is best spent.
//!
//! Weights alone do not tell. A direction in which a layer is strong may be one that no input has, and a layer with few strong
//! directions may need them all. Images from formulas show no class, yet they have edges, strokes and empty ground.

use tch::Tensor;

use super::{
    compress::{measure::Measures, moments::Meter},
    observer::Stop,
    procedural,
    sampler::shape,
    samples::MOST_ELEMENTS,
    seed::{Stream, seed},
    teacher::Teacher,
};
use crate::{domain::config::Settings, formats::graph::Graph};

/// Batches that the images are drawn in: within one, few forms are drawn.
const BATCHES: u64 = 8;

/// The measures of the layers of `whole`, in the names of the teacher's values, where the settings have a target that needs them; else none.
///
/// # Errors
/// What libtorch reports.
pub fn measures((teacher, whole): (&Teacher, &Graph), settings: &Settings) -> Result<Measures, Stop> {
    if settings.compression.target().is_none() {
        return Ok(Measures::new());
    }
    let keep = settings.compression.keep.as_deref().unwrap_or_default();
    let mut meter = Meter::new(whole, teacher.executor(), keep)?;
    if meter.is_idle() {
        return Ok(Measures::new());
    }
    let shape = shape(&teacher.graph, settings);
    let elements = shape.elements();
    let each = (meter.inputs() / BATCHES).max(1) as i64;
    seed(settings.seed, Stream::Reading);
    for _ in 0..BATCHES {
        let images: Tensor = procedural::draw(
            &shape.output,
            &shape.pixels,
            each.min(MOST_ELEMENTS / elements).max(1),
            teacher.device(),
        )?;
        meter.read(&images)?;
    }
    Ok(meter.measures()?)
}
