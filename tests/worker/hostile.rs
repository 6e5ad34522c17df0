//! Faults and bad faith, one after the other on the same worker: what becomes of the job, whether the slot works on, and
//! what is left on the disk and in the process table.

use std::{fs, path::Path, time::Duration};

use kegd::{
    clock::Clock,
    domain::{
        artifact::Role,
        job::{JobStatus, Phase, Progress},
        problem::{ErrorCode, Problem},
    },
    engine::observer::{Observer, Stop},
    queue::QueueConfig,
    store::{Cancel, Job},
    worker::WorkerConfig,
};
use rstest::rstest;
use serde_json::json;

use crate::common::{child, house::House, rights::is_root, script};

/// What the child of these tests is to do.
const BEHAVIOUR: &str = "KEGD_TEST_BEHAVIOUR";

/// Rules under which one loss ends a job.
fn one_loss() -> QueueConfig {
    QueueConfig { max_losses: 1, ..script::quick_rules() }
}

/// Runs a job with a child that does `body`, and then a good one on the same worker. Returns the first.
async fn survived(house: &House, body: &str, configure: impl FnOnce(&mut WorkerConfig)) -> Job {
    let body = format!("[ ! -e $SHARED/well ] || {{ hello; work; finish; }}\n{body}");
    let mut config = script::worker(house, &body).await;
    config.slots.truncate(1);
    configure(&mut config);
    survives(house, config).await
}

async fn survives(house: &House, config: WorkerConfig) -> Job {
    let work = house.work(config);
    let id = house.submit(json!({})).await;
    let bad = house.ended(id).await;
    crate::common::wait::until("nothing is left", async || house.left_behind().is_empty().then_some(())).await;
    fs::write(house.directory.path().join("shared/well"), "").unwrap();
    let good = house.submit(json!({})).await;
    let good = house.ended(good).await;
    assert_eq!((good.status, good.error), (JobStatus::Succeeded, None), "the slot works on");
    work.stop().await;
    assert_eq!(house.left_behind(), [""; 0]);
    bad
}

#[rstest]
#[case::a_crash_at_a_step("hello; progress 0.5 importing 5; metric loss 5 1; kill -SEGV $$", "SIGSEGV")]
#[case::an_abort("hello; progress 0.5 importing 5; kill -ABRT $$", "SIGABRT")]
#[case::killed_by_somebody("hello; kill -KILL $$", "SIGKILL")]
#[case::a_result_and_no_last_word("hello; work; exit 0", "without a result")]
#[case::gone_while_its_file_is_kept(
    "hello; head -c 50000000 /dev/zero > big; artifact big report; kill -KILL $$",
    "SIGKILL"
)]
#[case::a_pipe_that_is_closed("hello; exec 3>&-; exit 0", "without a result")]
#[tokio::test]
async fn what_ends_without_a_result_is_a_loss(#[case] body: &str, #[case] said: &str) {
    let house = House::with(Clock::System, one_loss()).await;
    let job = survived(&house, body, |_| ()).await;
    let error = job.error.expect("it failed");
    assert_eq!(error.code, ErrorCode::WorkerCrashed);
    assert!(error.detail.contains(said), "{}", error.detail);
    let log = house.log(job.id, &error.log.unwrap()).await;
    assert!(log.contains("[kegd] it "), "how it ended is in its log: {log}");
}

#[rstest]
#[case::all_the_time("while :; do say '{\"type\":\"alive\"}'; sleep 0.05; done")]
#[case::at_the_same_step("while :; do progress 0.5 importing 5; metric loss 5 1; sleep 0.05; done")]
#[case::deaf_to_signals("trap '' TERM INT HUP; while :; do say '{\"type\":\"alive\"}'; sleep 0.05; done")]
#[tokio::test]
async fn a_child_that_says_it_lives_but_stands_still_is_ended(#[case] body: &str) {
    let house = House::with(Clock::System, one_loss()).await;
    let body = format!("hello; progress 0.5 importing 5; metric loss 5 1; {body}");
    let job = survived(&house, &body, |config| config.stall = Duration::from_millis(500)).await;
    let error = job.error.expect("it failed");
    assert_eq!(error.code, ErrorCode::WorkerCrashed);
    assert!(error.detail.contains("stood still for 0.5 s"), "{}", error.detail);
}

#[tokio::test]
async fn a_child_that_gets_on_slowly_is_left_alone() {
    let house = House::with(Clock::System, one_loss()).await;
    // Ten times as long as the patience, and a step further each time.
    let body = "hello; for i in $(seq 50); do progress 0.5 importing $i; sleep 0.1; done; work; finish";
    let job = survived(&house, body, |config| config.stall = Duration::from_secs(2)).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
}

#[rstest]
#[case::its_events("exec 3>&-")]
#[case::everything("exec 3>&- <&- >&- 2>&-")]
#[tokio::test]
async fn a_child_that_closes_its_pipes_and_stays_is_ended(#[case] close: &str) {
    let house = House::with(Clock::System, one_loss()).await;
    let body = format!("hello; {close}; exec sleep 1000");
    let job = survived(&house, &body, |config| config.stall = Duration::from_millis(500)).await;
    assert_eq!(job.error.expect("it failed").code, ErrorCode::WorkerCrashed);
}

#[tokio::test]
async fn a_child_that_closed_its_commands_can_still_be_canceled() {
    let house = House::living().await;
    let body = "hello; exec <&-; trap '' TERM; progress 0.5 importing 5; while :; do sleep 1000; done";
    let work = house.work(script::worker(&house, body).await);
    let id = house.submit(json!({})).await;
    let under_way = async || (house.job(id).await.fraction() > 0.005).then_some(());
    crate::common::wait::until("progress", under_way).await;
    assert_eq!(house.store.cancel(id).await.unwrap(), Cancel::Asked);
    assert_eq!(house.ended(id).await.status, JobStatus::Canceled);
    work.stop().await;
    assert_eq!(house.left_behind(), [""; 0]);
}

#[tokio::test]
async fn a_child_that_prints_without_end_fills_nothing() {
    let house = House::living().await;
    let body = "hello; echo begin; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo end; work; finish";
    let job = survived(&house, body, |_| ()).await;
    assert_eq!((job.status, job.error), (JobStatus::Succeeded, None));
    let log = house.log(job.id, "log-inspect-run1.txt").await;
    assert!(log.len() < 1_100_000, "{}", log.len());
    assert!(log.starts_with("begin\nxxx") && log.contains("bytes are not kept") && log.contains("xxx\nend\n"));
}

/// Each of these is a lie about a file, or about what it is for.
#[rstest]
#[case::a_smaller_file("printf abc > f; SAID='\"bytes\":2'", "3 bytes, but 2")]
#[case::a_larger_file("printf a > f; SAID='\"bytes\":2'", "1 bytes, but 2")]
#[case::a_directory("mkdir f; SAID='\"bytes\":2'", "no regular file")]
#[case::a_pipe("mkfifo f; SAID='\"bytes\":0'", "no regular file")]
#[case::a_link_to_a_device("ln -s /dev/zero f; SAID='\"bytes\":0'", "is a link")]
#[case::a_teacher("printf ab > f; ROLE=teacher; SAID='\"bytes\":2'", "which no run makes")]
#[case::a_log("printf ab > f; ROLE=log; SAID='\"bytes\":2'", "which no run makes")]
#[tokio::test]
async fn a_lie_about_a_file_fails_the_job(#[case] lie: &str, #[case] said: &str) {
    let house = House::living().await;
    let body = format!(
        "hello; ROLE=report; {lie}
        say '{{\"type\":\"artifact\",\"role\":\"'$ROLE'\",\"file\":{{\"name\":\"f\",'$SAID',\"sha256\":\"00\"}}}}'; finish"
    );
    let job = survived(&house, &body, |_| ()).await;
    let Problem { code, detail, .. } = job.error.expect("the job failed");
    assert_eq!(code, ErrorCode::Internal);
    assert!(detail.contains(said), "{detail}");
    assert!(house.store.artifacts_of_role(job.id, Role::Report).await.unwrap().is_empty());
}

/// More samples than any column can count, of a file that is as it says.
#[tokio::test]
async fn a_count_that_cannot_be_kept_fails_the_job() {
    let house = House::living().await;
    let body = r#"hello; printf ab > f
        say '{"type":"sample","generator":0,"epoch":1,"count":18446744073709551615,"file":'"$(file f)"'}'; finish"#;
    let job = survived(&house, body, |_| ()).await;
    let Problem { code, detail, .. } = job.error.expect("the job failed");
    assert_eq!(code, ErrorCode::Internal);
    assert!(detail.contains("cannot be kept"), "{detail}");
}

/// A file that its maker lets nobody read. Root reads it all the same.
#[tokio::test]
async fn a_file_that_nobody_may_read_fails_the_job() {
    if is_root() {
        return eprintln!("skipped: root may read everything");
    }
    let house = House::living().await;
    let body = r#"hello; umask 777; : > f
        say '{"type":"artifact","role":"report","file":{"name":"f","bytes":0,"sha256":"00"}}'; finish"#;
    let job = survived(&house, body, |_| ()).await;
    let detail = job.error.expect("the job failed").detail;
    assert!(detail.contains("cannot be read"), "{detail}");
}

#[rstest]
#[case::many_small_files(
    "for i in $(seq 100); do head -c 100000 /dev/zero > f$i; done; exec sleep 1000",
    ErrorCode::DiskFull,
    "--child-disk"
)]
#[case::what_is_kept_of_it(
    "head -c 1000000 /dev/zero > f; for i in $(seq 9); do artifact f samples; done; exec sleep 1000",
    ErrorCode::DiskFull,
    "--child-disk"
)]
#[case::files_without_a_name(
    "for i in 4 5 6 7 8 9; do eval \"exec $i>f\"; rm f; head -c 1000000 /dev/zero >&$i; done
     while :; do progress 0.5 importing $((step += 1)); sleep 0.05; done",
    ErrorCode::DiskFull,
    "--child-disk"
)]
#[case::events("yes '{\"type\":\"alive\"}' >&3", ErrorCode::Internal, "")]
#[case::series("for i in $(seq 2000); do metric $i 1 1; done; exec sleep 1000", ErrorCode::Internal, "")]
#[case::samples_of_no_generator(
    "printf x > f; say '{\"type\":\"sample\",\"generator\":2,\"epoch\":1,\"count\":1,\"file\":'\"$(file f)\"'}'; exec sleep 1000",
    ErrorCode::Internal,
    ""
)]
#[case::a_multitude_of_files("seq 10500 | xargs touch; exec sleep 1000", ErrorCode::Internal, "")]
#[tokio::test]
async fn what_fills_disk_or_database_is_ended(#[case] body: &str, #[case] code: ErrorCode, #[case] remedy: &str) {
    let house = House::living().await;
    let job = survived(&house, &format!("hello; {body}"), |config| config.terms.disk = 4 << 20).await;
    let error = job.error.expect("the job failed");
    assert_eq!(error.code, code, "{}", error.detail);
    assert!(error.hint.unwrap().contains(remedy));
}

#[tokio::test]
async fn a_result_that_is_too_long_to_be_read_fails_the_job() {
    let house = House::living().await;
    let body = "hello; truncate -s 67108865 inspection.json; artifact inspection.json inspection; finish";
    let error = survived(&house, body, |_| ()).await.error.expect("the job failed");
    assert_eq!(error.code, ErrorCode::Internal);
    assert!(error.detail.contains("67108865 bytes"), "{}", error.detail);
}

#[tokio::test]
async fn what_took_away_the_right_to_remove_its_directory_is_removed() {
    let house = House::living().await;
    let job = survived(&house, "hello; mkdir -p a/b; touch a/b/c; chmod 0 a/b a .; failed", |_| ()).await;
    assert_eq!(job.status, JobStatus::Failed);
}

/// A group of processes with little memory, where the system lets us make one.
struct Group(std::path::PathBuf);

impl Group {
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("kegd-test-{}", std::process::id());
        let bases = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")];
        bases.into_iter().find_map(|(base, file)| {
            let group = Self(Path::new(base).join(&name));
            fs::create_dir(&group.0).ok()?;
            // Dropped, and thereby removed, where it cannot be limited.
            fs::write(group.0.join(file), bytes.to_string()).ok().map(|()| group)
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[tokio::test]
async fn a_child_that_the_kernel_killed_for_memory_is_told_from_others() {
    let Some(group) = Group::new(32 << 20) else {
        eprintln!("skipped: no control group can be made here");
        return;
    };
    let house = House::with(Clock::System, one_loss()).await;
    let body = format!("hello; echo $$ > {}/cgroup.procs; exec tail /dev/zero", group.0.display());
    let job = survived(&house, &body, |_| ()).await;
    let error = job.error.expect("the job failed");
    assert!(error.detail.contains("memory had run out"), "{}", error.detail);
}

/// The child: not a test, unless a worker started it.
#[test]
fn child_entry() {
    let Ok(behaviour) = std::env::var(BEHAVIOUR) else { return };
    let directory = std::env::var("KEGD_TEST_DIR").unwrap();
    kegd::child::main(Path::new(&directory), |_, directory, observer| engine(&behaviour, directory, observer));
}

/// In place of the engine, with the real libtorch and the real file system.
fn engine(behaviour: &str, directory: &Path, observer: &mut dyn Observer) -> Result<(), Stop> {
    observer.progress(Progress { fraction: 0.5, phase: Phase::Importing, step: 5, steps: 10, eta_seconds: None })?;
    let many = [40_i64 << 30];
    let tensor = (tch::Kind::Uint8, tch::Device::Cpu);
    match behaviour {
        "a tensor" => drop(tch::Tensor::f_zeros(many, tensor)?),
        "a tensor without an error path" => drop(tch::Tensor::zeros(many, tensor)),
        "an array" => drop(std::hint::black_box(vec![1_u8; many[0] as usize])),
        "shared memory" => fill_shared_memory(),
        "a full disk" => fs::write(directory.join("f"), vec![1; 64 << 20])?,
        "hang" => loop {
            std::thread::park();
        },
        other => panic!("{other} is no behaviour"),
    }
    child::leave_inspection(directory, observer);
    Ok(())
}

/// Memory that the limit on allocations does not count; the supervisor sees it.
fn fill_shared_memory() {
    let (bytes, page) = (2_usize << 30, 4096);
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping, written within its bounds.
    unsafe {
        let start = libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0).cast::<u8>();
        for offset in (0..bytes).step_by(page) {
            start.add(offset).write_volatile(1);
        }
    }
    std::thread::park();
}

/// A job with our own child that does `behaviour`, and a good one after it.
async fn survived_by_our_child(house: &House, behaviour: &str, configure: impl FnOnce(&mut WorkerConfig)) -> Job {
    let entry = child::start_of(house, "hostile::child_entry", BEHAVIOUR, behaviour);
    survived(house, &format!("exec {} run-task --dir \"$3\"", entry.display()), configure).await
}

#[rstest]
#[case("a tensor")]
#[case("a tensor without an error path")]
#[case("an array")]
#[case("shared memory")]
#[tokio::test]
async fn a_child_that_wants_too_much_memory_fails_with_a_remedy(#[case] behaviour: &str) {
    let house = House::living().await;
    let job = survived_by_our_child(&house, behaviour, |config| config.terms.memory = 1 << 30).await;
    let error = job.error.expect("the job failed");
    assert_eq!(error.code, ErrorCode::OutOfMemory, "{}", error.detail);
    let hint = error.hint.unwrap();
    assert!(hint.contains("batch_size") && hint.contains("--child-memory"), "{hint}");
    assert!(house.store.runs(job.id).await.unwrap().len() == 1, "another attempt would need as much");
}

#[tokio::test]
async fn our_child_that_hangs_is_ended_though_it_says_that_it_lives() {
    let house = House::with(Clock::System, one_loss()).await;
    let job = survived_by_our_child(&house, "hang", |config| config.stall = Duration::from_secs(3)).await;
    assert!(job.error.unwrap().detail.contains("stood still"));
}

/// A file system of a few MiB, where the system lets us mount one.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path) -> Option<Self> {
        fs::create_dir_all(path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(path).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[rstest]
#[case::of_the_run("a full disk", 16 << 30)]
#[case::of_its_limit("a full disk", 2 << 20)]
#[tokio::test]
async fn a_child_that_fills_the_disk_fails_with_a_remedy(#[case] behaviour: &str, #[case] limit: u64) {
    let house = House::living().await;
    let runs = house.directory.path().join("runs");
    let Some(_disk) = SmallDisk::mount(&runs) else {
        eprintln!("skipped: no file system can be mounted here");
        return;
    };
    let job = survived_by_our_child(&house, behaviour, |config| config.terms.disk = limit).await;
    let error = job.error.expect("the job failed");
    assert_eq!(error.code, ErrorCode::DiskFull, "{}", error.detail);
    assert!(error.hint.is_some());
}
