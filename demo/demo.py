"""The demo: a real classifier goes in over HTTP, a smaller one that works comes out. Python 3.8 or later, no packages.

Starts the service on a free port with a data directory of its own, uploads the teacher with its test set (for the
report alone), shows progress, downloads everything to out/demo/, prints one table, and stops what it started.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BINARY = ROOT / "target/release/kegd"
OUT = ROOT / "out/demo"
START_SECONDS = 60
STOP_SECONDS = 30
PHASES = ("extracting", "compressing", "distilling", "evaluating", "exporting")
LOSSES = ("_loss", "_distance")  # how the names of those series end
FINAL = ("succeeded", "failed", "canceled")
DOWNLOADS = {
    "student.onnx": "student",
    "student.safetensors": "student?format=safetensors",
    "samples.png": "samples.png",
    "latent.png": "samples/latent.png",
    "report.json": "report",
}


class DemoFailed(Exception):
    """What went wrong, in words for the person at the terminal."""


class Service:
    """A `kegd serve` of our own: use as a context manager, so that it never outlives the demo."""

    def __init__(self):
        if not BINARY.is_file():
            raise DemoFailed(f"{BINARY} is missing: run `make build` first")
        self.data = Path(tempfile.mkdtemp(prefix="kegd-demo-"))
        self.log = (OUT / "server.log").open("wb")
        self.peaks = {"server": 0, "child": 0}
        self.process = None

    def __enter__(self):
        environment = {**os.environ, "KEGD_LISTEN": "127.0.0.1:0", "KEGD_DATA_DIR": str(self.data)}
        # A session of its own: ctrl-c reaches this script alone, which then stops the service in order.
        self.process = subprocess.Popen(
            [str(BINARY), "serve"], env=environment, stdout=subprocess.PIPE, stderr=self.log, start_new_session=True
        )
        try:
            self.host, self.port = self._address()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _address(self):
        """The address that the service prints once it is ready; what it prints afterwards goes to the log."""
        found, ready = [], threading.Event()

        def read():
            for line in self.process.stdout:
                self.log.write(line)
                self.log.flush()
                match = re.search(rb"http://([0-9.]+):(\d+)", line)
                if match and not found:
                    found.append((match[1].decode(), int(match[2])))
                    ready.set()
            ready.set()

        threading.Thread(target=read, daemon=True).start()
        ready.wait(START_SECONDS)
        if not found:
            raise DemoFailed(f"the service did not start:\n{self.last_words()}")
        return found[0]

    def last_words(self) -> str:
        self.log.flush()
        return "\n".join((OUT / "server.log").read_text(errors="replace").splitlines()[-15:])

    def check(self) -> None:
        """Notes memory, and fails at once if the service is gone."""
        if self.process.poll() is not None:
            raise DemoFailed(f"the service ended with code {self.process.returncode}:\n{self.last_words()}")
        self._note("server", self.process.pid)
        for child in children(self.process.pid):
            self._note("child", child)

    def _note(self, who: str, pid: int) -> None:
        self.peaks[who] = max(self.peaks[who], peak_memory(pid))

    def __exit__(self, *_):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.data, ignore_errors=True)


def children(pid: int) -> list:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rsplit(")", 1)[1].split()
        except OSError:  # it ended while we looked
            continue
        if int(fields[1]) == pid:
            found.append(int(folder.name))
    return found


def peak_memory(pid: int) -> int:
    """Highest resident size so far, in bytes; 0 where the process is gone."""
    try:
        match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(match[1]) * 1024 if match else 0


class Client:
    """The requests of the demo: what any HTTP client would send."""

    def __init__(self, host: str, port: int):
        self.host, self.port = host, port

    def request(self, method: str, path: str, body=None, headers=None):
        connection = http.client.HTTPConnection(self.host, self.port, timeout=120)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            data = answer.read()
        except OSError as error:
            raise DemoFailed(f"{method} {path}: {error}") from None
        finally:
            connection.close()
        if answer.status >= 400:
            raise DemoFailed(f"{method} {path} answered {answer.status}: {in_words(data)}")
        return data

    def get_json(self, path: str):
        return json.loads(self.request("GET", path))

    def submit(self) -> dict:
        """POST /jobs with the teacher, its configuration and its test set."""
        boundary = uuid.uuid4().hex
        parts = {"model": HERE / "lenet5-mnist.onnx", "config": HERE / "config.json", "eval": HERE / "mnist-test.npz"}
        body = b""
        for name, file in parts.items():
            head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{file.name}"\r\n'
            body += head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + file.read_bytes() + b"\r\n"
        body += f"--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return json.loads(self.request("POST", "/jobs", body, headers))

    def losses(self, job: str) -> dict:
        """The newest losses of what is being trained now: the student, or else the newest generator."""
        series = self.get_json(f"/jobs/{job}/metrics?max_points=2")["series"]
        series = [one for one in series if one["name"].endswith(LOSSES) and one["points"]]
        trained = [one["generator"] for one in series]
        newest = None if None in trained else max(trained, default=None)
        series = [one for one in series if one["generator"] == newest]
        return {one["name"].rsplit("_", 1)[0]: one["points"][-1][1] for one in series}


def in_words(data: bytes) -> str:
    """A problem+json as lines of text."""
    try:
        problem = json.loads(data)
        lines = [f"{problem['title']}: {problem['detail']}"]
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")[:500]
    lines += [f"  - {cause['detail']}" for cause in problem.get("errors") or []]
    if problem.get("hint"):
        lines.append(f"  {problem['hint']}")
    return "\n".join(lines)


class Display:
    """Progress: a bar that redraws itself on a terminal, elsewhere a line now and then."""

    def __init__(self):
        self.terminal = sys.stdout.isatty()
        self.started = time.time()
        self.phase, self.spoken = None, 0.0

    def show(self, job: dict, losses: dict) -> None:
        progress = job.get("progress") or {}
        phase, fraction = job.get("phase") or job["status"], progress.get("fraction") or 0.0
        left = progress.get("eta_seconds")
        text = f"{phase:<12} {100 * fraction:3.0f} %"
        if left is not None:
            text += f"  {clock(left)} left"
        if losses:
            text += "  loss: " + ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        if self.terminal:
            bar = "█" * round(16 * fraction)
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{f'[{bar:·<16}] {text}'[:width]}", end="", flush=True)
        elif phase != self.phase or time.time() - self.spoken > 15:
            print(f"{clock(time.time() - self.started):>6}  {text}", flush=True)
            self.phase, self.spoken = phase, time.time()

    def close(self) -> None:
        if self.terminal:
            print()


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def follow(service: Service, client: Client, job: str) -> dict:
    display = Display()
    try:
        while True:
            service.check()
            state = client.get_json(f"/jobs/{job}")
            losses = client.losses(job) if state["status"] == "running" else {}
            display.show(state, losses)
            if state["status"] in FINAL:
                return state
            time.sleep(1)
    finally:
        display.close()


def download(client: Client, job: str) -> None:
    for name, path in DOWNLOADS.items():
        (OUT / name).write_bytes(client.request("GET", f"/jobs/{job}/{path}"))


def speed(ratio: float) -> str:
    return f"{ratio:.2f} times faster" if ratio >= 1 else f"{1 / ratio:.2f} times slower"


def table(result: dict, service: Service, seconds: float) -> str:
    teacher, student, ratio = result["teacher"], result["student"], result["ratio"]
    latency, agreement, accuracy = result["latency_ms"], result["agreement"], result["accuracy"]
    held_out, noise = agreement["held_out_generator"], agreement["noise"]
    percent = "{:.2%}".format
    rows = [("", "teacher", "compressed only", "student", "")]
    for name in ("parameters", "macs", "bytes"):
        label = "multiply-adds" if name == "macs" else name
        rows.append((label, f"{teacher[name]:,}", "", f"{student[name]:,}", f"{ratio[name]:.2f} times fewer"))
    rows += [
        ("latency, median", f"{latency['teacher']['p50']:.3f} ms", "", f"{latency['student']['p50']:.3f} ms",
         f"{speed(ratio['latency'])}; batch {latency['batch']}, {latency['device']}"),
        ("real accuracy", percent(accuracy["teacher"]), percent(accuracy["compressed"]), percent(accuracy["student"]),
         f"{accuracy['n']:,} test images that no training saw"),
        ("agreement", "", "", percent(held_out["top1"]), f"with the teacher, {held_out['n']:,} images of a new generator"),
        ("", "", "", percent(noise["top1"]), f"with the teacher, {noise['n']:,} images of noise"),
    ]  # fmt: skip
    phases = ", ".join(f"{name} {result['seconds'][name]:.0f} s" for name in PHASES if name in result["seconds"])
    rows.append(("wall time", "", "", f"{seconds:.0f} s", phases))
    megabytes = {who: f"{peak / 1e6:.0f} MB" for who, peak in service.peaks.items()}
    rows.append(("peak memory", "", "", megabytes["child"], f"in the child; {megabytes['server']} in the server"))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = []
    for label, *numbers, note in rows:
        cells = "  ".join(number.rjust(width) for number, width in zip(numbers, widths[1:]))
        lines.append(f"  {label.ljust(widths[0])}  {cells}  {note}".rstrip())
    rule = "  " + "-" * (sum(widths) + 6)
    return "\n".join([lines[0], rule, *lines[1:]])


def run() -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    for name in DOWNLOADS:
        (OUT / name).unlink(missing_ok=True)  # never show an older run's file beside a new table
    with Service() as service:
        client = Client(service.host, service.port)
        print(f"kegd listens on http://{service.host}:{service.port} until the demo ends", flush=True)
        started = time.time()
        job = client.submit()["id"]
        print(f"POST /jobs: LeNet5 for handwritten digits, without its training data, is job {job}", flush=True)
        state = follow(service, client, job)
        if state["status"] != "succeeded":
            error = json.dumps(state.get("error") or {"title": "The job", "detail": state["status"]}).encode()
            raise DemoFailed(f"the job {state['status']}\n{in_words(error)}")
        seconds = time.time() - started
        download(client, job)
        for warning in state.get("warnings") or []:
            print(f"warning: {warning}")
        print(f"\n{table(state['result'], service, seconds)}\n")
    print(f"In {OUT.relative_to(ROOT)}/: {', '.join(DOWNLOADS)}")
    print("To start the service: make serve. Its page: http://127.0.0.1:8080 (drop demo/lenet5-mnist.onnx on it).")


def main() -> int:
    # A plain `kill` shall stop the service as ctrl-c does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        run()
    except DemoFailed as failure:
        print(f"\nThe demo failed: {failure}", file=sys.stderr)
        if (OUT / "server.log").is_file():
            print(f"The service's log: {OUT / 'server.log'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
