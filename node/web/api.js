// Talking with this node, and with nobody else: its view over /events, its plan, and what an owner may ask.

const KEY = "fednode-key";
const OWNER = "fednode-owner";
const REST_MS_MAX = 10_000;

// `fednode dashboard` puts a session into the address; it is taken out of it at once, and ends with this tab.
const session = /^#owner=([0-9a-f]{64})$/.exec(location.hash);
if (session) {
  sessionStorage.setItem(OWNER, session[1]);
  history.replaceState(null, "", location.pathname);
}

/** Has this tab a session of the owner? */
export const isOwner = () => sessionStorage.getItem(OWNER) !== null;

/** The key of the API that this tab sends from now on. */
export const useKey = (key) => sessionStorage.setItem(KEY, key);

/** A refusal, or a failure, in the node's words. */
export class Refused extends Error {
  constructor(status, error) {
    super(error?.message ?? `the node answered ${status}`);
    this.status = status;
    this.code = error?.code;
  }
}

/** A request; what is not answered well is thrown. */
export async function ask(path, { body, signal } = {}) {
  const headers = {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  if (path.startsWith("/owner/")) headers["x-fednode-owner"] = sessionStorage.getItem(OWNER) ?? "";
  const response = await fetch(path, { method: body ? "POST" : "GET", headers, signal, body: body && JSON.stringify(body), cache: "no-store" });
  if (response.ok) return response;
  const said = await response.json().catch(() => null);
  if (said?.error?.code === "owner_only") sessionStorage.removeItem(OWNER);
  throw new Refused(response.status, said?.error);
}

/** The events of a stream: {event, data} or {comment}. */
export async function* streamed(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = "message";
  let data = [];
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (data.length) yield { event, data: data.join("\n") };
        event = "message";
        data = [];
      } else if (line.startsWith(":")) yield { comment: line.slice(1).trim() };
      else if (line.startsWith("event:")) event = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).trimStart());
    }
  }
}

/** Watches the node for ever: `on` has a function for each event, `live` hears how the connection is. */
export async function watch(on, live) {
  let rest = 500;
  for (;;) {
    try {
      const response = await ask("/events");
      live("live");
      rest = 500;
      for await (const { event, data } of streamed(response)) if (event && on[event]) on[event](JSON.parse(data));
      live("away");
    } catch (error) {
      if (error.status === 401) {
        live("locked");
        await new Promise((resolve) => addEventListener("fednode-key", resolve, { once: true }));
        continue;
      }
      live("away", error instanceof Refused ? error.message : "");
    }
    await new Promise((resolve) => setTimeout(resolve, rest));
    rest = Math.min(rest * 2, REST_MS_MAX);
  }
}
