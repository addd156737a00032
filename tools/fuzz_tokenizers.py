#!/usr/bin/env python3
r"""Compares LServe's tokenizers with PyPI tokenizers and sentencepiece on random strings.

    fuzz_tokenizers.py --driver build/release/tests/tokenize_batch --data tests/data/tokenizer \
        --count 1000000 --out bench/results/quality_tokenizer_fuzz.json

The count is shared out over the families, the small vocabularies of make_tokenizer_goldens.py and
make_tokenizer_families.py, each read from every file form that it has. Each string is encoded
twice: with control tokens as text, and parsed. Exits with 1 if a single one differs.
"""

import argparse
import datetime
import json
import pathlib
import platform
import random
import struct
import subprocess
import sys
import tempfile
import threading
import unicodedata

import gguf
import sentencepiece
import tokenizers
from make_tokenizer_families import LLAMA2_CONTROLS, SPACE, SYMBOLS, TokenizersOracle
from sentencepiece_oracle import SentencePieceOracle
from tokenizer_texts import NEARLY_SPACES, SPACES, random_strings
from tokenizers import Tokenizer

CHUNK = 4000
SHOWN = 10
PIECE_TYPES = (("is_unknown", 2), ("is_control", 3), ("is_unused", 5), ("is_byte", 6))
COMPOSING = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000 and
             (unicodedata.combining(chr(c)) or unicodedata.decomposition(chr(c)))]


def spaces(rng):
    return "".join(chr(rng.choice(SPACES + NEARLY_SPACES)) for _ in range(rng.randrange(1, 6)))


def part(rng, controls):
    """What the families' patterns and normalisers treat on their own."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice(["\r\n", "\n", "\r", "\n\n", " \n", "\t"]) * rng.randrange(1, 5)
    if kind == 1:
        return "".join(rng.choice("0123456789") for _ in range(rng.randrange(1, 21)))
    if kind == 2:
        return spaces(rng)
    if kind == 3:
        return " " * rng.randrange(1, 9)
    if kind == 4:
        return "".join(rng.choice(COMPOSING) for _ in range(rng.randrange(1, 6)))
    if kind == 5:
        return rng.choice("aeoAEO\u1100\u1161\u0915") + "".join(
            rng.choice("\u0300\u0301\u0323\u0327\u11a8\u093c\u0345\u20d0")
            for _ in range(rng.randrange(1, 5)))
    if kind == 6:
        return rng.choice("'\u2019") + rng.choice(
            ["s", "S", "t", "RE", "re", "vE", "ll", "D", "m", "\u017f", "x"])
    if kind == 7:
        return rng.choice([SPACE, SPACE * 2, f" {SPACE}", "<0x0A>", "<0xE2>", "ing ", "   "])
    if kind == 8:
        token = rng.choice(controls + SYMBOLS)
        return rng.choice([token, token[:-1], token + token, token + " ", " " + token])
    return rng.choice(["the", " the", " of", "ing", "X", "y", "!", " ?", "...", "\u65e5\u672c"])


def fuzz_strings(rng, controls):
    broad = random_strings(rng, controls, 40)
    while True:
        yield next(broad)
        yield "".join(part(rng, controls) for _ in range(rng.randrange(1, 8)))


def break_utf8(rng, text):
    """Bytes of which some are no UTF-8."""
    data = bytearray(text.encode())
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        if data and rng.random() < 0.5:
            del data[at:at + 1]
        else:
            data[at:at] = bytes([rng.randrange(0x80, 0x100)])
    return bytes(data)


class Driver:
    """tests/tokenizer/tokenize_batch.cc, kept running."""

    def __init__(self, program, model, vocab_size):
        self.process = subprocess.Popen([str(program), str(model), str(vocab_size)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def encode_batch(self, texts, parse):
        texts = [text if isinstance(text, bytes) else text.encode() for text in texts]
        data = b"".join(struct.pack("<IB", len(text), parse) + text for text in texts)

        def feed():
            self.process.stdin.write(data)
            self.process.stdin.flush()

        # Beside reading: the driver answers before it has read everything, and pipes are short.
        feeder = threading.Thread(target=feed)
        feeder.start()
        answers = [self.read_ids() for _ in texts]
        feeder.join()
        return answers

    def read_ids(self):
        head = self.process.stdout.read(4)
        if len(head) != 4:
            raise SystemExit(f"the driver ended: {self.process.wait()}")
        count = struct.unpack("<I", head)[0]
        return list(struct.unpack(f"<{count}i", self.process.stdout.read(4 * count)))

    def close(self):
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise SystemExit("the driver failed")


def compare(driver, oracle, count, seed, invalid_utf8):
    """The strings on which driver and oracle differ."""
    rng = random.Random(seed)
    texts = fuzz_strings(rng, oracle.controls())
    different = []
    for begin in range(0, count, CHUNK):
        batch = [next(texts) for _ in range(min(CHUNK, count - begin))]
        if invalid_utf8:
            batch = [break_utf8(rng, t) if rng.random() < 0.25 else t for t in batch]
        for parse in (False, True):
            ours, theirs = driver.encode_batch(batch, parse), oracle.encode_batch(batch, parse)
            for text, a, b in zip(batch, ours, theirs):
                if a != b:
                    different.append((text, parse, a, b))
    return different


def write_gguf(path, model, pre, tokens, types, scores=None, merges=None):
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if scores is not None:
        writer.add_token_scores(scores)
    if merges is not None:
        writer.add_token_merges([" ".join(merge) for merge in merges])
    writer.add_bos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def gguf_of_model(data, path):
    processor = sentencepiece.SentencePieceProcessor(model_proto=data)
    types = [next((value for name, value in PIECE_TYPES if getattr(processor, name)(i)), 1)
             for i in range(len(processor))]
    write_gguf(path, "llama", "default", [processor.id_to_piece(i) for i in range(len(types))],
               types, scores=[processor.get_score(i) for i in range(len(types))])


def gguf_of_json(document, pre, path):
    tokens = {i: (text, 1) for text, i in document["model"]["vocab"].items()}
    for token in document["added_tokens"]:
        tokens[token["id"]] = (token["content"], 3 if token["special"] else 4)
    ordered = [tokens[i] for i in range(len(tokens))]
    write_gguf(path, "gpt2", pre, [text for text, _ in ordered], [kind for _, kind in ordered],
               merges=document["model"]["merges"])


def json_families(data, scratch):
    """(name, model for the driver, oracle) of the families with a tokenizer.json."""
    for name in ("retriever", "smollm_small", "llama3", "qwen2", "llama2_json", "llama2_metaspace"):
        path = data / name / "tokenizer.json"
        yield name, data / name, TokenizersOracle(Tokenizer.from_file(str(path)))
    for name, pre in (("llama3", "llama-bpe"), ("qwen2", "qwen2")):
        text = (data / name / "tokenizer.json").read_text(encoding="utf-8")
        gguf_of_json(json.loads(text), pre, scratch / f"{name}.gguf")
        yield f"{name} GGUF", scratch / f"{name}.gguf", TokenizersOracle(Tokenizer.from_str(text))
    document = json.loads((data / "llama2_metaspace/tokenizer.json").read_text(encoding="utf-8"))
    document["pre_tokenizer"].update(split=True, prepend_scheme="always")
    (scratch / "split").mkdir()
    (scratch / "split/tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    yield ("llama2_metaspace split", scratch / "split",
           TokenizersOracle(Tokenizer.from_str(json.dumps(document))))


def sentencepiece_families(data, scratch):
    model = (data / "llama2_model/tokenizer.model").read_bytes()
    every = SentencePieceOracle(model, True, LLAMA2_CONTROLS)
    yield "llama2_model", data / "llama2_model", every
    gguf_of_model(model, scratch / "llama2.gguf")
    yield "llama2_model GGUF", scratch / "llama2.gguf", every
    (scratch / "first").mkdir()
    (scratch / "first/tokenizer.model").write_bytes(model)
    (scratch / "first/tokenizer_config.json").write_text('{"legacy": false}')
    yield ("llama2_model not legacy", scratch / "first",
           SentencePieceOracle(model, False, LLAMA2_CONTROLS))
    symbols = (data / "symbols_model/tokenizer.model").read_bytes()
    yield ("symbols_model", data / "symbols_model",
           SentencePieceOracle(symbols, True, LLAMA2_CONTROLS))


def vocab_size(oracle):
    if isinstance(oracle, TokenizersOracle):
        return oracle.tokenizer.get_vocab_size()
    return len(oracle.processor)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--driver", required=True, type=pathlib.Path)
    parser.add_argument("--data", required=True, type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1_000_000, help="strings, all families")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", help="only those whose name contains this")
    parser.add_argument("--out", type=pathlib.Path, help="the record")
    args = parser.parse_args()

    figures, failed = [], False
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        families = [*json_families(args.data, scratch),
                    *sentencepiece_families(args.data, scratch)]
        share = -(-args.count // len(families))
        for index, (family, model, oracle) in enumerate(families):
            if args.family and args.family not in family:
                continue
            driver = Driver(args.driver, model, vocab_size(oracle))
            is_sentencepiece = isinstance(oracle, SentencePieceOracle)
            different = compare(driver, oracle, share, args.seed * 1000 + index, is_sentencepiece)
            driver.close()
            print(f"{family}: {share} strings, {len(different)} differences", flush=True)
            for text, parse, ours, theirs in different[:SHOWN]:
                print(f"  {ascii(text)} {'parsed' if parse else 'as text'}\n"
                      f"    ours   {ours}\n    theirs {theirs}")
            failed = failed or bool(different)
            library = "sentencepiece" if is_sentencepiece else "tokenizers"
            figures.append({"metric": f"{family}: strings encoded otherwise than by {library}",
                            "value": len(different), "unit": f"of {share} strings, two ways each",
                            "limit": "== 0", "holds": not different})
    if args.out:
        args.out.write_text(json.dumps({
            "name": "quality_tokenizer_fuzz", "device": platform.machine(), "commit": "pending",
            "date": datetime.date.today().isoformat(),
            "command": f"fuzz_tokenizers.py --count {args.count} --seed {args.seed}",
            "seed": args.seed,
            "oracles": {"tokenizers": tokenizers.__version__,
                        "sentencepiece": sentencepiece.__version__},
            "figures": figures}, indent=1) + "\n", encoding="utf-8")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
