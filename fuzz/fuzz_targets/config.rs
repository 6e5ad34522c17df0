//! A client's configuration: read, resolved for every kind of teacher, and read again as it is kept.

#![no_main]

use kegd::domain::{
    config::{JobConfig, Settings},
    presets::TeacherKind,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|json: &[u8]| {
    let Ok(config) = JobConfig::parse(json) else { return };
    let kept = serde_json::to_vec(&config).expect("what was read can be kept");
    JobConfig::parse(&kept).expect("and read again");
    for kind in [TeacherKind::PlainImage, TeacherKind::ResidualImage, TeacherKind::Tabular] {
        let Ok(settings) = config.resolve(kind, "model") else { continue };
        let kept = serde_json::to_vec(&settings).expect("settings can be kept");
        serde_json::from_slice::<Settings>(&kept).expect("and read again");
    }
});
