//! Residual networks for small images (He et al., Deep Residual Learning, 2016, section 4.2): a stem and three stages of
//! basic blocks. The shortcut of a block that widens has no parameters: every second pixel, and channels of zeros before and
//! behind.

use super::builder::{Builder, Conv, Value};
use crate::{
    domain::problem::Problem,
    formats::graph::{Op, PadMode},
};

const WIDTHS: [usize; 3] = [16, 32, 64];

/// `blocks` in each stage: 6 · `blocks` + 2 layers.
pub fn build(b: &mut Builder<'_>, x: Value, blocks: usize, classes: usize) -> Result<Value, Problem> {
    let width = b.width("conv1", WIDTHS[0]);
    let x = b.conv(&x, "conv1", Conv { padding: 1, ..Conv::new(width, 3) })?;
    let x = b.batch_norm(&x, "bn1")?;
    let mut x = b.relu(&x, "relu")?;
    for (stage, usual) in WIDTHS.into_iter().enumerate() {
        let width = b.width(&format!("layer{}.0.conv1", stage + 1), usual);
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(b, x, &format!("layer{}.{block}", stage + 1), (width, stride))?;
        }
    }
    let x = b.apply(&x, "pool", Op::GlobalAveragePool)?;
    let x = b.flatten(&x, "flatten")?;
    b.linear(&x, "fc", classes)
}

fn basic_block(b: &mut Builder<'_>, x: Value, name: &str, size: (usize, usize)) -> Result<Value, Problem> {
    let (width, stride) = size;
    let conv = Conv { padding: 1, ..Conv::new(width, 3) };
    let y = b.conv(&x, &format!("{name}.conv1"), Conv { stride, ..conv })?;
    let y = b.batch_norm(&y, &format!("{name}.bn1"))?;
    let y = b.relu(&y, &format!("{name}/relu1"))?;
    let y = b.conv(&y, &format!("{name}.conv2"), conv)?;
    let y = b.batch_norm(&y, &format!("{name}.bn2"))?;
    let x = shortcut(b, x, name, size)?;
    let sum = b.add(&y, &x, &format!("{name}/add"))?;
    b.relu(&sum, &format!("{name}/relu2"))
}

fn shortcut(b: &mut Builder<'_>, x: Value, name: &str, (width, stride): (usize, usize)) -> Result<Value, Problem> {
    let channels = b.channels(&x);
    if stride == 1 && width == channels {
        return Ok(x);
    }
    let added = width.checked_sub(channels).filter(|added| *added > 0 && added % 2 == 0).ok_or_else(|| {
        let why = format!("it goes from {channels} to {width} channels, which is no even number more");
        b.refuse(&format!("the shortcut of {name}"), why.into())
    })?;
    let ends = b.extents(&x).into_iter().skip(1).map(|extent| extent as i64).collect();
    let slice = Op::Slice { axes: vec![2, 3], starts: vec![0; 2], ends, steps: vec![stride as i64; 2] };
    let x = b.apply(&x, &format!("{name}/stride"), slice)?;
    let side = vec![0, (added / 2) as i64, 0, 0];
    let pad = Op::Pad { begin: side.clone(), end: side, mode: PadMode::Constant, value: 0.0 };
    b.apply(&x, &format!("{name}/pad"), pad)
}
