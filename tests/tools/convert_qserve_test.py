"""tools/convert_qserve.py: checkpoints in the published layout, built here element by element, come out as
the rows of docs/quant/w4a8.md and w8a8.md, and the engine reads them."""

import collections
import contextlib
import io
import json
import math
import os
import pickle
import random
import struct
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))

import convert_qserve

HIDDEN, FFN, HEADS, HEAD_DIM, VOCAB = 128, 256, 2, 64, 40
LAYER = "model.layers.0."
PROJECTIONS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HEAD_DIM, HIDDEN),
    "self_attn.v_proj": (HEAD_DIM, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (FFN, HIDDEN),
    "mlp.up_proj": (FFN, HIDDEN),
    "mlp.down_proj": (HIDDEN, FFN),
}  # fmt: skip
CONFIG = {
    "architectures": ["LlamaForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": FFN,
    "num_hidden_layers": 1, "num_attention_heads": HEADS, "num_key_value_heads": 1, "head_dim": HEAD_DIM,
    "vocab_size": VOCAB, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
    "tie_word_embeddings": True, "hidden_act": "silu",
}  # fmt: skip


class Stored:
    """Pickles as a tensor of torch does."""

    def __init__(self, storage, data, shape):
        self.storage, self.data, self.shape = storage, data, shape

    def __reduce__(self):
        stride, step = [], 1
        for dim in reversed(self.shape):
            stride.insert(0, step)
            step *= dim
        held = Held(self.storage, self.data)
        return torch_utils._rebuild_tensor_v2, (held, 0, tuple(self.shape), tuple(stride), False,
                                                collections.OrderedDict())  # fmt: skip


class Held:
    def __init__(self, storage, data):
        self.storage, self.data = storage, data


torch = types.ModuleType("torch")
torch_utils = types.ModuleType("torch._utils")


def _rebuild_tensor_v2(*_):
    raise AssertionError("only its name is pickled")


_rebuild_tensor_v2.__module__ = "torch._utils"
_rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
torch_utils._rebuild_tensor_v2 = _rebuild_tensor_v2
for storage_name in ("HalfStorage", "CharStorage", "ByteStorage"):
    setattr(torch, storage_name, type(storage_name, (), {"__module__": "torch"}))


class Pickler(pickle.Pickler):
    def __init__(self, file, archive):
        super().__init__(file, protocol=2)
        self.archive, self.count = archive, 0

    def persistent_id(self, value):
        if not isinstance(value, Held):
            return None
        key = str(self.count)
        self.count += 1
        self.archive.writestr(f"archive/data/{key}", value.data)
        return "storage", getattr(torch, value.storage), key, "cpu", len(value.data)


def save(path, state):
    sys.modules.update({"torch": torch, "torch._utils": torch_utils})
    try:
        with zipfile.ZipFile(path, "w") as archive:
            pickled = io.BytesIO()
            Pickler(pickled, archive).dump(state)
            archive.writestr("archive/data.pkl", pickled.getvalue())
    finally:
        del sys.modules["torch"], sys.modules["torch._utils"]


def halves(values, shape):
    return Stored("HalfStorage", struct.pack(f"<{len(values)}e", *values), shape)


def chars(data, shape):
    return Stored("CharStorage", bytes(data), shape)


def qweight(codes, rows, columns):
    """The published order, by its definition: for each place in the tile, which codes it holds."""
    out = bytearray()
    for row_tile in range(rows // 32):
        for column_tile in range(columns // 32):
            for row in range(8):
                for quad in range(4):
                    for half in range(2):
                        for group in range(2):
                            for k in range(4):
                                r = row_tile * 32 + group * 8 + row
                                c = column_tile * 32 + half * 16 + quad * 4 + k
                                out.append(codes[r][c] | codes[r + 16][c] << 4)
    return chars(out, (rows, columns // 2))


def channel_order(rows):
    """Channels in the order of the arrays of group scales."""
    return [base + step + 8 * j for base in range(0, rows, 32) for step in range(8) for j in range(4)]


def byte(value):
    return value & 0xFF


class Case:
    """A checkpoint: its state, and the rows that are to come out of each projection."""

    def __init__(self, kind, seed=1):
        self.random = random.Random(seed)
        self.state = collections.OrderedDict()
        self.rows = {}
        embedding = [self.random.gauss(0, 1) for _ in range(VOCAB * HIDDEN)]
        self.state["model.embed_tokens.weight"] = halves(embedding, (VOCAB, HIDDEN))
        for name in ("model.norm", LAYER + "input_layernorm", LAYER + "post_attention_layernorm"):
            self.state[name + ".weight"] = halves([1.0] * HIDDEN, (HIDDEN,))
        for name, (rows, columns) in PROJECTIONS.items():
            getattr(self, kind)(LAYER + name, rows, columns)
        self.state[LAYER + "self_attn.kv_scale_quant_orig"] = halves([1.0, 1.0], (2,))

    def scales(self, rows):
        return [self.random.uniform(1e-4, 1e-2) for _ in range(rows)]

    def w8a8(self, name, rows, columns):
        scales = self.scales(rows)
        codes = [bytes(self.random.randrange(256) for _ in range(columns)) for _ in range(rows)]
        self.state[name + ".weight"] = chars(b"".join(codes), (rows, columns))
        self.state[name + ".dequant_scale"] = halves(scales, (rows,))
        rounded = [struct.unpack("<e", struct.pack("<e", s))[0] for s in scales]
        self.rows[name] = [struct.pack("<f", s) + c for s, c in zip(rounded, codes)]

    def expect_w4a8(self, name, scales, s2, m, codes):
        self.rows[name] = [
            struct.pack("<e", scales[r]) + bytes(s2[r]) + bytes(map(byte, m[r]))
            + bytes(row[c] | row[c + 1] << 4 for c in range(0, len(row), 2))
            for r, row in enumerate(codes)
        ]  # fmt: skip

    def codes(self, rows, columns):
        return [[self.random.randrange(16) for _ in range(columns)] for _ in range(rows)]

    def w4a8(self, name, rows, columns):
        groups, scales, codes = columns // 128, self.scales(rows), self.codes(rows, columns)
        s2 = [[self.random.randrange(1, 9) for _ in range(groups)] for _ in range(rows)]
        m = [[-self.random.randrange(16) * s for s in row] for row in s2]
        order = channel_order(rows)
        self.state[name + ".qweight"] = qweight(codes, rows, columns)
        self.state[name + ".s1_scales"] = halves(scales, (rows,))
        for key, values in (("s2_scales", s2), ("s2_zeros", m)):
            stored = [byte(values[channel][g]) for g in range(groups) for channel in order]
            self.state[f"{name}.{key}"] = chars(stored, (groups, rows))
        self.expect_w4a8(name, scales, s2, m, codes)

    def w4a8_channel(self, name, rows, columns):
        groups, scales, codes = columns // 128, self.scales(rows), self.codes(rows, columns)
        zeros = [self.random.randrange(16) for _ in range(rows)]
        rounded = [struct.unpack("<e", struct.pack("<e", s))[0] for s in scales]
        self.state[name + ".qweight"] = qweight(codes, rows, columns)
        self.state[name + ".s1_scales"] = halves(scales, (rows,))
        self.state[name + ".s1_szeros"] = halves([s * z for s, z in zip(rounded, zeros)], (rows,))
        self.expect_w4a8(name, scales, [[1] * groups] * rows, [[-z] * groups for z in zeros], codes)

    def write(self, folder):
        folder.mkdir()
        save(folder / "pytorch_model.bin", self.state)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "tokenizer_config.json").write_text("{}")


def convert(source, out):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = convert_qserve.main([str(source), str(out)])
    return code, printed.getvalue()


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__")
    begin = 8 + size
    return {
        name: (t["dtype"], t["shape"], data[begin + t["data_offsets"][0] : begin + t["data_offsets"][1]])
        for name, t in header.items()
    }


class ConvertQServe(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_rows(self):
        for kind in ("w8a8", "w4a8", "w4a8_channel"):
            with self.subTest(kind):
                case = Case(kind)
                source, out = self.folder / kind, self.folder / (kind + ".out")
                case.write(source)
                code, said = convert(source, out)
                self.assertEqual(code, 0, said)
                name = kind[:4]
                tensors = read_safetensors(out / "model.safetensors")
                for module, rows in case.rows.items():
                    dtype, shape, data = tensors.pop(f"{module}.weight.{name}")
                    self.assertEqual((dtype, shape), ("U8", [len(rows), len(rows[0])]))
                    self.assertEqual(data, b"".join(rows), module)
                self.assertEqual(len(tensors), 4)  # embedding and norms, no scales of a cache
                declared = json.loads((out / "config.json").read_text())["quantization_config"]
                self.assertEqual(declared["layers"], name)
                self.assertEqual(declared.get("group_size"), 128 if name == "w4a8" else None)
                self.assertTrue((out / "tokenizer_config.json").exists())

    def test_the_engine_opens_it(self):
        binary = os.environ.get("LSERVE_BIN", str(ROOT / "build/release/lserve"))
        if not os.path.exists(binary):
            self.skipTest("lserve is not built")
        case = Case("w4a8")
        case.write(self.folder / "source")
        self.assertEqual(convert(self.folder / "source", self.folder / "out")[0], 0)
        # It has no tokenizer, which is looked for once the tensors are right.
        done = subprocess.run([binary, "info", self.folder / "out"], capture_output=True, text=True)
        self.assertIn("tokenizer.json", done.stderr)
        config = json.loads((self.folder / "out/config.json").read_text())
        config["quantization_config"]["layers"] = "w8a8"
        del config["quantization_config"]["group_size"]
        (self.folder / "out/config.json").write_text(json.dumps(config))
        done = subprocess.run([binary, "info", self.folder / "out"], capture_output=True, text=True)
        self.assertEqual(done.returncode, 3)
        self.assertIn("w4a8 weights, but quantization_config declares w8a8", done.stderr)

    def fails(self, source, *says):
        """With one line, and nothing is written."""
        out = self.folder / "out"
        code, said = convert(source, out)
        self.assertEqual(code, 1)
        self.assertTrue(said.startswith("error: ") and said.count("\n") == 1, said)
        for part in says:
            self.assertIn(part, said)
        self.assertFalse(out.exists() and list(out.iterdir()))

    def refused(self, change, *says, kind="w4a8"):
        case = Case(kind)
        change(case.state)
        source = self.folder / f"source{len(list(self.folder.iterdir()))}"
        case.write(source)
        self.fails(source, *says)

    def test_another_group_size(self):
        key = LAYER + "mlp.down_proj.s2_scales"
        self.refused(lambda s: s.update({key: chars([1] * HIDDEN * 4, (4, HIDDEN))}), "group size")

    def test_a_missing_part(self):
        self.refused(lambda s: s.pop(LAYER + "mlp.up_proj.s2_zeros"), "s2_zeros")

    def test_nothing_quantised(self):
        def plain(state):
            for name in [n for n in state if "_proj" in n]:
                del state[name]

        self.refused(plain, "0 kinds")

    def test_code_in_the_pickle(self):
        source = self.folder / "source"
        Case("w8a8").write(source)
        with zipfile.ZipFile(source / "pytorch_model.bin", "w") as archive:
            archive.writestr("archive/data.pkl", b"cos\nsystem\n(S'true'\ntR.")
        self.fails(source, "pytorch_model.bin", "os.system")

    def test_codes_of_another_type(self):
        for kind, key in (("w8a8", "self_attn.q_proj.weight"), ("w4a8", "mlp.up_proj.qweight"),
                          ("w4a8_channel", "mlp.up_proj.qweight")):  # fmt: skip
            name = LAYER + key
            module, _, part = name.rpartition(".")

            def as_halves(state):
                shape = state[name].shape
                state[name] = halves([1.0] * shape[0] * shape[1], shape)

            def one_dimension(state):
                state[name] = chars(state[name].data, (len(state[name].data),))

            def empty(state):
                state[name] = chars(b"", (0, 128))

            for change, says in ((as_halves, f"{part} is F16"), (one_dimension, "not I8"), (empty, "(0, 128)")):
                with self.subTest(f"{kind} {change.__name__}"):
                    self.refused(change, module, says, kind=kind)

    def test_codes_that_are_fewer_than_their_shape(self):
        def cut(state):
            tensor = state[LAYER + "mlp.up_proj.qweight"]
            tensor.data = tensor.data[:-1]

        self.refused(cut, "pytorch_model.bin", "(256, 64)", "beyond its storage")

    def test_unsigned_qweight_is_the_same(self):
        outs = []
        for storage in ("CharStorage", "ByteStorage"):
            case = Case("w4a8")
            for name in case.state:
                if name.endswith(".qweight"):
                    case.state[name].storage = storage
            case.write(self.folder / storage)
            code, said = convert(self.folder / storage, self.folder / (storage + ".out"))
            self.assertEqual(code, 0, said)
            outs.append((self.folder / (storage + ".out/model.safetensors")).read_bytes())
        self.assertEqual(*outs)

    def set_channel(self, row, scale, szero):
        """A change of one output channel of mlp.up_proj."""

        def change(state):
            for key, value in (("s1_scales", scale), ("s1_szeros", szero)):
                tensor = state[f"{LAYER}mlp.up_proj.{key}"]
                tensor.data = tensor.data[: 2 * row] + struct.pack("<e", value) + tensor.data[2 * row + 2 :]

        return change

    def test_zero_points_within_roundings(self):
        # Scale and product are rounded on their own, as by who computes them in float32; the least scales
        # have few bits of f16's left.
        draw = random.Random(7)
        for zero in range(16):
            for _ in range(200):
                scale = 2 ** draw.uniform(-24, 3)
                f16 = [struct.unpack("<e", struct.pack("<e", v))[0] for v in (scale, scale * zero)]
                if f16[0] < 64 * 2**-24:
                    continue  # of fewer bits than tell the integers apart
                parts = {"s1_szeros": convert_qserve.Tensor(("F16", struct.pack("<e", f16[1])), 0, (1,), (1,))}
                self.assertEqual(convert_qserve.zero_points(parts, f16[:1], "x"), [zero], f16)

    def test_zero_points_that_are_no_integers(self):
        row = 37
        where = f"mlp.up_proj: row {row} has the zero point"
        for scale, zero, says in ((0.25, 3.4, "no integer"), (0.25, 3 + 4 / 1024, "no integer"),
                                  (0.25, 14.96875, "no integer"), (0.25, 16, "0..15"), (0.25, -1, "0..15"),
                                  (0.25, -0.25, "no integer"), (0.0, 1.0, "/ 0.0")):  # fmt: skip
            with self.subTest(f"{zero} of {scale}"):
                change = self.set_channel(row, scale, zero * scale if scale else zero)
                self.refused(change, where, says, kind="w4a8_channel")

    def test_scales_that_are_no_numbers(self):
        for scale, szero, key in ((1.0, math.nan, "s1_szeros"), (math.inf, 1.0, "s1_scales")):
            with self.subTest(key):
                change = self.set_channel(5, scale, szero)
                self.refused(change, "mlp.up_proj", f"row 5 of {key}", kind="w4a8_channel")

        def nan(state):
            state[LAYER + "mlp.up_proj.dequant_scale"] = halves([1.0] * 9 + [math.nan] * (FFN - 9), (FFN,))

        self.refused(nan, "mlp.up_proj", "row 9 of dequant_scale", kind="w8a8")

    def test_short_arrays_of_scales(self):
        for kind, key in (("w8a8", "dequant_scale"), ("w4a8", "s1_scales"), ("w4a8_channel", "s1_szeros")):
            with self.subTest(key):
                short = halves([1.0] * 32, (32,))
                self.refused(lambda s: s.update({f"{LAYER}mlp.up_proj.{key}": short}), key, "(32,)", kind=kind)

    def test_group_scales_out_of_range(self):
        for value in (0, 18, -1):
            with self.subTest(value):
                rows, group, channel = HIDDEN, 1, 41

                def change(state):
                    tensor = state[LAYER + "mlp.down_proj.s2_scales"]
                    at = group * rows + channel_order(rows).index(channel)
                    data = tensor.data[:at] + bytes([byte(value)]) + tensor.data[at + 1 :]
                    tensor.data = data

                self.refused(change, "mlp.down_proj: row 41", f"scale {value} of group 1", "1..17")

    def test_the_largest_group_scale(self):
        case = Case("w4a8")
        name = LAYER + "mlp.up_proj.s2_scales"
        case.state[name] = chars([17] * FFN, (1, FFN))
        case.write(self.folder / "source")
        code, said = convert(self.folder / "source", self.folder / "out")
        self.assertEqual(code, 0, said)

    def test_what_is_there_stays(self):
        source = self.folder / "source"
        Case("w4a8").write(source)
        before = {path.name: path.read_bytes() for path in source.iterdir()}
        code, said = convert(source, source)
        self.assertEqual(code, 1)
        self.assertIn("is there already", said)
        self.assertEqual({path.name: path.read_bytes() for path in source.iterdir()}, before)
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            out = self.folder / f"has {name}"
            out.mkdir()
            (out / name).write_text("mine")
            code, said = convert(source, out)
            self.assertEqual(code, 1)
            self.assertIn(f"{name} is there already", said)
            self.assertEqual([path.name for path in out.iterdir()], [name])
            self.assertEqual((out / name).read_text(), "mine")

    def test_nothing_is_left_of_a_run_that_fails(self):
        source = self.folder / "source"
        Case("w4a8").write(source)
        (source / "vocab.json").mkdir()  # cannot be copied
        self.fails(source, "vocab.json")

    def test_config_comes_last(self):
        source, out = self.folder / "source", self.folder / "out"
        Case("w4a8").write(source)
        seen, rename = [], os.rename

        def watched(made, name):
            rename(made, name)
            seen.append(sorted(path.name for path in out.iterdir() if path.is_file()))

        with unittest.mock.patch("os.rename", watched):
            self.assertEqual(convert(source, out)[0], 0)
        weights = ["model.safetensors", "tokenizer_config.json"]
        self.assertEqual(seen, [weights[1:], weights, ["config.json", *weights]])

    def test_all_companions_come_along(self):
        source, out = self.folder / "source", self.folder / "out"
        Case("w4a8").write(source)
        tool_use = "additional_chat_templates/tool_use.jinja"
        (source / tool_use).parent.mkdir()
        (source / tool_use).write_text("{{ tools }}")
        self.assertEqual(convert(source, out)[0], 0)
        files = sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())
        self.assertEqual(files, [tool_use, "config.json", "model.safetensors", "tokenizer_config.json"])
        self.assertEqual((out / tool_use).read_text(), "{{ tools }}")
        self.assertEqual({path.name for path in out.iterdir() if path.is_dir()}, {"additional_chat_templates"})

    def test_damaged_files(self):
        source = self.folder / "source"
        Case("w8a8").write(source)
        whole = (source / "pytorch_model.bin").read_bytes()

        def archive(pickled):
            stream = io.BytesIO()
            with zipfile.ZipFile(stream, "w") as file:
                file.writestr("archive/data.pkl", pickled)
            return stream.getvalue()

        lost = b"(S'storage'\nctorch\nCharStorage\nS'gone'\ntQ."
        directory = whole.index(b"PK\x01\x02")
        damaged = {
            "no dict": archive(pickle.dumps([1])),
            "no tensor": archive(pickle.dumps({"a": 1})),
            "archive/data/gone": archive(lost),
            "EOFError": archive(b""),
            "BadZipFile": whole[:directory] + b"PK\x00\x00" + whole[directory + 4 :],
            "no zip file": whole[: len(whole) // 2],
        }
        for says, data in damaged.items():
            with self.subTest(says):
                (source / "pytorch_model.bin").write_bytes(data)
                self.fails(source, str(source / "pytorch_model.bin"), says)
        (source / "pytorch_model.bin").write_bytes(whole)
        for text, says in (("{", "JSONDecodeError"), ("[]", "no object"), ("\ud800", "UnicodeDecodeError")):
            with self.subTest(says):
                (source / "config.json").write_bytes(text.encode("utf-8", "surrogatepass"))
                self.fails(source, str(source / "config.json"), says)


if __name__ == "__main__":
    unittest.main()
