//! torchvision's `resnet18`: <https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.resnet18.html>.

use super::builder::{Builder, Conv, Value};
use crate::{domain::problem::Problem, formats::graph::Op};

const WIDTHS: [usize; 4] = [64, 128, 256, 512];

pub fn build(b: &mut Builder<'_>, x: Value, classes: usize) -> Result<Value, Problem> {
    let width = b.width("conv1", WIDTHS[0]);
    let x = b.conv(&x, "conv1", Conv { stride: 2, padding: 3, ..Conv::new(width, 7) })?;
    let x = b.batch_norm(&x, "bn1")?;
    let x = b.relu(&x, "relu")?;
    let mut x = b.max_pool(&x, "maxpool", (3, 2, 1))?;
    for (stage, usual) in WIDTHS.into_iter().enumerate() {
        let width = b.width(&format!("layer{}.0.conv1", stage + 1), usual);
        for block in 0..2 {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            x = basic_block(b, x, &format!("layer{}.{block}", stage + 1), (width, stride))?;
        }
    }
    let x = b.apply(&x, "avgpool", Op::GlobalAveragePool)?;
    let x = b.flatten(&x, "flatten")?;
    b.linear(&x, "fc", classes)
}

fn basic_block(b: &mut Builder<'_>, x: Value, name: &str, (width, stride): (usize, usize)) -> Result<Value, Problem> {
    let conv = Conv { padding: 1, ..Conv::new(width, 3) };
    let y = b.conv(&x, &format!("{name}.conv1"), Conv { stride, ..conv })?;
    let y = b.batch_norm(&y, &format!("{name}.bn1"))?;
    let y = b.relu(&y, &format!("{name}/relu1"))?;
    let y = b.conv(&y, &format!("{name}.conv2"), conv)?;
    let y = b.batch_norm(&y, &format!("{name}.bn2"))?;
    let x = if stride == 1 && b.channels(&x) == width {
        x
    } else {
        let x = b.conv(&x, &format!("{name}.downsample.0"), Conv { stride, ..Conv::new(width, 1) })?;
        b.batch_norm(&x, &format!("{name}.downsample.1"))?
    };
    let sum = b.add(&y, &x, &format!("{name}/add"))?;
    b.relu(&sum, &format!("{name}/relu2"))
}
