//! LeNet5 as the KegNet paper has it: ReLU and max pooling; 61,706 parameters for one channel and ten classes.

use super::builder::{Builder, Conv, Value};
use crate::domain::problem::Problem;

pub fn build(b: &mut Builder<'_>, x: Value, classes: usize) -> Result<Value, Problem> {
    let conv = |b: &Builder<'_>, layer: &str, usual| Conv { bias: true, ..Conv::new(b.width(layer, usual), 5) };
    let first = conv(b, "conv1", 6);
    let x = b.conv(&x, "conv1", first)?;
    let x = b.relu(&x, "relu1")?;
    let x = b.max_pool(&x, "pool1", (2, 2, 0))?;
    let second = conv(b, "conv2", 16);
    let x = b.conv(&x, "conv2", second)?;
    let x = b.relu(&x, "relu2")?;
    let x = b.max_pool(&x, "pool2", (2, 2, 0))?;
    let third = conv(b, "conv3", 120);
    let x = b.conv(&x, "conv3", third)?;
    let x = b.relu(&x, "relu3")?;
    let x = b.flatten(&x, "flatten")?;
    let x = b.linear(&x, "fc1", b.width("fc1", 84))?;
    let x = b.relu(&x, "relu4")?;
    b.linear(&x, "fc2", classes)
}
