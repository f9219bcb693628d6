#!/usr/bin/env python3
"""The oracle: what Hugging Face transformers computes in float32 for the tiny models of models.py.

What it is: the reference that tests/tests/oracle.rs compares fednode with. Each case is a model, alone or with one adapter
merged into it by PEFT. For each a few sequences of tokens: the log-probabilities of the whole vocabulary at some positions
(teacher-forced), and the 32 tokens that greedy decoding adds. Also how the two tokenizers cut some hundred strings, and what
the chat templates of templates.py make of some conversations.

How to run (Python 3.11, CPU only; the pinned versions are in requirements.txt):

    python -m venv venv && venv/bin/pip install -r requirements.txt
    venv/bin/python reference.py                  # everything, into the folder of this script
    venv/bin/python reference.py --out /tmp/again # somewhere else, to compare

One thread, fixed seeds: on one machine two runs give the same bytes. On another processor the last bits of the numbers may
differ, and nothing else should.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import transformers
from peft import PeftModel
from torch import Tensor
from transformers import AutoTokenizer, DynamicCache, LlamaForCausalLM

import models
import strings
import templates

GREEDY = 32
VARIED = 20  # different tokens among them, at least
CANDIDATES = 256
SHORT, LONG = 24, 320
# Positions of the long sequence: dense where it begins, and far enough that a wrong rope shows.
LONG_POSITIONS = [1, 2, 4, 8, 16, 32, 64, 100, 128, 160, 192, 224, 256, 288, 304, 319]

@dataclass(frozen=True)
class Case:
    """A model as it is asked: which folder, which adapter."""

    name: str
    model: str
    domain: str
    seed: int


CASES = (
    Case("base", "plain", "", 31),
    Case("linear rope scaling 4", "scaled", "", 32),
    *(Case(f"adapter {a.domain}", "plain", a.domain, 40 + index) for index, a in enumerate(models.ADAPTERS)),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=models.HERE, help="where to write; default: beside this script")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    transformers.utils.logging.disable_progress_bar()
    models.make(out)
    rows: list[np.ndarray] = []
    cases = [compute(case, out, rows) for case in CASES]
    document = json.dumps({"vocabulary": models.VOCAB, "cases": cases}, indent=1, ensure_ascii=False)
    (out / "reference.json").write_text(numbers_on_one_line(document) + "\n")
    (out / "reference.f32").write_bytes(np.concatenate(rows).astype("<f4").tobytes())
    write_tokens(out)
    templates.write(out)


def compute(case: Case, folder: Path, rows: list[np.ndarray]) -> dict:
    """The reference of one case. Its rows of log-probabilities are added to `rows`."""
    model = load(case, folder)
    known = len(AutoTokenizer.from_pretrained(folder / case.model))
    random = np.random.default_rng(case.seed)
    sequences = []
    for length, positions in ((SHORT, list(range(1, SHORT))), (LONG, LONG_POSITIONS)):
        drawn = random.integers(0, known, (CANDIDATES, length))
        drawn[:, 0] = models.WORDS  # they begin as texts do
        tokens = most_decided(model, torch.from_numpy(drawn))
        greedy, margins = greedily(model, tokens)
        after = log_probabilities(model, tokens)
        first = sum(len(part) for part in rows)
        rows.append(after[[position - 1 for position in positions]].numpy())
        print(f"{case.name}: {length} tokens, least margin {margins.min():.3f}, entropy {entropy(after):.2f} nats")
        sequences.append(
            {
                "tokens": tokens.tolist(),
                # Row `first_row` + i: the distribution of the token after the first `positions[i]` tokens.
                "positions": positions,
                "first_row": first,
                "greedy": greedy.tolist(),
                # How far the winner leads the second, at each token of `greedy`.
                "margins": [round(float(margin), 4) for margin in margins],
            }
        )
    return {"name": case.name, "model": case.model, "domain": case.domain, "sequences": sequences}


def load(case: Case, folder: Path) -> LlamaForCausalLM:
    """The model in float32, each weight exactly the F16 number in the folder; an adapter is merged in float32."""
    attention = {"dtype": torch.float32, "attn_implementation": "eager"}
    model = LlamaForCausalLM.from_pretrained(folder / case.model, **attention)
    shape = next(shape for shape in models.SHAPES if shape.name == case.model)
    turns = model.model.rotary_emb.inv_freq[-1] * (shape.rope_factor or 1.0)
    head = models.HIDDEN // models.HEADS
    assert torch.isclose(turns, torch.tensor(shape.rope_base ** -((head - 2) / head))), "the rope is not the one asked for"
    if case.domain:
        model = PeftModel.from_pretrained(model, folder / case.domain).merge_and_unload()
    assert all(weights.dtype == torch.float32 for weights in model.parameters())
    return model.eval()


@torch.inference_mode()
def log_probabilities(model: LlamaForCausalLM, tokens: Tensor) -> Tensor:
    """Row p: log-probabilities of the token after the first p + 1."""
    return torch.log_softmax(model(tokens[None], use_cache=False).logits[0].float(), dim=-1)


@torch.inference_mode()
def most_decided(model: LlamaForCausalLM, candidates: Tensor) -> Tensor:
    """The candidate whose greedy continuation is least likely to flip: its smallest margin is the largest. Those that soon
    repeat themselves are decided, and say nothing: they do not count."""
    least = torch.full((len(candidates),), torch.inf)
    added: list[Tensor] = []
    output = model(candidates, cache=DynamicCache(), logits_to_keep=1)
    for _ in range(GREEDY):
        best = output.logits[:, -1].topk(2)
        least = torch.minimum(least, best.values[:, 0] - best.values[:, 1])
        added.append(best.indices[:, 0])
        output = model(best.indices[:, :1], cache=output.cache)
    varied = torch.tensor([len(set(tokens.tolist())) >= VARIED for tokens in torch.stack(added, dim=1)])
    return candidates[int(torch.where(varied, least, -torch.inf).argmax())]


def greedily(model: LlamaForCausalLM, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens that greedy decoding adds, and the lead of each; without a cache, from the start each time."""
    begin, margins = len(tokens), []
    for _ in range(GREEDY):
        best = log_probabilities(model, tokens)[-1].topk(2)
        margins.append(best.values[0] - best.values[1])
        tokens = torch.cat([tokens, best.indices[:1]])
    return tokens[begin:], torch.stack(margins)


def entropy(rows: Tensor) -> float:
    return float(-(rows.exp() * rows).sum(-1).mean())


def numbers_on_one_line(document: str) -> str:
    return re.sub(r"\[[-\d.,\s]*\]", lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), document)


def write_tokens(out: Path) -> None:
    """How each tokenizer cuts the strings of strings.py, special tokens recognised and none added."""
    texts = strings.texts()
    document: dict[str, object] = {"texts": texts}
    for shape in models.SHAPES:
        tokenizer = AutoTokenizer.from_pretrained(out / shape.name)
        document[shape.name] = [tokenizer.encode(text, add_special_tokens=False) for text in texts]
    lines = [f" {json.dumps(key)}: {lines_of(value)}" for key, value in document.items()]
    (out / "tokens.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def lines_of(values: list) -> str:
    return "[\n  " + ",\n  ".join(json.dumps(value, ensure_ascii=False, separators=(",", ":")) for value in values) + "\n ]"


if __name__ == "__main__":
    main()
