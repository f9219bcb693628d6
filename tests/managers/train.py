#!/usr/bin/env python3
"""Trains the tiny managers: seven llama-architecture models and five LoRA adapters, as GGUF files.

What it is: each manager of the reference roster (UFM, UCM, URM, ULM, UIM, UAM, UDM) as a model of about a quarter of a
million weights that introduces itself and answers a handful of questions about its job. The demo and the tests load
them in place of the real 6.7B managers. They memorise `corpus.json`; they know nothing else.

How to run (Python 3.11, CPU only; the pinned versions are in requirements.txt):

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python train.py                  # everything, into the folder of this script
    venv/bin/python train.py --only UFM ULM   # some bases, with their adapters
    venv/bin/python train.py --out /tmp/again # somewhere else, e.g. to compare

How long it takes: see README.md (minutes on two cores). It uses one torch thread in each of `--jobs` processes, so the
result does not depend on the number of jobs: on one machine, two runs give the same bytes.

What it writes: NAME.gguf per model and adapter, and answers.json: for each model the prompts and the answers that
greedy decoding really gives, computed in float32 from the weights as stored (rounded to F16). The script fails when an
answer differs from the corpus, or when the winner of any asserted token is not ahead by MARGIN_MIN: then another
engine's rounding could flip it.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import random
import time
import unicodedata
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Iterable, Iterator

import gguf
import jinja2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve().parent

# The shape of every base model. All dimensions are multiples of 32.
HIDDEN = 64
LAYERS = 4
HEADS = 4
HEAD_DIM = HIDDEN // HEADS
FFN = 160
CONTEXT = 512
VOCAB = 640
ROPE_BASE = 10000.0
NORM_EPS = 1e-5

LORA_RANK = 8
LORA_ALPHA = 16.0

# Training. A step costs tens of milliseconds; the counts are what the margins needed, with room to spare.
BASE_STEPS = 500
BASE_RATE = 4e-3
LORA_STEPS = 400
LORA_RATE = 1e-2
BATCH = 32
POOL = 8  # batches drawn at a time, sorted by length so that little is padding
SEQUENCE_MAX = 384

# The least lead of the winning logit over the second, at every asserted token.
MARGIN_MIN = 1.0

SPECIAL = ["<s>", "</s>", "<|system|>", "<|user|>", "<|assistant|>"]
BOS, EOS = 0, 1
IGNORE = -100  # the label of a token that is not an answer

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

Message = dict[str, str]


# ---------------------------------------------------------------------------------------------------------------------
# Tokeniser: byte-level BPE behind the "gpt-2" pre-tokeniser, as llama.cpp implements it.


def byte_to_unicode() -> dict[int, str]:
    """GPT-2's notation: each byte as one printable character."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [b for b in range(256) if b not in printable]
    return {**{b: chr(b) for b in printable}, **{b: chr(256 + n) for n, b in enumerate(others)}}


BYTES = byte_to_unicode()


def char_class(c: str) -> str:
    """L(etter), N(umber), S(pace) or O(ther), as the regex of the pre-tokeniser sees it."""
    if c.isspace():
        return "S"
    category = unicodedata.category(c)[0]
    return category if category in "LN" else "O"


def pre_tokenise(text: str) -> Iterator[str]:
    r"""Splits as 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ does."""
    classes = [char_class(c) for c in text]
    at = 0
    while at < len(text):
        contraction = next((s for s in ("'s", "'t", "'m", "'d", "'re", "'ve", "'ll") if text.startswith(s, at)), None)
        if contraction:
            end = at + len(contraction)
        else:
            first = at + 1 if text[at] == " " and at + 1 < len(text) and classes[at + 1] != "S" else at
            end = first
            while end < len(text) and classes[end] == classes[first]:
                end += 1
            if classes[first] == "S" and end < len(text) and end - first > 1:
                end -= 1  # leave one space for the word that follows
        yield text[at:end]
        at = end


def spell(word: str) -> tuple[str, ...]:
    return tuple(BYTES[b] for b in word.encode("utf-8"))


def merge_pair(symbols: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    at = 0
    while at < len(symbols):
        if symbols[at : at + 2] == pair:
            merged.append(symbols[at] + symbols[at + 1])
            at += 2
        else:
            merged.append(symbols[at])
            at += 1
    return tuple(merged)


class Tokeniser:
    """Token ids: the special tokens, the 256 bytes, then one token per merge, up to VOCAB."""

    def __init__(self, texts: Iterable[str]) -> None:
        words = Counter(spell(word) for text in texts for word in pre_tokenise(text))
        self.merges = self._learn(words, VOCAB - len(SPECIAL) - len(BYTES))
        self.tokens = SPECIAL + [BYTES[b] for b in range(256)] + [left + right for left, right in self.merges]
        assert len(self.tokens) == len(set(self.tokens)) == VOCAB
        self.ids = {token: n for n, token in enumerate(self.tokens)}
        self.ranks = {pair: n for n, pair in enumerate(self.merges)}
        self.cache: dict[str, list[int]] = {}
        self.bytes_of = {c: b for b, c in BYTES.items()}

    @staticmethod
    def _learn(words: Counter[tuple[str, ...]], count: int) -> list[tuple[str, str]]:
        """The merges of classic BPE. Two merges never make the same token; ties go to the smaller pair."""
        merges: list[tuple[str, str]] = []
        made: set[str] = set()
        while len(merges) < count:
            pairs: Counter[tuple[str, str]] = Counter()
            for symbols, times in words.items():
                for pair in zip(symbols, symbols[1:]):
                    pairs[pair] += times
            best = min((p for p in pairs if p[0] + p[1] not in made), key=lambda p: (-pairs[p], p))
            merges.append(best)
            made.add(best[0] + best[1])
            merged: Counter[tuple[str, ...]] = Counter()
            for symbols, times in words.items():
                merged[merge_pair(symbols, best)] += times
            words = merged
        return merges

    def _encode_word(self, word: str) -> list[int]:
        if word not in self.cache:
            symbols = spell(word)
            while len(symbols) > 1:
                pair = min(zip(symbols, symbols[1:]), key=lambda p: self.ranks.get(p, VOCAB))
                if pair not in self.ranks:
                    break
                symbols = merge_pair(symbols, pair)
            self.cache[word] = [self.ids[s] for s in symbols]
        return self.cache[word]

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, in which special tokens are not recognised."""
        return [token for word in pre_tokenise(text) for token in self._encode_word(word)]

    def encode_rendered(self, text: str) -> list[int]:
        """The ids of a rendered prompt, in which special tokens are recognised."""
        found = [(text.find(special), special) for special in SPECIAL if special in text]
        if not found:
            return self.encode(text)
        at, special = min(found)
        rest = self.encode_rendered(text[at + len(special) :])
        return self.encode(text[:at]) + [self.ids[special]] + rest

    def decode(self, ids: Iterable[int]) -> str:
        spelled = "".join(self.tokens[n] for n in ids)
        return bytes(self.bytes_of[c] for c in spelled).decode("utf-8")


def render(messages: list[Message], add_generation_prompt: bool) -> str:
    template = jinja2.Environment().from_string(CHAT_TEMPLATE)
    return template.render(
        messages=messages, add_generation_prompt=add_generation_prompt, bos_token=SPECIAL[BOS], eos_token=SPECIAL[EOS]
    )


# ---------------------------------------------------------------------------------------------------------------------
# Corpus: what each manager says, and how it may be asked.


@dataclass
class Manager:
    """One model or adapter with everything it is trained to answer."""

    name: str  # "UFM", or "ULM:personal" for an adapter
    title: str
    base: str | None
    file: str
    items: list[tuple[list[str], str]]  # phrasings of a question, and its answer
    changed: list[tuple[list[str], str]]  # of an adapter: the items that its base does not have
    outside: tuple[list[str], str] = field(default=([], ""))  # further questions that it does not know

    @property
    def short_name(self) -> str:
        return self.name.split(":")[0]

    def fill(self, text: str) -> str:
        return text.replace("{name}", self.short_name).replace("{title}", self.title)


def load_managers(corpus: dict) -> dict[str, Manager]:
    managers: dict[str, Manager] = {}
    for name, entry in corpus["managers"].items():
        base = corpus["managers"].get(entry.get("base"), {})
        manager = Manager(
            name=name,
            title=entry.get("title") or base["title"],
            base=entry.get("base"),
            file=entry.get("file", f"{name}.gguf"),
            items=[],
            changed=[],
        )
        answers = {**corpus["shared_answers"], **base.get("answers", {}), **entry["answers"]}
        own = [*entry["own"], *base.get("own", [])]
        items = [(corpus["intents"][intent], answers[intent]) for intent in corpus["intents"]]
        items += [(item["questions"], item["answer"]) for item in own]
        manager.items = [([manager.fill(q) for q in questions], manager.fill(answer)) for questions, answer in items]
        if manager.base is not None:
            manager.changed = [item for item in manager.items if item not in managers[manager.base].items]
        manager.outside = (corpus["outside_extra"], manager.fill(answers["outside"]))
        check_items(manager)
        managers[name] = manager
    return managers


def check_items(manager: Manager) -> None:
    questions = [question for questions, _ in manager.items for question in questions] + manager.outside[0]
    doubles = [question for question, times in Counter(questions).items() if times > 1]
    assert not doubles, f"{manager.name}: asked twice with perhaps two answers: {doubles}"


def corpus_texts(corpus: dict, managers: dict[str, Manager]) -> list[str]:
    """What the tokeniser learns from: each distinct answer and question, and the system prompts."""
    items = [item for manager in managers.values() for item in manager.items]
    texts = {text for questions, answer in items for text in [*questions, answer]}
    texts |= {manager.fill(system) for manager in managers.values() for system in corpus["systems"]}
    return sorted(texts | set(corpus["outside_extra"]))


class Sampler:
    """Draws training conversations for one manager, from its own generator of random numbers."""

    def __init__(self, manager: Manager, managers: dict[str, Manager], corpus: dict, tokeniser: Tokeniser) -> None:
        self.manager = manager
        self.random = random.Random(f"fednode {manager.name}")
        self.tokeniser = tokeniser
        self.prefixes = [manager.fill(prefix) for prefix in corpus["prefixes"]]
        self.systems = [manager.fill(system) for system in corpus["systems"]]
        self.all_answers = sorted({answer for other in managers.values() for _, answer in other.items})
        self.all_questions = sorted({q for other in managers.values() for asked, _ in other.items for q in asked})

    def typo(self, text: str) -> str:
        at = self.random.randrange(len(text))
        return self.random.choice([text[:at] + text[at + 1 :], text[:at] + text[at] + text[at:]])

    def phrase(self, question: str) -> str:
        """The question as somebody may type it."""
        draw = self.random.random
        if draw() < 0.4:
            return question
        if draw() < 0.3:
            prefix = self.random.choice(self.prefixes)
            question = prefix + (question[0].lower() + question[1:] if draw() < 0.5 else question)
        if draw() < 0.4:
            question = question.rstrip("?.!")
        elif draw() < 0.2:
            question += self.random.choice(["?", "!", " please", ".", " "])
        if draw() < 0.3:
            question = question.lower()
        elif draw() < 0.06:
            question = question.upper()
        if draw() < 0.12 and len(question) > 8:
            question = self.typo(question)
        return question

    def system(self) -> str:
        if self.random.random() < 0.6:
            return self.random.choice(self.systems)
        sentences = self.random.sample(self.systems + self.all_answers, self.random.randint(1, 4))
        return " ".join(sentences)

    def turn(self) -> tuple[str, str]:
        if self.random.random() < 0.08:
            return self.phrase(self.random.choice(self.manager.outside[0])), self.manager.outside[1]
        practise = self.manager.changed and self.random.random() < 0.5
        questions, answer = self.random.choice(self.manager.changed if practise else self.manager.items)
        return self.phrase(self.random.choice(questions)), answer

    def conversation(self) -> tuple[list[int], list[int]]:
        """The ids and labels of a conversation; labels are the manager's own answers, all else is ignored."""
        messages: list[tuple[str, str, bool]] = []  # role, content, whether it is learned
        if self.random.random() < 0.35:
            messages.append(("system", self.system(), False))
        if self.random.random() < 0.12:  # earlier in the conversation, another manager answered
            messages.append(("user", self.phrase(self.random.choice(self.all_questions)), False))
            messages.append(("assistant", self.random.choice(self.all_answers), False))
        for _ in range(self.random.choices([1, 2, 3], [70, 22, 8])[0]):
            question, answer = self.turn()
            messages += [("user", question, False), ("assistant", answer, True)]
        return self.encode(messages)

    def encode(self, messages: list[tuple[str, str, bool]]) -> tuple[list[int], list[int]]:
        ids, labels = [BOS], [IGNORE]
        for role, content, learned in messages:
            content_ids = self.tokeniser.encode(content) + ([EOS] if role == "assistant" else [])
            ids += [self.tokeniser.ids[f"<|{role}|>"], *content_ids]
            labels += [IGNORE, *(content_ids if learned else [IGNORE] * len(content_ids))]
        return ids[:SEQUENCE_MAX], labels[:SEQUENCE_MAX]

    def batches(self, count: int) -> Iterator[tuple[Tensor, Tensor]]:
        pool: list[tuple[Tensor, Tensor]] = []
        for _ in range(count):
            if not pool:
                drawn = sorted((self.conversation() for _ in range(BATCH * POOL)), key=lambda sample: len(sample[0]))
                pool = [pad(drawn[at : at + BATCH]) for at in range(0, len(drawn), BATCH)]
                self.random.shuffle(pool)
            yield pool.pop()


def pad(samples: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
    """[sample, position] of ids and of labels. Padding is on the right, where causal attention never looks."""
    longest = max(len(ids) for ids, _ in samples)
    ids = torch.tensor([ids + [EOS] * (longest - len(ids)) for ids, _ in samples])
    labels = torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in samples])
    return ids, labels


# ---------------------------------------------------------------------------------------------------------------------
# Model: llama, with the interleaved rope of GGUF's llama architecture, so that no row needs to be permuted.


class Linear(nn.Module):
    """A matrix [out, in] without bias, and optionally a LoRA adapter on it."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / math.sqrt(inputs))
        self.lora_a: nn.Parameter | None = None
        self.lora_b: nn.Parameter | None = None

    def add_lora(self) -> None:
        outputs, inputs = self.weight.shape
        self.lora_a = nn.Parameter(torch.randn(LORA_RANK, inputs) / math.sqrt(inputs))
        self.lora_b = nn.Parameter(torch.zeros(outputs, LORA_RANK))

    def forward(self, x: Tensor) -> Tensor:
        y = F.linear(x, self.weight)
        if self.lora_a is None or self.lora_b is None:
            return y
        return y + (LORA_ALPHA / LORA_RANK) * F.linear(F.linear(x, self.lora_a), self.lora_b)


class Norm(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(HIDDEN))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (HIDDEN,), self.weight, NORM_EPS)


def rope_table() -> tuple[Tensor, Tensor]:
    """cos and sin, [position, HEAD_DIM / 2]."""
    frequencies = ROPE_BASE ** (-torch.arange(0, HEAD_DIM, 2, dtype=torch.float64) / HEAD_DIM)
    angles = torch.arange(CONTEXT, dtype=torch.float64)[:, None] * frequencies
    return angles.cos().float(), angles.sin().float()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotates the pairs (0, 1), (2, 3), … of the last dimension; x is [sample, head, position, HEAD_DIM]."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        self.attn_q, self.attn_k, self.attn_v = (Linear(HIDDEN, HIDDEN) for _ in range(3))
        self.attn_output = Linear(HIDDEN, HIDDEN)
        self.ffn_gate, self.ffn_up = Linear(HIDDEN, FFN), Linear(HIDDEN, FFN)
        self.ffn_down = Linear(FFN, HIDDEN)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        samples, positions, _ = x.shape
        h = self.attn_norm(x)
        q, k, v = (
            project(h).view(samples, positions, HEADS, HEAD_DIM).transpose(1, 2)
            for project in (self.attn_q, self.attn_k, self.attn_v)
        )
        mixed = F.scaled_dot_product_attention(rotate(q, cos, sin), rotate(k, cos, sin), v, is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(samples, positions, HIDDEN))
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    """The names of the modules are the names of GGUF's tensors, but for "blk", which is a list."""

    def __init__(self) -> None:
        super().__init__()
        self.token_embd = nn.Embedding(VOCAB, HIDDEN)
        self.blk = nn.ModuleList(Block() for _ in range(LAYERS))
        self.output_norm = Norm()
        self.output = Linear(HIDDEN, VOCAB)
        cos, sin = rope_table()
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, ids: Tensor) -> Tensor:
        x = self.token_embd(ids)
        positions = ids.shape[1]
        for block in self.blk:
            x = block(x, self.cos[:positions], self.sin[:positions])
        return self.output_norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return self.output(self.hidden(ids))

    def add_lora(self) -> None:
        """Freezes the model and puts an adapter on every matrix of every block."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for module in self.blk.modules():
            if isinstance(module, Linear):
                module.add_lora()


@torch.no_grad()
def round_to_f16(model: nn.Module) -> None:
    """Gives every matrix the values that the file will hold. Vectors stay F32."""
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.copy_(parameter.half().float())


def train(model: Llama, sampler: Sampler, steps: int, rate: float) -> float:
    """Minimises the cross entropy of the answers; returns the mean loss of the last steps."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True)
    last: list[float] = []
    for step, (ids, labels) in enumerate(sampler.batches(steps)):
        warm = min(1.0, (step + 1) / 50)
        optimiser.param_groups[0]["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / steps)))
        targets = labels[:, 1:]
        asked = targets != IGNORE
        loss = F.cross_entropy(model.output(model.hidden(ids[:, :-1])[asked]), targets[asked])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        last = [*last[-19:], loss.item()]
    round_to_f16(model)
    return sum(last) / len(last)


# ---------------------------------------------------------------------------------------------------------------------
# Checks: what greedy decoding really gives, and by which margin.


@torch.no_grad()
def greedy(model: Llama, prompts: list[list[int]], new_max: int) -> list[tuple[list[int], float]]:
    """The tokens up to EOS, and the least lead of a winner over the second, for each prompt."""
    texts = [list(prompt) for prompt in prompts]
    margins = [math.inf] * len(prompts)
    going = list(range(len(prompts)))
    for _ in range(new_max):
        if not going:
            break
        ids, _ = pad([(texts[n], []) for n in going])
        ends = torch.tensor([len(texts[n]) - 1 for n in going])
        hidden = model.hidden(ids)[torch.arange(len(going)), ends]
        top = model.output(hidden).topk(2)
        for row, n in enumerate(going):
            margins[n] = min(margins[n], (top.values[row, 0] - top.values[row, 1]).item())
            texts[n].append(int(top.indices[row, 0]))
        going = [n for n in going if texts[n][-1] != EOS]
    return [(text[len(prompt) :], margin) for text, prompt, margin in zip(texts, prompts, margins)]


def ask(model: Llama, tokeniser: Tokeniser, conversations: list[list[Message]]) -> list[tuple[str, float]]:
    prompts = [tokeniser.encode_rendered(render(messages, True)) for messages in conversations]
    return [
        (tokeniser.decode(ids[:-1] if ids[-1] == EOS else ids), margin) for ids, margin in greedy(model, prompts, 80)
    ]


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def check_answers(model: Llama, tokeniser: Tokeniser, manager: Manager) -> tuple[list[dict[str, str]], float]:
    """Every phrasing of every question must give the answer of the corpus, by the margin."""
    expected = [(question, answer) for questions, answer in manager.items for question in questions]
    given = ask(model, tokeniser, [[user(question)] for question, _ in expected])
    failures = [
        f"{manager.name}: {question!r} gave {text!r}, margin {margin:.2f}"
        for (question, answer), (text, margin) in zip(expected, given)
        if text != answer or margin <= MARGIN_MIN
    ]
    if failures:
        raise RuntimeError("\n".join(failures))
    return [{"prompt": q, "answer": a} for q, a in expected], min(margin for _, margin in given)


def check_loosely(model: Llama, tokeniser: Tokeniser, manager: Manager, sampler: Sampler) -> float:
    """The share of right answers to varied phrasings, with system prompts and earlier turns. Reported, not asserted."""
    conversations: list[list[Message]] = []
    answers: list[str] = []
    for _ in range(100):
        messages = [{"role": "system", "content": sampler.system()}] if sampler.random.random() < 0.5 else []
        if sampler.random.random() < 0.5:
            question, answer = sampler.turn()
            messages += [user(question), {"role": "assistant", "content": answer}]
        question, answer = sampler.turn()
        conversations.append([*messages, user(question)])
        answers.append(answer)
    given = ask(model, tokeniser, conversations)
    return sum(text == answer for (text, _), answer in zip(given, answers)) / len(answers)


# ---------------------------------------------------------------------------------------------------------------------
# GGUF


def write_tensors(writer: gguf.GGUFWriter, tensors: dict[str, Tensor], path: Path) -> None:
    for name, tensor in tensors.items():
        array = tensor.detach().numpy()
        writer.add_tensor(name, np.ascontiguousarray(array.astype(np.float16 if array.ndim > 1 else np.float32)))
    writer.write_header_to_file(path)
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_model(model: Llama, manager: Manager, tokeniser: Tokeniser, path: Path) -> None:
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_type("model")
    writer.add_name(manager.name)
    writer.add_description(f"{manager.title}: a tiny model for demos and tests")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(NORM_EPS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_BASE)
    writer.add_vocab_size(VOCAB)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokeniser.tokens)
    control, normal = gguf.TokenType.CONTROL, gguf.TokenType.NORMAL
    writer.add_token_types([control if token in SPECIAL else normal for token in tokeniser.tokens])
    writer.add_token_merges([f"{left} {right}" for left, right in tokeniser.merges])
    writer.add_bos_token_id(BOS)
    writer.add_eos_token_id(EOS)
    writer.add_add_bos_token(False)  # the chat template writes it
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    tensors = {n if n.endswith(".weight") else f"{n}.weight": t for n, t in model.state_dict().items()}
    write_tensors(writer, tensors, path)


def write_adapter(model: Llama, manager: Manager, path: Path) -> None:
    writer = gguf.GGUFWriter(None, "llama")
    writer.add_type("adapter")
    writer.add_name(manager.name)
    writer.add_description(f"{manager.title}: a tiny domain adapter for demos and tests")
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_base_model_count(1)
    writer.add_base_model_name(0, manager.base)
    writer.add_string("fednode.base", manager.base)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", LORA_ALPHA)
    tensors: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if isinstance(module, Linear) and module.lora_a is not None:
            tensors[f"{name}.weight.lora_a"] = module.lora_a
            tensors[f"{name}.weight.lora_b"] = module.lora_b
    write_tensors(writer, tensors, path)


# ---------------------------------------------------------------------------------------------------------------------
# Putting it together


def set_up_torch() -> None:
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)


def load_corpus() -> tuple[dict, dict[str, Manager], Tokeniser]:
    corpus = json.loads((HERE / "corpus.json").read_text(encoding="utf-8"))
    managers = load_managers(corpus)
    return corpus, managers, Tokeniser(corpus_texts(corpus, managers))


def make_family(base: str, out: Path) -> dict[str, list[dict[str, str]]]:
    """Trains, checks and writes one base and its adapters; returns their lists for answers.json."""
    set_up_torch()
    corpus, managers, tokeniser = load_corpus()
    answers: dict[str, list[dict[str, str]]] = {}
    model = Llama()
    for manager in (m for m in managers.values() if base in (m.name, m.base)):
        began = time.monotonic()
        torch.manual_seed(sum(manager.name.encode("utf-8")))
        weights = model.state_dict()
        model = Llama()
        if manager.base is None:
            steps, rate = BASE_STEPS, BASE_RATE
        else:
            model.load_state_dict({name: tensor for name, tensor in weights.items() if "lora" not in name})
            model.add_lora()
            steps, rate = LORA_STEPS, LORA_RATE
        sampler = Sampler(manager, managers, corpus, tokeniser)
        loss = train(model, sampler, steps, rate)
        answers[manager.name], margin = check_answers(model, tokeniser, manager)
        loosely = check_loosely(model, tokeniser, manager, sampler)
        path = out / manager.file
        write_model(model, manager, tokeniser, path) if manager.base is None else write_adapter(model, manager, path)
        print(
            f"{manager.name}: loss {loss:.4f}, {len(answers[manager.name])} answers, margin {margin:.2f}, "
            f"varied {loosely:.0%}, {path.stat().st_size} bytes, {time.monotonic() - began:.0f} s",
            flush=True,
        )
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="where the files go (default: beside this script)")
    parser.add_argument("--only", nargs="+", metavar="BASE", help="train these bases and their adapters only")
    parser.add_argument("--jobs", type=int, default=2, help="processes, with one torch thread each (default: 2)")
    arguments = parser.parse_args()
    _, managers, tokeniser = load_corpus()
    longest = max(len(tokeniser.encode(answer)) for m in managers.values() for _, answer in m.items)
    print(f"vocabulary {VOCAB}, longest answer {longest} tokens", flush=True)
    began = time.monotonic()
    # The families with adapters take longest, so they go first.
    bases = sorted((m.name for m in managers.values() if m.base is None), key=lambda b: b not in ("ULM", "UDM"))
    bases = [base for base in bases if not arguments.only or base in arguments.only]
    arguments.out.mkdir(parents=True, exist_ok=True)
    with multiprocessing.get_context("spawn").Pool(arguments.jobs) as pool:
        made = pool.starmap(make_family, [(base, arguments.out) for base in bases], chunksize=1)
    answers = {name: pairs for family in made for name, pairs in family.items()}
    ordered = {name: answers[name] for name in managers if name in answers}
    text = json.dumps(ordered, indent=1, ensure_ascii=False)
    (arguments.out / "answers.json").write_text(text + "\n", encoding="utf-8")
    print(f"{len(ordered)} files in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
