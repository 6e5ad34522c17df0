//! Target shapes of reshapes: -1 worked out, and the batch freed where a file wrote it down as a number.

use crate::formats::dim::{Dim, product};

/// The target with its -1 worked out, and with the batch in it wherever `dims` has it.
pub fn resolve(dims: &[Dim], target: &[Dim], batch: Option<i64>) -> Option<Vec<Dim>> {
    let count = product(dims)?;
    let free = count.is_batched();
    if target.iter().any(|entry| entry.is_batched()) || !free {
        return fill(count, target);
    }
    // No entry follows the batch by itself: either -1 does, or the file wrote down the batch it was traced with.
    match batch {
        Some(batch) => {
            let numbers = fill(Dim::fixed(count.at(batch)?), target)?;
            place_batch(dims, &numbers, batch)
        }
        None if target.contains(&Dim::fixed(-1)) => fill(count, target),
        None => {
            let written = product(target)?.number()?;
            place_batch(dims, target, written.checked_div(count.batch)?)
        }
    }
}

/// Replaces the entry -1 by what is left of `count`; without one, the product must be `count`.
fn fill(count: Dim, target: &[Dim]) -> Option<Vec<Dim>> {
    let open = Dim::fixed(-1);
    let known: Vec<Dim> = target.iter().copied().filter(|entry| *entry != open).collect();
    let known_count = product(&known)?;
    let rest = count.over(known_count)?;
    if rest.times(known_count)? != count
        || known.len() + 1 < target.len()
        || (known.len() == target.len() && rest != Dim::ONE)
    {
        return None;
    }
    Some(target.iter().map(|entry| if *entry == open { rest } else { *entry }).collect())
}

/// Finds the entry of `numbers` that a batch of `batch` stands in, and frees it.
///
/// Elements keep their row-major order, so it is an entry that has as many elements before it as the batch's axis has in
/// `dims`. Of several, which differ by extents of 1, it is the first: what an example was cut into comes after it.
fn place_batch(dims: &[Dim], numbers: &[Dim], batch: i64) -> Option<Vec<Dim>> {
    let from = dims.iter().position(|dim| dim.is_batched())?;
    let before = product(&dims[..from])?;
    let stands = |axis: &usize| product(&numbers[..*axis]) == Some(before);
    let divides = |axis: &usize| numbers[*axis].fixed.checked_rem(batch) == Some(0);
    let axis = (0..numbers.len()).filter(stands).find(divides)?;
    let mut target = numbers.to_vec();
    target[axis] = Dim { batch: numbers[axis].fixed / batch, fixed: 0 };
    (product(&target)? == product(dims)?).then_some(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(numbers: &[i64]) -> Vec<Dim> {
        numbers.iter().copied().map(Dim::fixed).collect()
    }

    fn free(first: i64, rest: &[i64]) -> Vec<Dim> {
        [vec![Dim { batch: first, fixed: 0 }], fixed(rest)].concat()
    }

    #[test]
    fn a_written_batch_becomes_free() {
        let dims = free(1, &[512, 1, 1]);
        for (target, batch) in [([1, 512], Some(1)), ([1, -1], Some(1)), ([-1, 512], Some(1)), ([4, 512], Some(4))] {
            assert_eq!(resolve(&dims, &fixed(&target), batch), Some(free(1, &[512])), "{target:?}");
        }
        // Without a fixed batch, the element count alone proves it.
        assert_eq!(resolve(&dims, &fixed(&[3, 512]), None), Some(free(1, &[512])));
        assert_eq!(resolve(&dims, &fixed(&[-1, 512]), None), Some(free(1, &[512])));
        assert_eq!(resolve(&dims, &fixed(&[1, 500]), Some(1)), None);
        assert_eq!(resolve(&dims, &fixed(&[-1, 500]), None), None);
    }

    #[test]
    fn the_batch_is_found_where_it_stands() {
        // (N, 2, 8) to (1, 1, 16): the first of two ones.
        assert_eq!(resolve(&free(1, &[2, 8]), &fixed(&[1, 1, 16]), Some(1)), Some(free(1, &[1, 16])));
        // (5, N, 8) to (5, heads, 4): the batch stands behind the five.
        let dims = [fixed(&[5]), free(1, &[8])].concat();
        let expected = [fixed(&[5]), free(2, &[4])].concat();
        assert_eq!(resolve(&dims, &fixed(&[5, 2, 4]), Some(1)), Some(expected));
        // (64 N, 3, 4), which is 64 windows of each example, to (1, 64, 3, 4).
        let expected = free(1, &[64, 3, 4]);
        assert_eq!(resolve(&free(64, &[3, 4]), &fixed(&[1, 64, 3, 4]), Some(1)), Some(expected));
    }
}
