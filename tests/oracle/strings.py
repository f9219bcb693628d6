"""Strings that tokenizers disagree about: odd spaces, digits, scripts, contractions, special tokens. Called by reference.py."""

from __future__ import annotations

import numpy as np

SEED = 51
MIXED = 220

# Each is asked alone, and they are what the mixed ones are made of.
PARTS = [
    "", " ", "  ", "   ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\n\n\n  ", "\t\t\n", "\u00a0", "\u3000", "\u2028", "\u200b",
    "a", "Z", " a", "a ", "  a  ", "Hello", " hello world", "HELLO", "camelCase", "snake_case", "kebab-case", "x.y.z",
    "0", "7", "42", "123", "1234", "12345678", "3.14159", "1,000,000", "0x1F", "1e-9", "²", "½", "٣", "४", "Ⅷ", "①",
    "I'll", "it's", "don't", "we've", "you're", "I'm", "he'd", "DON'T", "I'LL", "'s", "'S", "’s", "''", "rock'n'roll",
    "!", "?!", "...", "…", "--", "—", "()", "[]", "{}", "<>", "=>", "->", "!=", "&&", "||", "#", "@", "$", "€", "^", "`", "~", "+", "\\", "/", "%",
    "Who are you?", "Sort a list in Python.", "for (int i = 0; i < 10; ++i) {\n\tx += i;\n}", "def f(x):\n    return x + 1\n",
    "SELECT * FROM t WHERE a = 'b';", "https://example.org/a?b=c&d=%20", "me@example.org", "C:\\Users\\me",
    "naïve", "façade", "Straße", "İstanbul", "ﬁne", "e\u0301", "n\u0303o", "Ærøskøbing", "Œuvre", "ʻOkina",
    "Жили-были", "старик", "у самого моря", "Ελληνικά", "שלום", "السلام عليكم", "नमस्ते", "ไทย", "বাংলা", "தமிழ்",
    "我们的模型", "今天是二〇二六年。", "吾輩は猫である", "ひらがな", "カタカナ", "나는 오늘", "，", "。", "「」", "ｆｕｌｌ", "龥", "龦", "㐀", "𠀀",
    "😀", "👩‍👩‍👧‍👦", "🇩🇪", "👍🏽", "❤️", "☃", "♫", "→", "∑", "√2", "𝔘", "\ue000", "\ufeff", "\u0000", "\u0007", "\u001b", "\u007f", "\ufffd",
    "<｜begin▁of▁sentence｜>", "<|EOT|>", "<|user|>", "<note>", "<|EOT|><|EOT|>", " <|user|> ", "a<note>b", "<|EOT", "<|nothing|>", "<｜", "▁", "Ġ", "Ċ",
]  # fmt: skip


def texts() -> list[str]:
    """All parts, and MIXED strings of two to eight of them."""
    random = np.random.default_rng(SEED)
    mixed = ["".join(PARTS[i] for i in random.integers(0, len(PARTS), random.integers(2, 9))) for _ in range(MIXED)]
    return PARTS + mixed
