"""Difficult texts for tokenizers: a fixed list, long runs, and endless random ones.

Shared by make_tokenizer_goldens.py, make_tokenizer_families.py and fuzz_tokenizers.py; the first
depends on the order of the random draws.
"""

import json

SPACES = [0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029,
          0x202F, 0x205F, 0x3000]
NEARLY_SPACES = [0x180E, 0x200B, 0x2060, 0xFEFF, 0x1C, 0x1D, 0x1E, 0x1F, 0x0, 0x7F, 0x8]

ENGLISH = (
    "The quick brown fox doesn't jump over the lazy dog; it's 3 o'clock, "
    "and they've said we'll see. "
    "She'd have gone there herself if I'm not mistaken, but you're right: 'tis the season. "
    "In 1969, 600 million people watched Apollo 11 land, 384,400 km away. "
    "Nobody KNOWS what I'VE seen, can't say WHO'S there, and that'll do. ").split(" ")
CODE = [
    "#include <vector>\nint main() {\n\tstd::vector<int> v{1, 2, 3};\n\treturn v.size() != 3;\n}\n",
    "def f(x):\n    return {'a': x[0:10], \"b\": x**2 // 7}  # comment\n\n\nprint(f(range(100)))\n",
    "SELECT * FROM t WHERE a >= 10 AND b != 'it''s';\r\n\r\n",
    "<div class=\"x\">&nbsp;&lt;</div>\n<!-- ... -->\n",
    "$ cat a.txt | grep -E '^[0-9]+$' >> b.txt 2>&1 && echo \"done: $?\"",
    "\\begin{equation}\n  \\sum_{i=0}^{n} x_i^2 \\leq \\int f\\,dx\n\\end{equation}",
    "{\"key\": [1, 2.5e-3, null, true], \"nested\": {\"a\": \"\\u00e9\"}}",
]
WORLD = [
    "日本語のテキストです。漢字とかな、カタカナ。", "中文文本，没有空格。今天天气很好！", "한국어 문장입니다. 안녕하세요?",
    "Привет, мир! Как дела?", "Γειά σου Κόσμε, 123 τεστ", "مرحبا بالعالم ١٢٣٤", "שלום עולם",
    "नमस्ते दुनिया १२३",
    "สวัสดีชาวโลก", "Xin chào thế giới", "Größe, naïve café, façade, ÅÄÖ, ß",
    "e\u0301a\u0308n\u0303 o\u0302\u0323 Z\u0351\u036b\u0343a\u0349l\u0345g\u031fo",
    "ﬁ ﬂ ™ © ½ ¾ ² ³ Ⅷ ⅻ ① ㉈ 𝟘𝟙𝟚 𝔘𝔫𝔦",
    "👩‍👩‍👧‍👦 👨🏽‍🚀 🏳️‍🌈 🇩🇪🇫🇷 ❤️ 1️⃣ 😀😃", "𠀀𠀁𠀂 𒀀𒀁 𓀀𓀁", "a\u200bb\u2060c\ufeffd\u00ade\u180ef",
    "“curly” ‘quotes’ it’s — – … •",
    "\u0660\u0661 \u06f1\u06f2 \u0967 \u0be7 \u2160\u2161 \u00bc", "ǅ ʰ ª º ჀႠ ꟁ",
    "\U00011de0\U00011de5 \U00016ff4a \U00010d40 \U0001e5f1 \U0002ebf0",
]


def fixed_strings(controls):
    yield from ("", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n\r\n", "\t", " \n ", "\n \n",
        "'", "''", "'s",
                "'S", "'re're", "'ll've'd'm't's", " 's", "x's y's", "don't", "don1't", "1's", " '1",
                "'1", "! 's", "!'s",
                "a\n", "a \n", "a  \nb", "a\n\n\nb", " a", "  a", "   a", "\na", " \na", "\n a",
                "a1b", " 12", "  12", "12 ",
                "1 2", "1  2", "1\n2", "a  1", "v1.2.3", "x²y", "½", " ½", "10,000.50", "\u00a0a",
                " \u00a0a", "\u3000\u3000あ")
    for number in range(1, 21):
        yield "12345678901234567890"[:number]
        yield " " + "98765432109876543210"[:number] + "x"
    for c in SPACES + NEARLY_SPACES:
        s = chr(c)
        yield from (s, s * 3, f"a{s}b", f"a{s}{s}b", f"a {s}b", f"a{s} b", f"{s}1{s}", f"!{s}",
            f"a{s}\n", f"{s}'s")
    yield from ("\r\n" * n + tail for n in range(1, 9) for tail in ("", "x", " x"))
    yield from CODE + WORLD
    yield from (" " + text for text in WORLD)
    for token in controls:
        yield from (token, f"{token}system\nobey{token}", f"a {token} b", token[:-1], token[1:],
            token + token,
                    f" {token}\n", token.upper(), token.replace("|", " |"), "\u200b".join(token))


def random_char(rng):
    kind = rng.randrange(12)
    if kind < 3:
        return chr(rng.randrange(0x20, 0x7F))
    if kind == 3:
        return chr(rng.choice(SPACES))
    if kind == 4:
        return rng.choice("  \n\r\t'")
    if kind == 5:
        return rng.choice("0123456789")
    if kind == 6:
        return chr(rng.randrange(0x300, 0x370))
    if kind == 7:
        return chr(rng.randrange(0x4E00, 0x9FFF))
    if kind == 8:
        return rng.choice("👩👨🏽🚀❤\u200d\ufe0f🇩🇪😀")
    if kind == 9:
        return chr(rng.randrange(0xA0, 0x600))
    while True:
        c = rng.randrange(0x110000)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def random_strings(rng, controls, longest):
    while True:
        kind = rng.randrange(8)
        if kind < 3:
            yield "".join(random_char(rng) for _ in range(rng.randrange(1, longest)))
        elif kind < 5:
            words = rng.choices(ENGLISH, k=rng.randrange(1, max(2, longest // 4)))
            yield rng.choice([" ", " ", "  ", "\n"]).join(words)
        elif kind == 5:
            yield "".join(random_char(rng) * rng.randrange(1, 9) for _ in range(rng.randrange(1,
                8)))
        elif kind == 6:
            parts = rng.choices(controls + ENGLISH + WORLD + ["<", "|", ">", "<|", "|>"],
                k=rng.randrange(1, 6))
            yield "".join(parts)
        else:
            yield rng.choice(CODE + WORLD)[rng.randrange(6):][:rng.randrange(4, longest)]


def long_runs(length):
    for unit in ("a", " ", "\n", "1", "!", "ab", "é", "日", "\u0301", "😀", "a ", "the ", "\r\n",
        "<|", "Aa"):
        yield (unit * length)[:length]


def write_lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: {len(rows)} lines, {len(text.encode()):,} bytes")
