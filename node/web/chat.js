// A conversation with a manager, told as it is made. It lives in this page only.

import { ask, streamed } from "./api.js";
import { by, h, show, span } from "./dom.js";

/** Older messages are no longer sent: contexts are finite, and so is this page. */
const MESSAGES_MAX = 40;

export class Chat {
  constructor() {
    this.said = [];
    this.stop = null;
    by("chat-form").onsubmit = (event) => {
      event.preventDefault();
      this.send();
    };
    by("chat-text").onkeydown = (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.send();
      }
    };
    by("chat-stop").onclick = () => this.stop?.abort();
    by("chat-new").onclick = () => {
      this.stop?.abort();
      this.said = [];
      by("chat-state").textContent = "";
      this.draw();
    };
    this.draw();
  }

  /** What may be asked: slots and their domains, those that nothing is published for left out. */
  slots(state) {
    const names = state.slots.flatMap((slot) => [
      slot.artifact || slot.state === "external" ? [slot.name, `${slot.name}, ${slot.state}`] : null,
      ...slot.domains.filter((domain) => domain.artifact).map((domain) => [`${slot.name}:${domain.name}`, `${slot.name}:${domain.name}`]),
    ]).filter(Boolean);
    if (state.local) names.push(["local", `local, ${state.local.model}`]);
    const chosen = by("chat-model").value;
    show(by("chat-model"), names.length ? names.map(([name, text]) => h("option", { key: name, value: name }, text)) : h("option", { value: "" }, "nothing published"));
    if (names.some(([name]) => name === chosen)) by("chat-model").value = chosen;
  }

  async send() {
    const [text, model] = [by("chat-text").value.trim(), by("chat-model").value];
    if (!text || !model || this.stop) return;
    by("chat-text").value = "";
    const messages = [...this.said.filter((one) => !one.failed).map(({ role, content }) => ({ role, content })), { role: "user", content: text }];
    const answer = { role: "assistant", content: "", by: model };
    this.said.push({ role: "user", content: text }, answer);
    this.said = this.said.slice(-MESSAGES_MAX);
    this.stop = new AbortController();
    this.draw();
    try {
      await this.answered(model, messages.slice(-MESSAGES_MAX), answer);
    } catch (error) {
      answer.failed = true;
      this.tell(error.name === "AbortError" ? "Stopped." : error.message);
    }
    this.stop = null;
    this.draw();
  }

  async answered(model, messages, answer) {
    const begin = performance.now();
    this.tell(`${model} is asked …`);
    const response = await ask("/v1/chat/completions", { body: { model, messages, stream: true }, signal: this.stop.signal });
    let who = [response.headers.get("x-fednode-node"), response.headers.get("x-fednode-precision")];
    let first = null;
    for await (const { data, comment } of streamed(response)) {
      if (comment?.startsWith("fednode {")) {
        const start = JSON.parse(comment.slice(8));
        who = [start.node, start.precision];
      } else if (comment && first === null) this.tell(comment);
      if (!data || data === "[DONE]") continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Error(chunk.error.message);
      const text = chunk.choices[0]?.delta?.content;
      if (!text) continue;
      first ??= performance.now() - begin;
      answer.content += text;
      this.draw();
    }
    const from = who.filter(Boolean).map(decoded).join(", ");
    this.tell(first === null ? "It said nothing." : `${from || model} · first token after ${span(first)}, all after ${span(performance.now() - begin)}`);
  }

  tell(text) {
    by("chat-state").textContent = text;
  }

  draw() {
    const log = by("chat-log");
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    show(log, this.said.length
      ? this.said.map((one) => h("p", { class: one.role }, h("strong", {}, one.role === "user" ? "You" : one.by), h("span", {}, one.content || (one.failed ? "–" : "…"))))
      : h("p", { class: "empty" }, "Ask a manager something; the answer comes from whichever machine holds it."));
    if (atEnd) log.scrollTop = log.scrollHeight;
    by("chat-send").hidden = this.stop !== null;
    by("chat-stop").hidden = this.stop === null;
  }
}

/** Headers carry UTF-8 as single bytes. */
function decoded(text) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(Uint8Array.from(text, (char) => char.charCodeAt(0)));
  } catch {
    return text;
  }
}
