#!/usr/bin/env python3
"""Writes tests/data/tokenizer/: what PyPI tokenizers makes of some thousand difficult strings.

    make_tokenizer_goldens.py --smollm2 SmolLM2.gguf --retriever DIR --out tests/data/tokenizer

SmolLM2's tokenizer is built from the GGUF file's tables; smollm_small is its first 4,000 merges, so
that a plain clone can run the tests. Needs tokenizers 0.23.3 and gguf. Same seed, same files.
"""

import argparse
import json
import pathlib
import random
import shutil

import gguf
import tokenizers
from tokenizer_texts import fixed_strings, long_runs, random_strings, write_lines
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

SEED = 20250214
SMALL_MERGES = 4000
IGNORE_MERGES_RANKS = 1000
CONTROL, USER_DEFINED = 3, 4


def write_goldens(path, tokenizer, count, longest, run_length, seed):
    rng = random.Random(seed)
    controls = [token.content for token in tokenizer.get_added_tokens_decoder().values()]
    texts = dict.fromkeys(fixed_strings(controls[:4] + controls[-3:]))
    texts.update(dict.fromkeys(long_runs(run_length)))
    more = random_strings(rng, controls, longest)
    while len(texts) < count:
        texts[next(more)] = None
    rows = []
    for text in texts:
        row = {"text": text}
        tokenizer.encode_special_tokens = True
        row["as_text"] = tokenizer.encode(text, add_special_tokens=False).ids
        tokenizer.encode_special_tokens = False
        parsed = tokenizer.encode(text, add_special_tokens=False).ids
        if parsed != row["as_text"]:
            row["parse"] = parsed
        rows.append(row)
    write_lines(path, rows)


def build(tokens, merges, specials, others=(), ignore_merges=False):
    model = models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges,
                       ignore_merges=ignore_merges)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in others])
    return tokenizer


def read_gguf(path):
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    assert USER_DEFINED not in types
    specials = [token for token, kind in zip(tokens, types) if kind == CONTROL]
    return tokens, merges, specials, fields["tokenizer.chat_template"].contents()


def write_small(out, tokens, merges, specials, template):
    first_merged = len(tokens) - len(merges)
    assert tokens[first_merged] == "".join(merges[0])
    small_tokens = tokens[:first_merged + SMALL_MERGES]
    small_merges = merges[:SMALL_MERGES]
    others = ["<tool", "<tool_call>"]
    tokenizer = build(small_tokens, small_merges, specials, others)
    folder = out / "smollm_small"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    config = {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>", "add_prefix_space": False,
              "chat_template": template}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
    write_goldens(folder / "goldens.jsonl", tokenizer, 1100, 60, 600, SEED)
    whole = build(small_tokens, small_merges[:IGNORE_MERGES_RANKS], specials, others,
        ignore_merges=True)
    write_goldens(folder / "ignore_merges.jsonl", whole, 700, 40, 200, SEED + 1)


def write_unicode_classes(path):
    """The classes of all code points as runs [first, last, class]."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)

    def joins(left, char):
        return len(level.pre_tokenize_str(left + char)) == 1

    runs = []
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        char = chr(c)
        kind = next((k for k, left in (("L", "a"), ("N", "1"), ("S", "\n")) if joins(left, char)),
            "O")
        if len(digits.pre_tokenize_str("a" + char)) == 2:
            kind += "d"
        if runs and runs[-1][1] == c - 1 and runs[-1][2] == kind:
            runs[-1][1] = c
        else:
            runs.append([c, c, kind])
    write_lines(path, runs)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smollm2", required=True, help="SmolLM2 as GGUF")
    parser.add_argument("--retriever", required=True, type=pathlib.Path, help="its directory")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    print("tokenizers", tokenizers.__version__)

    tokens, merges, specials, template = read_gguf(args.smollm2)
    write_small(args.out, tokens, merges, specials, template)
    write_goldens(args.out / "smollm2" / "goldens.jsonl", build(tokens, merges, specials), 1500, 60,
        600, SEED + 2)

    folder = args.out / "retriever"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(args.retriever / name, folder / name)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    write_goldens(folder / "goldens.jsonl", tokenizer, 800, 40, 300, SEED + 3)
    write_unicode_classes(args.out / "unicode_classes.jsonl")


if __name__ == "__main__":
    main()
