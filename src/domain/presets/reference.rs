//! `docs/CONFIG.md` against the presets: each member is there, with the defaults and bounds that hold.

use serde_json::{Value, json};

use super::*;

const KINDS: [TeacherKind; 3] = [TeacherKind::PlainImage, TeacherKind::ResidualImage, TeacherKind::Tabular];

fn resolved(config: &Value, kind: TeacherKind) -> Result<Value, Problem> {
    let settings = JobConfig::parse(config.to_string().as_bytes())?.resolve(kind, "m")?;
    Ok(serde_json::to_value(settings).unwrap())
}

/// Cells of the rows of the table below the heading of that name.
fn rows(section: &str) -> Vec<Vec<&'static str>> {
    let page = include_str!("../../../docs/CONFIG.md");
    let (_, below) = page.split_once(&format!("## `{section}`\n")).unwrap();
    let lines =
        below.lines().skip_while(|line| !line.starts_with('|')).skip(2).take_while(|line| line.starts_with('|'));
    lines.map(|line| line.trim_matches('|').split('|').map(str::trim).collect()).collect()
}

/// As the page writes them: one value, or one for each kind of teacher.
fn written(section: &str, member: &str, preset: &str) -> String {
    let values = KINDS.map(|kind| match &resolved(&json!({ "preset": preset }), kind).unwrap()[section][member] {
        Value::String(name) => format!("`{name}`"),
        number => number.as_f64().unwrap().to_string(),
    });
    if values.iter().all(|value| *value == values[0]) { values[0].clone() } else { values.join(", ") }
}

#[rstest::rstest]
fn the_page_has_every_hyper_parameter(#[values("extraction", "distillation")] section: &str) {
    let rows = rows(section);
    let told: Vec<&str> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    let settings = resolved(&json!({}), TeacherKind::PlainImage).unwrap();
    let members: Vec<&String> = settings[section].as_object().unwrap().keys().collect();
    assert_eq!(told, members);
    for row in rows {
        let member = row[0].trim_matches('`');
        for (column, preset) in ["fast", "best", "paper"].into_iter().enumerate() {
            assert_eq!(row[2 + column], written(section, member, preset), "{section}.{member} of {preset}");
        }
        let Some((_, high)) = row[5].split_once(" to ") else { continue };
        let beyond = high.parse::<f64>().unwrap() + 1.0;
        let beyond = if written(section, member, "fast").contains('.') { json!(beyond) } else { json!(beyond as u64) };
        let problem = resolved(&json!({ section: { member: beyond } }), TeacherKind::PlainImage).unwrap_err();
        assert!(
            problem.detail.ends_with(&format!("lies outside {}", row[5])),
            "{section}.{member}: {}",
            problem.detail
        );
    }
}

#[test]
fn the_page_has_every_other_member() {
    let page = include_str!("../../../docs/CONFIG.md");
    let config = serde_json::to_value(JobConfig::default()).unwrap();
    for member in config.as_object().unwrap().keys() {
        let told = [format!("| `{member}` |"), format!("## `{member}`")];
        assert!(told.iter().any(|told| page.contains(told.as_str())), "{member}");
    }
}
