//! The text format of Prometheus, version 0.0.4.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>
//!
//! Written by hand, because a recorder is of no use here: most figures are read from the database at the moment of the
//! scrape, where several processes add to them and no restart sets them back.

use std::fmt::Write;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Gauge,
    Counter,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Gauge => "gauge",
            Self::Counter => "counter",
            Self::Histogram => "histogram",
        }
    }
}

/// Label names with their values.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// What a scrape is answered with.
#[derive(Debug, Default)]
pub struct Page(String);

/// A metric whose samples are being written.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

// Writing to a String cannot fail.
impl Page {
    /// Begins a metric. `help` has neither a line break nor a backslash.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
        Family { page: self, name }
    }

    /// A metric of one sample without labels.
    pub fn single(&mut self, name: &'static str, kind: Kind, help: &str, value: f64) {
        self.family(name, kind, help).sample(&[], value);
    }

    pub fn into_text(self) -> String {
        self.0
    }

    fn line(&mut self, name: &str, labels: Labels<'_>, value: f64) {
        self.0.push_str(name);
        for (index, (label, value)) in labels.iter().enumerate() {
            let _ = write!(self.0, "{}{label}=\"{}\"", if index == 0 { '{' } else { ',' }, escaped(value));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", number(value));
    }
}

impl Family<'_> {
    pub fn sample(&mut self, labels: Labels<'_>, value: f64) {
        self.page.line(self.name, labels, value);
    }

    /// `buckets` are upper bounds, the last one infinite, with how many were at most so large.
    pub fn histogram(&mut self, labels: Labels<'_>, buckets: &[(f64, u64)], sum: f64) {
        let name = self.name;
        for (bound, count) in buckets {
            let bound = number(*bound);
            let labels = [labels, &[("le", bound.as_str())]].concat();
            self.page.line(&format!("{name}_bucket"), &labels, *count as f64);
        }
        self.page.line(&format!("{name}_sum"), labels, sum);
        self.page.line(&format!("{name}_count"), labels, buckets.last().map_or(0, |(_, count)| *count) as f64);
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_written_as_the_format_has_them() {
        let mut page = Page::default();
        page.single("a", Kind::Gauge, "What a is.", 0.5);
        page.family("b_total", Kind::Counter, "B.").sample(&[("x", "a\\b\"c\nd"), ("y", "")], 3.0);
        page.family("c", Kind::Histogram, "C.").histogram(&[("z", "1")], &[(0.5, 1), (f64::INFINITY, 3)], 7.25);
        let expected = "\
# HELP a What a is.\n# TYPE a gauge\na 0.5
# HELP b_total B.\n# TYPE b_total counter\nb_total{x=\"a\\\\b\\\"c\\nd\",y=\"\"} 3
# HELP c C.\n# TYPE c histogram
c_bucket{z=\"1\",le=\"0.5\"} 1\nc_bucket{z=\"1\",le=\"+Inf\"} 3\nc_sum{z=\"1\"} 7.25\nc_count{z=\"1\"} 3\n";
        assert_eq!(page.into_text(), expected);
    }
}
