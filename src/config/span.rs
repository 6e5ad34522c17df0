//! Lengths of time as people write them: `30d`, `12h`, `1.5h`, `90s`.

use std::{fmt, str::FromStr, time::Duration};

/// A length of time. Without a unit a number is refused: `30` could be days as well as seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// `ms` before `s` and `m`, so that it is not read as either.
const UNITS: [(&str, f64); 6] =
    [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3_600.0), ("d", 86_400.0), ("w", 7.0 * 86_400.0)];

/// A thousand years: beyond it, dates have five digits.
const LONGEST: f64 = 1000.0 * 365.25 * 86_400.0;

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let refused = || format!("`{text}` is no length of time; write for example 30d, 12h or 90s");
        if lower == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let (number, unit) = UNITS
            .iter()
            .find_map(|&(suffix, unit)| lower.strip_suffix(suffix).map(|number| (number.trim_end(), unit)))
            .ok_or_else(refused)?;
        let seconds = number.parse::<f64>().map_err(|_| refused())? * unit;
        if !(0.0..=LONGEST).contains(&seconds) {
            return Err(format!("`{text}` lies outside 0 to 1000 years"));
        }
        Ok(Self(Duration::from_secs_f64(seconds)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() > 0 {
            return write!(f, "{}s", self.0.as_secs_f64());
        }
        let seconds = self.0.as_secs();
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "m")] {
            if seconds >= unit && seconds.is_multiple_of(unit) {
                return write!(f, "{}{name}", seconds / unit);
            }
        }
        write!(f, "{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_with_their_unit() {
        for (text, seconds) in [
            ("30d", 2_592_000.0),
            ("12h", 43_200.0),
            ("1.5 h", 5_400.0),
            ("2w", 1_209_600.0),
            ("5M", 300.0),
            ("90s", 90.0),
            ("250ms", 0.25),
            ("0", 0.0),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs_f64(seconds))), "{text}");
        }
    }

    #[test]
    fn what_is_no_length_is_refused() {
        for text in ["", "30", "d", "-1d", "nan d", "1e300d", "3 fortnights", "1h30m"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_printed_length_reads_back() {
        for seconds in [0.0, 1.0, 90.0, 0.25, 3_600.0, 86_400.0, 90_000.0] {
            let span = Span(Duration::from_secs_f64(seconds));
            assert_eq!(span.to_string().parse(), Ok(span));
        }
    }
}
