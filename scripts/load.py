#!/usr/bin/env python3
"""Puts load on a real `kegd serve` on this machine, and prints what it takes: see docs/LOAD.md.

It starts the server itself, with a data directory of its own below --scratch that is deleted at the end, and seeds it
through the database: 10,000 finished jobs, copied from one that was really submitted, and 1,000,000 metric points. Every
scenario has a number of requests or a time at which it ends. Only Python's own library is used.

    scripts/load.py target/release/kegd
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MODEL = ROOT / "demo" / "lenet5-mnist.onnx"
MB = 1_000_000

# What a job that succeeded shows.
RESULT = {
    "teacher": {"parameters": 61706, "macs": 416520, "bytes": 252054},
    "student": {"parameters": 13630, "macs": 368444, "bytes": 56471, "sha256": "ab" * 32, "format": "onnx"},
    "ratio": {"parameters": 4.53, "macs": 1.13, "bytes": 4.46, "latency": 1.01},
    "latency_ms": {"device": "cpu, 2 threads", "batch": 1,
                   "teacher": {"p50": 1.693, "p95": 1.9}, "student": {"p50": 1.674, "p95": 1.9}},
    "agreement": {"held_out_generator": {"top1": 0.9995, "n": 2000}, "noise": {"top1": 0.719, "n": 2000}, "lowest": 0.719},
    "accuracy": {"teacher": 0.9922, "compressed": 0.9865, "student": 0.9873, "n": 10000},
    "seconds": {"extracting": 71.0, "compressing": 0.1, "distilling": 149.0, "evaluating": 18.0, "total": 240.0},
}


class Server:
    """A running `kegd serve --no-worker`, and what /proc tells of it."""

    def __init__(self, program, data):
        command = [program, "serve", "--no-worker", "--listen", "127.0.0.1:0", "--data-dir", str(data)]
        limits = ["--max-queue", "100000", "--max-upload", "2GiB", "--log", "error"]
        self.process = subprocess.Popen(command + limits, stdout=subprocess.PIPE, text=True)
        self.port = int(re.search(r"http://[^:]+:(\d+)", self.process.stdout.readline()).group(1))
        self.proc = Path(f"/proc/{self.process.pid}")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def cpu_seconds(self):
        fields = (self.proc / "stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self, name):
        """VmRSS (now) or VmHWM (the most since `forget_peak`), in bytes."""
        return int(re.search(rf"{name}:\s+(\d+)", (self.proc / "status").read_text()).group(1)) * 1024

    def forget_peak(self):
        (self.proc / "clear_refs").write_text("5")

    def descriptors(self):
        return len(os.listdir(self.proc / "fd"))


class Client:
    """One connection, kept open, that speaks as much HTTP/1.1 as is needed."""

    def __init__(self, port):
        self.port = port
        self.reader = self.writer = None

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 20)

    def close(self):
        self.writer.close()

    async def head(self):
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        return int(lines[0].split()[1]), headers

    async def body(self, headers):
        """Counts a body's bytes, and returns the last of them: all of a small one."""
        if headers.get("transfer-encoding") != "chunked":
            return await self.some(int(headers.get("content-length", 0)))
        total, end = 0, b""
        while size := int((await self.reader.readuntil(b"\r\n")).strip(), 16):
            count, chunk = await self.some(size)
            total, end = total + count, (end + chunk)[-(4 * MB):]
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return total, end

    async def some(self, length):
        left, end = length, b""
        while left:
            chunk = await self.reader.read(min(left, 256 << 10))
            if not chunk:
                raise ConnectionError("the server closed the connection")
            left -= len(chunk)
            end = (end + chunk)[-(4 * MB):] if length <= 4 * MB else chunk
        return length, end

    async def get(self, path, **headers):
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status, answered = await self.head()
        if status not in (200, 206, 304):
            raise RuntimeError(f"{path}: {status} {await self.body(answered)}")
        return status, await self.body(answered)


class Scenario:
    """What is measured around one scenario."""

    def __init__(self, server, name):
        self.server, self.name, self.times = server, name, []

    def __enter__(self):
        self.server.forget_peak()
        self.begin, self.cpu = time.perf_counter(), self.server.cpu_seconds()
        self.before = self.server.memory("VmRSS")
        self.descriptors = 0
        return self

    async def timed(self, work):
        begin = time.perf_counter()
        answer = await work
        self.times.append(time.perf_counter() - begin)
        self.look()
        return answer

    def look(self):
        # Listing them takes longer than a request does.
        if len(self.times) % 100 == 1:
            self.descriptors = max(self.descriptors, self.server.descriptors())

    def __exit__(self, kind, *_):
        if kind:
            return
        wall, cpu = time.perf_counter() - self.begin, self.server.cpu_seconds() - self.cpu
        times, count = sorted(self.times), len(self.times)
        at = lambda share: 1000 * times[min(count - 1, int(share * count))]
        self.figures = {
            "scenario": self.name, "requests": count, "seconds": round(wall, 2), "per_second": round(count / wall, 1),
            "p50_ms": round(at(0.5), 2), "p99_ms": round(at(0.99), 2),
            "server_cpu_ms_per_request": round(1000 * cpu / count, 3),
            "peak_mb": round(self.server.memory("VmHWM") / MB, 1), "before_mb": round(self.before / MB, 1),
            "descriptors": self.descriptors,
        }


def scenario(results, server, name):
    entered = Scenario(server, name)
    results.append(entered)
    return entered


async def clients(server, count):
    opened = [Client(server.port) for _ in range(count)]
    await asyncio.gather(*(client.open() for client in opened))
    return opened


async def polling(server, results, jobs, seconds):
    """Each client asks for its own job again and again; then each waits for a change that does not come."""
    opened = await clients(server, len(jobs))
    with scenario(results, server, f"{len(jobs)} clients poll {len(jobs)} jobs") as measured:
        end = time.perf_counter() + seconds

        async def poll(client, job):
            while time.perf_counter() < end:
                await measured.timed(client.get(f"/jobs/{job}"))
        await asyncio.gather(*map(poll, opened, jobs))
    with scenario(results, server, f"{len(jobs)} clients wait with ?wait=5 for nothing") as measured:
        await asyncio.gather(*(measured.timed(client.get(f"/jobs/{job}?wait=5")) for client, job in zip(opened, jobs)))
    for client in opened:
        client.close()


async def listing(server, results, repeats):
    [client] = await clients(server, 1)
    for query in ["limit=20", "limit=200", "limit=20&status=queued", "limit=200&status=queued",
                  "limit=20&status=failed,canceled", "limit=20&name=job-77"]:
        with scenario(results, server, f"list ?{query}") as measured:
            for _ in range(repeats):
                await measured.timed(client.get(f"/jobs?{query}"))
    with scenario(results, server, "page through all jobs, limit=200") as measured:
        after, seen = "", 0
        while after is not None:
            _, (_, body) = await measured.timed(client.get(f"/jobs?limit=200{after}"))
            page = json.loads(body)
            seen += len(page["data"])
            after = f"&after={page['next']}" if page["next"] else None
    print(f"  paged through {seen} jobs", file=sys.stderr)
    client.close()


async def metrics(server, results, job, repeats):
    [client] = await clients(server, 1)
    with scenario(results, server, "1,000,000 points, max_points=500") as measured:
        for _ in range(repeats):
            _, (_, body) = await measured.timed(client.get(f"/jobs/{job}/metrics?max_points=500"))
    series = json.loads(body)["series"]
    print(f"  {len(series)} series, {sum(len(one['points']) for one in series)} points", file=sys.stderr)
    with scenario(results, server, "1,000,000 points, all of them") as measured:
        _, (length, _) = await measured.timed(client.get(f"/jobs/{job}/metrics"))
    print(f"  {length / MB:.1f} MB", file=sys.stderr)
    client.close()


async def listeners(server, results, job, database, count, changes):
    """All listen to one job; each change is written by another process, as a worker of its own would."""
    opened = await clients(server, count)
    for client in opened:
        client.writer.write(f"GET /jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
        await client.head()
        await client.reader.readuntil(b"event: status")
    with scenario(results, server, f"{count} listeners, {changes} events each") as measured:
        async def change():
            for number in range(changes):
                with sqlite3.connect(database, timeout=30) as sql:
                    sql.execute("insert into job_events (job, type, data, at) values (?, 'artifact', ?, ?)",
                                (job, json.dumps({"number": number, "sent": time.perf_counter()}), int(time.time() * 1000)))
                    sql.execute("update jobs set revision = revision + 1 where id = ?", (job,))
                await asyncio.sleep(0.3)

        async def listen(client):
            for _ in range(changes):
                await client.reader.readuntil(b'"sent":')
                sent = await client.reader.readuntil(b"}")
                measured.times.append(time.perf_counter() - float(sent[:-1]))
                measured.look()
        await asyncio.gather(change(), *map(listen, opened))
    with scenario(results, server, f"{count} listeners, nothing happens for 10 s") as measured:
        measured.descriptors = server.descriptors()
        await asyncio.sleep(10)
        measured.times.append(10)
    for client in opened:
        client.close()


async def uploads(server, results, count, megabytes):
    """Bytes that no server can guess, behind the beginning of a real model, so that the upload becomes a job."""
    block = os.urandom(MB)
    model = MODEL.read_bytes()
    # An ONNX file with a long unknown field at its end: number 2000, length-delimited.
    length = megabytes * MB
    varint = lambda number: bytes([(number >> (7 * i)) & 0x7F | (0x80 if number >> (7 * (i + 1)) else 0)
                                   for i in range(max(1, (number.bit_length() + 6) // 7))])
    model += varint((2000 << 3) | 2) + varint(length)
    before = b'--edge\r\nContent-Disposition: form-data; name="model"; filename="m.onnx"\r\n\r\n' + model
    after = b"\r\n--edge--\r\n"
    opened = await clients(server, count)
    with scenario(results, server, f"{count} uploads of {megabytes} MB at once") as measured:
        async def upload(client):
            total = len(before) + length + len(after)
            client.writer.write(f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {total}\r\n"
                                "Content-Type: multipart/form-data; boundary=edge\r\n\r\n".encode() + before)
            for _ in range(megabytes):
                client.writer.write(block)
                await client.writer.drain()
                measured.descriptors = max(measured.descriptors, server.descriptors())
            client.writer.write(after)
            status, headers = await client.head()
            answer = await client.body(headers)
            if status != 202:
                raise RuntimeError(f"upload: {status} {answer}")
            return json.loads(answer[1])["id"]
        made = await asyncio.gather(*(measured.timed(upload(client)) for client in opened))
    for client in opened:
        client.close()
    return made


async def downloads(server, results, job, count):
    opened = await clients(server, count)
    with scenario(results, server, f"{count} clients download 100 MB each") as measured:
        sizes = await asyncio.gather(*(measured.timed(client.get(f"/jobs/{job}/artifacts/m.onnx")) for client in opened))
    total = sum(size for _, (size, _) in sizes)
    print(f"  {total / MB / measured.figures['seconds']:.0f} MB/s", file=sys.stderr)
    for client in opened:
        client.close()


def sequence(at):
    """A UUID v7 of a moment, in milliseconds."""
    random = uuid.uuid4().int & ((1 << 76) - 1)
    number = (at << 80) | (7 << 76) | random
    return str(uuid.UUID(int=(number & ~(3 << 62)) | (2 << 62)))


def copies(sql, table, row, changes):
    """Inserts copies of a row, each with some columns changed."""
    names = list(row.keys())
    marks = ", ".join("?" for _ in names)
    rows = ([change.get(name, row[name]) for name in names] for change in changes)
    sql.executemany(f"insert into {table} ({', '.join(names)}) values ({marks})", rows)


def seed(database, template, jobs, points):
    """Copies a submitted job. Returns the jobs that wait, and the one with many points."""
    sql = sqlite3.connect(database)
    sql.row_factory = sqlite3.Row
    job = sql.execute("select * from jobs where id = ?", (template,)).fetchone()
    task = sql.execute("select * from tasks where job = ?", (template,)).fetchone()
    now = int(time.time() * 1000) - jobs - 1000
    made = [sequence(now + number) for number in range(jobs)]
    waiting = made[-200:]
    # A fifth failed or was canceled; the last 200 wait, as many as the default queue takes twice.
    state = lambda number: "queued" if number >= jobs - 200 else ["succeeded", "succeeded", "failed", "succeeded", "canceled"][number % 5]
    copies(sql, "jobs", job, (
        {"id": made[number], "name": f"job-{number % 500}", "status": state(number), "created_at": now + number,
         "phase": "queued" if number >= jobs - 200 else "done", "priority": number % 3,
         "result": json.dumps(RESULT) if state(number) == "succeeded" else None,
         "finished_at": None if number >= jobs - 200 else now + number}
        for number in range(jobs)))
    sql.executemany("insert into job_events (job, type, data, at) values (?, 'status', ?, ?)",
                    ((id, '{"phase":"queued","status":"queued"}', now) for id in made for _ in range(3)))
    big, series = made[-1], 40
    tasks = [sequence(now) for _ in range(4)]
    copies(sql, "tasks", task, ({"id": id, "job": big, "kind": "extract", "generator": number, "status": "succeeded"}
                                for number, id in enumerate(tasks)))
    each = points // series
    sql.executemany("insert into metrics (task, name, step, value) values (?, ?, ?, ?)",
                    ((id, f"series_{name}", step, 1.0 / (step + 1))
                     for id in tasks for name in range(series // len(tasks)) for step in range(each)))
    sql.commit()
    sql.close()
    return waiting, big


async def submitted(server):
    [client] = await clients(server, 1)
    body = (b'--edge\r\nContent-Disposition: form-data; name="model"; filename="m.onnx"\r\n\r\n' + MODEL.read_bytes()
            + b"\r\n--edge--\r\n")
    client.writer.write(f"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
                        "Content-Type: multipart/form-data; boundary=edge\r\n\r\n".encode() + body)
    status, headers = await client.head()
    job = json.loads((await client.body(headers))[1])
    client.close()
    assert status == 202, job
    return job["id"]


async def measure(server, data, options):
    results, database = [], data / "kegd.db"
    template = await submitted(server)
    waiting, big = seed(database, template, options.jobs, options.points)
    chosen = lambda name: not options.only or name in options.only
    if chosen("polling"):
        await polling(server, results, waiting, options.seconds)
    if chosen("listing"):
        await listing(server, results, options.repeats)
    if chosen("metrics"):
        await metrics(server, results, big, options.repeats)
    if chosen("listeners"):
        await listeners(server, results, waiting[0], database, 200, 10)
    if chosen("uploads"):
        await uploads(server, results, 50, 50)
    if chosen("downloads"):
        [job] = await uploads(server, [], 1, 100)
        await downloads(server, results, job, 20)
    size = sum(file.stat().st_size for file in data.glob("kegd.db*"))
    print(f"  database {size / MB:.1f} MB, descriptors at rest {server.descriptors()}", file=sys.stderr)
    return [result.figures for result in results]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="the kegd to measure; a release build")
    parser.add_argument("--scratch", default=tempfile.gettempdir(), help="where 5 GB of disk are free")
    parser.add_argument("--runs", type=int, default=1, help="servers one after the other; medians are printed")
    parser.add_argument("--seconds", type=float, default=5, help="of polling")
    parser.add_argument("--repeats", type=int, default=20, help="requests of one kind in a row")
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--only", nargs="*", help="polling listing metrics listeners uploads downloads")
    options = parser.parse_args()
    runs = []
    for run in range(options.runs):
        data = Path(tempfile.mkdtemp(prefix="kegd-load-", dir=options.scratch))
        server = Server(options.program, data / "data")
        try:
            runs.append(asyncio.run(measure(server, data / "data", options)))
        finally:
            server.stop()
            shutil.rmtree(data)
    columns = ["requests", "per_second", "p50_ms", "p99_ms", "server_cpu_ms_per_request", "before_mb", "peak_mb", "descriptors"]
    print("| scenario | " + " | ".join(columns) + " |")
    print("|---|" + "---:|" * len(columns))
    for of_runs in zip(*runs):
        cells = [f"{statistics.median(figures[column] for figures in of_runs):g}" for column in columns]
        print(f"| {of_runs[0]['scenario']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
