#!/usr/bin/env python3
"""Turns a checkpoint of QServe or LServe (pickles) into a directory that lserve loads.

    convert_qserve.py SRC_DIR OUT_DIR

SRC_DIR has pytorch_model*.bin, config.json and the tokenizer's files, as mit-han-lab publishes
them. Quantised projections become tensors of docs/quant/files.md:

  W8A8               weight int8 [OC, IC], dequant_scale [OC]                          -> w8a8
  W4A8, per channel  qweight int8 [OC, IC/2], s1_scales, s1_szeros f16 [OC]            -> w4a8, s2 = 1
  W4A8, groups       qweight, s1_scales, s2_scales and s2_zeros int8 [IC/128, OC]      -> w4a8

All values are kept as they are; only their order changes. Scales of a KV cache per tensor
(kv_scale_quant_orig) are dropped, since lserve scales each token's vector. The engine itself reads
no pickles. This reader runs no code out of them: it knows tensors and nothing else. Needs neither
torch nor numpy.
"""

import argparse
import collections
import json
import math
import pickle
import shutil
import struct
import sys
import zipfile
from pathlib import Path

GROUP = 128
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
)  # fmt: skip


class Refused(Exception):
    """The checkpoint is not what this tool converts."""


class Tensor:
    def __init__(self, storage, offset, shape, stride):
        self.dtype, self.data = storage
        self.shape = tuple(shape)
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

    def floats(self):
        code = {"F16": "e", "F32": "f"}.get(self.dtype)
        if code is None:
            raise Refused(f"scales of type {self.dtype}")
        return struct.unpack(f"<{len(self.data) // struct.calcsize(code)}{code}", self.data)


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
        raise Refused(f"{path}: no zip file; torch before 1.6 wrote it, save it anew")
    with zipfile.ZipFile(path) as archive:
        folders = [n[: -len("/data.pkl")] for n in archive.namelist() if n.endswith("/data.pkl")]
        if len(folders) != 1:
            raise Refused(f"{path}: {len(folders)} pickles in it")
        return TensorUnpickler(archive, folders[0]).load()


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


def w4a8_rows(parts, name):
    qweight, scales = parts["qweight"], parts["s1_scales"]
    rows, columns = qweight.shape[0], 2 * qweight.shape[1]
    if rows % TILE or columns % GROUP:
        raise Refused(f"{name}: {rows} x {columns} are no whole tiles and groups")
    if scales.dtype != "F16" or scales.shape != (rows,):
        raise Refused(f"{name}: s1_scales are {scales.dtype} {scales.shape}")
    groups = columns // GROUP
    by_group = "s2_scales" in parts
    if by_group:
        for key in ("s2_scales", "s2_zeros"):
            if parts[key].shape != (groups, rows) or parts[key].dtype != "I8":
                raise Refused(f"{name}: {key} are {parts[key].dtype} {parts[key].shape}, "
                              f"not I8 {(groups, rows)}: another group size")
    else:
        zeros = [round(z / s) if s else 0 for s, z in zip(scales.floats(), parts["s1_szeros"].floats())]
    tile_bytes = TILE * columns // 2
    out = []
    for first in range(0, rows, TILE):
        at = first // TILE * tile_bytes
        for i, codes in enumerate(unpack_tile_row(qweight.data[at : at + tile_bytes])):
            row = first + i
            s1 = scales.data[2 * row : 2 * row + 2]
            if by_group:
                s2 = parts["s2_scales"].data[permuted(row) :: rows]
                m = parts["s2_zeros"].data[permuted(row) :: rows]
            else:
                if not 0 <= zeros[row] <= 15:
                    raise Refused(f"{name}: row {row} has the zero point {zeros[row]}")
                s2, m = bytes([1]) * groups, struct.pack("b", -zeros[row]) * groups
            out.append(s1 + s2 + m + codes)
    return rows, columns, b"".join(out)


def w8a8_rows(parts, name):
    weight, scales = parts["weight"], parts["dequant_scale"].floats()
    rows, columns = weight.shape
    if len(scales) != rows:
        raise Refused(f"{name}: {len(scales)} scales of {rows} rows")
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


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args(argv)
    try:
        files = sorted(args.source.glob("pytorch_model*.bin"))
        if not files:
            raise Refused(f"{args.source}: no pytorch_model*.bin in it")
        tensors = {}
        for path in files:
            tensors.update(read_pickle(path))
        converted, kind = convert(tensors)
        config = json.loads((args.source / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "lserve", "version": 1, "layers": kind}
        if kind == "w4a8":
            config["quantization_config"]["group_size"] = GROUP
        args.out.mkdir(parents=True, exist_ok=True)
        write_safetensors(args.out / "model.safetensors", converted)
        for name in COMPANIONS:
            if (args.source / name).exists():
                shutil.copyfile(args.source / name, args.out / name)
        (args.out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    except (Refused, pickle.UnpicklingError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{args.out}: {len(converted)} tensors, projections in {kind}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
