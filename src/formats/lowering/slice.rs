//! Cuts values along axes.

use super::Lowering;
use crate::formats::{
    dim::{Dim, show},
    graph::Op,
    refusal::Refusal,
    value::{Site, Value},
};

/// Takes `ranges` of `x`, each of another axis, as the result of `site`.
///
/// # Errors
/// Shapes that do not fit.
pub fn cut(graph: &mut Lowering, site: &dyn Site, x: &Value, ranges: &[Range]) -> Result<(), Refusal> {
    let dims = x.dims()?;
    let cuts: Vec<&Range> = ranges.iter().filter(|range| !range.is_whole(&dims)).collect();
    if cuts.is_empty() {
        return graph.alias(site, x.clone());
    }
    let op = Op::Slice {
        axes: cuts.iter().map(|range| range.axis).collect(),
        starts: cuts.iter().map(|range| range.start).collect(),
        ends: cuts.iter().map(|range| range.end).collect(),
        steps: cuts.iter().map(|range| range.step).collect(),
    };
    graph.finish(site, op, &[Some(x)])
}

/// Elements `start`, `start + step`, … before `end` of one axis.
pub struct Range {
    pub axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

impl Range {
    /// Takes all of its axis, in order; so does every slice of the batch that we can follow.
    fn is_whole(&self, dims: &[Dim]) -> bool {
        self.step == 1 && self.start == 0 && dims[self.axis].number().is_none_or(|extent| self.end == extent)
    }
}

/// Clamps one range to its extent; ends count from the back where they are negative.
///
/// # Errors
/// A step of 0, and some of the examples of a batch.
pub fn range(axis: usize, dims: &[Dim], (start, end): (Dim, Dim), step: i64) -> Result<Range, Refusal> {
    let Some(extent) = dims[axis].number() else {
        // Along the batch, only "all of it" has a meaning for every batch.
        let whole =
            start == Dim::fixed(0) && step == 1 && (end == dims[axis] || end.number() >= Some(i64::from(i32::MAX)));
        return if whole {
            Ok(Range { axis, start: 0, end: 0, step: 1 })
        } else {
            Err(Refusal::unsupported(format!("it takes some of the examples of {}", show(dims))))
        };
    };
    let (Some(start), Some(end)) = (start.number(), end.number()) else {
        return Err(Refusal::unsupported(format!("it cuts {start} to {end}, which depends on the batch size N")));
    };
    let from_front = |at: i64| if at < 0 { at.saturating_add(extent) } else { at };
    let (start, end) = (from_front(start), from_front(end));
    match step {
        0 => Err("its step is 0".into()),
        1.. => {
            let start = start.clamp(0, extent);
            Ok(Range { axis, start, end: end.clamp(start, extent), step })
        }
        _ => {
            let start = start.clamp(-1, extent - 1);
            Ok(Range { axis, start, end: end.clamp(-1, start), step })
        }
    }
}
