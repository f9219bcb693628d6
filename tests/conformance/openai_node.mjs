// The API as OpenAI's own client for Node uses it.
import OpenAI from "openai";
import assert from "node:assert/strict";

const told = JSON.parse(process.env.FEDNODE_TOLD);
const client = new OpenAI({ baseURL: `${told.base}/v1`, apiKey: "none", maxRetries: 0, timeout: 60_000 });
const [prompt, answer] = Object.entries(told.answers)[0];
const cases = [];
const define = (name, run) => cases.push({ name, run });
const ask = (extra = {}) =>
  client.chat.completions.create({
    model: told.model, messages: [{ role: "user", content: prompt }], temperature: 0, ...extra,
  });
const add = {
  type: "function",
  function: {
    name: "add",
    parameters: {
      type: "object", properties: { a: { type: "integer", enum: [1, 2] } }, required: ["a"], additionalProperties: false,
    },
  },
};

async function refused(promise, param, status = 400) {
  const error = await promise.then(() => assert.fail("it was not refused"), (error) => error);
  assert.ok(error instanceof OpenAI.APIError, String(error));
  assert.equal(error.status, status, error.message);
  assert.equal(error.param, param, error.message);
  assert.ok(error.type && error.code, "type and code");
}

define("models are listed", async () => {
  const found = [];
  for await (const model of client.models.list()) found.push(model.id);
  assert.ok(found.includes(told.model) && found.includes(told.domain_model), found.join());
});

define("one model is told", async () => {
  const model = await client.models.retrieve(told.model);
  assert.deepEqual([model.id, model.status.value, model.precision], [told.model, "resident", "F16"]);
});

define("an unknown model is not found", async () => {
  await refused(client.models.retrieve("NOBODY"), "model", 404);
  await refused(ask({ model: "NOBODY" }), "model", 404);
});

define("a chat gives the manager's answer", async () => {
  const found = await ask();
  assert.equal(found.choices[0].message.content, answer);
  assert.equal(found.usage.total_tokens, found.usage.prompt_tokens + found.usage.completion_tokens);
});

define("headers say who answered", async () => {
  const { data, response } = await ask().withResponse();
  assert.equal(response.headers.get("x-fednode-node"), told.node);
  assert.equal(response.headers.get("x-fednode-artifact"), told.artifact);
  assert.equal(data.system_fingerprint, `fp_${told.artifact.slice(0, 12)}`);
});

define("a chat streams", async () => {
  let text = "", reason = null;
  for await (const chunk of await ask({ stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
    reason = chunk.choices[0]?.finish_reason ?? reason;
  }
  assert.deepEqual([text, reason], [answer, "stop"]);
});

define("the client's own helper gathers a stream with usage", async () => {
  const stream = client.chat.completions.stream({
    model: told.model, messages: [{ role: "user", content: prompt }], temperature: 0,
    stream_options: { include_usage: true },
  });
  assert.equal(await stream.finalContent(), answer);
  assert.ok((await stream.totalUsage()).completion_tokens > 0);
});

define("a stream may be left", async () => {
  const stream = await ask({ stream: true, temperature: 1, max_tokens: 200 });
  for await (const _ of stream) break;
  assert.equal((await ask()).choices[0].message.content, answer);
});

define("several choices stream with their index", async () => {
  const texts = ["", ""];
  for await (const chunk of await ask({ stream: true, n: 2 }))
    for (const choice of chunk.choices) texts[choice.index] += choice.delta.content ?? "";
  assert.deepEqual(texts, [answer, answer]);
});

define("a seed gives the same answer", async () => {
  const once = async () => (await ask({ seed: 3, temperature: 2, max_tokens: 20 })).choices[0].message.content;
  assert.equal(await once(), await once());
});

define("a stop string ends the answer", async () => {
  const word = answer.split(" ")[2];
  assert.equal((await ask({ stop: [word] })).choices[0].message.content, answer.split(word)[0]);
});

define("max_completion_tokens cuts the answer", async () => {
  const found = await ask({ max_completion_tokens: 2 });
  assert.deepEqual([found.choices[0].finish_reason, found.usage.completion_tokens], ["length", 2]);
});

define("log-probabilities are told", async () => {
  const tokens = (await ask({ logprobs: true, top_logprobs: 2 })).choices[0].logprobs.content;
  assert.equal(tokens.map((token) => token.token).join(""), answer);
  assert.ok(tokens.every((token) => token.logprob <= 0 && token.top_logprobs.length === 2));
});

define("an answer follows a JSON schema", async () => {
  const schema = { type: "object", properties: { x: { enum: ["a", "b"] } }, required: ["x"], additionalProperties: false };
  const response_format = { type: "json_schema", json_schema: { name: "x", strict: true, schema } };
  const found = JSON.parse((await ask({ response_format })).choices[0].message.content);
  assert.ok(["a", "b"].includes(found.x));
});

define("a tool is called", async () => {
  const found = await ask({ model: told.tools_model, tools: [add], tool_choice: "required" });
  const call = found.choices[0].message.tool_calls[0];
  assert.equal(call.function.name, "add");
  assert.ok([1, 2].includes(JSON.parse(call.function.arguments).a));
  assert.equal(found.choices[0].finish_reason, "tool_calls");
});

define("a call streams as the client's helper gathers it", async () => {
  const stream = client.chat.completions.stream({
    model: told.tools_model, messages: [{ role: "user", content: prompt }], temperature: 0, tools: [add],
    tool_choice: { type: "function", function: { name: "add" } },
  });
  const call = (await stream.finalMessage()).tool_calls[0];
  assert.ok([1, 2].includes(JSON.parse(call.function.arguments).a));
});

define("what cannot be done is refused by name", async () => {
  await refused(ask({ logit_bias: { 5: 1 } }), "logit_bias");
  await refused(ask({ flavour: 1 }), "flavour");
  await refused(ask({ tools: [add] }), "tools");
  await refused(ask({ messages: [{ role: "user", content: "word ".repeat(5000) }] }), "messages");
});

define("completions", async () => {
  const raw = `<s><|user|>${prompt}<|assistant|>`;
  const whole = await client.completions.create({ model: told.model, prompt: raw, temperature: 0, max_tokens: 100 });
  assert.equal(whole.choices[0].text, answer);
  let text = "";
  const stream = { model: told.model, prompt: raw, temperature: 0, max_tokens: 100, stream: true };
  for await (const chunk of await client.completions.create(stream)) text += chunk.choices[0]?.text ?? "";
  assert.equal(text, answer);
});

define("embeddings", async () => {
  const found = await client.embeddings.create({ model: told.model, input: ["a", "b"] });
  assert.equal(found.data.length, 2);
  const length = Math.hypot(...found.data[0].embedding);
  assert.ok(Math.abs(length - 1) < 1e-4, String(length));
});

define("responses", async () => {
  const found = await client.responses.create({ model: told.model, input: prompt, temperature: 0 });
  assert.equal(found.output_text, answer);
});

define("responses stream", async () => {
  const stream = client.responses.stream({ model: told.model, input: prompt, temperature: 0 });
  let text = "";
  stream.on("response.output_text.delta", (event) => (text += event.delta));
  const final = await stream.finalResponse();
  assert.deepEqual([text, final.status], [answer, "completed"]);
});

let failed = 0;
for (const { name, run } of cases) {
  try {
    await run();
    console.log(`ok   openai for Node: ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL openai for Node: ${name}: ${error.stack ?? error}`);
  }
}
console.log(`openai for Node: ${cases.length - failed} passed, ${failed} failed`);
process.exit(failed ? 1 : 0);
