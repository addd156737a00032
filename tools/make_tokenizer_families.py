#!/usr/bin/env python3
"""Trains small vocabularies of the tokenizer families and writes what their libraries make of them.

    make_tokenizer_families.py --texts tests/data/texts --out tests/data/tokenizer

Each family gets a folder with its tokenizer file and goldens.jsonl: "as_text" with control tokens
as ordinary text, "parse" where recognising them differs, "with_bos" where a BOS token is added.
Needs tokenizers 0.23.3 and sentencepiece 0.2.3.
"""

import argparse
import io
import json
import pathlib
import random

import sentencepiece
import tokenizers
from sentencepiece_oracle import SentencePieceOracle
from tokenizer_texts import fixed_strings, long_runs, random_strings, write_lines
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers
from tokenizers import pre_tokenizers, processors, trainers

SEED = 20250402
SPACE = "\u2581"
LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "")
LLAMA3_TOKENS = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>",
                 "<|end_header_id|>", "<|eot_id|>"]
QWEN2_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
QWEN2_WORDS = ["<tool_call>", "</tool_call>"]
SYMBOLS = ["<tool>", "</tool>", SPACE * 3, "ing" + SPACE, "<tool"]
LLAMA2_CONTROLS = ["<s>", "</s>", "<unk>"]
SPELLED = 64  # merges left out, so that ignore_merges shows


def train_sentencepiece(texts, **settings):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        input=",".join(str(path) for path in texts), model_writer=model, model_type="bpe",
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, max_sentence_length=1 << 15, minloglevel=2, **settings)
    return model.getvalue()


def sentencepiece_merges(oracle):
    """What transformers makes of scores: all ways to cut each piece, by its score."""
    scores = {oracle.id_to_piece(i): oracle.get_score(i) for i in range(len(oracle))
              if not (oracle.is_control(i) or oracle.is_unknown(i) or oracle.is_byte(i))}
    ids = {oracle.id_to_piece(i): i for i in range(len(oracle))}
    merges = []
    for piece, score in scores.items():
        cuts = [(piece[:i], piece[i:]) for i in range(1, len(piece))
                if piece[:i] in scores and piece[i:] in scores]
        cuts.sort(key=lambda cut: (ids[cut[0]], ids[cut[1]]))
        merges += [(score, cut) for cut in cuts]
    merges.sort(key=lambda merge: -merge[0])
    return [cut for _, cut in merges], ids


def llama2_json(model, metaspace):
    """The same vocabulary as tokenizers' BPE, in the older or the newer of transformers' forms."""
    oracle = sentencepiece.SentencePieceProcessor(model_proto=model)
    merges, ids = sentencepiece_merges(oracle)
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=merges, unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    if metaspace:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(
            replacement=SPACE, prepend_scheme="first", split=False)
    else:
        tokenizer.normalizer = normalizers.Sequence(
            [normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse(),
         decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens(
        [AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", ids["<s>"])])
    return tokenizer


def train_byte_level(texts, pattern, size, tokens, words, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated"),
         pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train([str(path) for path in texts], trainer)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in words])
    return tokenizer


def train_llama3(texts):
    tokenizer = train_byte_level(texts, LLAMA3_PATTERN, 900, LLAMA3_TOKENS, [],
                                 ignore_merges=True)
    document = json.loads(tokenizer.to_str())
    del document["model"]["merges"][-SPELLED:]
    tokenizer = Tokenizer.from_str(json.dumps(document))
    first = LLAMA3_TOKENS[0]
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(
            single=f"{first} $A", pair=f"{first} $A {first} $B",
            special_tokens=[(first, tokenizer.token_to_id(first))])])
    return tokenizer


def train_qwen2(texts):
    tokenizer = train_byte_level(texts, QWEN2_PATTERN, 800, QWEN2_TOKENS, QWEN2_WORDS)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


class TokenizersOracle:
    """PyPI tokenizers behind the three questions that goldens and the fuzzer ask."""

    def __init__(self, tokenizer):
        self.tokenizer = tokenizer

    def encode_batch(self, texts, parse):
        self.tokenizer.encode_special_tokens = not parse
        encodings = self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def encode_with_bos(self, text):
        self.tokenizer.encode_special_tokens = True
        return self.tokenizer.encode(text).ids

    def controls(self):
        return [token.content for token in self.tokenizer.get_added_tokens_decoder().values()]


def golden_texts(controls, count, longest, run_length, seed, extra):
    texts = dict.fromkeys(fixed_strings(controls))
    texts.update(dict.fromkeys(extra))
    texts.update(dict.fromkeys(long_runs(run_length)))
    more = random_strings(random.Random(seed), controls, longest)
    while len(texts) < count:
        texts[next(more)] = None
    return list(texts)


def write_goldens(path, oracle, seed, extra):
    texts = golden_texts(oracle.controls(), 600, 40, 120, seed, extra)
    rows = []
    for text, as_text, parsed in zip(texts, oracle.encode_batch(texts, False),
                                     oracle.encode_batch(texts, True)):
        row = {"text": text, "as_text": as_text}
        if parsed != as_text:
            row["parse"] = parsed
        rows.append(row)
    for row in rows[:40]:
        with_bos = oracle.encode_with_bos(row["text"])
        if with_bos != row["as_text"]:
            row["with_bos"] = with_bos
    write_lines(path, rows)


SPACED = [f"{SPACE}a", f"a{SPACE}b", f" {SPACE}a", f"a {SPACE} b", f"{SPACE * 3}", "a\u2580b",
          "<0x0A>", "<0x41>b", "a<0x0A>", " </s> a", "</s>a</s> b", "a </s>b"]
COMPOSED = ["e\u0301", "E\u0323\u0301", "E\u0301\u0323", "\u1100\u1161\u11a8", "\u0958", "\u2126x",
            "\u212b", "a\u0345\u0898\u0334", "\U00011935\U00011930", "<\u0338tool_call>",
            "<tool_call>\u0338", "\u0301", "a\u0301\u0301", "\u0b47\u0b56", "\uf900\u0300",
            "'\u017f", "it'\u017f", "'S 'RE 'Ve 'LL", "12345\u00bd", "\u1e9b\u0323"]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", required=True, type=pathlib.Path, help="folder to train on")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    print("tokenizers", tokenizers.__version__, "sentencepiece", sentencepiece.__version__)
    texts = sorted(args.texts.glob("*.txt"))

    def folder(name):
        path = args.out / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    llama2 = train_sentencepiece(texts, vocab_size=900, byte_fallback=True,
                                 character_coverage=0.9995)
    (folder("llama2_model") / "tokenizer.model").write_bytes(llama2)
    oracle = SentencePieceOracle(llama2, every_text=True, controls=LLAMA2_CONTROLS)
    write_goldens(folder("llama2_model") / "goldens.jsonl", oracle, SEED, SPACED)
    symbols = train_sentencepiece(texts, vocab_size=700, byte_fallback=False,
                                  character_coverage=0.99, user_defined_symbols=SYMBOLS)
    (folder("symbols_model") / "tokenizer.model").write_bytes(symbols)
    oracle = SentencePieceOracle(symbols, every_text=True, controls=LLAMA2_CONTROLS)
    extra = SPACED + [a + b + c for a in ("", " ", "x") for b in SYMBOLS for c in ("", " y", "g")]
    write_goldens(folder("symbols_model") / "goldens.jsonl", oracle, SEED + 1,
                  [text.replace(SPACE, " ") for text in extra] + extra)

    for name, tokenizer, extra in (
            ("llama2_json", llama2_json(llama2, False), SPACED),
            ("llama2_metaspace", llama2_json(llama2, True), SPACED),
            ("llama3", train_llama3(texts), COMPOSED), ("qwen2", train_qwen2(texts), COMPOSED)):
        tokenizer.save(str(folder(name) / "tokenizer.json"), pretty=False)
        write_goldens(folder(name) / "goldens.jsonl", TokenizersOracle(tokenizer), SEED + 2, extra)


if __name__ == "__main__":
    main()
