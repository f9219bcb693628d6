"""The API as OpenAI's own client for Python uses it."""

import base64
import json
import math
import struct
import urllib.request

import openai
from cases import TOLD, case, refused, run

client = openai.OpenAI(base_url=f"{TOLD.base}/v1", api_key="none", max_retries=0, timeout=60)
Refused = openai.BadRequestError

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "adds",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer", "enum": [1, 2]}, "b": {"type": "boolean"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
    },
}
NOW = {"type": "function", "function": {"name": "now"}}


def user(text):
    return [{"role": "user", "content": text}]


def chat(**extra):
    asked = {"model": TOLD.model, "messages": user(TOLD.prompt), "temperature": 0} | extra
    return client.chat.completions.create(**asked)


def post(path, body):
    """What no client of OpenAI's knows."""
    request = urllib.request.Request(TOLD.base + path, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return json.load(reply), reply.headers


@case
def models():
    """models are listed with their state, context and precision"""
    found = {model.id: model for model in client.models.list()}
    assert {TOLD.model, TOLD.tools_model, TOLD.domain_model} <= set(found), found
    extra = found[TOLD.model].model_dump()
    assert extra["status"]["value"] == "resident" and extra["precision"] == "F16", extra
    assert extra["context_length"] == TOLD.context


@case
def one_model():
    """one model is told by its name, a domain by its own"""
    for name in [TOLD.model, TOLD.domain_model]:
        model = client.models.retrieve(name)
        assert model.id == name and model.object == "model", model
        assert model.model_dump()["status"]["value"] == "resident"


@case
def no_model():
    """a model that nobody knows is not found"""
    refused(openai.NotFoundError, lambda: client.models.retrieve("NOBODY"), "model", 404)
    refused(openai.NotFoundError, lambda: chat(model="NOBODY"), "model", 404)


@case
def a_chat():
    """a greedy chat gives the manager's answer"""
    answer = chat()
    assert answer.choices[0].message.content == TOLD.answer, answer
    assert answer.choices[0].finish_reason == "stop" and answer.choices[0].message.role == "assistant"
    assert answer.object == "chat.completion" and answer.model == TOLD.model


@case
def usage():
    """usage adds up"""
    usage = chat().usage
    assert usage.prompt_tokens > 0 and usage.completion_tokens > 0
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.prompt_tokens_details.cached_tokens >= 0


@case
def who_answered():
    """headers and fingerprint say who answered, with what"""
    raw = client.chat.completions.with_raw_response.create(model=TOLD.model, messages=user("Hello"), temperature=0)
    headers = raw.headers
    assert headers["x-fednode-node"] == TOLD.node, dict(headers)
    assert headers["x-fednode-artifact"] == TOLD.artifact and headers["x-fednode-precision"] == "F16"
    assert int(headers["x-fednode-epoch"]) > 0
    assert raw.parse().system_fingerprint == f"fp_{TOLD.artifact[:12]}"


@case
def every_answer():
    """every known prompt has its known answer"""
    for prompt, answer in list(TOLD.answers.items())[:10]:
        found = chat(messages=user(prompt)).choices[0].message.content
        assert found == answer, (prompt, found, answer)


@case
def a_domain():
    """SLOT:domain answers with its adapter"""
    prompt, answer = next(iter(TOLD.domain_answers.items()))
    found = chat(model=TOLD.domain_model, messages=user(prompt))
    assert found.choices[0].message.content == answer and found.model == TOLD.domain_model


@case
def streamed():
    """a stream gives the same text, a role first and a reason last"""
    chunks = list(chat(stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == TOLD.answer
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1 and chunks[0].object == "chat.completion.chunk"
    assert all(chunk.usage is None for chunk in chunks)


@case
def streamed_usage():
    """usage ends a stream that asked for it"""
    chunks = list(chat(stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


@case
def left():
    """a stream may be left in the middle, and the next request is answered"""
    stream = chat(stream=True, max_tokens=200, temperature=1)
    next(iter(stream))
    stream.close()
    assert chat().choices[0].message.content == TOLD.answer


@case
def max_tokens():
    """max_tokens and max_completion_tokens cut the answer"""
    for field in ["max_tokens", "max_completion_tokens"]:
        answer = chat(**{field: 3})
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3, answer
    refused(Refused, lambda: chat(max_tokens=3, max_completion_tokens=4), "max_completion_tokens")
    refused(Refused, lambda: chat(max_tokens=0), "max_tokens")


@case
def seeds():
    """a seed gives the same answer again, and seeds differ"""
    ask = lambda seed: chat(seed=seed, temperature=2, max_tokens=24).choices[0].message.content
    assert ask(5) == ask(5)
    assert len({ask(seed) for seed in range(6)}) > 1


@case
def top_k():
    """top_k 1 is greedy at any temperature"""
    answer = chat(temperature=2, extra_body={"top_k": 1})
    assert answer.choices[0].message.content == TOLD.answer


@case
def top_p():
    """a top_p of nothing is greedy, and so is a min_p of everything"""
    for extra in [{"top_p": 0.0}, {"extra_body": {"min_p": 1.0}}]:
        assert chat(temperature=2, **extra).choices[0].message.content == TOLD.answer, extra


@case
def penalties():
    """penalties change what is drawn"""
    ask = lambda seed, **extra: chat(temperature=2, seed=seed, max_tokens=40, **extra).choices[0].message.content
    plain = [ask(seed) for seed in range(6)]
    for field in ["presence_penalty", "frequency_penalty"]:
        assert [ask(seed, **{field: 0.0}) for seed in range(6)] == plain
        assert [ask(seed, **{field: 2.0}) for seed in range(6)] != plain, field
        refused(Refused, lambda: chat(**{field: 3}), field)


@case
def stops():
    """a stop string ends the answer before it"""
    word = TOLD.answer.split()[2]
    for stop in [word, ["never there", word]]:
        answer = chat(stop=stop)
        assert answer.choices[0].message.content == TOLD.answer.split(word)[0], answer
        assert answer.choices[0].finish_reason == "stop"
    refused(Refused, lambda: chat(stop=["a"] * 5), "stop")


@case
def several():
    """n gives several choices, the same ones for the same seed"""
    ask = lambda: chat(n=3, seed=11, temperature=1.5, max_tokens=16)
    answer = ask()
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in answer.choices]
    assert texts == [choice.message.content for choice in ask().choices]
    assert len(set(texts)) > 1
    assert answer.usage.completion_tokens <= 48


@case
def several_streamed():
    """n streams each choice with its index"""
    texts = {0: "", 1: ""}
    ended = set()
    for chunk in chat(n=2, stream=True):
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            if choice.finish_reason:
                ended.add(choice.index)
    assert texts == {0: TOLD.answer, 1: TOLD.answer} and ended == {0, 1}, texts


@case
def too_many():
    """more choices than may be are refused"""
    refused(Refused, lambda: chat(n=1000), "n")
    refused(Refused, lambda: chat(n=0), "n")


@case
def logprobs():
    """log-probabilities are told for each token, the likeliest first"""
    answer = chat(logprobs=True, top_logprobs=3)
    tokens = answer.choices[0].logprobs.content
    assert "".join(token.token for token in tokens) == TOLD.answer
    for token in tokens:
        assert token.logprob <= 0 and len(token.top_logprobs) == 3
        assert token.top_logprobs[0].token == token.token, "greedy takes the likeliest"
        assert sorted((top.logprob for top in token.top_logprobs), reverse=True) == [t.logprob for t in token.top_logprobs]
        assert bytes(token.bytes).decode() == token.token
    assert chat().choices[0].logprobs is None


@case
def logprobs_streamed():
    """log-probabilities stream beside their text"""
    tokens = []
    for chunk in chat(logprobs=True, stream=True):
        for choice in chunk.choices:
            tokens += [token.token for token in (choice.logprobs.content if choice.logprobs else [])]
    assert "".join(tokens) == TOLD.answer


@case
def logprobs_refused():
    """top_logprobs without logprobs, or too many, are refused"""
    refused(Refused, lambda: chat(top_logprobs=2), "top_logprobs")
    refused(Refused, lambda: chat(logprobs=True, top_logprobs=21), "top_logprobs")


@case
def json_schema():
    """an answer follows a JSON schema"""
    schema = {
        "type": "object",
        "properties": {"mood": {"enum": ["good", "bad"]}, "sure": {"type": "boolean"}},
        "required": ["mood", "sure"],
        "additionalProperties": False,
    }
    format = {"type": "json_schema", "json_schema": {"name": "mood", "strict": True, "schema": schema}}
    found = json.loads(chat(response_format=format).choices[0].message.content)
    assert found["mood"] in ["good", "bad"] and isinstance(found["sure"], bool) and len(found) == 2, found


@case
def json_object():
    """JSON mode gives the beginning of an object at least, and all of it if it ends"""
    choice = chat(response_format={"type": "json_object"}, max_tokens=60).choices[0]
    assert choice.message.content.startswith("{"), choice
    assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)


@case
def bad_schema():
    """a schema that cannot be followed is refused by name"""
    format = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}
    refused(Refused, lambda: chat(response_format=format), "response_format")
    refused(Refused, lambda: chat(response_format={"type": "xml"}), "response_format.type")


@case
def named_tool():
    """a named tool is called with arguments of its schema"""
    choice = {"type": "function", "function": {"name": "add"}}
    answer = chat(model=TOLD.tools_model, tools=[ADD, NOW], tool_choice=choice)
    [call] = answer.choices[0].message.tool_calls
    arguments = json.loads(call.function.arguments)
    assert call.function.name == "add" and call.id and set(arguments) == {"a", "b"} and arguments["a"] in [1, 2], call
    assert answer.choices[0].finish_reason == "tool_calls" and answer.choices[0].message.content is None


@case
def required_tool():
    """tool_choice required calls one of the tools"""
    [call] = chat(model=TOLD.tools_model, tools=[ADD, NOW], tool_choice="required").choices[0].message.tool_calls
    assert call.function.name in ["add", "now"] and isinstance(json.loads(call.function.arguments), dict)


@case
def tool_streamed():
    """a call streams as deltas that add up"""
    name, arguments, reason = "", "", None
    for chunk in chat(model=TOLD.tools_model, tools=[ADD], tool_choice="required", stream=True):
        choice = chunk.choices[0]
        reason = choice.finish_reason or reason
        for call in choice.delta.tool_calls or []:
            assert call.index == 0
            name += call.function.name or ""
            arguments += call.function.arguments or ""
    assert name == "add" and set(json.loads(arguments)) == {"a", "b"} and reason == "tool_calls"


@case
def tools_auto():
    """with tool_choice auto and none a manager may just talk"""
    plain = chat(model=TOLD.tools_model)
    told = chat(model=TOLD.tools_model, tools=[ADD])
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens, "the chat template shows the tools"
    assert told.choices[0].message.content or told.choices[0].message.tool_calls
    none = chat(model=TOLD.tools_model, tools=[ADD], tool_choice="none")
    assert none.choices[0].message.content and not none.choices[0].message.tool_calls


@case
def tool_history():
    """calls and answers of tools are understood as history"""
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, "b": true}'}}
    messages = user("add") + [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
    ]
    answer = chat(model=TOLD.tools_model, messages=messages, tools=[ADD], max_tokens=20)
    assert answer.usage.prompt_tokens > 0
    refused(Refused, lambda: chat(messages=messages), "tools")


@case
def tools_refused():
    """a manager whose chat template has no place for tools refuses them, and so are bad ones"""
    refused(Refused, lambda: chat(tools=[ADD]), "tools")
    refused(Refused, lambda: chat(tool_choice="auto"), "tool_choice")
    refused(Refused, lambda: chat(tools=[{"type": "web_search"}]), "tools[0].type")
    strict = {"type": "function", "function": {"name": "f", "strict": True}}
    refused(Refused, lambda: chat(tools=[strict]), "tools[0].function.strict")


@case
def parts():
    """content may be parts of text; developer is system; images are refused"""
    messages = [
        {"role": "developer", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Who"}, {"type": "text", "text": "are you?"}]},
    ]
    assert chat(messages=messages).choices[0].message.content
    image = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]
    refused(Refused, lambda: chat(messages=[{"role": "user", "content": image}]), "messages[0].content[0]")


@case
def unknown_fields():
    """what cannot be done is refused by the field's name"""
    for field, value in {
        "logit_bias": {"5": 1},
        "store": True,
        "reasoning_effort": "high",
        "service_tier": "flex",
        "metadata": {"a": "b"},
    }.items():
        refused(Refused, lambda: chat(**{field: value}), field)
    refused(Refused, lambda: chat(extra_body={"flavour": 1}), "flavour")
    refused(Refused, lambda: chat(temperature=3), "temperature")
    refused(Refused, lambda: chat(messages=[]), "messages")


@case
def too_long():
    """a prompt beyond the context is refused with OpenAI's code"""
    error = refused(Refused, lambda: chat(messages=user("word " * 5000)), "messages")
    assert error.code == "context_length_exceeded", error


@case
def not_published():
    """a slot in which nothing was published is not found, streamed or not"""
    for stream in [False, True]:
        try:
            list(chat(model=TOLD.missing_model, stream=stream))
        except openai.APIStatusError as error:
            assert error.status_code in [404, 503], error
        else:
            raise AssertionError("it was answered")


@case
def completion():
    """a completion continues text as it is"""
    answer = client.completions.create(model=TOLD.model, prompt=f"<s><|user|>{TOLD.prompt}<|assistant|>", temperature=0,
                                       max_tokens=100)
    assert answer.choices[0].text == TOLD.answer and answer.object == "text_completion", answer
    assert answer.system_fingerprint == f"fp_{TOLD.artifact[:12]}"


@case
def completion_default():
    """a completion has 16 tokens unless more are asked for"""
    answer = client.completions.create(model=TOLD.model, prompt="<s>The", temperature=0)
    assert answer.usage.completion_tokens <= 16


@case
def completions():
    """prompts and choices are numbered as OpenAI does"""
    answer = client.completions.create(model=TOLD.model, prompt=["<s>One", "<s>Two"], n=2, seed=1, max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    refused(Refused, lambda: client.completions.create(model=TOLD.model, prompt=[1, 2]), "prompt")
    refused(Refused, lambda: client.completions.create(model=TOLD.model, prompt="x", echo=True), "echo")
    refused(Refused, lambda: client.completions.create(model=TOLD.model, prompt="x", suffix="y"), "suffix")


@case
def completion_streamed():
    """a completion streams"""
    ask = dict(model=TOLD.model, prompt=f"<s><|user|>{TOLD.prompt}<|assistant|>", temperature=0, max_tokens=100)
    chunks = list(client.completions.create(stream=True, stream_options={"include_usage": True}, **ask))
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == TOLD.answer
    assert chunks[-1].usage.completion_tokens > 0


@case
def completion_logprobs():
    """a completion tells log-probabilities in the older shape"""
    ask = dict(model=TOLD.model, prompt=f"<s><|user|>{TOLD.prompt}<|assistant|>", temperature=0, max_tokens=100)
    told = client.completions.create(logprobs=2, **ask).choices[0].logprobs
    assert "".join(told.tokens) == TOLD.answer
    assert len(told.tokens) == len(told.token_logprobs) == len(told.top_logprobs) == len(told.text_offset)
    assert told.text_offset[0] == 0 and all(len(top) == 2 for top in told.top_logprobs)


@case
def embeddings():
    """embeddings are vectors of length one, alike for like texts"""
    answer = client.embeddings.create(model=TOLD.model, input=["Who are you?", "Who are you?", "Hello there"])
    one, same, other = [entry.embedding for entry in answer.data]
    length = lambda vector: math.sqrt(sum(value * value for value in vector))
    close = lambda a, b: sum(x * y for x, y in zip(a, b))
    assert abs(length(one) - 1) < 1e-4 and close(one, same) > 0.9999 > close(one, other)
    assert [entry.index for entry in answer.data] == [0, 1, 2] and answer.usage.total_tokens > 0


@case
def embedding_formats():
    """an embedding is the same in both formats"""
    floats = client.embeddings.create(model=TOLD.model, input="Hello", encoding_format="float").data[0].embedding
    raw, headers = post("/v1/embeddings", {"model": TOLD.model, "input": "Hello", "encoding_format": "base64"})
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert len(packed) == 4 * len(floats)
    assert all(abs(a - b) < 1e-4 for a, b in zip(struct.unpack(f"<{len(floats)}f", packed), floats))
    assert headers["x-fednode-node"] == TOLD.node and raw["system_fingerprint"] == f"fp_{TOLD.artifact[:12]}"


@case
def many_embeddings():
    """a large batch is embedded in order"""
    texts = [f"text number {number}" for number in range(70)]
    answer = client.embeddings.create(model=TOLD.model, input=texts)
    alone = client.embeddings.create(model=TOLD.model, input=texts[69])
    assert len(answer.data) == 70
    assert sum(a * b for a, b in zip(answer.data[69].embedding, alone.data[0].embedding)) > 0.9999


@case
def embeddings_refused():
    """tokens, no text and dimensions are refused"""
    create = client.embeddings.create
    refused(Refused, lambda: create(model=TOLD.model, input=[1, 2]), "input")
    refused(Refused, lambda: create(model=TOLD.model, input=""), "input")
    refused(Refused, lambda: create(model=TOLD.model, input="x", dimensions=8), "dimensions")
    refused(openai.NotFoundError, lambda: create(model="NOBODY", input="x"), "model", 404)


@case
def a_response():
    """a response is one message"""
    answer = client.responses.create(model=TOLD.model, input=TOLD.prompt, temperature=0)
    assert answer.output_text == TOLD.answer and answer.status == "completed", answer
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.id.startswith("resp_") and answer.error is None


@case
def a_response_of_messages():
    """a response takes messages and instructions, and is cut by max_output_tokens"""
    items = [{"role": "user", "content": [{"type": "input_text", "text": TOLD.prompt}]}]
    answer = client.responses.create(model=TOLD.model, input=items, instructions="be brief", max_output_tokens=3)
    assert answer.status == "incomplete" and answer.incomplete_details.reason == "max_output_tokens", answer


@case
def a_response_streamed():
    """a response streams as the client puts it together"""
    kinds, text = [], ""
    for event in client.responses.create(model=TOLD.model, input=TOLD.prompt, temperature=0, stream=True):
        kinds.append(event.type)
        if event.type == "response.output_text.delta":
            text += event.delta
        if event.type == "response.completed":
            assert event.response.output_text == TOLD.answer
    assert text == TOLD.answer and kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds


@case
def a_response_gathered():
    """the client's own stream helper gathers a response"""
    with client.responses.stream(model=TOLD.model, input=TOLD.prompt, temperature=0) as stream:
        for _ in stream:
            pass
        assert stream.get_final_response().output_text == TOLD.answer


@case
def a_response_of_a_schema():
    """a response follows a JSON schema"""
    schema = {"type": "object", "properties": {"x": {"enum": [1, 2]}}, "required": ["x"], "additionalProperties": False}
    format = {"type": "json_schema", "name": "x", "strict": True, "schema": schema}
    answer = client.responses.create(model=TOLD.model, input=TOLD.prompt, text={"format": format})
    assert json.loads(answer.output_text)["x"] in [1, 2]


@case
def responses_refused():
    """what responses cannot do is refused by name"""
    create = lambda **extra: client.responses.create(model=TOLD.model, input="x", **extra)
    refused(Refused, lambda: create(store=True), "store")
    refused(Refused, lambda: create(previous_response_id="resp_1"), "previous_response_id")
    refused(Refused, lambda: create(tools=[{"type": "web_search"}]), "tools")
    refused(Refused, lambda: create(background=True), "background")


@case
def chat_gathered():
    """the client's own stream helper gathers a chat"""
    with client.chat.completions.stream(model=TOLD.model, messages=user(TOLD.prompt), temperature=0) as stream:
        for _ in stream:
            pass
        assert stream.get_final_completion().choices[0].message.content == TOLD.answer


@case
def tokens():
    """tokens become text again"""
    text = "Who are you? Größe 猫"
    told, headers = post("/tokenize", {"model": TOLD.model, "content": text})
    assert told["tokens"] and headers["x-fednode-artifact"] == TOLD.artifact
    back, _ = post("/detokenize", {"model": TOLD.model, "tokens": told["tokens"]})
    assert back["content"].strip() == text, back
    pieces, _ = post("/tokenize", {"model": TOLD.model, "content": text, "with_pieces": True})
    assert [piece["id"] for piece in pieces["tokens"]] == told["tokens"]


@case
def at_once():
    """twenty requests at once are all answered, each with its own answer"""
    from concurrent.futures import ThreadPoolExecutor

    wanted = (list(TOLD.answers.items()) * 3)[:20]
    with ThreadPoolExecutor(20) as pool:
        found = list(pool.map(lambda pair: chat(messages=user(pair[0])).choices[0].message.content, wanted))
    assert found == [answer for _, answer in wanted]


run("openai for Python")
