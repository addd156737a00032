#!/usr/bin/env python3
"""Writes tests/data/tokenizer/chat/: what jinja2 makes of templates as transformers does.

    make_chat_template_goldens.py --out tests/data/tokenizer

Reads the templates *.jinja in chat/ and smollm_small/ (its chat template, and for token ids).
dialogues.jsonl: what the templates are given; conversations.jsonl: every template with them;
fragments.jsonl: short sources. Each with its text or, if jinja2 fails too, without. Needs
transformers (chat_template_oracle.py) and tokenizers 0.23.3.
"""

import argparse
import json
import pathlib

from tokenizers import Tokenizer

import chat_template_cases
import chat_template_oracle

BOS, EOS = "<|im_start|>", "<|im_end|>"
# Written for this project before the families: they alone meet every plain conversation.
PLAIN_TEMPLATES = ("blocks.jinja", "headers.jinja", "smollm2.jinja")


def write_lines(path, rows):
    text = "".join(
        json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows
    )
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(rows)} lines, {len(text.encode()):,} bytes")


def has_control_token(dialogue):
    return "<|" in json.dumps(dialogue["messages"])


def conversations(templates, dialogues, tokenizer):
    """Every template with the dialogues that are meant for it, with and without a prompt."""
    for name, source in templates:
        for index, dialogue in enumerate(dialogues):
            is_plain = index < len(chat_template_cases.PLAIN)
            if is_plain and name not in PLAIN_TEMPLATES:
                continue
            for prompt in (True, False) if index % 3 == 0 or is_plain else (True,):
                row = {"template": name, "dialogue": index, "add_generation_prompt": prompt}
                given = {
                    **dialogue,
                    "source": source,
                    "add_generation_prompt": prompt,
                    "bos_token": BOS,
                    "eos_token": EOS,
                }
                text, _ = chat_template_oracle.render(given)
                if text is not None:
                    row["text"] = text
                    # Without control tokens in messages, the whole text's ids are the truth.
                    if name == "smollm2.jinja" and not has_control_token(dialogue):
                        row["ids"] = tokenizer.encode(text, add_special_tokens=False).ids
                yield row


def fragments():
    for source in chat_template_cases.FRAGMENTS:
        row = {"source": source}
        text, _ = chat_template_oracle.render(
            {
                "source": source,
                "messages": chat_template_cases.FRAGMENT_MESSAGES,
                "bos_token": BOS,
                "eos_token": EOS,
            }
        )
        if text is not None:
            row["text"] = text
        yield row


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    small = args.out / "smollm_small"
    tokenizer = Tokenizer.from_file(str(small / "tokenizer.json"))
    chat = args.out / "chat"
    config = json.loads((small / "tokenizer_config.json").read_text())
    (chat / "smollm2.jinja").write_text(config["chat_template"])
    templates = [
        (path.name, path.read_bytes().decode("utf-8")) for path in sorted(chat.glob("*.jinja"))
    ]
    dialogues = chat_template_cases.PLAIN + chat_template_cases.RICH
    write_lines(chat / "dialogues.jsonl", dialogues)
    write_lines(chat / "conversations.jsonl", list(conversations(templates, dialogues, tokenizer)))
    write_lines(chat / "fragments.jsonl", list(fragments()))


if __name__ == "__main__":
    main()
