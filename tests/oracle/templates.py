"""What transformers' apply_chat_template makes of some conversations, for the chat templates of this file: templates.json.

The templates: the two of the project's own models, and three that use what the templates of today's llama models use: tools,
calls and answers of tools, refusals, slices, filters with arguments, JSON written by `tojson`. Called by reference.py; a
test in node/src/engine compares.
"""

from __future__ import annotations

import json
from pathlib import Path

import jinja2
from transformers import AutoTokenizer, PreTrainedTokenizerBase

import models

MANAGERS = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ '<|system|>' + message['content'] }}"
    "{% elif message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + eos_token }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)

# ChatML with tools, in the way that Hermes and Qwen do it.
CHATML_TOOLS = r"""{%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0].role == 'system' %}
        {{- messages[0].content + '\n\n' }}
    {%- endif %}
    {{- "# Tools\n\nYou may call these functions:\n<tools>" }}
    {%- for tool in tools %}
        {{- "\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\n</tools>\n\nAnswer a call with <tool_call>{\"name\": NAME, \"arguments\": OBJECT}</tool_call>.<|im_end|>\n" }}
{%- elif messages[0].role == 'system' %}
    {{- '<|im_start|>system\n' + messages[0].content + '<|im_end|>\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>' + '\n' }}
    {%- elif message.role == "assistant" %}
        {{- '<|im_start|>' + message.role }}
        {%- if message.content %}
            {{- '\n' + message.content }}
        {%- endif %}
        {%- for tool_call in message.tool_calls %}
            {%- if tool_call.function is defined %}
                {%- set tool_call = tool_call.function %}
            {%- endif %}
            {{- '\n<tool_call>\n{"name": "' }}
            {{- tool_call.name }}
            {{- '", "arguments": ' }}
            {{- tool_call.arguments | tojson }}
            {{- '}\n</tool_call>' }}
        {%- endfor %}
        {{- '<|im_end|>\n' }}
    {%- elif message.role == "tool" %}
        {%- if loop.first or messages[loop.index0 - 1].role != "tool" %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\n<tool_response>\n' }}
        {{- message.content }}
        {{- '\n</tool_response>' }}
        {%- if loop.last or messages[loop.index0 + 1].role != "tool" %}
            {{- '<|im_end|>\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\n' }}
{%- endif %}
"""

# Headers, trimmed contents, tools as indented JSON, one call at most: in the way that Llama 3 does it.
HEADERS_TOOLS = r"""{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\n\n" }}
{{- "Today Date: " + date_string + "\n\n" }}
{%- if tools is not none and tools %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\n\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {%- if not message.tool_calls | length == 1 %}
            {{- raise_exception("This model only supports single tool-calls at once!") }}
        {%- endif %}
        {%- set tool_call = message.tool_calls[0].function %}
        {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}
        {{- '{"name": "' + tool_call.name + '", ' }}
        {{- '"parameters": ' }}
        {{- tool_call.arguments | tojson }}
        {{- "}" }}
        {{- "<|eot_id|>" }}
    {%- elif message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\n\n" }}
        {%- if message.content is mapping or message.content is iterable and message.content is not string %}
            {{- message.content | tojson }}
        {%- else %}
            {{- message.content }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\n\n' }}
{%- endif %}
"""

# Roles that alternate, else a refusal; signatures built from the schema's items: in the way that Mistral and Functionary do it.
ALTERNATING = r"""{{ bos_token }}
{%- set ns = namespace(turn=0) -%}
{%- set others = messages | selectattr('role', 'ne', 'system') | list -%}
{%- for message in messages if message.role == 'system' %}{{ '[SYS]' ~ message.content.strip() ~ '[/SYS]' }}{% endfor -%}
{%- for tool in tools or [] -%}
    {{- '\n[FN] ' ~ tool.function.name ~ '(' -}}
    {%- for name, of in tool.function.parameters.properties.items() -%}
        {{- name ~ ': ' ~ of.type ~ ('' if name in tool.function.parameters.required else '?') -}}
        {{- ', ' if not loop.last -}}
    {%- endfor -%}
    {{- ')' -}}
{%- endfor %}
{% for message in others -%}
    {%- if message.role in ['user', 'assistant'] and (message.role == 'user') != (ns.turn % 2 == 0) -%}
        {{ raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}
    {%- endif -%}
    {%- if message.role == 'user' -%}
        {%- set ns.turn = ns.turn + 1 -%}
        {{ '[INST] ' ~ message.content.split('\n')[-1].rstrip() ~ ' [/INST]' }}
    {%- elif message.role == 'assistant' -%}
        {%- set ns.turn = ns.turn + 1 -%}
        {%- for call in message.tool_calls or [] -%}
            {{ ' [CALL ' ~ call.id[:4] ~ '] ' ~ call.function | tojson }}
        {%- endfor -%}
        {{ ' ' ~ (message.content or '') ~ eos_token }}
    {%- else -%}
        {{ '[RESULT] ' ~ {'content': message.content, 'call_id': message.tool_call_id} | tojson ~ ' [/RESULT]' }}
    {%- endif -%}
{%- endfor -%}
"""

# What Python prints, and every argument of `tojson`.
PRINTS = r"""{% for message in messages -%}
{{ message.role == 'user' }} {{ message.tool_calls is defined }} {{ loop.previtem is defined and none }} {{ loop.index / 2 }}
{{ 0.1 + 0.2 }} {{ 1e16 }} {{ 1.5e-7 }} {{ 123456789012345.0 }} {{ 0.0001 }} {{ 7 // 2 }} {{ 2 ** 10 }} {{ -3 }}
{{ [1e16, 1e-05, 1.5e-7, 100.0, -0.0, 7, true, none, 'ü\u0000\u007f'] | tojson }}
{{ message | tojson(sort_keys=true, ensure_ascii=true) }}
{{ message | tojson(separators=(',', ':')) }}
{{ {'b': [], 'a': {}, 'c': [1, {'d': []}]} | tojson(indent=2) }}
{{ (message.content or '')[:5] | tojson(indent=none) }}{{ message.content | string | length }}
{% endfor %}
{{ tools }}{{ documents }}{{ add_generation_prompt }}"""

# Name: source, tokens that begin and end, does it know tools?
TEMPLATES = {
    "deepseek": (models.DEEPSEEK_TEMPLATE, models.BOS, models.EOS, False),
    "managers": (MANAGERS, "<s>", "</s>", False),
    "chatml-tools": (CHATML_TOOLS, "", "<|im_end|>", True),
    "headers-tools": (HEADERS_TOOLS, "<|begin_of_text|>", "<|eot_id|>", True),
    "alternating": (ALTERNATING, "<s>", "</s>", True),
    "prints": (PRINTS, "<s>", "</s>", False),
}

ODD = "a < b && 'c' > \"d\"\\ \t<|EOT|>\n  Żółw 我们 😀\u2028{{ not a template }} {% nor this %}  \n"

CHATS = {
    "one question": [{"role": "user", "content": "Sort a list"}],
    "system prompt": [{"role": "system", "content": " Be brief. \n"}, {"role": "user", "content": "Why?"}],
    "turns": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "a < b & c?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Why?\nTell me. "},
    ],
    "odd characters": [{"role": "user", "content": ODD}, {"role": "assistant", "content": ODD}, {"role": "user", "content": ""}],
    "late system prompt": [{"role": "user", "content": "Hi"}, {"role": "system", "content": "Be rude."}],
    "two questions": [{"role": "user", "content": "One"}, {"role": "user", "content": "Two"}],
    "an answer to go on with": [{"role": "user", "content": "Count"}, {"role": "assistant", "content": "one, two,"}],
}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather, in °C or °F: \"now\" & <soon>; it's free",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "A city — 東京, for example"},
                "days": {"type": "integer", "minimum": 0, "maximum": 14, "default": 1},
                "accuracy": {"type": "number", "enum": [0.5, 1.0, -2.25, 100000.0, 0.001]},
                "all": {"type": "boolean", "default": False},
                "also": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "null"}]}, "default": []},
            },
            "required": ["place"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {
    "type": "function",
    "function": {"name": "clock", "description": "", "parameters": {"type": "object", "properties": {}, "required": []}},
}

CALL = {
    "id": "call_0001",
    "type": "function",
    "function": {"name": "get_weather", "arguments": {"place": "Łódź <&'>", "days": 3, "accuracy": 1.0, "all": True, "also": [None, "\n", {}]}},
}
OTHER_CALL = {"id": "call_0002", "type": "function", "function": {"name": "clock", "arguments": {}}}

TOOL_CHATS = {
    "tools offered": [{"role": "user", "content": "How is it in Łódź?"}],
    "a call": [
        {"role": "system", "content": "Use tools."},
        {"role": "user", "content": "How is it in Łódź?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_0001", "content": '{"celsius": -3.5, "sky": "gray"}'},
    ],
    "a call with words, and an answer": [
        {"role": "user", "content": "How is it in Łódź?"},
        {"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "call_0001", "content": "cold"},
        {"role": "assistant", "content": "It is cold."},
        {"role": "user", "content": "Thanks"},
    ],
    "two calls at once": [
        {"role": "user", "content": "Weather and time?"},
        {"role": "assistant", "content": "", "tool_calls": [CALL, OTHER_CALL]},
        {"role": "tool", "tool_call_id": "call_0001", "content": "cold"},
        {"role": "tool", "tool_call_id": "call_0002", "content": "12:00"},
    ],
}


def write(out: Path) -> None:
    """Renders every conversation with every template that can take it, with and without the start of an answer."""
    tokenizer = AutoTokenizer.from_pretrained(out / models.PLAIN.name)
    chats = {chat: {"messages": messages} for chat, messages in CHATS.items()}
    chats |= {chat: {"messages": messages, "tools": [WEATHER, CLOCK]} for chat, messages in TOOL_CHATS.items()}
    cases = []
    for template, (_, _, _, knows_tools) in TEMPLATES.items():
        for chat, asked in chats.items():
            for add in (True, False) if knows_tools or "tools" not in asked else ():
                about = {"template": template, "chat": chat, "add_generation_prompt": add}
                cases.append(about | render(tokenizer, template, asked, add))
    described = {
        name: {"source": source, "bos_token": bos, "eos_token": eos} for name, (source, bos, eos, _) in TEMPLATES.items()
    }
    document = {"templates": described, "chats": chats, "cases": cases}
    (out / "templates.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def render(tokenizer: PreTrainedTokenizerBase, template: str, chat: dict, add: bool) -> dict[str, str]:
    """`rendered`, or with what words the template refuses."""
    source, bos, eos, _ = TEMPLATES[template]
    tokenizer.bos_token, tokenizer.eos_token = bos, eos
    try:
        text = tokenizer.apply_chat_template(
            chat["messages"], chat.get("tools"), chat_template=source, tokenize=False, add_generation_prompt=add
        )
    except jinja2.TemplateError as error:
        if type(error) is not jinja2.TemplateError:  # what `raise_exception` raises; anything else is a fault of the template
            raise
        return {"refused": str(error)}
    return {"rendered": text}
