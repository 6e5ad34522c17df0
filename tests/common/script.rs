//! Children as shell scripts: they play the protocol over the real process and the real pipes, also where ours never would.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use kegd::{domain::presets::TeacherKind, protocol::VERSION, queue::QueueConfig, worker::WorkerConfig};

use super::{facts, house::House};

/// Words a script can use. `$SHARED` is a directory that outlives the run.
const WORDS: &str = r#"
exec 3>/proc/self/fd/$KEGD_EVENTS_FD
say() { printf '%s\n' "$1" >&3; }
hello() { say '{"type":"hello","version":'$VERSION',"device":"cpu","pid":'$$'}'; }
kind() { grep -o '"kind": "[a-z]*"' task.json | cut -d'"' -f4; }
generator() { grep -o '"generator": [0-9]*' task.json | cut -d' ' -f2; }
run() { grep -o '"run": [0-9]*' task.json | cut -d' ' -f2; }
sha() { sha256sum "$1" | cut -d' ' -f1; }
file() { printf '{"name":"%s","bytes":%s,"sha256":"%s"}' "$1" "$(stat -c %s "$1")" "$(sha "$1")"; }
checkpoint() { say '{"type":"checkpoint","step":'$2',"file":'"$(file "$1")"'}'; }
artifact() { say '{"type":"artifact","role":"'$2'","file":'"$(file "$1")"'}'; }
progress() { say '{"type":"progress","fraction":'$1',"phase":"'$2'","step":'$3',"steps":10,"eta_seconds":null}'; }
metric() { say '{"type":"metrics","points":[{"name":"'$1'","step":'$2',"value":'$3'}]}'; }
failed() { say "$(cat $SHARED/problem.json)"; exit 1; }
finish() { say '{"type":"done"}'; exit 0; }
# What a run of each kind has to leave.
work() {
    case $(kind) in
    inspect)
        cp $SHARED/inspection.json . && artifact inspection.json inspection ;;
    extract)
        printf weights > generator-$(generator).safetensors && artifact generator-$(generator).safetensors generator ;;
    distill)
        [ -s generator-0.safetensors ] || exit 9
        cp $SHARED/report.json . && artifact report.json report
        printf student > student.onnx && artifact student.onnx student ;;
    esac
}
"#;

/// Puts a child that does `body` into the house, and returns a worker that runs it on two slots.
pub async fn worker(house: &House, body: &str) -> WorkerConfig {
    let shared = house.directory.path().join("shared");
    fs::create_dir_all(&shared).unwrap();
    let settings = house.new_job(serde_json::json!({})).await.settings;
    let json = |value: serde_json::Value| value.to_string();
    let inspection = facts::inspection(TeacherKind::PlainImage);
    fs::write(shared.join("inspection.json"), json(serde_json::to_value(inspection).unwrap())).unwrap();
    fs::write(shared.join("report.json"), json(serde_json::to_value(facts::report(settings)).unwrap())).unwrap();
    let failed = kegd::protocol::Event::Failed { problem: facts::problem() };
    fs::write(shared.join("problem.json"), json(serde_json::to_value(failed).unwrap())).unwrap();
    let program = shared.join("child.sh");
    fs::write(&program, format!("#!/bin/sh\nSHARED={}\nVERSION={VERSION}\n{WORDS}\n{body}\n", shared.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    configure(house, program)
}

/// A worker with two slots and little patience.
pub fn configure(house: &House, program: PathBuf) -> WorkerConfig {
    use std::time::Duration;
    let mut config = WorkerConfig::new(house.directory.path()).unwrap();
    config.program = program;
    config.slots = vec!["cpu".to_owned(); 2];
    config.write_every = Duration::from_millis(20);
    config.grace.command = Duration::from_millis(100);
    config.grace.terminate = Duration::from_millis(100);
    config
}

/// Rules with short waits.
pub fn quick_rules() -> QueueConfig {
    use std::time::Duration;
    QueueConfig { lease: Duration::from_secs(30), backoff: Duration::from_millis(5), max_losses: 3 }
}
