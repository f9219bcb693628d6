"""The tiny models of the oracle: Hugging Face folders of pseudo-random weights, each with a tokenizer of its own.

What it is: `plain`, a llama model with grouped keys and values and three PEFT LoRA adapters of it; and `scaled`, one with
full heads, linear rope scaling 4, an embedding that is the output matrix too, and weights in two files. They know nothing:
what matters is that their numbers are spread out, so that a row in a wrong place, a forgotten norm or a rope off by a factor
changes every answer. Called by reference.py.

Everything follows from the constants here: two runs give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).resolve().parent

HIDDEN = 64
LAYERS = 4
HEADS = 4
FFN = 160
CONTEXT = 512
VOCAB = 640  # rows of the embedding
WORDS = 620  # tokens of the byte-level BPE; behind them the added ones, the rows left are padding

SPECIAL = ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<|EOT|>", "<|user|>"]
PLAIN_ADDED = ["<note>"]  # an added token that is ordinary text
BOS, EOS, PAD = SPECIAL[0], SPECIAL[2], SPECIAL[1]

# How text is cut: DeepSeek-Coder's steps, and Llama 3's single expression. The importer knows both by name.
DEEPSEEK_CUTS = ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+"]
LLAMA3_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Scripts and spaces that the tiny managers' corpus does not have, so that there are merges of them.
MORE_TEXT = [
    "def fibonacci(n):\n    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)\n",
    "for (int i = 0; i < 1024; ++i) {\r\n\t\tsum += values[i] * 3.14159;\r\n}\r\n",
    "Жили-были старик со старухой у самого синего моря; они жили в ветхой землянке.",
    "我们的模型在两台机器上运行，并且每一个请求都得到一个回答。今天是二〇二六年。",
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。",
    "나는 오늘 학교에 갔다. 그리고 집으로 돌아왔다.",
    "السلام عليكم ورحمة الله وبركاته، كيف حالك اليوم؟",
    "एक समय की बात है, एक गाँव में एक किसान रहता था।",
    "naïve façade déjà vu — coöperate, Straße, Ærøskøbing, İstanbul, ﬁne",
    "I'll say it's what they've done; we're sure he'd agree, DON'T YOU? I'M sure.",
]


@dataclass(frozen=True)
class Shape:
    """What the two models differ in."""

    name: str
    seed: int
    kv_heads: int
    tied: bool
    norm_eps: float
    rope_base: float
    rope_factor: float | None
    ignore_merges: bool
    shard_bytes: int


PLAIN = Shape("plain", 11, 2, False, 1e-5, 10_000.0, None, False, 1 << 30)
SCALED = Shape("scaled", 12, 4, True, 1e-6, 100_000.0, 4.0, True, 300_000)
SHAPES = (PLAIN, SCALED)


@dataclass(frozen=True)
class Adapter:
    """One LoRA adapter of `plain`; all three differ in everything that an adapter may differ in."""

    domain: str
    seed: int
    rank: int
    alpha: float
    modules: tuple[str, ...]
    layers: tuple[int, ...] | None
    dtype: torch.dtype


ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ADAPTERS = (
    Adapter("core", 21, 4, 8, ("q_proj", "v_proj"), None, torch.float32),
    Adapter("external", 22, 8, 16, ALL, None, torch.float16),
    Adapter("personal", 23, 16, 24, ("k_proj", "o_proj", "gate_proj", "down_proj"), (1, 3), torch.bfloat16),
)


def make(out: Path) -> None:
    """Writes all folders below `out`."""
    for shape in SHAPES:
        make_tokenizer(shape).save_pretrained(out / shape.name)
        make_model(shape, out / shape.name)
    for adapter in ADAPTERS:
        make_adapter(adapter, out / PLAIN.name, out / adapter.domain)


def make_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """A byte-level BPE, trained on the corpus of the tiny managers and MORE_TEXT."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=shape.ignore_merges))
    cuts = [LLAMA3_CUT] if shape.ignore_merges else DEEPSEEK_CUTS
    steps = [pre_tokenizers.Split(Regex(cut), "isolated") for cut in cuts]
    steps += [] if shape.ignore_merges else [pre_tokenizers.Digits(individual_digits=True)]
    steps += [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts(), trainer)
    assert tokenizer.get_vocab_size() == WORDS, f"the corpus gives {tokenizer.get_vocab_size()} tokens"
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in PLAIN_ADDED])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        chat_template=DEEPSEEK_TEMPLATE,
        clean_up_tokenization_spaces=False,
        model_max_length=CONTEXT,
    )


def texts() -> list[str]:
    """Every string of the managers' corpus, in its order, and more."""

    def strings(value: object) -> list[str]:
        if isinstance(value, str):
            return [value]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return [text for part in parts for text in strings(part)]

    return strings(json.loads((HERE.parent / "managers" / "corpus.json").read_text())) + MORE_TEXT


def make_model(shape: Shape, folder: Path) -> None:
    """Writes config.json and the weights, F16, as transformers does."""
    rope = {"rope_type": "default", "rope_theta": shape.rope_base}
    if shape.rope_factor:
        rope |= {"rope_type": "linear", "factor": shape.rope_factor}
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=HIDDEN,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=shape.norm_eps,
        rope_parameters=rope,
        tie_word_embeddings=shape.tied,
        bos_token_id=WORDS,
        eos_token_id=WORDS + SPECIAL.index(EOS),
        pad_token_id=WORDS + SPECIAL.index(PAD),
    )
    model = LlamaForCausalLM(config)
    random = np.random.default_rng(shape.seed)
    with torch.no_grad():
        for name, weights in sorted(model.named_parameters()):
            weights.copy_(torch.from_numpy(numbers(random, name, tuple(weights.shape), shape.tied)))
    model.half().save_pretrained(folder, max_shard_size=shape.shard_bytes)
    if shape.rope_factor:
        as_deepseek_writes_it(shape, folder / "config.json")


def numbers(random: np.random.Generator, name: str, shape: tuple[int, ...], tied: bool) -> np.ndarray:
    """Weights such that attention is neither even nor on one token, and logits are a few units apart."""
    if name.endswith("norm.weight"):
        return random.uniform(0.5, 1.5, shape).astype(np.float16)
    fan_in = shape[1]
    spread = {
        "embed_tokens": 0.3 if tied else 1.0,
        "lm_head": 2.5 / fan_in**0.5,
        "q_proj": 1.2 / fan_in**0.5,
        "k_proj": 1.2 / fan_in**0.5,
        "v_proj": 1.2 / fan_in**0.5,
        "down_proj": 1.5 / fan_in**0.5,
    }
    spread = spread.get(name.split(".")[-2], 1.0 / fan_in**0.5)
    return (random.standard_normal(shape) * spread).astype(np.float16)


def as_deepseek_writes_it(shape: Shape, path: Path) -> None:
    """Older folders, DeepSeek's among them, state the rope in two places and not in `rope_parameters`."""
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    config["rope_theta"] = shape.rope_base
    config["rope_scaling"] = {"factor": shape.rope_factor, "type": "linear"}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def make_adapter(adapter: Adapter, base: Path, out: Path) -> None:
    """Writes adapter_config.json and adapter_model.safetensors, as PEFT does."""
    model = LlamaForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        target_modules=list(adapter.modules),
        layers_to_transform=list(adapter.layers) if adapter.layers else None,
        layers_pattern="layers" if adapter.layers else None,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    model = get_peft_model(model, config)
    random = np.random.default_rng(adapter.seed)
    with torch.no_grad():
        for name, weights in sorted(model.named_parameters()):
            if "lora_" not in name:
                continue
            # Of the size of the weights that it changes: about half of them, when alpha / rank is 2.
            spread = (0.3 if ".lora_B." in name else 1.0) / weights.shape[1] ** 0.5
            drawn = torch.from_numpy(random.standard_normal(tuple(weights.shape)) * spread)
            weights.data = drawn.to(adapter.dtype)
    model.peft_config["default"].base_model_name_or_path = PLAIN.name  # and not where this script ran
    model.save_pretrained(out)
    (out / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
    in_order(out / "adapter_config.json", adapter)


def in_order(path: Path, adapter: Adapter) -> None:
    """PEFT keeps the modules as a set, whose order changes from run to run."""
    config = json.loads(path.read_text())
    config["target_modules"] = list(adapter.modules)
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


# DeepSeek-Coder-Instruct's own template, word for word.
DEEPSEEK_TEMPLATE = """{% if not add_generation_prompt is defined %}
{% set add_generation_prompt = false %}
{% endif %}
{%- set ns = namespace(found=false) -%}
{%- for message in messages -%}
    {%- if message['role'] == 'system' -%}
        {%- set ns.found = true -%}
    {%- endif -%}
{%- endfor -%}
{{bos_token}}{%- if not ns.found -%}
{{'You are an AI programming assistant.\\n'}}
{%- endif %}
{%- for message in messages %}
    {%- if message['role'] == 'system' %}
{{ message['content'] }}
    {%- else %}
        {%- if message['role'] == 'user' %}
{{'### Instruction:\\n' + message['content'] + '\\n'}}
        {%- else %}
{{'### Response:\\n' + message['content'] + '\\n<|EOT|>\\n'}}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{% if add_generation_prompt %}
{{'### Response:'}}
{% endif %}"""
