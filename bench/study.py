"""What the studies of bench/ share: running lserve, the machine's ceilings, and the record's form."""

import datetime
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def run_json(command: list[str]) -> dict:
    """The JSON object that a command prints."""
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: exit {run.returncode}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def ceilings(kernel_bench: Path, threads: int) -> dict:
    """Read bandwidth and the peaks of the vector units, measured now by kernel_bench."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "ceilings.json"
        command = [str(kernel_bench), "--filter", "ceilings", "--threads", str(threads),
                   "--json", str(out)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())["ceilings"]


def best_ceilings(measured: list[dict]) -> dict:
    """The most that any round saw: what the machine can do while others use it too."""
    return {name: round(max(each[name] for each in measured), 3) for name in measured[0]}


def cpu_name() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def summary(metric: str, samples: list[float], unit: str) -> dict:
    """A figure: the median of the samples, and the least and the largest."""
    return {"metric": metric, "value": round(statistics.median(samples), 3), "unit": unit,
            "spread": [round(min(samples), 3), round(max(samples), 3)]}


def command_line(program: str) -> str:
    """How this study was called, files by their names alone."""
    words = [Path(word).name if "/" in word else word for word in sys.argv[1:]]
    return " ".join(["python", f"bench/{program}.py", *words])


def record(name: str, command: str, threads: int, commit: str, **fields) -> dict:
    """The head of a record in bench/results; `fields` follow, the figures last."""
    return {"name": name, "device": f"{cpu_name()}, {threads} threads", "commit": commit,
            "date": datetime.date.today().isoformat(), "command": command, **fields}


def write(study: dict, out: Path) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(study, indent=1) + "\n")
    for figure in study["figures"]:
        ratio = f"  ratio {figure['ratio']}" if "ratio" in figure else ""
        bar = f"  ({figure['limit']}: {figure['holds']})" if "holds" in figure else ""
        print(f"{figure['metric']}: {figure['value']} {figure['unit']}{ratio}{bar}")
