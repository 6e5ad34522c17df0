//! `kegd bench` and what it stands on, with the real binary on a small teacher: a step of everything.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use ndarray::{Array1, Array2};
use ndarray_npy::NpzWriter;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const KEGD: &str = env!("CARGO_BIN_EXE_kegd");
const TEACHER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/mlp_dynamo18.onnx");

const SMALL: &str = r#"{
    "seed": 3, "compression": {"ratio": 2.0},
    "extraction": {"generators": 2, "epochs": 2, "steps_per_epoch": 3, "batch_size": 8},
    "distillation": {"samples_per_generator": 16, "epochs": 1, "batch_size": 8, "adversarial_steps": 2, "student_steps": 1}
}"#;

/// A folder with a table of one teacher that is there and one that is not, and the test set.
struct Bench {
    folder: TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut npz = NpzWriter::new(File::create(folder.path().join("test.npz")).unwrap());
        let x = Array2::from_shape_fn((40, FEATURES), |(row, column)| ((row * 7 + column * 3) % 11) as f32 / 5.0 - 1.0);
        npz.add_array("x", &x).unwrap();
        npz.add_array("y", &Array1::from_shape_fn(40, |row| (row % CLASSES) as i64)).unwrap();
        npz.finish().unwrap();
        let bench = Self { folder };
        let nothing =
            json!({"extraction": {"sampler": "gaussian"}, "distillation": {"epochs": 0, "adversarial_steps": 0}});
        bench.describe(&json!({
            "teachers": [
                {"name": "small", "title": "A small one", "model": TEACHER, "eval": "test.npz", "students": "mlp",
                 "published": {"by": "Others", "teacher": "12.34", "students": {"alone": {"half": "56.78 ± 0.09"}}}},
                {"name": "absent", "title": "Not here", "model": "absent.onnx", "eval": "test.npz", "students": "mlp"},
            ],
            "students": {"mlp": [
                {"name": "half", "title": "half", "block": "Sizes", "compression": {"ratio": 2.0}},
                {"name": "alike", "title": "as small", "block": "Sizes", "size_of": "half"},
            ]},
            "approaches": [
                {"name": "alone", "title": "alone", "seeds": 1, "config": nothing},
                {"name": "kegnet", "title": "trained", "scaled": true, "picked": true, "config": serde_json::from_str::<Value>(SMALL).unwrap()},
            ],
        }));
        bench
    }

    fn describe(&self, description: &Value) {
        fs::write(self.path("table.json"), description.to_string()).unwrap();
    }

    fn description(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("table.json")).unwrap()).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, more: &[&str]) -> Command {
        let mut command = Command::new(KEGD);
        command.args(["bench", "table", "table.json", "--out", "results", "--device", "cpu", "--threads", "1"]);
        command.args(more).current_dir(self.folder.path());
        command
    }

    /// Runs the table and returns what it said.
    fn table(&self, more: &[&str]) -> String {
        told(&self.command(more).output().unwrap(), true)
    }

    fn report(&self) -> String {
        let arguments = ["bench", "report", "table.json", "results", "-o", "results.md"];
        let output = Command::new(KEGD).args(arguments).current_dir(self.folder.path()).output().unwrap();
        told(&output, true);
        fs::read_to_string(self.path("results.md")).unwrap()
    }

    fn cell(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.cell_file(name)).unwrap()).unwrap()
    }

    fn cell_file(&self, name: &str) -> PathBuf {
        self.path("results/small").join(format!("{name}.json"))
    }
}

const FEATURES: usize = 16;
const CLASSES: usize = 5;

fn told(output: &Output, success: bool) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert_eq!(output.status.success(), success, "{text}");
    text
}

fn kegd(arguments: &[&str], success: bool) -> String {
    told(&Command::new(KEGD).args(arguments).output().unwrap(), success)
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).to_str().unwrap().to_owned()
}

#[test]
fn a_table_is_run_once_and_told_with_mean_and_spread() {
    let bench = Bench::new();
    let told = bench.table(&["--seeds", "2", "--fraction", "0.5"]);
    assert!(told.contains("absent: left out, absent.onnx is not there"), "{told}");
    assert!(told.contains("6 cells run, 0 of them failed"), "{told}");

    let (first, second) = (bench.cell("half--kegnet--s1"), bench.cell("half--kegnet--s2"));
    assert_eq!(first["fraction"], 0.5);
    assert_eq!(first["settings"]["extraction"]["epochs"], 1);
    assert_eq!(first["settings"]["seed"], 1);
    assert_eq!(first["result"]["accuracy"]["n"], 40);
    assert!(first["peak_memory_bytes"].as_u64().unwrap() > 10_000_000);
    assert!(first["seconds"]["extraction"].as_f64().unwrap() > 0.0);
    assert_eq!(bench.cell("half--alone--s1")["seconds"]["extraction"], 0.0);
    assert!(!bench.cell_file("half--alone--s2").exists(), "nothing is drawn: one seed is enough");
    // Students of one seed share the generators, with what those cost.
    assert_eq!(first["seconds"]["extraction"], bench.cell("alike--kegnet--s1")["seconds"]["extraction"]);
    let size = |cell: &Value| cell["result"]["student"]["parameters"].as_u64().unwrap();
    assert!(size(&bench.cell("alike--alone--s1")) <= size(&first));

    let page = bench.report();
    let shares = [&first, &second].map(|cell| 100.0 * cell["result"]["accuracy"]["student"].as_f64().unwrap());
    let (mean, half) = ((shares[0] + shares[1]) / 2.0, (shares[0] - shares[1]).abs() / 2.0);
    // Of two values: √2 times half their distance.
    let expected = format!("{mean:.2} ± {:.2}", half * 2.0_f64.sqrt());
    let row = page.lines().find(|line| line.starts_with("| trained (50 % of the schedule) |")).unwrap();
    assert!(row.contains(&expected), "{expected} in {row}");
    let recipe: Vec<&str> = page.lines().filter(|line| line.starts_with("kegd bench table")).collect();
    assert!(
        recipe.len() == 2 && recipe[0].ends_with("--out RESULTS --threads 1 --fraction 0.5 --only 'small/*/kegnet'"),
        "{page}"
    );
    assert!(page.contains("| *Others: alone* | *56.78 ± 0.09* | – |"), "{page}");
    assert!(page.contains("(Others: 12.34)") && !page.contains("Not here"), "{page}");

    // Beside it what a look at the test set would have picked: never less.
    let best = first["picked"]["accuracy"].as_f64().unwrap();
    assert!(
        best >= first["result"]["accuracy"]["student"].as_f64().unwrap() && first["picked"]["of"].as_u64() > Some(1)
    );
    assert!(page.contains("best epoch on the test set, **not data-free**"), "{page}");

    let told = bench.table(&["--seeds", "2", "--fraction", "0.5"]);
    assert!(told.contains("0 cells run"), "{told}");
    // So does a cell from before there was a second game.
    let file = bench.cell_file("half--kegnet--s1");
    let mut before = bench.cell("half--kegnet--s1");
    assert_eq!(before["settings"]["distillation"].as_object_mut().unwrap().remove("further_steps"), Some(json!(0)));
    fs::write(&file, before.to_string()).unwrap();
    let told = bench.table(&["--seeds", "2", "--fraction", "0.5"]);
    assert!(told.contains("0 cells run") && !told.contains("other settings"), "{told}");
    let recipes = |page: &str| page.lines().filter(|line| line.starts_with("distillation: ")).count();
    assert_eq!(recipes(&bench.report()), recipes(&page), "and it has no recipe of its own");
    // Other settings are named, and run again only when asked for.
    let told = bench.table(&["--seeds", "1", "--only", "small/half/kegnet"]);
    assert!(
        told.contains("half--kegnet--s1.json was run with other settings") && told.contains("0 cells run"),
        "{told}"
    );
    let told = bench.table(&["--seeds", "1", "--only", "small/half/kegnet", "--retry-changed"]);
    assert!(told.contains("1 cells run"), "{told}");
    assert_eq!(bench.cell("half--kegnet--s1")["settings"]["extraction"]["epochs"], 2);
}

#[test]
fn an_interrupted_table_goes_on_where_it_stopped() {
    let bench = Bench::new();
    let only = ["--seeds", "3", "--only", "small/*/kegnet"];
    let mut running = bench.command(&only).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let first = bench.cell_file("half--kegnet--s1");
    until(&mut running, || first.exists());
    kill(Pid::from_raw(running.id() as i32), Signal::SIGTERM).unwrap();
    assert!(!running.wait().unwrap().success());
    let finished = fs::read(&first).unwrap();
    assert!(!bench.cell_file("alike--kegnet--s3").exists(), "it was stopped before its end");
    assert!(serde_json::from_slice::<Value>(&finished).is_ok(), "what is there is whole");

    let told = bench.table(&only);
    assert!(told.contains("0 of them failed") && !told.contains("6 cells run"), "{told}");
    assert_eq!(fs::read(&first).unwrap(), finished, "what was finished stays");
    for seed in 1..=3 {
        assert_eq!(bench.cell(&format!("alike--kegnet--s{seed}"))["status"], "done");
    }
}

fn until(child: &mut Child, condition: impl Fn() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(child.try_wait().unwrap().is_none(), "it ended too early");
        assert!(begin.elapsed() < Duration::from_secs(300), "nothing happens");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_table_without_any_teacher_is_no_success() {
    let bench = Bench::new();
    let told = told(&bench.command(&["--only", "absent/*"]).output().unwrap(), false);
    assert!(told.contains("absent.onnx is not there") && told.contains("none of the teachers is there"), "{told}");
}

#[test]
fn cells_of_other_hardware_or_schedules_have_rows_of_their_own() {
    let bench = Bench::new();
    bench.table(&["--seeds", "2", "--only", "small/half/kegnet"]);
    let file = bench.cell_file("half--kegnet--s2");
    let mut other = bench.cell("half--kegnet--s2");
    other["machine"]["gpu"] = json!("Some GPU");
    fs::write(&file, other.to_string()).unwrap();
    let page = bench.report();
    let rows = |page: &str, start: &str| page.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!((rows(&page, "| trained |"), rows(&page, "| half | trained | 1 |")), (1, 2), "{page}");
    assert!(
        page.lines().any(|line| line.starts_with("| half | trained | 1 |") && line.ends_with("| Some GPU |")),
        "{page}"
    );
    other["fraction"] = json!(0.5);
    fs::write(&file, other.to_string()).unwrap();
    let page = bench.report();
    let whole = page.lines().find(|line| line.starts_with("| trained |")).unwrap();
    assert!(!whole.contains('±'), "one seed alone: {whole}");
    assert_eq!(rows(&page, "| trained (50 % of the schedule) |"), 1, "{page}");
    // Generators of other hardware are not passed off as this one's.
    fs::remove_file(&file).unwrap();
    let shared = bench.path("results/.scratch/generators/small/kegnet/2/shared.json");
    let mut generators: Value = serde_json::from_slice(&fs::read(&shared).unwrap()).unwrap();
    generators["machine"]["cpu"] = json!("Another");
    generators["seconds"] = json!(12345.0);
    fs::write(&shared, generators.to_string()).unwrap();
    bench.table(&["--seeds", "2", "--only", "small/half/kegnet"]);
    assert!(bench.cell("half--kegnet--s2")["seconds"]["extraction"].as_f64().unwrap() < 12345.0);
}

#[test]
fn failures_are_recorded_and_tried_again_when_asked() {
    let bench = Bench::new();
    let only = ["--seeds", "1", "--only", "small/half/alone"];
    let good = bench.description();
    let mut bad = good.clone();
    bad["students"]["mlp"][0]["compression"] = json!({"layers": {"nowhere": "keep"}});
    bad["students"]["mlp"][1] = json!({"name": "alike", "title": "t", "block": "b", "compression": {"ratio": 2.0}});
    bench.describe(&bad);
    let told = told(&bench.command(&only).output().unwrap(), false);
    assert!(told.contains("1 cells run, 1 of them failed"), "{told}");
    let cell = bench.cell("half--alone--s1");
    assert_eq!(cell["status"], "failed");
    let told = bench.table(&only);
    assert!(
        told.contains("1 cells failed before and are left so; --retry-failed") && told.contains("0 cells run"),
        "{told}"
    );
    assert!(cell["error"].as_str().unwrap().contains("nowhere"), "{cell}");
    let page = bench.report();
    assert!(page.contains("| alone | failed |") && page.contains("nowhere"), "{page}");

    bench.describe(&good);
    let told = bench.table(&only);
    assert!(told.contains("0 cells run") && told.contains("other settings"), "{told}");
    assert!(bench.table(&[&only[..], &["--retry-failed"]].concat()).contains("1 cells run, 0 of them failed"));
    assert_eq!(bench.cell("half--alone--s1")["status"], "done");
}

#[test]
fn what_cannot_be_read_is_named() {
    let bench = Bench::new();
    fs::create_dir_all(bench.path("results/small")).unwrap();
    fs::write(bench.cell_file("half--alone--s1"), "{\"teacher\": \"sm").unwrap();
    let told = told(&bench.command(&["--seeds", "1"]).output().unwrap(), false);
    assert!(told.contains("half--alone--s1.json holds no cell of a table; delete it"), "{told}");
    let report = ["bench", "report"].map(str::to_owned).into_iter();
    let report: Vec<String> =
        report.chain(["table.json", "results"].map(|name| path(bench.folder.path(), name))).collect();
    let report: Vec<&str> = report.iter().map(String::as_str).collect();
    assert!(kegd(&report, false).contains("half--alone--s1.json holds no cell"), "the report too");

    let mut description = bench.description();
    description["teachers"][0]["students"] = json!("none");
    bench.describe(&description);
    let told = told_of_failure(&bench);
    assert!(told.contains("table.json is no table description") && told.contains("`none`"), "{told}");
    description["teachers"][0]["colour"] = json!("red");
    bench.describe(&description);
    assert!(told_of_failure(&bench).contains("colour"));
}

fn told_of_failure(bench: &Bench) -> String {
    told(&bench.command(&[]).output().unwrap(), false)
}

#[test]
fn generators_that_were_trained_before_give_the_same_student() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    fs::write(folder.join("config.json"), SMALL).unwrap();
    let (config, eval) = (path(folder, "config.json"), path(folder, "test.npz"));
    let [whole, apart, again] = ["whole", "apart", "again"].map(|name| path(folder, name));
    let common = ["--config", &config, "--device", "cpu", "--threads", "1", "--quiet", "--out"];
    let run =
        |arguments: &[&str], success| kegd(&[&arguments[..1], &[TEACHER], &common, &arguments[1..]].concat(), success);
    run(&["distill", &whole, "--eval", &eval, "--checkpoints", "1"], true);
    run(&["extract", &apart], true);
    run(&["distill", &again, "--generators", &apart], true);
    let student = |out: &str| fs::read(Path::new(out).join("student.onnx")).unwrap();
    assert_eq!(student(&whole), student(&again));
    assert!(!Path::new(&again).join("generator-0.safetensors").exists(), "none was trained");
    assert!(Path::new(&apart).join("extraction.json").exists() && !Path::new(&apart).join("student.onnx").exists());

    // Another latent size is another generator.
    fs::write(&config, SMALL.replace("\"epochs\": 2", "\"epochs\": 2, \"latent_dim\": 7")).unwrap();
    let told = run(&["distill", &again, "--generators", &apart], false);
    assert!(told.contains("generator-0.safetensors") && told.contains("extraction.latent_dim"), "{told}");
    let told = run(&["distill", &again, "--generators", folder.to_str().unwrap()], false);
    assert!(told.contains("holds no generators"), "{told}");

    // Real accuracy of the student file is what the report of its making says.
    let report: Value = serde_json::from_slice(&fs::read(Path::new(&whole).join("report.json")).unwrap()).unwrap();
    let student = path(Path::new(&whole), "student.onnx");
    let score: Value = serde_json::from_str(&kegd(&["score", &student, "--eval", &eval, "--json"], true)).unwrap();
    assert_eq!(score["accuracy"], report["result"]["accuracy"]["student"]);
    assert_eq!(score["parameters"], report["result"]["student"]["parameters"]);

    // The checkpoint at the end of training is that student; those before it are others.
    let mut checkpoints: Vec<PathBuf> = fs::read_dir(&whole).unwrap().map(|entry| entry.unwrap().path()).collect();
    checkpoints.retain(|path| path.extension().is_some_and(|extension| extension == "checkpoint"));
    // An epoch of the pool, two rounds of the game, and the end.
    assert_eq!(checkpoints.len(), 4);
    let flags = checkpoints.iter().flat_map(|path| ["--checkpoint", path.to_str().unwrap()]);
    let arguments: Vec<&str> = ["score", &student, "--eval", &eval, "--json"].into_iter().chain(flags).collect();
    let scores: Vec<Value> = serde_json::from_str(&kegd(&arguments, true)).unwrap();
    let at = |at: &str| scores.iter().find(|score| score["at"] == at).unwrap_or_else(|| panic!("{at}: {scores:?}"));
    assert_eq!(at("the end")["accuracy"], score["accuracy"]);
    let _ = (at("epoch 1"), at("round 1 of the game"), at("round 2 of the game"));
    let told = kegd(&["score", TEACHER, "--eval", &eval, "--checkpoint", checkpoints[0].to_str().unwrap()], false);
    assert!(told.contains("is no checkpoint of this student"), "{told}");
}

#[test]
fn pictures_of_an_extraction_and_of_a_job_are_drawn() {
    let bench = Bench::new();
    let folder = bench.folder.path();
    fs::write(folder.join("config.json"), SMALL).unwrap();
    let (config, out, picture) = (path(folder, "config.json"), path(folder, "out"), path(folder, "picture.png"));
    kegd(
        &["extract", TEACHER, "--config", &config, "--quiet", "--device", "cpu", "--threads", "1", "--out", &out],
        true,
    );
    let size = |arguments: &[&str]| {
        kegd(&[&["samples", &out, "-o", &picture], arguments].concat(), true);
        let decoder = png::Decoder::new(std::io::BufReader::new(File::open(&picture).unwrap()));
        decoder.read_info().unwrap().info().size()
    };
    let sheet = size(&[]);
    let one = size(&["--class", "2"]);
    assert_eq!(one.0, sheet.0);
    assert!(one.1 * 4 < sheet.1, "a row instead of five: {one:?} {sheet:?}");
    assert_ne!(size(&["--latent", "--count", "3"]).1, sheet.1);
    let told = kegd(&["samples", &out, "--class", "5", "-o", &picture], false);
    assert!(told.contains("no class 5"), "{told}");
    // A sweep has a report for each student, and none of the plain name.
    let (sweep, swept) = (path(folder, "sweep.json"), path(folder, "swept"));
    fs::write(&sweep, SMALL.replace(r#"{"ratio": 2.0}"#, r#"{"ratio": [1.5, 2]}"#)).unwrap();
    let arguments = ["distill", TEACHER, "--config", &sweep, "--generators", &out, "--quiet", "--device", "cpu"];
    kegd(&[&arguments[..], &["--threads", "1", "--out", &swept]].concat(), true);
    assert!(!Path::new(&swept).join("report.json").exists());
    kegd(&["samples", &swept, "-o", &picture], true);
    let told = kegd(&["samples", folder.to_str().unwrap(), "-o", &picture], false);
    assert!(told.contains("neither `kegd distill` nor `kegd extract`"), "{told}");
}
