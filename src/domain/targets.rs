//! How small a student shall be: one target, or a sweep of several, each of which becomes a student of its own.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{IntoDeserializer, SeqAccess, Visitor},
};

use super::{
    config::{Compression, CompressionConfig, Method, Settings},
    presets::{bounded, invalid},
    problem::{ErrorCode, Problem},
};

/// Targets of one job: each costs a distillation, and the evaluation after it.
pub const MOST_TARGETS: usize = 8;

/// Ratio of a job that says nothing about compression.
const RATIO: f64 = 4.0;

/// The largest factor that can be asked for.
const MOST_TIMES: f64 = 1000.0;

/// The largest count: beyond it, numbers of JSON are no longer exact.
const MOST_COUNT: f64 = (1_u64 << 53) as f64;

/// A number, or a list of them: a sweep.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}

impl<T> OneOrMore<T> {
    fn as_slice(&self) -> &[T] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::More(values) => values,
        }
    }
}

impl<T> From<T> for OneOrMore<T> {
    fn from(value: T) -> Self {
        Self::One(value)
    }
}

/// By hand: what is derived for an untagged choice names neither the member's element nor what was expected there.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMore<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Reader<T> {
            type Value = OneOrMore<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }

            fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OneOrMore::One)
            }

            fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OneOrMore::One)
            }

            fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Self::Value, E> {
                T::deserialize(value.into_deserializer()).map(OneOrMore::One)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut values = Vec::new();
                while let Some(value) = list.next_element()? {
                    values.push(value);
                }
                Ok(OneOrMore::More(values))
            }
        }
        deserializer.deserialize_any(Reader(std::marker::PhantomData))
    }
}

/// What a target counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// Teacher parameters divided by student parameters.
    Ratio,
    /// Parameters of the student.
    Parameters,
    /// Multiply-accumulates of the student, for one input.
    Macs,
    /// Bytes of the student's file.
    Bytes,
    /// Time of the teacher divided by time of the student, for one input.
    Latency,
}

impl Measured {
    pub const ALL: [Self; 5] = [Self::Ratio, Self::Parameters, Self::Macs, Self::Bytes, Self::Latency];

    /// The member of `compression`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ratio => "ratio",
            Self::Parameters => "parameters",
            Self::Macs => "macs",
            Self::Bytes => "bytes",
            Self::Latency => "latency",
        }
    }
}

/// What a student shall come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Target {
    pub by: Measured,
    /// A factor of at least 1, or a whole number.
    pub value: f64,
}

/// As it stands in names of files and series: `ratio-4`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.by.name(), self.value)
    }
}

impl Compression {
    /// What `compression` of a configuration comes to.
    pub(super) fn resolve(config: &CompressionConfig) -> Self {
        let CompressionConfig { method, ratio, parameters, macs, bytes, latency, layers, keep } = config.clone();
        let method = method.unwrap_or_default();
        let mut resolved = Self { method, ratio, parameters, macs, bytes, latency, layers, keep };
        if method == Method::Tucker && resolved.layers.is_none() && resolved.members().is_empty() {
            resolved.ratio = Some(RATIO.into());
        }
        resolved
    }

    /// That of a student which is given.
    pub(super) fn nothing() -> Self {
        Self { method: Method::None, ..Self::default() }
    }

    /// The targets in the order in which they were given; none where the ranks are given, or nothing is compressed.
    pub fn targets(&self) -> Vec<Target> {
        self.members()
            .into_iter()
            .flat_map(|(by, values)| values.into_iter().map(move |value| Target { by, value }))
            .collect()
    }

    fn members(&self) -> Vec<(Measured, Vec<f64>)> {
        let factors = |member: &Option<OneOrMore<f64>>| member.as_ref().map(|values| values.as_slice().to_vec());
        let counts = |member: &Option<OneOrMore<u64>>| {
            member.as_ref().map(|values| values.as_slice().iter().map(|&count| count as f64).collect())
        };
        [
            (Measured::Ratio, factors(&self.ratio)),
            (Measured::Parameters, counts(&self.parameters)),
            (Measured::Macs, counts(&self.macs)),
            (Measured::Bytes, counts(&self.bytes)),
            (Measured::Latency, factors(&self.latency)),
        ]
        .into_iter()
        .filter_map(|(by, values)| Some((by, values?)))
        .collect()
    }

    /// The one target of a task's own settings.
    pub fn target(&self) -> Option<Target> {
        self.targets().first().copied()
    }

    /// How many students come of it.
    pub fn students(&self) -> u32 {
        self.targets().len().max(1) as u32
    }

    /// For the target of that number alone.
    fn only(&self, number: u32) -> Self {
        let Some(Target { by, value }) = self.targets().get(number as usize).copied() else { return self.clone() };
        let (factor, count) = (Some(OneOrMore::One(value)), Some(OneOrMore::One(value as u64)));
        let mut one = self.clone();
        match by {
            Measured::Ratio => one.ratio = factor,
            Measured::Parameters => one.parameters = count,
            Measured::Macs => one.macs = count,
            Measured::Bytes => one.bytes = count,
            Measured::Latency => one.latency = factor,
        }
        one
    }

    /// # Errors
    /// `invalid_config`, naming the members that go ill together, or the one whose value is out of bounds.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_combination()?;
        for (by, values) in self.members() {
            let member = format!("compression.{}", by.name());
            let (low, high) = match by {
                Measured::Ratio | Measured::Latency => (1.0, MOST_TIMES),
                _ => (1.0, MOST_COUNT),
            };
            for &value in &values {
                bounded(&member, value, low, high)?;
            }
            check_list(&member, &values)?;
        }
        Ok(())
    }

    fn check_combination(&self) -> Result<(), Problem> {
        let targets: Vec<&str> = self.members().iter().map(|(by, _)| by.name()).collect();
        let mut given = targets.clone();
        given.extend(self.layers.as_ref().map(|_| "layers"));
        if given.len() > 1 {
            return Err(invalid(
                "compression",
                &format!("{} exclude each other: either one size is given, or each layer's ranks are", listed(&given)),
                &format!("Leave out all but one of {}.", listed(&given)),
            ));
        }
        if self.method == Method::None && !given.is_empty() {
            return Err(invalid(
                "compression",
                &format!("the method `none` and {} exclude each other: it compresses nothing", listed(&given)),
                "Leave out one of the two.",
            ));
        }
        if self.keep.is_some() && targets.is_empty() {
            return Err(invalid(
                "compression",
                "`keep` belongs to a target: without one, what is not named in `layers` is kept anyway",
                "Leave `keep` out, or give ratio, parameters, macs, bytes or latency.",
            ));
        }
        Ok(())
    }
}

fn check_list(member: &str, values: &[f64]) -> Result<(), Problem> {
    if values.is_empty() || values.len() > MOST_TARGETS {
        return Err(invalid(
            member,
            &format!("a sweep has 1 to {MOST_TARGETS} targets, and this one has {}", values.len()),
            "Give fewer targets, or one number.",
        ));
    }
    let twice = values.iter().enumerate().find(|(index, value)| values[..*index].contains(value));
    match twice {
        None => Ok(()),
        Some((_, value)) => Err(invalid(member, &format!("{value} is given twice"), "Give each target once.")),
    }
}

/// `` `a`, `b` and `c` ``
fn listed(names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
        _ => names.concat(),
    }
}

impl Settings {
    /// The settings of one student: those of the job with one target.
    pub fn of_student(&self, number: u32) -> Self {
        Self { compression: self.compression.only(number), ..self.clone() }
    }

    /// The target of a student of a sweep; none where the job makes one student.
    pub fn swept(&self, number: u32) -> Option<Target> {
        let targets = self.compression.targets();
        if targets.len() > 1 { targets.get(number as usize).copied() } else { None }
    }

    /// The name of a student's file: `student.onnx`, or `student-ratio-4.onnx` in a sweep.
    pub fn file_of_student(&self, number: u32, name: &str) -> String {
        match (self.swept(number), name.split_once('.')) {
            (Some(target), Some((stem, suffix))) => format!("{stem}-{target}.{suffix}"),
            _ => name.to_owned(),
        }
    }

    /// The number of the student with that target, the first where none is asked for.
    ///
    /// # Errors
    /// `not_found`, naming the targets that there are.
    pub fn student_with(&self, target: Option<f64>) -> Result<u32, Problem> {
        let Some(wanted) = target else { return Ok(0) };
        let targets = self.compression.targets();
        let found = targets.iter().position(|target| target.value == wanted);
        found.map(|number| number as u32).ok_or_else(|| {
            let known: Vec<String> = targets.iter().map(|target| target.value.to_string()).collect();
            let hint = if known.is_empty() {
                "The job has no targets; leave `target` out.".to_owned()
            } else {
                format!("The job's targets, by {}: {}.", targets[0].by.name(), known.join(", "))
            };
            Problem::new(ErrorCode::NotFound, format!("The job has no student with the target {wanted}."))
                .param("target")
                .hint(hint)
        })
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::domain::{config::JobConfig, presets::TeacherKind};

    fn settings(compression: &str) -> Result<Settings, Problem> {
        let config = JobConfig::parse(format!(r#"{{"compression": {compression}}}"#).as_bytes())?;
        config.resolve(TeacherKind::PlainImage, "m")
    }

    #[rstest]
    #[case(r"{}", &["ratio-4"])]
    #[case(r#"{"ratio": 2.5}"#, &["ratio-2.5"])]
    #[case(r#"{"ratio": [8, 2, 4.5]}"#, &["ratio-8", "ratio-2", "ratio-4.5"])]
    #[case(r#"{"parameters": 15000}"#, &["parameters-15000"])]
    #[case(r#"{"macs": [100000, 200000]}"#, &["macs-100000", "macs-200000"])]
    #[case(r#"{"bytes": 60000, "keep": ["fc2"]}"#, &["bytes-60000"])]
    #[case(r#"{"latency": 2}"#, &["latency-2"])]
    #[case(r#"{"layers": {}}"#, &[])]
    #[case(r#"{"method": "none"}"#, &[])]
    fn targets_are_those_given(#[case] compression: &str, #[case] expected: &[&str]) {
        let settings = settings(compression).unwrap();
        let targets: Vec<String> = settings.compression.targets().iter().map(ToString::to_string).collect();
        assert_eq!(targets, expected);
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
        for number in 0..targets.len() as u32 {
            let own = settings.of_student(number).compression.targets();
            assert_eq!(own.iter().map(ToString::to_string).collect::<Vec<_>>(), [targets[number as usize].clone()]);
        }
    }

    #[rstest]
    #[case(r#"{"ratio": 2, "layers": {}}"#, "`ratio` and `layers` exclude each other")]
    #[case(r#"{"ratio": 2, "macs": 9, "bytes": 9}"#, "`ratio`, `macs` and `bytes` exclude each other")]
    #[case(r#"{"method": "none", "latency": 2}"#, "the method `none` and `latency`")]
    #[case(r#"{"method": "none", "layers": {}}"#, "the method `none` and `layers`")]
    #[case(r#"{"layers": {"a": {"rank": [4]}}}"#, "compression.layers.a: unknown field `rank`, expected `ranks`")]
    #[case(
        r#"{"layers": {"a": "kept"}}"#,
        "compression.layers.a: invalid value: string \"kept\", expected `keep`, `evbmf`"
    )]
    #[case(r#"{"layers": {}, "keep": ["a"]}"#, "`keep` belongs to a target")]
    #[case(r#"{"ratio": []}"#, "1 to 8 targets")]
    #[case(r#"{"ratio": [1, 2, 3, 4, 5, 6, 7, 8, 9]}"#, "has 9")]
    #[case(r#"{"ratio": [2, 4, 2.0]}"#, "2 is given twice")]
    #[case(r#"{"ratio": [2, 0.5]}"#, "0.5 lies outside 1 to 1000")]
    #[case(r#"{"latency": 0.5}"#, "compression.latency: 0.5 lies outside")]
    #[case(r#"{"parameters": 0}"#, "0 lies outside")]
    #[case(r#"{"parameters": 1.5}"#, "compression.parameters: invalid type: floating point `1.5`, expected u64")]
    #[case(r#"{"macs": -3}"#, "expected u64")]
    #[case(r#"{"ratio": [2, "4"]}"#, "compression.ratio[1]: invalid type: string")]
    #[case(r#"{"ratio": {"a": 1}}"#, "expected a number or a list of numbers")]
    fn what_goes_ill_together_is_named(#[case] compression: &str, #[case] words: &str) {
        let problem = settings(compression).unwrap_err();
        assert!(problem.detail.contains(words), "{}", problem.detail);
        assert!(problem.hint.is_some() && problem.param.unwrap().starts_with("config.compression"));
    }

    #[test]
    fn files_of_a_sweep_have_names_of_their_own() {
        let one = settings(r#"{"ratio": [4]}"#).unwrap();
        assert_eq!(one.file_of_student(0, "student.onnx"), "student.onnx");
        let sweep = settings(r#"{"ratio": [4, 2.5]}"#).unwrap();
        assert_eq!(sweep.file_of_student(0, "student.onnx"), "student-ratio-4.onnx");
        assert_eq!(sweep.file_of_student(1, "report.json"), "report-ratio-2.5.json");
        assert_eq!((sweep.student_with(None), sweep.student_with(Some(2.5))), (Ok(0), Ok(1)));
        let problem = sweep.student_with(Some(3.0)).unwrap_err();
        assert!(problem.hint.unwrap().contains("4, 2.5"));
    }
}
