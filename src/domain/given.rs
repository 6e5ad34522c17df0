//! A student that is no compressed teacher: an uploaded network, or one that is built from its name.

use serde::{Deserialize, Serialize};

use super::{
    architecture::Architecture,
    config::{CompressionConfig, JobConfig},
    presets::invalid,
    problem::Problem,
};

/// With which weights a student begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// Those of its file.
    #[default]
    Weights,
    /// Random ones by the job's seed: He's for convolutions and linear layers, 1 and 0 for norms. Its norms then learn their
    /// statistics while it trains.
    Anew,
}

/// `student`, as a client sends it: with `arch` in place of the part `student`, or beside that part.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StudentConfig {
    /// The student's network by name, initialised anew. In place of the part `student`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Architecture>,
    /// With which weights it begins: `weights` (those of the part `student`, the default) or `anew`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<Init>,
}

/// The student that a job was given, as resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct GivenStudent {
    /// None where it came as a file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<Architecture>,
    pub init: Init,
}

impl JobConfig {
    /// With the student whose file came along, or did not: whether one came is part of what was sent.
    ///
    /// # Errors
    /// `invalid_config` where `student` needs a file that is not there, or excludes one that is.
    pub fn with_student_file(mut self, came: bool) -> Result<Self, Problem> {
        match (&self.student, came) {
            (None, true) => self.student = Some(StudentConfig::default()),
            (Some(StudentConfig { arch: Some(arch), .. }), true) => {
                return Err(invalid(
                    "student.arch",
                    &format!("`{arch}` and a student's file exclude each other"),
                    "Leave out `student.arch`, or the part `student`.",
                ));
            }
            (Some(StudentConfig { arch: None, .. }), false) => {
                return Err(invalid(
                    "student",
                    "neither `arch` names a student's network, nor does a file bring it",
                    "Send the part `student` (curl -F student=@small.onnx), or give student.arch.",
                ));
            }
            _ => {}
        }
        Ok(self)
    }

    /// The student that the job is given, if it is given one.
    ///
    /// # Errors
    /// `invalid_config` where it cannot begin so, or where `compression` says how to make another one.
    pub(super) fn given_student(&self) -> Result<Option<GivenStudent>, Problem> {
        let Some(student) = &self.student else { return Ok(None) };
        if self.compression != CompressionConfig::default() {
            return Err(invalid(
                "compression",
                "`compression` and `student` exclude each other: a student that is given is not compressed",
                "Leave out one of the two. A small student can be compressed by a job of its own, as its teacher.",
            ));
        }
        if student.arch.is_some() && student.init == Some(Init::Weights) {
            return Err(invalid(
                "student.init",
                "a network that is built from its name has no weights to begin with",
                "Leave `init` out, or send the part `student` instead of `student.arch`.",
            ));
        }
        let usual = if student.arch.is_some() { Init::Anew } else { Init::Weights };
        Ok(Some(GivenStudent { arch: student.arch, init: student.init.unwrap_or(usual) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{config::Settings, presets::TeacherKind};

    fn settings(config: &str, file: bool) -> Result<Settings, Problem> {
        let config = JobConfig::parse(config.as_bytes())?.with_student_file(file)?;
        config.resolve(TeacherKind::PlainImage, "m")
    }

    #[test]
    fn a_student_begins_as_it_can() {
        let given = |config, file| settings(config, file).unwrap().student;
        assert_eq!(given("{}", false), None);
        assert_eq!(given("{}", true), Some(GivenStudent { arch: None, init: Init::Weights }));
        let anew = given(r#"{"student": {"init": "anew"}}"#, true);
        assert_eq!(anew, Some(GivenStudent { arch: None, init: Init::Anew }));
        let named = Some(GivenStudent { arch: Some(Architecture::Lenet5), init: Init::Anew });
        assert_eq!(given(r#"{"student": {"arch": "lenet5"}}"#, false), named);
        let settings = settings(r#"{"student": {"arch": "lenet5"}}"#, false).unwrap();
        assert_eq!((settings.compression.targets().len(), settings.compression.students()), (0, 1));
        let json = serde_json::to_string(&settings).unwrap();
        assert_eq!(serde_json::from_str::<Settings>(&json).unwrap(), settings);
    }

    #[test]
    fn what_goes_ill_together_is_named() {
        for (config, file, words) in [
            (r#"{"student": {}}"#, false, "nor does a file bring it"),
            (r#"{"student": {"arch": "lenet5"}}"#, true, "exclude each other"),
            (r#"{"compression": {"ratio": 4}}"#, true, "a student that is given is not compressed"),
            (r#"{"student": {"arch": "mlp"}, "compression": {"method": "none"}}"#, false, "is not compressed"),
            (r#"{"student": {"arch": "mlp", "init": "weights"}}"#, false, "no weights to begin with"),
            (r#"{"student": {"arch": "vgg16"}}"#, false, "unknown variant `vgg16`, expected one of `lenet5`"),
            (r#"{"arch": "alexnet"}"#, false, "config.arch: unknown variant `alexnet`"),
        ] {
            let problem = settings(config, file).unwrap_err();
            assert!(problem.detail.contains(words), "{}", problem.detail);
            assert!(problem.hint.is_some() && problem.param.unwrap().starts_with("config."));
        }
    }
}
