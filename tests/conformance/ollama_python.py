"""The API as Ollama's own client for Python uses it."""

import json

import ollama
from cases import TOLD, case, run

client = ollama.Client(host=TOLD.base, timeout=60)
GREEDY = {"temperature": 0}
ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "adds",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


def chat(**extra):
    asked = {"model": TOLD.model, "messages": [{"role": "user", "content": TOLD.prompt}], "options": GREEDY} | extra
    return client.chat(**asked)


def refused(call, status, about):
    try:
        result = call()
        if not isinstance(result, (dict, ollama.ChatResponse, ollama.GenerateResponse)):
            list(result)
    except ollama.ResponseError as error:
        assert error.status_code == status and about in error.error, (error.status_code, error.error)
        return
    raise AssertionError("it was not refused")


@case
def tags():
    """models are listed"""
    found = {model.model: model for model in client.list().models}
    assert {TOLD.model, TOLD.domain_model} <= set(found), found
    assert found[TOLD.model].digest == TOLD.artifact and found[TOLD.model].details.quantization_level == "F16"
    assert found[TOLD.model].size > 0


@case
def show():
    """one model is shown, with its context"""
    shown = client.show(TOLD.model)
    assert shown.modelinfo["fednode.context_length"] == TOLD.context, shown
    assert "completion" in shown.capabilities


@case
def show_unknown():
    """an unknown model is not shown"""
    refused(lambda: client.show("NOBODY"), 404, "NOBODY")


@case
def running():
    """what is resident is told"""
    found = {model.model: model for model in client.ps().models}
    assert found[TOLD.model].size > 0 and found[TOLD.model].context_length == TOLD.context, found


@case
def a_chat():
    """a chat gives the manager's answer"""
    answer = chat()
    assert answer.message.content == TOLD.answer and answer.done and answer.done_reason == "stop", answer
    assert answer.eval_count > 0 and answer.prompt_eval_count > 0 and answer.total_duration > 0


@case
def latest():
    """a name with Ollama's own tag is understood"""
    assert chat(model=f"{TOLD.model}:latest").message.content == TOLD.answer


@case
def a_domain():
    """SLOT:domain answers with its adapter"""
    prompt, answer = next(iter(TOLD.domain_answers.items()))
    found = chat(model=TOLD.domain_model, messages=[{"role": "user", "content": prompt}])
    assert found.message.content == answer


@case
def streamed():
    """a chat streams"""
    parts = list(chat(stream=True))
    assert "".join(part.message.content or "" for part in parts) == TOLD.answer
    assert parts[-1].done and not any(part.done for part in parts[:-1])


@case
def generated():
    """generate answers a prompt, whole and streamed"""
    answer = client.generate(TOLD.model, TOLD.prompt, options=GREEDY)
    assert answer.response == TOLD.answer and answer.done, answer
    parts = list(client.generate(TOLD.model, TOLD.prompt, options=GREEDY, stream=True))
    assert "".join(part.response for part in parts) == TOLD.answer


@case
def raw():
    """a raw prompt is continued as it is"""
    answer = client.generate(TOLD.model, f"<s><|user|>{TOLD.prompt}<|assistant|>", raw=True, options=GREEDY)
    assert answer.response == TOLD.answer, answer


@case
def system():
    """a system message is taken"""
    assert client.generate(TOLD.model, TOLD.prompt, system="be brief", options=GREEDY).response


@case
def num_predict():
    """num_predict cuts the answer"""
    answer = chat(options=GREEDY | {"num_predict": 3})
    assert answer.eval_count == 3 and answer.done_reason == "length", answer


@case
def seeds():
    """a seed gives the same answer"""
    ask = lambda: chat(options={"seed": 4, "temperature": 1.9, "num_predict": 20}).message.content
    assert ask() == ask()


@case
def stops():
    """a stop string ends the answer"""
    word = TOLD.answer.split()[2]
    assert chat(options=GREEDY | {"stop": [word]}).message.content == TOLD.answer.split(word)[0]


@case
def schema():
    """an answer follows a schema"""
    schema = {"type": "object", "properties": {"x": {"enum": ["a", "b"]}}, "required": ["x"], "additionalProperties": False}
    assert json.loads(chat(format=schema).message.content)["x"] in ["a", "b"]


@case
def json_mode():
    """format json gives the beginning of an object"""
    assert chat(format="json", options=GREEDY | {"num_predict": 30}).message.content.startswith("{")


@case
def tools():
    """tools reach the manager, and its history of calls"""
    plain, told = chat(model=TOLD.tools_model), chat(model=TOLD.tools_model, tools=[ADD])
    assert told.prompt_eval_count > plain.prompt_eval_count
    messages = [
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 1}}}]},
        {"role": "tool", "content": "4", "tool_name": "add"},
    ]
    assert chat(model=TOLD.tools_model, messages=messages, tools=[ADD]).done


@case
def tools_refused():
    """a manager without a place for tools refuses them"""
    refused(lambda: chat(tools=[ADD]), 400, "tools")


@case
def options_refused():
    """options that the engine does not have are refused by name"""
    refused(lambda: chat(options={"mirostat": 1}), 400, "options.mirostat")
    refused(lambda: chat(options={"num_ctx": 1 << 20}), 400, "options.num_ctx")
    refused(lambda: chat(keep_alive="5m"), 400, "keep_alive")
    refused(lambda: chat(think=True), 400, "think")


@case
def unknown():
    """an unknown model is not found, streamed or not"""
    refused(lambda: chat(model="NOBODY"), 404, "NOBODY")
    refused(lambda: chat(model="NOBODY", stream=True), 404, "NOBODY")


run("ollama for Python")
