//! torchvision's `mobilenet_v2` (Sandler et al., 2018), of any width:
//! <https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.mobilenet_v2.html>.

use super::builder::{Builder, Conv, Value};
use crate::{domain::problem::Problem, formats::graph::Op};

/// Expansion, channels, blocks and stride of each stage: table 2 of the paper.
const STAGES: [(usize, usize, usize, usize); 7] =
    [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)];

const STEM: usize = 32;
const HEAD: usize = 1280;

pub fn build(b: &mut Builder<'_>, x: Value, classes: usize) -> Result<Value, Problem> {
    let width = b.width("features.0.0", STEM);
    let mut x = unit(b, &x, "features.0", Conv { stride: 2, padding: 1, ..Conv::new(width, 3) })?;
    let mut index = 1;
    for (expansion, channels, blocks, stride) in STAGES {
        for block in 0..blocks {
            let stride = if block == 0 { stride } else { 1 };
            x = inverted_residual(b, x, index, (expansion, channels, stride))?;
            index += 1;
        }
    }
    let last = format!("features.{index}");
    let width = b.width(&format!("{last}.0"), HEAD);
    let x = unit(b, &x, &last, Conv::new(width, 1))?;
    let x = b.apply(&x, "pool", Op::GlobalAveragePool)?;
    let x = b.flatten(&x, "flatten")?;
    b.linear(&x, "classifier.1", classes)
}

/// Convolution, batch norm and ReLU6.
fn unit(b: &mut Builder<'_>, x: &Value, name: &str, conv: Conv) -> Result<Value, Problem> {
    let x = b.conv(x, &format!("{name}.0"), conv)?;
    let x = b.batch_norm(&x, &format!("{name}.1"))?;
    b.apply(&x, &format!("{name}/relu6"), Op::Clip { min: Some(0.0), max: Some(6.0) })
}

fn inverted_residual(
    b: &mut Builder<'_>,
    x: Value,
    index: usize,
    (expansion, usual, stride): (usize, usize, usize),
) -> Result<Value, Problem> {
    let (block, channels) = (format!("features.{index}"), b.channels(&x));
    let name = |part: usize| format!("{block}.conv.{part}");
    let (mut part, mut y) = (0, x.clone());
    if expansion > 1 {
        let width = b.width(&format!("{}.0", name(0)), channels.saturating_mul(expansion));
        y = unit(b, &y, &name(0), Conv::new(width, 1))?;
        part = 1;
    }
    let hidden = b.channels(&y);
    y = unit(b, &y, &name(part), Conv { stride, padding: 1, groups: hidden, ..Conv::new(hidden, 3) })?;
    let outputs = b.width(&name(part + 1), usual);
    y = b.conv(&y, &name(part + 1), Conv::new(outputs, 1))?;
    y = b.batch_norm(&y, &name(part + 2))?;
    if stride == 1 && outputs == channels { b.add(&x, &y, &format!("{block}/add")) } else { Ok(y) }
}
