//! The operators we know: from an operator's name to the function that lowers a call of it.
//!
//! Names and arguments: <https://github.com/pytorch/pytorch/blob/main/aten/src/ATen/native/native_functions.yaml>.

mod activation;
mod arithmetic;
mod attention;
mod compare;
mod constant;
mod conv;
mod identity;
mod join;
mod linear;
mod norm;
mod pad;
mod pool;
mod reduce;
mod reshape;
mod select;
mod softmax;
mod symbol;
mod window;

pub use select::list_length;

use super::{call::Call, lower::Context};
use crate::formats::refusal::Refusal;

/// Turns one call into graph nodes or known values.
pub type Lower = fn(&mut Context, &Call) -> Result<(), Refusal>;

/// What is known of an operator.
pub struct Rule {
    pub lower: Lower,
    /// Whether the result may share memory with the operand: then a change of one in place is one of the other.
    pub view: bool,
}

const OPERATORS: &[&[(&str, Lower)]] = &[
    activation::OPERATORS,
    arithmetic::OPERATORS,
    attention::OPERATORS,
    compare::OPERATORS,
    constant::OPERATORS,
    conv::OPERATORS,
    identity::COPIES,
    join::OPERATORS,
    linear::OPERATORS,
    norm::OPERATORS,
    pad::OPERATORS,
    pool::OPERATORS,
    reduce::OPERATORS,
    softmax::OPERATORS,
    symbol::OPERATORS,
];

const VIEWS: &[&[(&str, Lower)]] = &[identity::OPERATORS, reshape::OPERATORS, select::OPERATORS];

/// The rule for an operator; one that works in place, `relu_`, is lowered as the one that does not.
pub fn find(operator: &str) -> Option<Rule> {
    let found = |lists: &[&[(&str, Lower)]], name: &str| {
        lists.iter().copied().flatten().find(|(own, _)| *own == name).map(|(_, lower)| *lower)
    };
    let rule = |name: &str| {
        let plain = found(OPERATORS, name).map(|lower| Rule { lower, view: false });
        plain.or_else(|| found(VIEWS, name).map(|lower| Rule { lower, view: true }))
    };
    rule(operator).or_else(|| operator.strip_suffix('_').and_then(rule))
}

/// Whether an operator's result shares its operand's memory, or is a copy, by how the operand lies in memory or of which type it
/// is: neither is known here.
pub fn may_copy(operator: &str) -> bool {
    matches!(operator, "contiguous" | "to")
}

/// Whether an operator's result may share memory with its operand.
pub fn is_view(operator: &str) -> bool {
    find(operator).is_some_and(|rule| rule.view)
}

/// Whether there is a rule for an operator.
pub fn is_known(operator: &str) -> bool {
    find(operator).is_some()
}

/// Names of all operators that we know, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = OPERATORS.iter().chain(VIEWS).copied().flatten().map(|(name, _)| *name).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_memory_of_its_own() {
        assert!(["detach", "alias", "contiguous", "view"].iter().all(|operator| is_view(operator)));
        assert!(["clone", "_to_copy", "lift_fresh_copy", "relu"].iter().all(|operator| !is_view(operator)));
    }
}
