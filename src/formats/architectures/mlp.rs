//! The KegNet paper's multilayer perceptron: linear layers with ELU. Dropout does nothing once training is over, but it
//! counts as a module: the linear layers of the `nn.Sequential` are 0, 3, 6 and so on.

use super::builder::{Builder, Value};
use crate::{domain::problem::Problem, formats::graph::Op};

/// Hidden layers where no weights tell, and the units of each.
const LAYERS: usize = 10;
const UNITS: usize = 100;

/// Hidden layers that are looked for in a file.
const MOST_LAYERS: usize = 256;

pub fn build(b: &mut Builder<'_>, x: Value, classes: usize) -> Result<Value, Problem> {
    // An image is taken as the list of its pixels.
    let mut x = if b.extents(&x).len() > 1 { b.flatten(&x, "flatten")? } else { x };
    let found = (0..=MOST_LAYERS).take_while(|layer| b.has(&weight(*layer))).count();
    let hidden = if found == 0 { LAYERS } else { found - 1 };
    for layer in 0..hidden {
        let name = module(layer);
        x = b.linear(&x, &name, b.width(&name, UNITS))?;
        x = b.apply(&x, &format!("elu{}", layer + 1), Op::Elu { alpha: 1.0 })?;
    }
    b.linear(&x, &module(hidden), classes)
}

fn module(layer: usize) -> String {
    (3 * layer).to_string()
}

fn weight(layer: usize) -> String {
    format!("{}.weight", module(layer))
}
