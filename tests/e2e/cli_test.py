"""The binary as a user meets it: outputs, exit codes, bad input.

Run by scripts/test with LSERVE_BIN naming the binary. Exit codes (system.md 9): 0 ok, 1 run-time error,
2 usage or prompt too long, 3 model file, 4 memory, 5 device, 130 Ctrl-C.
"""

import json
import os
import pty
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LSERVE = os.environ.get("LSERVE_BIN", str(ROOT / "build/release/lserve"))
MODEL = ROOT / "models/retriever-14m.Q8_0.gguf"
PATTERN = ROOT / "models/head_pattern"
QUESTION = "The pass key for amber-falcon is 40213.\nWhat is the pass key for amber-falcon?"


def lserve(*args, stdin=subprocess.DEVNULL, env=None, timeout=120, **kwargs):
    full_env = {k: v for k, v in os.environ.items() if not k.startswith("LSERVE_")}
    full_env.update(env or {})
    if isinstance(stdin, str):
        kwargs["input"] = stdin
        stdin = None
    return subprocess.run([LSERVE, *map(str, args)], stdin=stdin, env=full_env, text=True,
                          capture_output=True, timeout=timeout, check=False, **kwargs)


def run_json(*args, **kwargs):
    done = lserve("run", MODEL, *args, "--json", **kwargs)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Outputs(unittest.TestCase):
    def test_help_and_version_go_to_stdout(self):
        for args in (["--help"], ["run", "--help"], ["run", "--help-all"], ["--version"], []):
            done = lserve(*args)
            self.assertEqual(done.returncode, 0, args)
            self.assertEqual(done.stderr, "")
            self.assertTrue(done.stdout)
        self.assertIn("--token-budget", lserve("run", "--help").stdout)

    def test_run_prints_the_answer_and_nothing_else_on_stdout(self):
        done = lserve("run", MODEL, QUESTION, "-n", "8", "--stop", "\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, " 40213\n")
        for word in ("device", "memory", "load", "prompt", "answer", "KV cache"):
            self.assertIn(word, done.stderr)

    def test_quiet_prints_no_logs(self):
        done = lserve("run", MODEL, QUESTION, "-n", "8", "--stop", "\n", "-q")
        self.assertEqual((done.stdout, done.stderr), (" 40213\n", ""))

    def test_json_has_every_field(self):
        out = run_json(QUESTION, "-n", "8", "--stop", "\n")
        self.assertEqual(out["text"], " 40213")
        self.assertEqual(out["finish_reason"], "stop")
        usage = out["usage"]
        self.assertEqual(usage["prompt_tokens"], len(QUESTION) + 1)
        self.assertEqual(usage["completion_tokens"], len(out["token_ids"]))
        self.assertEqual(usage["total_tokens"],
                         usage["prompt_tokens"] + usage["completion_tokens"])
        timings = out["timings"]
        for name in ("prompt_n", "prompt_ms", "prompt_per_second", "predicted_n", "predicted_ms",
                     "predicted_per_second"):
            self.assertGreater(timings[name], 0, name)
        for phase in ("prompt", "predicted"):
            self.assertAlmostEqual(timings[f"{phase}_per_second"],
                                   timings[f"{phase}_n"] * 1000 / timings[f"{phase}_ms"], places=3)
        self.assertEqual(timings["predicted_n"], usage["completion_tokens"])
        self.assertEqual(out["sparsity"]["streaming_heads"], 0)
        for phase in ("prefill", "decode"):
            self.assertEqual(out["sparsity"][phase]["pages_read"],
                             out["sparsity"][phase]["pages_held"])
        self.assertGreater(out["memory"]["kv_bytes_in_use"], 0)

    def test_sparsity_is_reported(self):
        text = (ROOT / "tests/data/texts/english_prose.txt").read_text()[:3000]
        out = run_json(text, "-n", "8", "--ignore-eos", "--streaming-heads", PATTERN,
                       "--token-budget", "512")
        sparsity = out["sparsity"]
        self.assertEqual(sparsity["attention"], "lserve")
        self.assertEqual(sparsity["streaming_heads"], 16)
        self.assertEqual(sparsity["kv_heads"], 32)
        self.assertGreater(sparsity["selector_refreshes"], 0)
        for phase in ("prefill", "decode"):
            self.assertLess(sparsity[phase]["pages_read"], sparsity[phase]["pages_held"])

    def test_tokenize(self):
        done = lserve("tokenize", MODEL, "-p", "h\u00e9 <eos>", "--json")
        out = json.loads(done.stdout)
        expected = [257, *"h\u00e9 <eos>".encode()]
        self.assertEqual(out, {"count": len(expected), "token_ids": expected})
        done = lserve("tokenize", MODEL, "-p", "a<eos>", "--json", "--parse-special")
        self.assertEqual(json.loads(done.stdout)["token_ids"], [257, 97, 258])

    def test_perplexity(self):
        path = ROOT / "tests/data/texts/english_prose.txt"
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as part:
            part.write(path.read_text()[:1000])
            part.flush()
            done = lserve("eval", "perplexity", MODEL, "-f", part.name, "--decode-tokens", "10",
                          "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(done.stdout)
        self.assertEqual(out["tokens"], 1 + len(path.read_text()[:1000].encode()))
        self.assertEqual(out["decode"]["tokens"], 10)
        self.assertGreater(out["nll"], out["decode"]["nll"])

    def test_info_loads_no_weights(self):
        start = time.monotonic()
        out = json.loads(lserve("info", MODEL, "-c", "64k", "--json").stdout)
        self.assertLess(time.monotonic() - start, 2)
        self.assertEqual(out["model"]["num_layers"], 8)
        self.assertEqual(out["memory"]["context"], 65536)
        self.assertIn("memory", lserve("info", MODEL).stdout)

    def test_bench_latency(self):
        done = lserve("bench", "latency", MODEL, "--prompt-tokens", "128,1k", "--decode-tokens",
                      "4", "--attention", "dense,lserve", "--streaming-heads", PATTERN,
                      "--token-budget", "512", "-r", "1", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        figures = json.loads(done.stdout)["figures"]
        self.assertEqual([(f["attention"], f["prompt_tokens"]) for f in figures],
                         [("dense", 128), ("dense", 1024), ("lserve", 128), ("lserve", 1024)])
        for figure in figures:
            self.assertGreater(figure["prefill_tokens_per_s"], 0)
            self.assertGreater(figure["decode_tokens_per_s"], 0)

    def test_the_table_of_bench_latency(self):
        done = lserve("bench", "latency", MODEL, "-p", "128,2k", "-n", "4", "-r", "1", "--batch", "1,2",
                      "--kv-cache-memory", "4MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = [[cell.strip() for cell in line.split("|")[1:-1]]
                for line in done.stdout.splitlines() if line.startswith("|")]
        head, _, *rows = rows
        self.assertEqual({len(row) for row in rows}, {len(head)})
        self.assertEqual([row[head.index("test")] for row in rows],
                         ["pp128", "tg4 @ d128", "tg4 @ d2048", "tg4 @ d128 x 2", "tg4 @ d2048 x 2"])
        self.assertEqual(rows[0][:5], [MODEL.name, "14.47 MiB", "14.26 M", rows[0][3], "dense"])
        for row in rows:
            speed = row[head.index("t/s")]
            if "2048" in row[head.index("test")]:
                self.assertIn("does not fit: KV cache ", speed)
                continue
            times = [float(row[head.index(name)]) for name in ("min", "ms", "p99", "max")]
            self.assertEqual(times, sorted(times))
            self.assertGreater(float(speed), 0)

    def test_bench_kernel(self):
        done = lserve("bench", "kernel", "decode_attention,rope", "--device", "cpu", "--shape", "tiny",
                      "--context", "1k", "--attention", "dense,lserve", "--token-budget", "512",
                      "-r", "2", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        out = json.loads(done.stdout)
        self.assertEqual([f["op"] for f in out["figures"]],
                         ["decode_attention", "decode_attention", "rope"])
        for figure in out["figures"]:
            self.assertGreater(figure["us_median"], 0)
            self.assertGreater(figure["of_memory"], 0)
        table = lserve("bench", "kernel", "rope", "--device", "cpu", "--shape", "tiny", "-r", "1")
        self.assertIn("| rope | 640 wide, 1 row |", table.stdout)


def write_adapter(directory, tensors, **config):
    """A PEFT adapter of rank 2 on the retriever; tensors: name -> (shape, value of all elements)."""
    base = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["v_proj"],
            "layers_to_transform": [0]}
    header, data = {}, b""
    for name, (shape, value) in tensors.items():
        part = struct.pack("<f", value) * (shape[0] * shape[1])
        header[f"base_model.model.model.layers.0.self_attn.v_proj.{name}.weight"] = {
            "dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    directory.mkdir(exist_ok=True)
    (directory / "adapter_config.json").write_text(json.dumps({**base, **config}))
    (directory / "adapter_model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + data)


class Adapters(unittest.TestCase):
    """--lora; what an adapter computes is tests/engine/lora_adapter_test.cc's business."""

    def setUp(self):
        self.dir = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.dir)

    def write(self, value_b, rows=256, **config):
        write_adapter(self.dir, {"lora_A": ([2, 384], 1.0), "lora_B": ([rows, 2], value_b)},
                      **config)

    def test_it_is_applied_and_reported(self):
        plain = run_json(QUESTION, "-n", "8", "--ignore-eos")["token_ids"]
        self.write(0.0)
        same = run_json(QUESTION, "-n", "8", "--ignore-eos", "--lora", self.dir)
        self.assertEqual(same["token_ids"], plain)
        self.write(5.0)
        other = run_json(QUESTION, "-n", "8", "--ignore-eos", "--lora", self.dir)
        self.assertNotEqual(other["token_ids"], plain)
        none = run_json(QUESTION, "-n", "8", "--ignore-eos", "--lora", self.dir, "--lora-scale", "0")
        self.assertEqual(none["token_ids"], plain)
        out = json.loads(lserve("info", MODEL, "--lora", self.dir, "--json").stdout)
        self.assertEqual(out["adapter"]["modules"], ["v_proj"])
        self.assertEqual(out["adapter"]["layers"], 1)
        self.assertEqual(out["adapter"]["highest_rank"], 2)
        self.assertIn("LoRA of rank 2", lserve("info", MODEL, "--lora", self.dir).stdout)
        self.assertIsNone(json.loads(lserve("info", MODEL, "--json").stdout)["adapter"])

    def test_a_wrong_one_is_refused_by_name(self):
        for words, change in ((("lora_B.weight", "[128, 2]", "[256, 2]"), {"rows": 128}),
                              (("lora_A.weight", "[2, 384]", "[3, 384]"), {"r": 3}),
                              (("use_dora",), {"use_dora": True}),
                              (("lora_A.weight", "is missing"), {"layers_to_transform": [0, 1]})):
            self.write(1.0, **change)
            done = lserve("run", MODEL, "x", "--lora", self.dir)
            self.assertEqual(done.returncode, 3, done.stderr)
            for word in words:
                self.assertIn(word, done.stderr)
        done = lserve("info", MODEL, "--lora", self.dir / "absent")
        self.assertEqual(done.returncode, 3, done.stderr)
        self.assertIn("adapter_config.json", done.stderr)


class Inputs(unittest.TestCase):
    def count(self, *args, **kwargs):
        return json.loads(lserve("tokenize", MODEL, *args, "--json", **kwargs).stdout)

    def test_file_prompt_and_stdin(self):
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("abc\n")
            file.flush()
            self.assertEqual(self.count("-f", file.name)["token_ids"][1:], list(b"abc\n"))
            self.assertEqual(self.count("-f", file.name, "-p", "q")["token_ids"][1:],
                             list(b"abc\n\nq"))
        self.assertEqual(self.count(stdin="piped")["token_ids"][1:], list(b"piped"))
        self.assertEqual(self.count("-f", "-", "-p", "q", stdin="a")["token_ids"][1:],
                         list(b"a\n\nq"))
        # A prompt is given: standard input is not read.
        self.assertEqual(self.count("-p", "q", stdin="a")["token_ids"][1:], list(b"q"))

    def test_environment_and_command_line(self):
        env = {"LSERVE_MAX_TOKENS": "3"}
        self.assertEqual(run_json("abc", "--ignore-eos", env=env)["usage"]["completion_tokens"], 3)
        out = run_json("abc", "--ignore-eos", "-n", "2", env=env)
        self.assertEqual(out["usage"]["completion_tokens"], 2)

    def test_isa_and_device_agree_on_an_easy_question(self):
        args = (QUESTION, "-n", "8", "--stop", "\n")
        for extra in (["--device", "reference"], ["--cpu-isa", "generic"], ["-t", "1"],
                      ["--kv-cache-dtype", "int8"], ["--kv-cache-dtype", "fp32"]):
            self.assertEqual(run_json(*args, *extra)["text"], " 40213", extra)


class BadInput(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.dir = Path(tempfile.mkdtemp())

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    def expect(self, code, done, *words):
        self.assertEqual(done.returncode, code, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error[")]
        self.assertEqual(len(errors), 1, done.stderr)
        for word in words:
            self.assertIn(word, errors[0])

    def skip_if_not_started(self, done):
        if done.returncode == 127 and "error while loading shared libraries" in done.stderr:
            self.skipTest("the limit is less than the libraries of this build (with CUDA)")

    def write(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return path

    def test_usage(self):
        self.expect(2, lserve("rum", MODEL), "run")
        self.expect(2, lserve("run", MODEL, "x", "--max-tokns", "3"), "--max-tokens")
        self.expect(2, lserve("run", MODEL, "x", "-n", "many"), "many")
        self.expect(2, lserve("run"), "MODEL")
        self.expect(2, lserve("run", MODEL, "x", "--weights", "w3a8"), "--weights")
        self.expect(2, lserve("quantize", MODEL, "--weights", "w4a8"), "-o DIR")
        self.expect(2, lserve("quantize", MODEL, "--weights", "w4a8", "-o", "/nowhere/x"), "Hugging Face")
        self.expect(2, lserve("run", MODEL, "x", "--token-budget", "1000"), "--token-budget")
        self.expect(2, lserve("run", MODEL, "x", "--attention", "lserve"), "--streaming-heads")
        self.expect(2, lserve("run", MODEL, "-f", self.dir / "none.txt"), "none.txt")
        self.expect(2, lserve("run", MODEL, "x", "-c", "200000"), "200,000", "131,072")
        self.expect(2, lserve("run", MODEL, ""), "empty")
        self.expect(2, lserve("run", MODEL, stdin=""), "empty")
        self.expect(2, lserve("bench", "latency", MODEL, "--prompt-tokens", "200", "-c", "100"),
                    "100", "232")
        self.expect(2, lserve("bench", "kernel", "lineer"), "lineer", "did you mean linear?")
        self.expect(2, lserve("bench", "kernel"), "OP is missing")
        self.expect(4, lserve("bench", "kernel", "decode_attention", "--device", "cpu", "--context",
                              "16M", "--batch", "256"), "does not fit: ", "iB of ")

    def test_prompt_longer_than_the_context(self):
        self.expect(2, lserve("run", MODEL, "x" * 500, "-c", "256"), "501", "256")

    def test_model_files(self):
        header = MODEL.read_bytes()[:100_000]
        cases = {
            "missing.gguf": (None, "No such file"),
            "pointer.gguf": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
                             "LFS"),
            "truncated.gguf": (header, "truncated.gguf"),
            "empty.gguf": (b"", "empty.gguf"),
            "text.gguf": (b"hello world, this is no model" * 10, "text.gguf"),
            "future.gguf": (header[:4] + b"\x63\0\0\0" + header[8:], "version"),
            "arch.gguf": (header[:4096].replace(b"llama", b"mamba") + MODEL.read_bytes()[4096:],
                          "mamba"),
        }
        for name, (data, word) in cases.items():
            path = self.dir / name if data is None else self.write(name, data)
            start = time.monotonic()
            self.expect(3, lserve("run", path, "x"), word)
            self.assertLess(time.monotonic() - start, 1, name)

    def test_directories(self):
        empty = self.dir / "empty"
        empty.mkdir()
        self.expect(3, lserve("run", empty, "x"), "config.json")
        (empty / "config.json").write_text(
            '{"architectures": ["MistralForCausalML"], "model_type": "x"}')
        self.expect(3, lserve("run", empty, "x"), "MistralForCausalML", "MistralForCausalLM")

    def test_what_would_change_the_result_is_refused_by_name(self):
        models = ROOT / "tests/data/models"
        cases = [
            ("llama3_gqa4", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, "dynamic"),
            ("mistral", {"sliding_window": 64}, "sliding_window"),
            ("llama2_mha", {"quantization_config": {"quant_method": "awq"}}, "awq"),
            ("minitron_hd128", {"hidden_act": "gelu"}, "hidden_act"),
        ]
        for name, changes, word in cases:
            folder = shutil.copytree(models / name, self.dir / name)
            config = json.loads((folder / "config.json").read_text())
            (folder / "config.json").write_text(json.dumps(config | changes))
            self.expect(3, lserve("run", folder, "x"), word)
        # A type that is known and not used, in a tensor of the same size.
        norm = b"output_norm.weight" + struct.pack("<IQ", 1, 384)
        data = MODEL.read_bytes().replace(norm + struct.pack("<I", 0), norm + struct.pack("<I", 26))
        self.expect(3, lserve("run", self.write("int.gguf", data), "x"), "output_norm.weight", "I32")

    def test_random_damage_never_ends_in_a_signal(self):
        seed = int(os.environ.get("LSERVE_TEST_SEED", "20261124"))
        rng = random.Random(seed)
        whole = bytearray(MODEL.read_bytes())
        for i in range(40):
            damaged = bytearray(whole)
            # Half of the damage goes to the header, where it can do most.
            end = 8192 if i % 2 == 0 else len(damaged)
            for _ in range(rng.randint(1, 8)):
                damaged[rng.randrange(end)] = rng.randrange(256)
            path = self.write("damaged.gguf", damaged)
            done = lserve("run", path, "hello", "-n", "2", "-c", "128", timeout=60)
            self.assertIn(done.returncode, (0, 1, 3, 4), f"seed {seed}, case {i}: {done.stderr}")

    def test_head_pattern_for_another_model(self):
        path = self.write("p.tsv", b"0.5\t0.5\n" * 3)
        self.expect(3, lserve("run", MODEL, "x", "--streaming-heads", path), "3 layers x 2", "8 x 4")

    def test_a_fifo_is_no_model(self):
        path = self.dir / "fifo.gguf"
        os.mkfifo(path)
        self.expect(3, lserve("run", path, "x", timeout=5), "not a regular file")

    def test_every_memory_limit_ends_well(self):
        # The system itself kills a program that is larger than the limit.
        program = os.path.getsize(LSERVE) + (2 << 20)
        sizes = [m for m in (12, 20, 40, 60, 80, 100, 120, 140, 160) if m << 20 > program]
        for megabytes in sizes:
            def limit(size=megabytes << 20):
                resource.setrlimit(resource.RLIMIT_AS, (size, size))

            done = lserve("run", MODEL, QUESTION, "-n", "8", "-c", "1k", "-t", "1",
                          preexec_fn=limit)
            # Below some size the system cannot even load the program (127).
            self.assertIn(done.returncode, (0, 4, 127), f"{megabytes} MiB: {done.stderr}")

    def test_the_context_that_is_suggested_fits(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))

        done = lserve("run", MODEL, "x", "-c", "128k", "-t", "1", preexec_fn=limit)
        self.skip_if_not_started(done)
        self.assertEqual(done.returncode, 4)
        suggested = done.stderr.split("--max-model-len ")[1].split()[0]
        done = lserve("run", MODEL, QUESTION, "-n", "8", "--stop", "\n", "-c", suggested, "-t", "1",
                      preexec_fn=limit)
        self.assertEqual((done.returncode, done.stdout), (0, " 40213\n"), done.stderr)

    def test_not_enough_memory(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (600 << 20, 600 << 20))

        done = lserve("run", MODEL, "x", "-c", "128k", "--kv-cache-dtype", "fp32", "-t", "1",
                      preexec_fn=limit)
        self.skip_if_not_started(done)
        self.expect(4, done, "Largest that fits", "--max-model-len")
        self.assertNotIn("load ", done.stderr)
        # Without a context asked for, the largest that fits is taken.
        done = lserve("run", MODEL, QUESTION, "-n", "8", "--stop", "\n", "-t", "1",
                      preexec_fn=limit)
        self.assertEqual((done.returncode, done.stdout), (0, " 40213\n"), done.stderr)
        self.assertIn("the largest that fits", done.stderr)

    def test_a_hostile_template_is_refused(self):
        with tempfile.NamedTemporaryFile("w", suffix=".jinja") as file:
            for source in ("{% for i in range(200000) %}{% endfor %}", "{{ 'a' * 1000000000000 }}",
                           "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}"
                           "{% endfor %}"):
                file.seek(0)
                file.truncate()
                file.write(source)
                file.flush()
                self.expect(3, lserve("run", MODEL, "x", "-n", "1", "--chat-template", file.name),
                            "is not supported")

    def test_options_without_effect_are_refused(self):
        self.expect(2, lserve("run", MODEL, "x", "--lora-scale", "3"), "--lora")
        self.expect(2, lserve("run", MODEL, "x", "--raw", "--chat-template",
                              MODEL.parents[1] / "docs/samples/question.txt"), "--raw")

    def test_a_reader_that_has_gone(self):
        process = subprocess.Popen([LSERVE, "run", str(MODEL), "x", "--raw", "-n", "3000",
                                    "--ignore-eos"], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL)
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 1)

    def test_a_device_that_is_not_there(self):
        for verb in (["run"], ["info"], ["eval", "perplexity"], ["bench", "latency"]):
            prompt = ["x"] if verb[0] in ("run", "eval") else []
            # Where there is a GPU, CUDA shows none of it.
            done = lserve(*verb, MODEL, *prompt, "--device", "cuda",
                          env={"CUDA_VISIBLE_DEVICES": ""})
            self.expect(5, done, "error[device]: cuda: this ", "--device cpu")
            self.assertRegex(done.stderr, "(has no NVIDIA driver|shows no NVIDIA GPU|"
                                          "was built without CUDA)")
            self.assertEqual(done.stdout, "")
        # auto tells once what it took, however often the verb opens it.
        done = lserve("bench", "kernel", "rms_norm,silu_mul", "--shape", "tiny", "-r", "1",
                      env={"CUDA_VISIBLE_DEVICES": ""})
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(done.stderr.count("auto    the cpu, because: "), (0, 1))

    def test_a_share_of_the_gpu_needs_one(self):
        for device in ("cpu", "reference"):
            self.expect(2, lserve("info", MODEL, "--device", device, "--gpu-memory-utilization",
                                  "0.5"), "--gpu-memory-utilization", "--device cuda")
        # auto: refused as well where it comes down to the CPU.
        self.expect(2, lserve("info", MODEL, "--gpu-memory-utilization", "0.5",
                              env={"CUDA_VISIBLE_DEVICES": ""}), "--gpu-memory-utilization")
        self.expect(2, lserve("info", MODEL, env={"LSERVE_GPU_MEMORY_UTILIZATION": "0.5",
                                                  "LSERVE_DEVICE": "cpu"}), "the device is not")
        # What --dump-config writes of itself is read back.
        dump = lserve("info", MODEL, "--dump-config", "--device", "cpu").stdout
        dump = "\n".join(x for x in dump.splitlines() if not x.startswith("lora-scale"))
        config = self.write("dump.toml", dump.encode())
        self.assertEqual(lserve("info", "--config", config).returncode, 0)

    def test_kv_cache_memory(self):
        # 8 KiB a token.
        out = json.loads(lserve("info", MODEL, "--kv-cache-memory", "8MiB", "--json").stdout)
        self.assertEqual(out["memory"]["context"], 1024)
        self.assertEqual(out["memory"]["kv_bytes"], 8 << 20)
        out = run_json(QUESTION, "-n", "4", "--kv-cache-memory", "8MiB")
        self.assertEqual(out["usage"]["completion_tokens"], 4)
        self.expect(2, lserve("run", MODEL, "x" * 2000, "--kv-cache-memory", "8MiB"), "1,024")
        for verb in (["run"], ["eval", "perplexity"]):
            self.expect(4, lserve(*verb, MODEL, "hello", "-c", "2k", "--kv-cache-memory", "8MiB"),
                        "16.00 MiB", "8.00 MiB", "--max-model-len 1024", "--kv-cache-memory 16MiB")
        done = lserve("bench", "latency", MODEL, "-p", "100,2k", "-n", "2", "-r", "1",
                      "--kv-cache-memory", "8MiB")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("does not fit: KV cache", done.stdout)
        self.assertIn("| dense | tg2 @ d100 |", done.stdout)

    def test_logits_that_are_not_finite(self):
        adapter = self.dir / "huge"
        write_adapter(adapter, {"lora_A": ([2, 384], 1.0), "lora_B": ([256, 2], 3e38)})
        for sampling in ([], ["--temp", "0.8"]):
            done = lserve("run", MODEL, QUESTION, "-n", "8", "--lora", adapter, *sampling)
            self.expect(1, done, "error[runtime]: the logits at position", "are not finite")
        self.expect(1, lserve("eval", "perplexity", MODEL, "hello", "--lora", adapter),
                    "not finite")

    def test_full_disk(self):
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([LSERVE, "tokenize", str(MODEL), "-p", "x"], stdout=full,
                                  stderr=subprocess.PIPE, text=True, check=False)
        self.expect(1, done, "standard output")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = subprocess.run([LSERVE, "run", str(MODEL), "x", "--ignore-eos"], stdout=full,
                                  stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                  check=False, timeout=20)
        self.expect(1, done, "standard output")

    def test_ctrl_c_stops_the_answer(self):
        process = subprocess.Popen(
            [LSERVE, "run", str(MODEL), "Once upon a time", "-n", "100000", "--ignore-eos"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertTrue(process.stdout.read(1))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130, err)
        self.assertTrue(out.endswith("\n"))
        self.assertIn("tokens/s", err)

    def test_ctrl_c_in_a_chat(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(LSERVE, [LSERVE, "run", str(MODEL), "-c", "64k", "--ignore-eos", "-q"])
        seen = b""

        def wait_for(text, count):
            nonlocal seen
            end = time.monotonic() + 30
            while seen.count(text) < count and time.monotonic() < end:
                if select.select([terminal], [], [], 0.1)[0]:
                    seen += os.read(terminal, 4096)
            self.assertGreaterEqual(seen.count(text), count, seen[-200:])

        try:
            wait_for(b"> ", 1)
            os.write(terminal, b"Once upon a time\n")
            wait_for(b"\n", 1)
            wait_for(b" ", 8)  # the answer has begun
            os.write(terminal, b"\x03")
            wait_for(b"> ", 2)  # it stopped, and the chat goes on
            os.write(terminal, b"\x03")
            self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 130)
        finally:
            os.close(terminal)

    def test_an_empty_stop_is_refused(self):
        self.expect(2, lserve("run", MODEL, "x", "--stop", ""), "--stop", "empty")


class KvFiles(unittest.TestCase):
    """Another question about the same document, from one run to the next."""

    @classmethod
    def setUpClass(cls):
        cls.dir = Path(tempfile.mkdtemp())
        text = (ROOT / "tests/data/texts/english_prose.txt").read_text()[:900]
        cls.book = cls.dir / "book.txt"
        cls.book.write_text(f"The pass key for amber-falcon is 40213.\n{text}\n"
                            f"The pass key for silent-otter is 77120.\n")
        cls.args = ("-n", "8", "--stop", "\n", "--streaming-heads", PATTERN, "-c", "2k")
        cls.kv = cls.dir / "book.kv"
        cls.first = cls.ask("amber-falcon", "--kv-save", cls.kv)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir)

    @classmethod
    def ask(cls, who, *args, **kwargs):
        return run_json("-f", cls.book, f"What is the pass key for {who}?", *cls.args, *args,
                        **kwargs)

    def failing(self, code, *args, **kwargs):
        done = lserve("run", MODEL, "-f", self.book, "Why?", *self.args, *args, **kwargs)
        self.assertEqual(done.returncode, code, done.stderr)
        errors = [line for line in done.stderr.splitlines() if line.startswith("error[")]
        self.assertEqual(len(errors), 1, done.stderr)
        self.assertNotIn("Terminated", done.stderr)
        return errors[0]

    def test_the_same_and_another_question(self):
        self.assertGreater(self.first["kv_file"]["saved_tokens"], 900)
        for who, key in (("amber-falcon", "40213"), ("silent-otter", "77120")):
            warm, cold = self.ask(who, "--kv-load", self.kv), self.ask(who)
            self.assertIn(key, warm["text"])
            self.assertEqual(warm["token_ids"], cold["token_ids"])
            cached = warm["usage"]["prompt_tokens_details"]["cached_tokens"]
            self.assertGreater(cached, 900)
            self.assertEqual(cached, warm["kv_file"]["restored_tokens"])
            self.assertGreater(warm["kv_file"]["restore_ms"], 0)
            self.assertNotIn("kv_file", cold)

    def test_another_document_is_computed_with_a_warning(self):
        done = lserve("run", MODEL, QUESTION, *self.args, "--kv-load", self.kv)
        self.assertEqual((done.returncode, done.stdout), (0, " 40213\n"), done.stderr)
        self.assertIn("too few to go on from", done.stderr)

    def test_what_differs_is_refused_by_name(self):
        self.assertIn("KV format", self.failing(3, "--kv-load", self.kv, "--kv-cache-dtype", "int8"))
        self.assertIn("head pattern", self.failing(3, "--kv-load", self.kv, "--sink-tokens", "64"))
        self.assertIn("No such file", self.failing(3, "--kv-load", self.dir / "none.kv"))
        self.assertIn("not a KV file", self.failing(3, "--kv-load", self.book))

    def test_cuts_and_damage(self):
        whole = self.kv.read_bytes()
        damaged = self.dir / "damaged.kv"
        rng = random.Random(20261124)
        for i in range(12):
            if i % 2 == 0:
                damaged.write_bytes(whole[:rng.randrange(len(whole))])
            else:
                at = rng.randrange(len(whole))
                damaged.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1:])
            self.assertIn("damaged.kv", self.failing(3, "--kv-load", damaged))

    def test_places_that_cannot_be_written(self):
        start = time.monotonic()
        self.failing(1, "--kv-save", self.dir / "none" / "x.kv")
        self.failing(1, "--kv-save", "/dev/full")
        self.assertLess(time.monotonic() - start, 5)

    def test_a_full_disk_keeps_the_old_file_and_the_answer(self):
        kept = self.dir / "kept.kv"
        kept.write_bytes(b"old")

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

        done = lserve("run", MODEL, "-f", self.book, "What is the pass key for silent-otter?",
                      *self.args, "--kv-save", kept, preexec_fn=limit)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn("77120", done.stdout)
        self.assertIn("kept.kv: cannot be written", done.stderr)
        self.assertEqual(kept.read_bytes(), b"old")
        self.assertEqual([p.name for p in self.dir.glob("*.part")], [])

    def test_a_chat_has_no_prompt_to_keep(self):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(LSERVE, [LSERVE, "run", str(MODEL), "--kv-save", str(self.dir / "chat.kv")])
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), 2)
        os.close(terminal)


if __name__ == "__main__":
    unittest.main()
