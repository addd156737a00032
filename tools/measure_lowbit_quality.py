#!/usr/bin/env python3
r"""What low-bit weights and caches cost SmolLM2-135M in perplexity: bench/results/lowbit_perplexity.json.

    measure_lowbit_quality.py build/release/lserve [--threads 1] [--part-bytes 16000] [--tokens 16384]

The model comes from scripts/get-smollm2, as a directory of bf16 (tools/gguf_to_directory.py). Each
format is measured as --weights makes it, plainly, and as lserve quantize --calibrate writes it.
Texts: two parts of The Jargon File 4.4.7 (public domain; Debian's package jargon-text), of which
tests/data/texts holds the one; and this project's documents. The calibration text is a third part
of The Jargon File and this project's headers, by turns. A text is read in parts, each with a context of its own; perplexity is over all.

Parts that were measured are kept under build/lowbit_quality: a run that was cut off goes on. A new
binary or other texts begin anew. Needs numpy and gguf (tools/requirements.txt), and apt-get.
"""

import argparse
import datetime
import gzip
import hashlib
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "build" / "lowbit_quality"
RECORD = ROOT / "bench" / "results" / "lowbit_perplexity.json"
FORMATS = ["w8a8", "fp8", "w4a8", "w4a16"]
# Bytes of the whole Jargon File, from the middle of its entries; the excerpt in the tree is before.
HELD_OUT = (300_000, 540_000)
CALIBRATION = (1_200_000, 1_340_000)
TURN = 8_000  # bytes of the calibration text from one source
DOCUMENTS = ["ARCHITECTURE.md", "README.md", "docs/*.md", "docs/contracts/*.md", "docs/kernels/*.md",
             "tests/data/texts/technical.txt", "tests/data/texts/english_prose.txt"]


@dataclass(frozen=True)
class Case:
    weights: str  # "bf16" or a format
    calibrated: bool
    cache: str  # "bf16", "int8", "int4"

    def name(self) -> str:
        weights = f"{self.weights} calibrated" if self.calibrated else self.weights
        return weights if self.cache == "bf16" else f"{weights}, {self.cache} cache"


CASES = [
    Case("bf16", False, "bf16"),
    *[Case(weights, calibrated, "bf16") for weights in FORMATS for calibrated in (False, True)],
    *[Case("bf16", False, cache) for cache in ("int8", "int4")],
    *[Case("w8a8", calibrated, "int8") for calibrated in (False, True)],
    *[Case(weights, calibrated, "int4") for weights in ("w8a8", "w4a8") for calibrated in (False, True)],
]
# Loss of perplexity, as a share of bf16's, at most.
LIMITS = {"w8a8 calibrated, int8 cache": 0.010, "w4a8 calibrated": 0.12}


def run(*command: object) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT)
    if done.returncode != 0:
        raise SystemExit(f"{command[0]}: {(done.stderr.strip().splitlines() or ['failed'])[-1]}")
    return done.stdout


def jargon_file() -> bytes:
    """The whole text, out of a package that is only read, never installed."""
    kept = WORK / "jargon.txt"
    if not kept.exists():
        folder = WORK / "package"
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", "--quiet", "jargon-text"], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        run("dpkg", "-x", next(folder.glob("jargon-text_*.deb")), folder)
        kept.write_bytes(gzip.decompress(next(folder.rglob("jargon.txt.gz")).read_bytes()))
    return kept.read_bytes()


def texts() -> dict[str, bytes]:
    excerpt = (ROOT / "tests/data/texts/jargon_file.txt").read_bytes()
    documents = [path for pattern in DOCUMENTS for path in sorted(ROOT.glob(pattern))]
    return {
        "The Jargon File": excerpt + jargon_file()[slice(*HELD_OUT)],
        "documents": b"\n".join(path.read_bytes() for path in documents),
    }


def calibration_text() -> bytes:
    """Both kinds of text by turns, so that any number of tokens has as much of either."""
    jargon = jargon_file()[slice(*CALIBRATION)]
    headers = b"\n".join(path.read_bytes() for path in sorted(ROOT.glob("src/*/*.h")))
    return b"\n".join(text[at : at + TURN] for at in range(0, len(jargon), TURN)
                      for text in (jargon, headers))


def parts_of(text: bytes, size: int) -> list[bytes]:
    """Cut at ends of lines; the last one takes the rest."""
    parts, begin = [], 0
    while len(text) - begin > 2 * size:
        end = text.index(b"\n", begin + size) + 1
        parts.append(text[begin:end])
        begin = end
    return [*parts, text[begin:]]


class Study:
    def __init__(self, arguments: argparse.Namespace):
        self.lserve = arguments.lserve.resolve()
        self.threads = arguments.threads
        self.tokens = arguments.tokens
        binary = hashlib.sha256(self.lserve.read_bytes()).hexdigest()[:16]
        self.folder = WORK / f"{binary}-{self.tokens}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kept_path = self.folder / "parts.json"
        self.kept = json.loads(self.kept_path.read_text()) if self.kept_path.exists() else {}

    def original(self) -> Path:
        directory = WORK / "smollm2-bf16"
        if not (directory / "config.json").exists():
            gguf = run(ROOT / "scripts/get-smollm2").strip()
            run(sys.executable, ROOT / "tools/gguf_to_directory.py", gguf, directory)
        return directory

    def model_of(self, case: Case) -> Path:
        if not case.calibrated:
            return self.original()
        directory = self.folder / case.weights
        if not (directory / "config.json").exists():
            (directory / "model.safetensors").unlink(missing_ok=True)
            text = self.folder / "calibration.txt"
            text.write_bytes(calibration_text())
            print(f"calibrating {case.weights}", flush=True)
            run(self.lserve, "quantize", self.original(), "--weights", case.weights, "--calibrate",
                text, "--calibrate-tokens", self.tokens, "-t", self.threads, "-o", directory)
        return directory

    def part(self, case: Case, text: bytes) -> tuple[int, float]:
        """Tokens that are predicted, and their summed negative log-likelihood."""
        key = f"{case.name()}: {hashlib.sha256(text).hexdigest()[:16]}"
        if key not in self.kept:
            file = self.folder / "part.txt"
            file.write_bytes(text)
            weights = "auto" if case.calibrated else case.weights
            result = json.loads(run(
                self.lserve, "eval", "perplexity", self.model_of(case), "-f", file, "--weights", weights,
                "--kv-cache-dtype", case.cache, "--attention", "dense", "-t", self.threads, "--device",
                "cpu", "--json", "--quiet"))
            self.kept[key] = [result["tokens"] - 1, result["nll"]]
            self.kept_path.write_text(json.dumps(self.kept))
        return tuple(self.kept[key])

    def nll(self, case: Case, parts: list[bytes]) -> tuple[int, float]:
        measured = [self.part(case, part) for part in parts]
        return sum(count for count, _ in measured), sum(nll for _, nll in measured)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return "unknown CPU"


def loss_figure(name: str, loss: float) -> dict:
    figure = {"metric": f"{name}: loss", "value": loss, "unit": "of bf16's perplexity"}
    if name in LIMITS:
        figure |= {"limit": f"<= {LIMITS[name]}", "holds": loss <= LIMITS[name]}
    return figure


def figures_of(sums: dict[str, dict[str, tuple[int, float]]]) -> list[dict]:
    """sums[case][text]: perplexities; then losses over both texts, and what calibration saves."""
    figures, losses = [], {}
    for text, (count, _) in sums["bf16"].items():
        figures.append({"metric": f"{text}: tokens", "value": count, "unit": "tokens"})
    mean = {name: sum(nll for _, nll in by.values()) / sum(n for n, _ in by.values())
            for name, by in sums.items()}
    for name, by_text in sums.items():
        for text, (count, nll) in by_text.items():
            figures.append({"metric": f"{name}: {text}", "value": math.exp(nll / count),
                            "unit": "perplexity"})
        losses[name] = math.exp(mean[name] - mean["bf16"]) - 1
        if name != "bf16":
            figures.append(loss_figure(name, losses[name]))
    for weights in FORMATS:
        share = losses[f"{weights} calibrated"] / losses[weights]
        figures.append({"metric": f"{weights}: what calibration leaves of the loss", "value": share,
                        "unit": "of plain rounding's loss", "limit": "<= 0.5", "holds": share <= 0.5})
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lserve", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--part-bytes", type=int, default=16_000)
    parser.add_argument("--tokens", type=int, default=16_384, help="of the calibration text")
    parser.add_argument("--parts", type=int, default=1 << 20,
                        help="of each text, at most: a quick look, which writes no record")
    arguments = parser.parse_args()
    WORK.mkdir(parents=True, exist_ok=True)
    study = Study(arguments)
    parts = {name: parts_of(text, arguments.part_bytes)[: arguments.parts]
             for name, text in texts().items()}
    sums = {}
    for case in CASES:
        sums[case.name()] = {text: study.nll(case, pieces) for text, pieces in parts.items()}
        shown = [f"{math.exp(nll / count):.3f}" for count, nll in sums[case.name()].values()]
        print(f"{case.name():40} {'  '.join(shown)}", flush=True)
    figures = figures_of(sums)
    for figure in figures:
        print(json.dumps(figure))
    if arguments.parts < 1 << 20:
        return
    record = {
        "name": RECORD.stem,
        "device": processor(),
        "commit": run("git", "rev-parse", "--short", "HEAD").strip(),
        "date": datetime.date.today().isoformat(),
        "command": f"tools/measure_lowbit_quality.py build/release/lserve --tokens {study.tokens}",
        "figures": figures,
    }
    RECORD.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
