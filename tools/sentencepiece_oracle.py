"""PyPI sentencepiece as transformers' LlamaTokenizer uses it, with control tokens cut out first."""

import re

import sentencepiece


class SentencePieceOracle:
    """`every_text`: a dummy prefix behind each control token too (transformers' "legacy": true)."""

    def __init__(self, model, every_text, controls):
        self.processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        self.every_text = every_text
        self.tokens = controls
        self.cut = re.compile("(" + "|".join(
            re.escape(token) for token in sorted(controls, key=len, reverse=True)) + ")")
        # Without a prefix: what an escaped line break in front adds is taken off again.
        self.mark = self.processor.encode("\n")

    def encode_batch(self, texts, parse):
        if not parse:
            return self.processor.encode(texts)
        return [self.encode_parsed(text) for text in texts]

    def encode_parsed(self, text):
        is_bytes = isinstance(text, bytes)
        parts = self.cut.split(text.decode("latin-1") if is_bytes else text)
        ids = []
        for index, part in enumerate(parts):
            if index % 2 == 1:
                ids.append(self.processor.piece_to_id(part))
            elif part:
                part = part.encode("latin-1") if is_bytes else part
                ids += self.encode_part(part, prefix=self.every_text or index == 0)
        return ids

    def encode_part(self, part, prefix):
        if prefix:
            return self.processor.encode(part)
        break_ = b"\n" if isinstance(part, bytes) else "\n"
        ids = self.processor.encode(break_ + part)
        assert ids[:len(self.mark)] == self.mark
        return ids[len(self.mark):]

    def encode_with_bos(self, text):
        return [self.processor.bos_id(), *self.processor.encode(text)]

    def controls(self):
        return self.tokens
