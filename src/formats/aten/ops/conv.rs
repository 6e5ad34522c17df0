//! <https://pytorch.org/docs/stable/generated/torch.nn.functional.conv2d.html>, `conv1d`, transposed convolutions, and
//! `convolution`, which all of them become.

use super::{Lower, window};
use crate::formats::{
    aten::{
        call::{Arg, Call},
        lower::Context,
    },
    dim::show,
    graph::{Op, Window},
    refusal::Refusal,
    value::Value,
};

pub const OPERATORS: &[(&str, Lower)] = &[
    ("conv1d", conv),
    ("conv2d", conv),
    ("conv_transpose1d", transposed),
    ("conv_transpose2d", transposed),
    ("convolution", either),
    ("_convolution", either),
    ("_convolution_mode", conv),
];

fn either(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    if call.flag("transposed", false)? { transposed(graph, call) } else { conv(graph, call) }
}

fn kernel(call: &Call) -> Result<Vec<usize>, Refusal> {
    let dims = call.tensor("weight")?.dims()?;
    let kernel = dims.iter().skip(2).map(|dim| dim.extent()).collect::<Option<Vec<_>>>();
    kernel.filter(|kernel| !kernel.is_empty()).ok_or_else(|| format!("its weight is {}", show(&dims)).into())
}

fn groups(call: &Call) -> Result<usize, Refusal> {
    let groups = call.int("groups", 1)?;
    usize::try_from(groups).ok().filter(|groups| *groups > 0).ok_or_else(|| format!("it has {groups} groups").into())
}

fn operands(call: &Call) -> Result<Vec<Option<&Value>>, Refusal> {
    let mut operands = vec![Some(call.x()?), Some(call.tensor("weight")?)];
    operands.extend(call.optional("bias")?.map(Some));
    Ok(operands)
}

fn conv(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let kernel = kernel(call)?;
    let ones = vec![1; kernel.len()];
    let window = match call.arg("padding") {
        Some(Arg::Text(padding)) => named_padding(call, padding, kernel)?,
        _ => window::read(call, kernel, ones)?,
    };
    graph.finish(call, Op::Conv { window, groups: groups(call)? }, &operands(call)?)
}

/// `valid`, or `same`, where an odd element of padding goes to the end.
fn named_padding(call: &Call, padding: &str, kernel: Vec<usize>) -> Result<Window, Refusal> {
    let spatial = kernel.len();
    let list = |name| Ok::<_, Refusal>(window::list(call, name, spatial)?.unwrap_or_else(|| vec![1; spatial]));
    let (strides, dilations) = (list("stride")?, list("dilation")?);
    if [&kernel, &strides, &dilations].iter().any(|list| list.contains(&0)) {
        return Err("a kernel, stride or dilation is 0".into());
    }
    let total: Vec<usize> = match padding {
        "valid" => vec![0; spatial],
        "same" => kernel.iter().zip(&dilations).map(|(size, dilation)| (size - 1).saturating_mul(*dilation)).collect(),
        other => return Err(format!("its padding is \"{other}\"").into()),
    };
    let pads_begin: Vec<usize> = total.iter().map(|total| total / 2).collect();
    let pads_end = total.iter().zip(&pads_begin).map(|(total, begin)| total - begin).collect();
    Ok(Window { kernel, strides, dilations, pads_begin, pads_end, ceil: false })
}

fn transposed(graph: &mut Context, call: &Call) -> Result<(), Refusal> {
    let kernel = kernel(call)?;
    let (spatial, ones) = (kernel.len(), vec![1; kernel.len()]);
    let output_padding = window::list(call, "output_padding", spatial)?.unwrap_or_else(|| vec![0; spatial]);
    let window = window::read(call, kernel, ones)?;
    graph.finish(call, Op::ConvTranspose { window, groups: groups(call)?, output_padding }, &operands(call)?)
}
