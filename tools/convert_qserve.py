#!/usr/bin/env python3
"""Turns a checkpoint of QServe or LServe (pickles) into a directory that lserve loads.

    convert_qserve.py SRC_DIR OUT_DIR

SRC_DIR has pytorch_model*.bin, config.json and the tokenizer's files, as mit-han-lab publishes
them. Quantised projections become tensors of docs/quant/files.md:

  W8A8               weight int8 [OC, IC], dequant_scale [OC]                          -> w8a8
  W4A8, per channel  qweight int8 [OC, IC/2], s1_scales, s1_szeros f16 [OC]            -> w4a8, s2 = 1
  W4A8, groups       qweight, s1_scales, s2_scales and s2_zeros int8 [IC/128, OC]      -> w4a8

All values are kept as they are and only their order changes, but for s1_szeros: they become the
integer zero point that times s1_scales makes them, and are refused where no integer does within
f16's rounding. Scales of a KV cache per tensor (kv_scale_quant_orig) are dropped, since lserve scales
each token's vector. OUT_DIR gets its files when all are complete, config.json last; nothing that is
there already is replaced. The engine itself reads no pickles. This reader runs no code out of them:
it knows tensors and nothing else. Needs neither torch nor numpy.
"""

import argparse
import collections
import contextlib
import json
import math
import os
import pickle
import shutil
import struct
import sys
import tempfile
import zipfile
from pathlib import Path

GROUP = 128
LARGEST_GROUP_SCALE = 17  # of src/quant/w4a8.h
TILE = 32  # output channels and columns of a tile of qweight
TYPES = {  # storages of torch: name in safetensors, bytes
    "HalfStorage": ("F16", 2),
    "BFloat16Storage": ("BF16", 2),
    "FloatStorage": ("F32", 4),
    "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1),
}
COMPANIONS = (
    "generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json",
    "merges.txt", "added_tokens.json", "chat_template.jinja", "special_tokens_map.json",
    "additional_chat_templates/tool_use.jinja",
)  # fmt: skip
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class Refused(Exception):
    """The checkpoint is not what this tool converts."""


@contextlib.contextmanager
def reading(path):
    """Whatever a damaged file raises becomes one line that names it: pickle, zipfile, zlib, json and
    struct have no common base class for that."""
    try:
        yield
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    except Exception as error:
        raise Refused(f"{path}: cannot be read: {type(error).__name__}: {error}") from error


class Tensor:
    """Its data has the bytes of its shape: only a contiguous part of a storage becomes one."""

    def __init__(self, storage, offset, shape, stride):
        self.dtype, self.data = storage
        self.shape = tuple(shape)
        if len(stride) != len(self.shape) or min(offset, *self.shape, 0) < 0:
            raise Refused(f"a tensor of shape {self.shape}, strides {stride} and offset {offset}")
        size = TYPES_BY_NAME[self.dtype]
        expected, step = [], 1
        for dim in reversed(self.shape):
            expected.insert(0, step)
            step *= dim
        if any(s != e and d > 1 for s, e, d in zip(stride, expected, self.shape)):
            raise Refused(f"a tensor of shape {self.shape} is not contiguous")
        self.data = self.data[offset * size : (offset + step) * size]
        if len(self.data) != step * size:
            raise Refused(f"a tensor of shape {self.shape} reaches beyond its storage")

    def __str__(self):
        return f"{self.dtype} {self.shape}"


TYPES_BY_NAME = dict(TYPES.values())


class TensorUnpickler(pickle.Unpickler):
    """Of a zip file as torch.save writes it."""

    def __init__(self, archive, folder):
        super().__init__(archive.open(f"{folder}/data.pkl"))
        self.archive, self.folder = archive, folder

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, stride, *_: Tensor(storage, offset, shape, stride)
        if module == "torch" and name in TYPES:
            return name
        raise Refused(f"the pickle asks for {module}.{name}, which is no tensor")

    def persistent_load(self, pid):
        kind, storage_type, key = pid[:3]
        if kind != "storage" or storage_type not in TYPES:
            raise Refused(f"the pickle asks for {kind} {storage_type}")
        return TYPES[storage_type][0], self.archive.read(f"{self.folder}/data/{key}")


def read_pickle(path):
    if not zipfile.is_zipfile(path):
        raise Refused("no zip file; torch before 1.6 wrote it, save it anew")
    with zipfile.ZipFile(path) as archive:
        folders = [n[: -len("/data.pkl")] for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(folders) != 1:
            raise Refused(f"{len(folders)} pickles in it")
        state = TensorUnpickler(archive, folders[0]).load()
    if not isinstance(state, dict):
        raise Refused(f"holds a {type(state).__name__}, no dict of tensors")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise Refused(f"{name!r} is a {type(tensor).__name__}, no tensor")
    return state


def read_config(path):
    config = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(config, dict):
        raise Refused(f"holds a {type(config).__name__}, no object")
    return config


def repeated(byte, count):
    return int.from_bytes(bytes([byte]) * count, "little")


def unpack_tile_row(block):
    """32 rows of codes, two columns a byte, from the tiles of 32 output channels.

    Byte [tile][row % 8][quad of columns 0..3][half of columns][row group of 8][column in quad] holds
    row 8 * group + row % 8 in its low half and that + 16 in its high one, of the column
    16 * half + 4 * quad + column in quad.
    """
    size = len(block) // 2
    even, odd = (int.from_bytes(block[i::2], "little") for i in (0, 1))
    low, high = repeated(0x0F, size), repeated(0xF0, size)
    lower = ((even & low) | (odd & low) << 4).to_bytes(size, "little")
    upper = ((even >> 4) & low | (odd & high)).to_bytes(size, "little")
    rows = []
    for codes in (lower, upper):
        for row in range(16):
            out = bytearray(size // 16)
            for quad in range(4):
                for half in range(2):
                    for pair in range(2):
                        at = row % 8 * 32 + quad * 8 + half * 4 + row // 8 * 2 + pair
                        out[8 * half + 2 * quad + pair :: 16] = codes[at::256]
            rows.append(bytes(out))
    return rows


def permuted(channel):
    """Where the arrays of group scales have a channel: in 32 of them, 0, 8, 16, 24, 1, 9, ..."""
    within = channel % TILE
    return channel - within + within % 8 * 4 + within // 8


def codes_of(parts, key, dtypes, name):
    codes = parts[key]
    if codes.dtype not in dtypes or len(codes.shape) != 2 or 0 in codes.shape:
        raise Refused(f"{name}: {key} is {codes}, not {' or '.join(dtypes)} of two dimensions")
    return codes


def scales_of(parts, key, dtypes, rows, name):
    scales = parts[key]
    if scales.dtype not in dtypes or scales.shape != (rows,):
        raise Refused(f"{name}: {key} is {scales}, not {' or '.join(dtypes)} {(rows,)}")
    values = struct.unpack(f"<{rows}{'e' if scales.dtype == 'F16' else 'f'}", scales.data)
    for row, value in enumerate(values):
        if not math.isfinite(value):
            raise Refused(f"{name}: row {row} of {key} is {value}")
    return values


def rounding_of_f16(value):
    """The most by which rounding to f16 (11 bits, the last at least 2^-24) moved what became `value`."""
    exponent = math.frexp(value)[1] if value else -13
    return math.ldexp(1, max(exponent, -13) - 12)


def zero_points(parts, scales, name):
    """The integers z of szeros = z * s1. Where s1 and their product were rounded to f16, szeros / s1 is
    z give or take (rounding of szeros + z * rounding of s1) / s1, 15 * 2^-10 for the largest z."""
    out = []
    szeros = scales_of(parts, "s1_szeros", ("F16",), len(scales), name)
    for row, (scale, szero) in enumerate(zip(scales, szeros)):
        where = f"{name}: row {row} has the zero point {szero} / {scale}"
        if scale == 0:
            if szero != 0:
                raise Refused(where)
            out.append(0)
            continue
        zero = round(szero / scale)
        if not 0 <= zero <= 15:
            raise Refused(f"{where}, not in 0..15")
        if abs(szero - zero * scale) > rounding_of_f16(szero) + zero * rounding_of_f16(scale):
            raise Refused(f"{where} = {szero / scale:.4f}, which is no integer")
        out.append(zero)
    return out


def check_groups(parts, groups, rows, name):
    for key in ("s2_scales", "s2_zeros"):
        if parts[key].shape != (groups, rows) or parts[key].dtype != "I8":
            raise Refused(f"{name}: {key} is {parts[key]}, not I8 {(groups, rows)}: another group size")


def group_scales(scales, row, name):
    for group, scale in enumerate(struct.unpack(f"{len(scales)}b", scales)):
        if not 1 <= scale <= LARGEST_GROUP_SCALE:
            raise Refused(f"{name}: row {row} has the scale {scale} of group {group}, "
                          f"not in 1..{LARGEST_GROUP_SCALE}")  # fmt: skip
    return scales


def w4a8_rows(parts, name):
    qweight = codes_of(parts, "qweight", ("I8", "U8"), name)
    rows, columns = qweight.shape[0], 2 * qweight.shape[1]
    if rows % TILE or columns % GROUP:
        raise Refused(f"{name}: {rows} x {columns} are no whole tiles and groups")
    scales = scales_of(parts, "s1_scales", ("F16",), rows, name)
    groups = columns // GROUP
    by_group = "s2_scales" in parts
    if by_group:
        check_groups(parts, groups, rows, name)
    else:
        zeros = zero_points(parts, scales, name)
    tile_bytes = TILE * columns // 2
    out = []
    for first in range(0, rows, TILE):
        at = first // TILE * tile_bytes
        for i, codes in enumerate(unpack_tile_row(qweight.data[at : at + tile_bytes])):
            row = first + i
            s1 = parts["s1_scales"].data[2 * row : 2 * row + 2]
            if by_group:
                s2 = group_scales(parts["s2_scales"].data[permuted(row) :: rows], row, name)
                m = parts["s2_zeros"].data[permuted(row) :: rows]
            else:
                s2, m = bytes([1]) * groups, struct.pack("b", -zeros[row]) * groups
            out.append(s1 + s2 + m + codes)
    return rows, columns, b"".join(out)


def w8a8_rows(parts, name):
    weight = codes_of(parts, "weight", ("I8",), name)
    rows, columns = weight.shape
    scales = scales_of(parts, "dequant_scale", ("F16", "F32"), rows, name)
    codes = weight.data
    out = [struct.pack("<f", s) + codes[r * columns : (r + 1) * columns] for r, s in enumerate(scales)]
    return rows, columns, b"".join(out)


def convert(tensors):
    """{name: (dtype, shape, bytes)}, and the format of the layers."""
    modules = collections.defaultdict(dict)
    for full in tensors:
        module, _, part = full.rpartition(".")
        modules[module][part] = tensors[full]
    out, formats = {}, set()
    for module, parts in modules.items():
        if "qweight" in parts or "dequant_scale" in parts:
            kind, rows_of = ("w4a8", w4a8_rows) if "qweight" in parts else ("w8a8", w8a8_rows)
            try:
                rows, _, data = rows_of(parts, module)
            except KeyError as missing:
                raise Refused(f"{module}: {missing} is missing") from None
            formats.add(kind)
            out[f"{module}.weight.{kind}"] = ("U8", (rows, len(data) // rows), data)
            parts = {p: t for p, t in parts.items() if p == "bias"}
        for part, tensor in parts.items():
            if part in ("kv_scale_quant_orig", "inv_freq"):
                continue
            out[f"{module}.{part}"] = (tensor.dtype, tensor.shape, tensor.data)
    if len(formats) != 1:
        raise Refused(f"{len(formats)} kinds of quantised projections: {sorted(formats)}")
    return out, formats.pop()


def write_safetensors(path, tensors):
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [end, end + len(data)]}
        end += len(data)
    text = json.dumps(header).encode()
    text += b" " * (math.ceil((8 + len(text)) / 64) * 64 - 8 - len(text))
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, _, data in tensors.values():
            file.write(data)


def write_directory(source, out, tensors, config):
    """All files are made in a folder of OUT and then renamed, so none is ever seen half written."""
    out.mkdir(parents=True, exist_ok=True)
    names = [name for name in COMPANIONS if (source / name).exists()]
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=out) as folder:
        made = Path(folder)
        for name in names:
            (made / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(source / name, made / name)
        write_safetensors(made / WEIGHTS, tensors)
        (made / CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        for name in (*names, WEIGHTS, CONFIG):  # with its config.json it is a model
            (out / name).parent.mkdir(exist_ok=True)
            os.rename(made / name, out / name)


def convert_directory(source, out):
    """Returns how many tensors it wrote, and the format of the layers."""
    for name in (CONFIG, WEIGHTS, *COMPANIONS):
        if os.path.lexists(out / name):
            raise Refused(f"{out}: {name} is there already; name another directory")
    files = sorted(source.glob("pytorch_model*.bin"))
    if not files:
        raise Refused(f"{source}: no pytorch_model*.bin in it")
    with reading(source / CONFIG):
        config = read_config(source / CONFIG)
    tensors = {}
    for path in files:
        with reading(path):
            tensors.update(read_pickle(path))
    converted, kind = convert(tensors)
    config["quantization_config"] = {"quant_method": "lserve", "version": 1, "layers": kind}
    if kind == "w4a8":
        config["quantization_config"]["group_size"] = GROUP
    write_directory(source, out, converted, config)
    return len(converted), kind


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    try:
        count, kind = convert_directory(args.source, args.out)
    except (Refused, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {count} tensors, projections in {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
