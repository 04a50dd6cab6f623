"""What the benchmarks share: the program, runs of it, and what the machine can do."""
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time

BENCHES = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(BENCHES)
GRADC = os.path.join(ROOT, "target", "release", "gradc")
THREADS = os.cpu_count()
# Processors that other programs kept busy in the minute before the benchmark began.
LOAD = os.getloadavg()[0]


def build():
    subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=ROOT, check=True)


class Failed(SystemExit):
    """What ends a benchmark, unless somebody goes on without it. `reason` is one line: of an error's text the line that says most."""

    def __init__(self, message, error=""):
        super().__init__(f"{message}\n{error}".strip())
        lines = [line.strip() for line in error.splitlines() if line.strip()] or [message]
        self.reason = next((line for line in lines if line.startswith("error")), lines[-1])


def ran(command, environment=None, most_seconds=None):
    """Runs a command, killed after so many seconds; gives what it wrote to both outputs, its wall seconds and its peak resident MiB."""
    # Into files, not pipes: one that nobody reads would stop a talkative program.
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        timer = threading.Timer(most_seconds or 0, process.kill)
        if most_seconds is not None:
            timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
        seconds = time.perf_counter() - start
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read())
    if process.returncode != 0:
        is_late = process.returncode < 0 and most_seconds is not None and seconds >= most_seconds
        raise Failed(f"{' '.join(command)} failed:", f"not done after {most_seconds:.0f} s" if is_late else texts[1])
    return *texts, seconds, usage.ru_maxrss / 1024


def timed(command, environment=None, most_seconds=None):
    """Runs a command; gives its last line as JSON (or None), its wall seconds and its peak resident MiB."""
    out, _, seconds, peak = ran(command, environment, most_seconds)
    return last_json(out), seconds, peak


def last_json(text):
    """What the last line says, if it is an object of JSON."""
    last = text.strip().splitlines()[-1] if text.strip() else ""
    return json.loads(last) if last.startswith("{") else None


class Machine:
    """Measured peaks, best of all measurements so far: `gflops[n]` and `gigabytes[n]` a second on n threads."""

    def __init__(self):
        self.program = os.path.join(ROOT, "target", "machine")
        source = os.path.join(BENCHES, "machine.c")
        subprocess.run(["cc", "-O3", "-march=native", "-pthread", source, "-o", self.program], check=True)
        self.gflops, self.gigabytes = {}, {}
        self.measure()

    def measure(self):
        for threads in {1, THREADS}:
            found = timed([self.program, str(threads)])[0]
            self.gflops[threads] = max(found["gflops"], self.gflops.get(threads, 0))
            self.gigabytes[threads] = max(found["gigabytes"], self.gigabytes.get(threads, 0))

    def __str__(self):
        lines = open("/proc/cpuinfo").read().splitlines() if os.path.exists("/proc/cpuinfo") else []
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
        flags = next((line.split() for line in lines if line.startswith("flags")), [])
        isa = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else "neither AVX-512 nor AVX2"
        rates = ", ".join(f"{self.gflops[n]:.0f} GFLOP/s and {self.gigabytes[n]:.0f} GB/s on {n}" for n in sorted(self.gflops))
        return (f"{THREADS} cores of {model} ({isa}). Peaks, measured in the same run (`benches/machine.c`: fused multiply-adds "
                f"in registers; the triad of STREAM), by threads: {rates}. Load by other "
                f"programs when it began: {LOAD:.1f}")


def table(header, rows):
    """Lines of a table; the first column is text, the others numbers."""
    lines = ["| " + " | ".join(header) + " |", "|---|" + "---:|" * (len(header) - 1)]
    return lines + ["| " + " | ".join(row) + " |" for row in rows] + [""]


def section(path, name):
    """Lines of a file's section that another benchmark wrote, its marks included; none if there is none."""
    text = open(path).read() if os.path.exists(path) else ""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    if begin not in text or end not in text:
        return []
    return [begin, text.split(begin)[1].split(end)[0].strip(), end]


def replace_section(path, name, lines):
    """Puts lines into a section of a file, at its end if there is none; the rest stays."""
    text = open(path).read() if os.path.exists(path) else ""
    old = "\n".join(section(path, name))
    new = "\n".join([f"<!-- {name} -->", "\n".join(lines).strip(), f"<!-- end of {name} -->"])
    begin, _, rest = text.partition(f"<!-- {name} -->") if old else (text.rstrip() + "\n\n", "", "")
    after = rest.partition(f"<!-- end of {name} -->")[2] if old else "\n"
    with open(f"{path}.new", "w") as file:
        file.write((begin + new + after).lstrip("\n"))
    os.replace(f"{path}.new", path)
