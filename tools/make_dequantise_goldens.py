#!/usr/bin/env python3
"""Writes tests/data/dequantise/<type>.bin: random blocks, and what PyPI gguf makes of them.

    make_dequantise_goldens.py --out tests/data/dequantise

The codes are random bytes. The f16 scales are random bit patterns of finite numbers, subnormal ones
and both zeros included; the first blocks have the extremes. Same seed, same files.
"""

import argparse
import struct
from pathlib import Path

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

MAGIC = b"LSRVDQT1"
SEED = 20261124
COLUMNS = 6144  # of each type: 24 super-blocks
# Byte offsets of the f16 scales in a block.
SCALES = {"Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q4_K": [0, 2], "Q6_K": [208]}
# +-0, the smallest and largest subnormals, the smallest normal, +-the largest, +-1.
EXTREMES = [0x0000, 0x8000, 0x0001, 0x8001, 0x03FF, 0x0400, 0x7BFF, 0xFBFF, 0x3C00, 0xBC00]


def finite_halves(random: np.random.Generator, count: int) -> np.ndarray:
    """Exponents 0..30, any sign and mantissa; the extremes first."""
    sign = random.integers(0, 2, count) << 15
    magnitude = random.integers(0, 0x7C00, count)
    halves = (sign | magnitude).astype("<u2")
    halves[: len(EXTREMES)] = EXTREMES
    return halves


def golden(name: str, random: np.random.Generator) -> bytes:
    kind = GGMLQuantizationType[name]
    columns, size = GGML_QUANT_SIZES[kind]
    count = COLUMNS // columns
    blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
    for field, offset in enumerate(SCALES[name]):
        # Rotated, so that the extremes of one field do not only meet themselves in the other.
        halves = np.roll(finite_halves(random, count), 3 * field)
        blocks[:, offset : offset + 2] = halves.view(np.uint8).reshape(count, 2)
    values = dequantize(blocks, kind).astype("<f4")
    assert values.shape == (count, columns) and np.isfinite(values).all()
    head = MAGIC + struct.pack("<3I", count, size, columns)
    return head + blocks.tobytes() + values.tobytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("tests/data/dequantise"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(SEED)
    for name in SCALES:
        data = golden(name, random)
        (arguments.out / f"{name}.bin").write_bytes(data)
        print(f"{name}.bin: {len(data)} bytes")


if __name__ == "__main__":
    main()
