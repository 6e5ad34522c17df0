//! What a child can no longer do: this test binary plays our own child, and tries.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::unix::{
        fs::{OpenOptionsExt, PermissionsExt, symlink},
        net::{UnixDatagram, UnixListener, UnixStream},
    },
    path::Path,
    process::Command,
};

use kegd::{
    domain::{job::JobStatus, task::TaskKind},
    sandbox::{SandboxMode, Support},
};
use nix::errno::Errno;
use rstest::rstest;

use crate::common::{child, house::House, script};

/// The data directory of the house that the child is to look around in.
const HOUSE: &str = "KEGD_TEST_HOUSE";
/// Where the child finds a listener.
const PORT: &str = "port";
const FILE_LIMIT: u64 = 32 << 20;

/// The child: not a test, unless a worker started it.
#[test]
fn child_entry() {
    let Ok(house) = std::env::var(HOUSE) else { return };
    let directory = std::env::var("KEGD_TEST_DIR").unwrap();
    kegd::child::main(Path::new(&directory), |spec, directory, observer| {
        assert_eq!(spec.kind, TaskKind::Inspect);
        let free = std::env::var("KEGD_SANDBOX").is_ok_and(|mode| mode == "off");
        for (name, attempt) in ATTEMPTS.iter().filter(|(name, _)| !free || HARMLESS.contains(name)) {
            let told = match attempt(Path::new(&house)) {
                Ok(()) => "done".to_owned(),
                Err(error) => error.raw_os_error().map_or(error.to_string(), |code| Errno::from_raw(code).to_string()),
            };
            println!("tried {name}: {told}");
        }
        child::leave_inspection(directory, observer);
        Err(crate::common::facts::problem().into())
    })
}

type Attempt = fn(&Path) -> io::Result<()>;

/// Everything that a child tries, by name. What fails with `EPERM` is refused by seccomp, and with `EACCES` by Landlock.
const ATTEMPTS: &[(&str, Attempt)] = &[
    // The network.
    ("a TCP connection", |house| {
        let port = fs::read_to_string("port").or_else(|_| fs::read_to_string(house.join(PORT)))?;
        TcpStream::connect(("127.0.0.1", port.trim().parse().unwrap())).map(drop)
    }),
    ("a TCP listener", |_| TcpListener::bind("127.0.0.1:0").map(drop)),
    ("a UDP socket", |_| UdpSocket::bind("127.0.0.1:0").map(drop)),
    ("a Unix connection", |house| UnixStream::connect(house.join("socket")).map(drop)),
    ("a Unix socket", |_| UnixDatagram::unbound().map(drop)),
    ("a pair of sockets for datagrams", |_| UnixDatagram::pair().map(drop)),
    // Reading.
    ("to read /etc/shadow", |_| fs::read("/etc/shadow").map(drop)),
    ("to read /etc/passwd", |_| fs::read("/etc/passwd").map(drop)),
    ("to read the database", |house| fs::read(house.join("kegd.db")).map(drop)),
    ("to read another run", |house| fs::read(house.join("runs/another/model.onnx")).map(drop)),
    ("to read through ..", |_| fs::read("../another/model.onnx").map(drop)),
    ("to read through a link", |_| fs::read("link").map(drop)),
    ("to list the artifacts", |house| fs::read_dir(house.join("artifacts")).map(drop)),
    ("to read the server's environment", |_| fs::read(format!("/proc/{}/environ", parent())).map(drop)),
    // Writing.
    ("to write beside its directory", |house| fs::write(house.join("written"), "x")),
    ("to write through ..", |_| fs::write("../written", "x")),
    ("to write through a link", |_| fs::write("link", "x")),
    ("to write to /tmp", |_| fs::write("/tmp/kegd-sandbox-was-here", "x")),
    ("to remove the database", |house| fs::remove_file(house.join("kegd.db"))),
    ("to empty a library", |_| {
        let library = library();
        OpenOptions::new().read(true).custom_flags(libc::O_TRUNC).open(library).map(drop)
    }),
    ("to truncate the database", |house| {
        let path = c_path(&house.join("kegd.db"));
        // SAFETY: the path ends with a NUL and outlives the call.
        call(unsafe { libc::truncate(path.as_ptr(), 0) })
    }),
    ("to change a mode", |_| fs::set_permissions(".", fs::Permissions::from_mode(0o777))),
    ("to link a file in", |house| fs::hard_link(house.join("kegd.db"), "linked")),
    ("to make a directory", |_| fs::create_dir("directory")),
    ("to make a link", |_| symlink("/etc/shadow", "shadow")),
    ("to make a pipe", |_| {
        // SAFETY: the path is a constant with its NUL.
        call(unsafe { libc::mkfifo(c"fifo".as_ptr(), 0o600) })
    }),
    ("a file that is too large", |_| {
        let mut file = File::create("large")?;
        file.seek(SeekFrom::Start(FILE_LIMIT))?;
        let written = file.write_all(b"x");
        fs::remove_file("large")?;
        written
    }),
    // Processes.
    ("to start a program", |_| Command::new("/bin/true").status().map(drop)),
    ("to become a program", |_| {
        use std::os::unix::process::CommandExt;
        Err(Command::new("/bin/true").exec())
    }),
    ("a shell", |_| {
        // SAFETY: the command is a constant with its NUL.
        call(unsafe { libc::system(c"true".as_ptr()) })
    }),
    ("fork", |_| raw(libc::SYS_fork, [0; 3])),
    ("vfork by clone", |_| raw(libc::SYS_clone, [libc::CLONE_VFORK.into(), 0, 0])),
    ("a thread with files of its own", |_| raw(libc::SYS_clone, [libc::CLONE_THREAD.into(), 0, 0])),
    ("files of its own", |_| {
        raw(libc::SYS_close_range, [u32::MAX.into(), u32::MAX.into(), libc::CLOSE_RANGE_UNSHARE.into()])
    }),
    ("to hide what it has open", |_| raw(libc::SYS_prctl, [libc::PR_SET_DUMPABLE.into(), 0, 0])),
    ("clone3", |_| raw(libc::SYS_clone3, [0; 3])),
    ("a session of its own", |_| raw(libc::SYS_setsid, [0; 3])),
    ("to outlive its parent", |_| raw(libc::SYS_prctl, [libc::PR_SET_PDEATHSIG.into(), 0, 0])),
    ("to signal the server", |_| raw(libc::SYS_kill, [parent().into(), 0, 0])),
    ("to signal its group", |_| raw(libc::SYS_kill, [0, 0, 0])),
    ("to signal everybody", |_| raw(libc::SYS_kill, [-1, 0, 0])),
    ("to limit the server", |_| raw(libc::SYS_prlimit64, [parent().into(), libc::RLIMIT_NOFILE.into(), 0])),
    ("to slow the server down", |_| raw(libc::SYS_setpriority, [0, parent().into(), 19])),
    ("to trace the server", |_| raw(libc::SYS_ptrace, [libc::PTRACE_ATTACH.into(), parent().into(), 0])),
    ("a new namespace", |_| raw(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0])),
    ("more memory than it may have", |_| {
        let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
        // SAFETY: the structure outlives the call.
        call(unsafe { libc::setrlimit(libc::RLIMIT_DATA, &limit) })
    }),
    // The kernel.
    ("mount", |_| raw(libc::SYS_mount, [0; 3])),
    ("bpf", |_| raw(libc::SYS_bpf, [0; 3])),
    ("keyctl", |_| raw(libc::SYS_keyctl, [0; 3])),
    ("userfaultfd", |_| raw(libc::SYS_userfaultfd, [0; 3])),
    ("io_uring", |_| raw(libc::SYS_io_uring_setup, [0; 3])),
    ("perf_event_open", |_| raw(libc::SYS_perf_event_open, [0; 3])),
    ("a module", |_| raw(libc::SYS_finit_module, [0; 3])),
    ("kexec", |_| raw(libc::SYS_kexec_load, [0; 3])),
    ("memory without a name", |_| raw(libc::SYS_memfd_create, [c"x".as_ptr() as i64, 0, 0])),
    ("to name a thread by its file", |_| fs::write("/proc/thread-self/comm", "x")),
    ("shared memory", |_| raw(libc::SYS_shmget, [0, 4096, 0o1600])),
    ("a call of tomorrow", |_| raw(1000, [0; 3])),
    ("a call of x32", |_| raw(0x4000_0000 | libc::SYS_socket, [1, 1, 0])),
    // What it needs.
    ("its own files", |_| {
        fs::write("own", "x")?;
        fs::rename("own", "renamed")?;
        File::options().append(true).open("renamed")?.write_all(b"y")?;
        fs::remove_file("renamed")
    }),
    ("its inputs", |_| fs::read("lenet5.onnx").map(drop)),
    ("a thread", |_| std::thread::spawn(|| ()).join().map_err(|_| io::Error::other("it panicked"))),
    ("randomness", |_| File::open("/dev/urandom")?.read_exact(&mut [0; 8])),
    ("its processors", |_| fs::read("/proc/cpuinfo").map(drop)),
    ("libtorch", |_| {
        let sum = tch::Tensor::ones([1000], (tch::Kind::Float, tch::Device::Cpu)).sum(tch::Kind::Float);
        if sum.double_value(&[]) == 1000.0 { Ok(()) } else { Err(io::Error::other("a wrong sum")) }
    }),
    ("to give up all privileges", |_| {
        let status = fs::read_to_string("/proc/thread-self/status")?;
        let has = |line: &str| status.contains(line).then_some(()).ok_or_else(|| io::Error::other(line.to_owned()));
        has("CapEff:\t0000000000000000")?;
        has("CapPrm:\t0000000000000000")?;
        has("NoNewPrivs:\t1")
    }),
    ("to be the first to go", |_| match fs::read_to_string("/proc/self/oom_score_adj")?.trim() {
        "1000" => Ok(()),
        other => Err(io::Error::other(other.to_owned())),
    }),
    ("a small environment", |_| {
        let known = |name: &str| {
            let prefixes =
                ["OMP_", "MKL_", "GOMP_", "CUDA_", "RUST_", "KEGD_", "LD_LIBRARY_PATH", "PATH", "PWD", "TMPDIR"];
            // What the shell of these tests sets.
            prefixes.iter().any(|prefix| name.starts_with(prefix)) || ["OLDPWD", "_", "SHLVL"].contains(&name)
        };
        let other = std::env::vars().map(|(name, _)| name).find(|name| !known(name));
        other.map_or(Ok(()), |name| Err(io::Error::other(name)))
    }),
];

/// What can be done, and does no harm, where nothing forbids it.
const HARMLESS: &[&str] = &[
    "a TCP connection",
    "a TCP listener",
    "a UDP socket",
    "a Unix connection",
    "a Unix socket",
    "to read /etc/passwd",
    "to read the database",
    "to read another run",
    "to read through ..",
    "to read through a link",
    "to list the artifacts",
    "to link a file in",
    "to start a program",
    "a shell",
    "fork",
    "to signal the server",
    "to change a mode",
];

fn parent() -> i32 {
    nix::unistd::getppid().as_raw()
}

fn call(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A system call as such: what a library would make of it is its own business.
fn raw(number: i64, arguments: [i64; 3]) -> io::Result<()> {
    let [first, second, third] = arguments;
    // SAFETY: refused before it does anything; one that is not would be a new process, which ends at once, or a call with
    // arguments that mean nothing.
    let result = unsafe { libc::syscall(number, first, second, third, 0_i64, 0_i64) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: ends a child process that should not be.
        0 if [libc::SYS_fork, libc::SYS_clone, libc::SYS_clone3].contains(&number) => unsafe { libc::_exit(0) },
        _ => Ok(()),
    }
}

fn c_path(path: &Path) -> std::ffi::CString {
    std::ffi::CString::new(path.to_str().unwrap()).unwrap()
}

/// A library that this process may read.
fn library() -> String {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("libc.so")).unwrap();
    line[line.find('/').unwrap()..].to_owned()
}

/// Runs the child once, and returns what it tried and how that went.
async fn attempts(house: &House, sandbox: SandboxMode, device: &str) -> BTreeMap<String, String> {
    let data = house.directory.path();
    fs::create_dir_all(data.join("target")).unwrap();
    fs::write(data.join("target/secret"), "secret").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(data.join(PORT), listener.local_addr().unwrap().port().to_string()).unwrap();
    let _socket = UnixListener::bind(data.join("socket")).unwrap();

    let entry = child::start_of(house, "sandbox::child_entry", HOUSE, &data.display().to_string());
    // Before the child has begun, there may be a link, and a port that it could read.
    let text = fs::read_to_string(&entry).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    fs::write(&entry, format!("{first}\nln -s ../../target/secret link; cp ../../{PORT} port\n{rest}")).unwrap();
    let mut config = script::configure(house, entry);
    config.terms.disk = FILE_LIMIT;
    config.terms.sandbox = sandbox;
    config.slots = vec![device.to_owned()];
    let work = house.work(config);
    // Only once the worker has cleared its directory.
    crate::common::wait::until("the worker", async || house.store.workers().await.unwrap().pop()).await;
    fs::create_dir(data.join("runs/another")).unwrap();
    fs::write(data.join("runs/another/model.onnx"), "another's").unwrap();
    let id = house.submit(serde_json::json!({})).await;
    let job = house.ended(id).await;
    work.stop().await;
    assert_eq!(job.status, JobStatus::Failed);
    fs::remove_dir_all(data.join("runs/another")).unwrap();
    assert_eq!(house.left_behind(), [""; 0]);
    assert_eq!(fs::read_to_string(data.join("target/secret")).unwrap(), "secret");
    assert!(!data.join("written").exists() && !data.join("runs/written").exists());
    let log = house.log(id, &job.error.unwrap().log.unwrap()).await;
    let tried = log.lines().filter_map(|line| line.strip_prefix("tried ")?.split_once(": "));
    let tried: BTreeMap<_, _> = tried.map(|(name, told)| (name.to_owned(), told.to_owned())).collect();
    assert!(log.contains("not isolated") == (sandbox == SandboxMode::Off), "{log}");
    tried
}

/// What a child for a GPU may do beyond one for a CPU, because a driver does.
const FOR_A_DRIVER: &[&str] =
    &["memory without a name", "more memory than it may have", "to name a thread by its file"];

#[rstest]
#[case("cpu", &[])]
#[case("cuda:0", FOR_A_DRIVER)]
#[tokio::test]
async fn a_child_keeps_to_itself(#[case] device: &str, #[case] allowed: &[&str]) {
    let support = Support::of_kernel();
    if !support.missing().is_empty() {
        eprintln!("skipped: this kernel isolates by {support} alone");
        return;
    }
    let house = House::living().await;
    let tried = attempts(&house, SandboxMode::Require, device).await;
    assert_eq!(tried.len(), ATTEMPTS.len());
    let start = ATTEMPTS.iter().position(|(name, _)| *name == "its own files").unwrap();
    let wrong = |(index, (name, _)): (usize, &(&str, Attempt))| {
        let told = &tried[*name];
        let refused = ["EPERM", "EACCES", "ENOSYS", "EFBIG", "EXDEV"].iter().any(|code| told.starts_with(code));
        let expected = if index < start && !allowed.contains(name) { refused } else { told == "done" };
        (!expected).then(|| format!("{name}: {told}"))
    };
    let wrong: Vec<_> = ATTEMPTS.iter().enumerate().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\nof {tried:#?}");
}

/// So that what is refused above is known to be refused by the sandbox, and not by chance.
#[tokio::test]
async fn without_the_sandbox_the_same_can_be_done() {
    let house = House::living().await;
    let tried = attempts(&house, SandboxMode::Off, "cpu").await;
    assert_eq!(tried.len(), HARMLESS.len());
    assert!(tried.values().all(|told| told == "done"), "{tried:#?}");
}

/// The other kind of child, which answers a request: it cannot even be made to read its question elsewhere.
#[test]
fn a_child_of_a_request_keeps_to_itself_too() {
    if !Support::of_kernel().missing().is_empty() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let (place, outside) = (directory.path().join("place"), directory.path().join("outside.json"));
    fs::create_dir(&place).unwrap();
    fs::write(&outside, "{}").unwrap();
    symlink(&outside, place.join("query.json")).unwrap();
    let answered = Command::new(env!("CARGO_BIN_EXE_kegd")).args(["run-query", "--dir"]).arg(&place).output().unwrap();
    let told = String::from_utf8_lossy(&answered.stderr);
    assert!(told.contains("isolated by Landlock") && told.contains("Permission denied"), "{told}");
    assert!(!told.contains("isolated late"), "no thread was there before: {told}");
    let problem = fs::read_to_string(place.join("problem.json")).unwrap();
    assert!(problem.contains("Permission denied"), "{problem}");
}

/// `program` on a kernel without Landlock: a filter in front of it says that there is none.
fn without_landlock(program: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;

    use seccompiler::{SeccompAction, SeccompFilter};
    let calls = [libc::SYS_landlock_create_ruleset, libc::SYS_landlock_restrict_self].map(|call| (call, vec![]));
    let refusal = SeccompAction::Errno(libc::ENOSYS as u32);
    let architecture = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(calls.into(), SeccompAction::Allow, refusal, architecture).unwrap();
    let filter: seccompiler::BpfProgram = filter.try_into().unwrap();
    // SAFETY: two system calls, and nothing is allocated.
    unsafe { program.pre_exec(move || seccompiler::apply_filter(&filter).map_err(|_| io::ErrorKind::Other.into())) }
}

#[test]
fn a_kernel_that_cannot_isolate_is_told_of() {
    const KEGD: &str = env!("CARGO_BIN_EXE_kegd");
    let data = tempfile::tempdir().unwrap();
    let mut serve = Command::new(KEGD);
    serve.args(["serve", "--listen", "127.0.0.1:0", "--sandbox", "require", "--data-dir"]).arg(data.path());
    let refused = without_landlock(&mut serve).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(told.contains("lacks Landlock") && told.contains("hint: ") && told.contains("auto"), "{told}");

    let query = |mode: &str| {
        let directory = tempfile::tempdir().unwrap();
        let mut query = Command::new(KEGD);
        query.args(["run-query", "--dir"]).arg(directory.path()).env("KEGD_SANDBOX", mode);
        let answered = without_landlock(&mut query).output().unwrap();
        let problem = fs::read_to_string(directory.path().join("problem.json")).unwrap();
        (String::from_utf8(answered.stderr).unwrap(), problem)
    };
    let (told, problem) = query("auto");
    assert!(told.contains("isolated by seccomp\n") && told.contains("not isolated by Landlock"), "{told}");
    assert!(
        problem.contains("the question cannot be read") || problem.contains("No such file"),
        "it went on: {problem}"
    );
    assert!(query("require").1.contains("the run cannot be isolated"));
}
