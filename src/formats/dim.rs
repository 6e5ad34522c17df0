//! Integers that may depend on the batch size N, and extents made of them.
//!
//! The batch of a graph stays free, yet exporters compute with it: `view(x.size(0), -1)` becomes Shape, Gather, Concat and
//! Reshape. All of it is linear in N, so a pair of numbers follows it exactly.

use std::fmt;

/// `batch · N + fixed`, where N ≥ 1 is the batch size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dim {
    pub batch: i64,
    pub fixed: i64,
}

impl Dim {
    /// N itself.
    pub const N: Self = Self { batch: 1, fixed: 0 };
    pub const ONE: Self = Self::fixed(1);

    pub const fn fixed(fixed: i64) -> Self {
        Self { batch: 0, fixed }
    }

    /// The number, where it does not depend on the batch.
    pub fn number(self) -> Option<i64> {
        (self.batch == 0).then_some(self.fixed)
    }

    /// The number as an extent; `None` where it depends on the batch or is negative.
    pub fn extent(self) -> Option<usize> {
        self.number().and_then(|number| usize::try_from(number).ok())
    }

    pub fn is_batched(self) -> bool {
        self.batch != 0
    }

    /// The value for a batch of `n`.
    pub fn at(self, n: i64) -> Option<i64> {
        self.batch.checked_mul(n)?.checked_add(self.fixed)
    }

    pub fn plus(self, other: Self) -> Option<Self> {
        Some(Self { batch: self.batch.checked_add(other.batch)?, fixed: self.fixed.checked_add(other.fixed)? })
    }

    pub fn minus(self, other: Self) -> Option<Self> {
        Some(Self { batch: self.batch.checked_sub(other.batch)?, fixed: self.fixed.checked_sub(other.fixed)? })
    }

    /// The product; `None` on overflow and where it has an N².
    pub fn times(self, other: Self) -> Option<Self> {
        let (factor, linear) = match (self.number(), other.number()) {
            (Some(factor), _) => (factor, other),
            (_, Some(factor)) => (factor, self),
            _ => return None,
        };
        Some(Self { batch: linear.batch.checked_mul(factor)?, fixed: linear.fixed.checked_mul(factor)? })
    }

    /// The quotient: truncated as in ONNX for two numbers, exact for all N (or `None`) otherwise.
    pub fn over(self, other: Self) -> Option<Self> {
        if let (Some(a), Some(b)) = (self.number(), other.number()) {
            return a.checked_div(b).map(Self::fixed);
        }
        if let Some(divisor) = other.number() {
            let exact = self.batch.checked_rem(divisor)? == 0 && self.fixed.checked_rem(divisor)? == 0;
            return exact.then(|| Self { batch: self.batch / divisor, fixed: self.fixed / divisor });
        }
        // (k·batch · N + k·fixed) / (batch · N + fixed) is k.
        let factor = self.batch.checked_div(other.batch)?;
        (other.times(Self::fixed(factor))? == self).then_some(Self::fixed(factor))
    }

    /// Whether the two are equal for every N; `None` where that depends on N.
    pub fn equals(self, other: Self) -> Option<bool> {
        let difference = self.minus(other)?;
        if difference.batch == 0 {
            return Some(difference.fixed == 0);
        }
        let root = difference.fixed.checked_neg()?.checked_div(difference.batch)?;
        let solvable = difference.fixed.checked_rem(difference.batch)? == 0 && root >= 1;
        (!solvable).then_some(false)
    }

    /// Whether `self < other` for every N; `None` where that depends on N.
    pub fn less(self, other: Self) -> Option<bool> {
        let difference = self.minus(other)?;
        let at_one = difference.at(1)?;
        match difference.batch {
            0 => Some(at_one < 0),
            slope if slope < 0 && at_one < 0 => Some(true),
            slope if slope > 0 && at_one >= 0 => Some(false),
            _ => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.batch, self.fixed) {
            (0, fixed) => write!(f, "{fixed}"),
            (1, 0) => f.write_str("N"),
            (batch, 0) => write!(f, "{batch}N"),
            (1, fixed) => write!(f, "N{fixed:+}"),
            (batch, fixed) => write!(f, "{batch}N{fixed:+}"),
        }
    }
}

/// The product of extents: the number of elements. `None` on overflow, or with the batch in two of them.
pub fn product(dims: &[Dim]) -> Option<Dim> {
    dims.iter().try_fold(Dim::ONE, |product, dim| product.times(*dim))
}

/// A shape in words: `(N, 3, 32, 32)`.
pub fn show(dims: &[Dim]) -> String {
    let words: Vec<String> = dims.iter().map(Dim::to_string).collect();
    format!("({})", words.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_follows_the_batch() {
        let size = Dim::N.times(Dim::fixed(512)).unwrap();
        assert_eq!(size.over(Dim::fixed(512)), Some(Dim::N));
        assert_eq!(size.over(Dim::N), Some(Dim::fixed(512)));
        assert_eq!(size.over(Dim::fixed(7)), None);
        assert_eq!(Dim::N.times(Dim::N), None);
        assert_eq!(Dim::fixed(7).over(Dim::fixed(2)), Some(Dim::fixed(3)));
        assert_eq!(Dim::fixed(7).over(Dim::fixed(0)), None);
        assert_eq!(Dim::fixed(i64::MAX).plus(Dim::ONE), None);
        assert_eq!(Dim::fixed(i64::MIN).over(Dim::fixed(-1)), None);
    }

    #[test]
    fn comparisons_hold_for_every_batch_or_are_not_decided() {
        assert_eq!(Dim::N.equals(Dim::fixed(-1)), Some(false));
        assert_eq!(Dim::N.equals(Dim::fixed(1)), None);
        assert_eq!(Dim::N.equals(Dim::N), Some(true));
        assert_eq!(Dim::fixed(0).less(Dim::N), Some(true));
        assert_eq!(Dim::N.less(Dim::fixed(1)), Some(false));
        assert_eq!(Dim::N.less(Dim::fixed(8)), None);
    }
}
