//! Means with their spread.

/// The arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The sample standard deviation, √(Σ(x − x̄)² / (n − 1)); none for fewer than two values.
pub fn deviation(values: &[f64]) -> Option<f64> {
    let degrees = values.len().checked_sub(1).filter(|&degrees| degrees > 0)?;
    let centre = mean(values);
    Some((values.iter().map(|value| (value - centre).powi(2)).sum::<f64>() / degrees as f64).sqrt())
}

/// Shares of 1 as percent: `96.32 ± 0.05`, without a spread where there is one value alone.
pub fn percent(shares: &[f64]) -> String {
    let values: Vec<f64> = shares.iter().map(|share| 100.0 * share).collect();
    match deviation(&values) {
        Some(deviation) => format!("{:.2} ± {deviation:.2}", mean(&values)),
        None => format!("{:.2}", mean(&values)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_a_textbook() {
        // Sum of squared distances from 5 is 32, over 7 degrees of freedom.
        let values = [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0];
        assert_eq!(mean(&values), 5.0);
        assert!((deviation(&values).unwrap() - (32.0_f64 / 7.0).sqrt()).abs() < 1e-12);
        assert_eq!((deviation(&[1.0]), deviation(&[])), (None, None));
    }

    #[test]
    fn percentages_have_two_digits_and_a_spread_where_there_is_one() {
        assert_eq!(percent(&[0.9631, 0.9637, 0.9628]), "96.32 ± 0.05");
        assert_eq!(percent(&[0.85165]), "85.17");
    }
}
