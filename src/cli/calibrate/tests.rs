//! Cells as files, from reading them to the calibration and its table.

use serde_json::{Value, json};

use super::*;
use crate::domain::prediction::Calibration;

/// A cell whose loss follows from its figures: about a third of the disagreement. `step` tells students apart.
fn cell(teacher: &str, step: u32) -> Value {
    let disagreement = 0.01 * f64::from(step);
    let proportion = |share: f64| json!({"share": share, "low": 0.0, "high": 1.0, "n": 2000});
    let both = json!({"teacher": 0.9, "student": 0.9});
    let source = |name: &str, share: f64| {
        json!({"source": name, "agreement": proportion(share), "kl": {"mean": 0.01, "p95": disagreement, "p99": 0.2},
               "logit_difference": 0.1, "sure": {"share": 1.0, "agreement": null}, "confidence": both, "entropy": both,
               "effective_classes": 9.0})
    };
    let coverage = json!({"hits": proportion(1.0), "effective_classes": 9.0, "classes": 10, "missed": 0, "missed_names": [],
                          "balanced_agreement": 1.0, "lowest_class": null, "lowest_agreement": 1.0, "by_class": []});
    let size = json!({"parameters": 10, "macs": 10, "bytes": 10});
    let times = json!({"p50": 1.0, "p95": 1.0});
    json!({"teacher": teacher, "student": format!("{step}"), "approach": "fast", "seed": 1, "result": {
        "teacher": size, "student": size, "ratio": {"parameters": 2.0, "macs": 1.0, "bytes": 1.0, "latency": 1.0},
        "latency_ms": {"device": "cpu", "batch": 1, "teacher": times, "student": times},
        "agreement": {"held_out_generator": {"top1": 1.0, "n": 1}, "noise": {"top1": 1.0, "n": 1}, "lowest": 1.0},
        "accuracy": {"teacher": 0.99, "compressed": 0.5, "student": 0.99 - disagreement / 3.0, "n": 100},
        "audit": {"sources": [source("held_out_generator", 1.0 - disagreement), source("noise", 0.5)],
                  "lowest": "held_out_generator", "coverage": coverage, "weight_error": 0.3},
        "seconds": {}}})
}

fn calibrate(cells: &[(&str, Value)], alike: &[&str]) -> (tempfile::TempDir, anyhow::Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    let results = folder.path().join("results");
    for (name, cell) in cells {
        let path = results.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, cell.to_string()).unwrap();
    }
    let document = folder.path().join("AUDIT.md");
    fs::write(&document, "# A\n<!-- calibration: begin -->\nold\n<!-- calibration: end -->\nZ\n").unwrap();
    let out = folder.path().join("out.json");
    let alike = alike.iter().map(|list| names(list).unwrap()).collect();
    let command = Calibrate { cells: vec![results], out, alike, document: Some(document) };
    let outcome = command.run();
    (folder, outcome)
}

#[test]
fn files_become_a_calibration_and_a_table() {
    let mut cells: Vec<(String, Value)> = Vec::new();
    for teacher in ["a", "b", "c"] {
        cells.extend((1..=12).map(|step| (format!("{teacher}/{step}.json"), cell(teacher, step))));
    }
    // A cell that failed, and one without audit, of a version that had none.
    cells.push(("c/failed.json".into(), json!({"teacher": "c", "status": "failed", "error": "…"})));
    let mut old = cell("c", 1);
    old["result"].as_object_mut().unwrap().remove("audit");
    cells.push(("c/old.json".into(), old));
    // The bench's scratch holds reports, which are no cells.
    let mut report = cell("c", 1);
    report.as_object_mut().unwrap().remove("teacher");
    cells.push((".scratch/cells/c/report.json".into(), report));
    let cells: Vec<(&str, Value)> = cells.iter().map(|(name, cell)| (name.as_str(), cell.clone())).collect();
    let (folder, outcome) = calibrate(&cells, &[]);
    outcome.unwrap();
    let calibration: Calibration = serde_json::from_slice(&fs::read(folder.path().join("out.json")).unwrap()).unwrap();
    assert_eq!((calibration.cells, calibration.left_out.len()), (36, 3));
    assert!(calibration.left_out.iter().all(|one| one.error < 0.004), "{:?}", calibration.left_out);
    let document = fs::read_to_string(folder.path().join("AUDIT.md")).unwrap();
    assert!(document.starts_with("# A\n") && document.ends_with("\nZ\n") && !document.contains("old"), "{document}");
    assert!(document.contains("| all | 36 |") && document.contains("`weight_error`"), "{document}");
}

#[test]
fn too_few_students_are_refused_with_what_is_needed() {
    let (_folder, outcome) = calibrate(&[("a/1.json", cell("a", 1))], &[]);
    assert_eq!(outcome.unwrap_err().to_string(), "1 cells of 1 teachers: a calibration needs 20 of 3 at least");
}

#[test]
fn teachers_that_are_alike_are_left_out_together() {
    let mut cells: Vec<(String, Value)> = Vec::new();
    for teacher in ["a", "b", "c", "twin-of-c"] {
        for step in 1..=12 {
            let mut cell = cell(teacher, step);
            // What the twins have in common, and no other teacher: it is learned from the one for the other.
            if teacher.ends_with('c') {
                cell["result"]["accuracy"]["student"] = json!(0.5);
            }
            cells.push((format!("{teacher}/{step}.json"), cell));
        }
    }
    let cells: Vec<(&str, Value)> = cells.iter().map(|(name, cell)| (name.as_str(), cell.clone())).collect();
    let width = |alike: &[&str]| {
        let (folder, outcome) = calibrate(&cells, alike);
        outcome.unwrap();
        let json = fs::read(folder.path().join("out.json")).unwrap();
        let calibration: Calibration = serde_json::from_slice(&json).unwrap();
        let teachers: Vec<String> = calibration.left_out.into_iter().map(|one| one.teacher).collect();
        (teachers, calibration.half_width)
    };
    let (teachers, apart) = width(&[]);
    assert_eq!(teachers, ["a", "b", "c", "twin-of-c"]);
    let (teachers, together) = width(&["twin-of-c, c"]);
    assert_eq!(teachers, ["a", "b", "c and twin-of-c"]);
    assert!(together > 1.2 * apart, "{together} and {apart}");
    let unknown = calibrate(&cells, &["a,d"]).1.unwrap_err().to_string();
    assert!(unknown.contains("`d`"), "{unknown}");
    assert!(names("a").is_err() && names("a,").is_err());
}
