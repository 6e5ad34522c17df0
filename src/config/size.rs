//! Sizes as people write them: `512MiB`, `1.5 GiB`, `2000`.

use std::{fmt, str::FromStr};

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Longest suffixes first, so that `MiB` is not read as `B`.
const UNITS: [(&str, u64); 8] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("b", 1),
];

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = UNITS
            .iter()
            .find_map(|&(suffix, unit)| lower.strip_suffix(suffix).map(|number| (number.trim_end(), unit)))
            .unwrap_or((lower.as_str(), 1));
        let value: f64 = number.parse().map_err(|_| format!("`{text}` is no size; write for example 512MiB or 2GB"))?;
        let bytes = value * unit as f64;
        // 2^53: beyond it a float no longer counts single bytes, and no disk is that large.
        if !(0.0..=9_007_199_254_740_992.0).contains(&bytes) {
            return Err(format!("`{text}` lies outside 0 to 8192TiB"));
        }
        Ok(Self(bytes as u64))
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit && self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_a_unit() {
        for (text, bytes) in [
            ("0", 0),
            ("2000", 2000),
            ("512MiB", 512 << 20),
            ("1.5 GiB", 3 << 29),
            ("2gb", 2_000_000_000),
            ("7b", 7),
            ("1kb", 1000),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in ["", "MiB", "-1", "1e300", "nan", "12 parsecs"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_printed_size_reads_back() {
        for bytes in [0, 1, 1023, 1 << 10, 512 << 20, 5 << 30, 1_234_567] {
            assert_eq!(ByteSize(bytes).to_string().parse(), Ok(ByteSize(bytes)));
        }
    }
}
