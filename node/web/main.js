// The page: what comes from the node is kept in one place and shown a moment later, all at once.

import { useKey, watch } from "./api.js";
import { Chat } from "./chat.js";
import { requests } from "./charts.js";
import { by, clock, h, show } from "./dom.js";
import { machines, managers, map, memory, transfers } from "./overview.js";
import { Owner } from "./owner.js";

const LOG_MAX = 200;
const SAMPLES_MAX = 240;
const THEMES = ["system", "light", "dark"];

const known = { state: null, log: [], samples: [], sampleS: 5 };
const chat = new Chat();
const owner = new Owner();
let due = false;

const on = {
  past({ log, samples, sample_s }) {
    Object.assign(known, { log, samples, sampleS: sample_s });
    draw();
  },
  state(state) {
    known.state = state;
    draw();
  },
  log(lines) {
    known.log = known.log.concat(lines).slice(-LOG_MAX);
    draw();
  },
  sample(sample) {
    known.samples = known.samples.concat(sample).slice(-SAMPLES_MAX);
    draw();
  },
};

function draw() {
  if (due) return;
  due = true;
  // Not an animation frame: a tab in the background must not gather work.
  setTimeout(() => {
    due = false;
    if (known.state) drawNow(known.state);
  }, 0);
}

const body = (id) => by(id).querySelector(".body");

function drawNow(state) {
  const seat = state.coordinator ? `${state.coordinator.name} coordinates, epoch ${state.coordinator.epoch}` : "no coordinator is known";
  const plan = state.plan ? ` · plan ${state.plan.epoch}.${state.plan.revision}, ${state.plan.carried_out ? "carried out" : "being carried out"}` : "";
  by("where").textContent = `${state.node.name} · federation ${state.federation.slice(0, 8)} · ${seat}${plan}`;
  document.title = `${state.node.name} · fednode`;
  by("notice").textContent = state.node.notice;
  by("notice").hidden = !state.node.notice;
  show(body("map"), map(state));
  show(body("memory"), memory(state));
  show(body("managers"), managers(state));
  show(body("requests"), requests(state, known.samples, known.sampleS));
  show(body("transfers"), transfers(state));
  show(body("machines"), machines(state, owner));
  show(body("events"), log());
  chat.slots(state);
  owner.draw();
}

function log() {
  if (!known.log.length) return h("p", { class: "empty" }, "Nothing since this node started.");
  const lines = known.log.map((line, at) => ({ line, at })).reverse();
  return h("ol", { class: "log" }, lines.map(({ line }) =>
    h("li", {}, h("time", { datetime: new Date(line.unix_s * 1000).toISOString() }, clock(line.unix_s)), " ", line.text)));
}

function live(how, why = "") {
  const words = { live: "live", away: why || "the node does not answer; trying again", locked: "a key is needed" };
  by("live").dataset.state = how;
  by("live").textContent = words[how];
  by("key").hidden = how !== "locked";
  if (how === "locked") by("key-text").focus();
}

function theme(name) {
  if (name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = name;
  by("theme").textContent = `Theme: ${name}`;
  localStorage.setItem("fednode-theme", name);
}

by("theme").onclick = () => {
  const now = document.documentElement.dataset.theme ?? "system";
  theme(THEMES[(THEMES.indexOf(now) + 1) % THEMES.length]);
};
by("key").onsubmit = (event) => {
  event.preventDefault();
  useKey(by("key-text").value.trim());
  by("key-text").value = "";
  dispatchEvent(new Event("fednode-key"));
};
const kept = localStorage.getItem("fednode-theme");
if (THEMES.includes(kept)) theme(kept);
watch(on, live);
