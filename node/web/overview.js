// What the federation is at this moment: its map, memory, managers, transfers and machines.

import { ask } from "./api.js";
import { by, bytes, h, many, show, span } from "./dom.js";

/** Above these percents memory is in the band. The same as alerts and `fednode status --watch` have. */
const BANDS = [[90, "critical"], [75, "warning"], [60, "caution"], [-1, "safe"]];
const MAP_MAX = 24;
// Of a federation of thousands a page shows the beginning; `fednode status --json` has all of it.
const COLUMNS_MAX = 40;
const ROWS_MAX = 200;
const more = (all, shown, what) => (all > shown ? h("p", { class: "note" }, `${all - shown} more ${what} are not shown.`) : null);

const usable = (domain) => Math.max(0, domain.total_bytes - domain.reserve_bytes);
const used = (domain) => Math.max(0, usable(domain) - domain.free_bytes);
const percent = (domain) => (usable(domain) ? (100 * used(domain)) / usable(domain) : 0);
const band = (share) => BANDS.find(([above]) => share > above)[1];
const hosting = (member) => member.domains.filter((domain) => domain.hosts);

/** The fullest domain that hosts managers, in percent; null where there is none. */
function fullest(member) {
  const all = hosting(member).map(percent);
  return all.length ? Math.max(...all) : null;
}

/** Machines around the coordinator, each with how full it is. */
export function map(state) {
  const seat = state.coordinator?.peer_id;
  const members = state.members.slice(0, MAP_MAX);
  const middle = members.find((member) => member.peer_id === seat);
  const around = members.filter((member) => member !== middle);
  const places = around.map((member, at) => {
    // From the left, so that two stand beside the one in the middle.
    const angle = (2 * Math.PI * at) / around.length + Math.PI;
    return { member, x: 300 + 215 * Math.cos(angle), y: 160 + 108 * Math.sin(angle) };
  });
  const all = middle ? [{ member: middle, x: 300, y: 160 }, ...places] : places;
  const lines = middle ? places.map((place) => h("line", { class: `line ${place.member.state}`, x1: 300, y1: 160, x2: place.x, y2: place.y })) : [];
  const alive = state.members.filter((member) => member.state === "alive").length;
  const label = `${many(state.members.length, "machine")}, ${alive} alive. ${state.members.slice(0, MAP_MAX).map(said).join(". ")}.`;
  return [
    h("svg", { class: "map", viewBox: around.length > 2 ? "0 0 600 350" : "0 95 600 150", role: "img", "aria-label": label }, lines, all.map((place) => machine(place, seat, state))),
    state.members.length > MAP_MAX ? h("p", { class: "note" }, `${state.members.length - MAP_MAX} more are listed below.`) : null,
  ];
}

function said(member) {
  const share = fullest(member);
  return `${member.name} is ${member.state}${share === null ? "" : `, memory ${Math.round(share)} % full`}`;
}

function machine({ member, x, y }, seat, state) {
  const share = fullest(member);
  const length = 2 * Math.PI * 30;
  const mine = member.peer_id === state.node.peer_id;
  const arc = share === null ? null : h("circle", {
    class: `arc ${band(share)}`, r: 30, transform: "rotate(-90)", "stroke-dasharray": `${(length * Math.min(share, 100)) / 100} ${length}`,
  });
  const what = member.role === "delegate" ? "delegates" : many(member.resident.length, "manager");
  return h("g", { key: member.peer_id, class: `machine ${member.state}`, transform: `translate(${x.toFixed(1)} ${y.toFixed(1)})` },
    h("circle", { class: "ring", r: 30 }), arc,
    h("text", { class: "share", y: 5 }, share === null ? "–" : `${Math.round(share)} %`),
    h("text", { class: "name", y: 49 }, short(member.name, 16)),
    h("text", { class: "what", y: 64 }, member.state === "alive" ? `${what}${mine ? " · here" : ""}` : member.state),
    member.peer_id === seat ? h("text", { class: "crown", y: -36 }, "coordinator") : null);
}

const short = (text, chars) => ([...text].length > chars ? `${[...text].slice(0, chars - 1).join("")}…` : text);

/** Every memory domain as a bar, with the bands marked on it. */
export function memory(state) {
  const rows = state.members.flatMap((member) => member.domains.map((domain) => ({ member, domain })));
  if (!rows.length) return h("p", { class: "empty" }, "No machine has told of its memory yet.");
  return [
    h("ul", { class: "bars" }, rows.slice(0, ROWS_MAX).map(({ member, domain }) => bar(member, domain))),
    more(rows.length, ROWS_MAX, "memories"),
    h("p", { class: "note" }, h("span", { class: "swatch ours" }), "managers ", h("span", { class: "swatch others" }),
      "other programs · marks at 60, 75 and 90 %: caution, warning, critical"),
  ];
}

function bar(member, domain) {
  const [share, all] = [percent(domain), usable(domain) || 1];
  const ours = Math.min(100, (100 * domain.ours_bytes) / all);
  const others = Math.max(0, Math.min(100, share) - ours);
  const word = domain.hosts ? band(share) : "hosts nothing";
  const text = domain.hosts
    ? `${bytes(used(domain))} of ${bytes(usable(domain))}, ${Math.round(share)} %`
    : `${bytes(domain.total_bytes)}`;
  const width = (part) => part.toFixed(2);
  return h("li", { key: `${member.peer_id} ${domain.name}` },
    h("span", { class: "who" }, `${member.name} ${domain.name}`),
    h("span", { class: "much" }, text, " ", h("strong", { class: `tag ${domain.hosts ? word : "none"}` }, word)),
    h("svg", { class: "bar", viewBox: "0 0 100 8", preserveAspectRatio: "none", "aria-hidden": "true" },
      h("rect", { class: "base", width: 100, height: 8 }),
      domain.hosts ? [
        h("rect", { class: `fill ${word}`, width: width(ours), height: 8 }),
        h("rect", { class: `fill more ${word}`, x: width(ours), width: width(others), height: 8 }),
      ] : null,
      [60, 75, 90].map((mark) => h("line", { class: "mark", x1: mark, x2: mark, y1: 0, y2: 8 }))));
}

const CELLS = {
  ready: ["●", "resident"], loading: ["◐", "loading"], fetching: ["◔", "fetching"], draining: ["◌", "leaving"],
  distrusted: ["!", "not trusted"], failed: ["✕", "failed"], stored: ["○", "on disk"], nothing: ["·", "not here"],
};

/** Slots by machines. Each cell answers why it is as it is. */
export function managers(state) {
  if (!state.slots.length) return h("p", { class: "empty" }, "No roster of slots has reached this node yet.");
  const hosts = state.members.filter((member) => member.role !== "delegate");
  const machines = hosts.slice(0, COLUMNS_MAX);
  return [
    h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Managers by machines" },
      h("table", { class: "matrix" },
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Manager"), h("th", { scope: "col" }, "State"),
          machines.map((member) => h("th", { key: member.peer_id, scope: "col" }, short(member.name, 18))))),
        h("tbody", {}, state.slots.map((slot) => row(state, slot, machines))))),
    more(hosts.length, COLUMNS_MAX, "machines"),
    h("p", { class: "note" }, "● resident · ◐ loading · ◔ fetching · ○ on disk · choose one to see why"),
  ];
}

function row(state, slot, machines) {
  const state_word = slot.artifact || slot.state !== "missing" ? slot.state : "nothing published";
  return h("tr", { key: slot.name },
    h("th", { scope: "row", title: slot.title }, slot.name, " ", h("span", { class: "title" }, slot.title)),
    h("td", {}, h("span", { class: `tag ${slot.state}` }, state_word)),
    machines.map((member) => {
      const replica = slot.replicas.find((one) => one.peer_id === member.peer_id);
      const how = replica?.state ?? (slot.artifact && member.stored.includes(slot.artifact) ? "stored" : "nothing");
      const [mark, word] = CELLS[how] ?? ["?", how];
      const load = replica?.load?.total_bytes ? ` ${Math.floor((100 * replica.load.read_bytes) / replica.load.total_bytes)} %` : "";
      return h("td", { key: member.peer_id, class: "cell" }, h("button", {
        type: "button", class: `state ${how}`, "aria-label": `${slot.name} on ${member.name}: ${word}${load}. Why?`, title: `${word}${load}`,
        onclick: () => why(state, slot, member, word),
      }, mark, load));
    }));
}

/** The plan's own explanation of one cell. */
async function why(state, slot, member, word) {
  by("why-title").textContent = `${slot.name} on ${member.name}: ${word}`;
  show(by("why-body"), h("p", {}, "Asking for the plan …"));
  by("why").showModal();
  try {
    const plan = await (await ask("/plan")).json();
    show(by("why-body"), explained(state, plan, slot, member).map((text) => h("p", {}, text)));
  } catch (error) {
    show(by("why-body"), h("p", {}, error.message));
  }
}

function explained(state, plan, slot, member) {
  const serving = slot.base || slot.name;
  const of_slot = (one) => one.slot === serving || one.slot === slot.name;
  const here = (one) => of_slot(one) && one.node === member.name;
  const told = [];
  const planned = plan.replicas.filter(of_slot);
  const mine = planned.find((one) => one.node === member.name);
  if (mine) told.push(`The plan has it here, in ${mine.domain}, with ${bytes(mine.bytes)}.`);
  else if (planned.length) told.push(`The plan has it on ${planned.map((one) => `${one.node} ${one.domain}`).join(", ")}, and not here.`);
  else told.push("The plan has it nowhere in memory.");
  if (slot.base) told.push(`It is an adapter of the model of ${slot.base}, and is where that one is.`);
  const memory = mine && (plan.memory ?? []).find((one) => one.node === mine.node && one.domain === mine.domain);
  if (memory) told.push(`Planned in that memory: ${memory.slots.join(", ")}, ${bytes(memory.used_bytes)} of ${bytes(memory.budget_bytes)}.`);
  for (const refused of plan.refused.filter(here)) told.push(`Not in ${refused.domain}: ${refused.why}.`);
  if (member.pinned.includes(slot.name)) told.push("Its owner pinned it to this machine.");
  if (member.drained) told.push("Its owner wants this machine to hold no managers.");
  if (member.role === "delegate") told.push("This machine delegates: it holds no managers.");
  const replica = slot.replicas.find((one) => one.peer_id === member.peer_id);
  if (replica?.reason) told.push(`The machine says: ${replica.reason}.`);
  if (slot.artifact && member.stored.includes(slot.artifact)) told.push("Its whole model is on this machine's disk.");
  for (const short_of of plan.shortfalls.filter(of_slot)) told.push(`There is no room for it: ${short_of.why}.`);
  for (const remedy of (plan.remedies ?? []).filter(of_slot)) told.push(`What would help: ${remedy.why}.`);
  const wait = (plan.waits ?? []).find(of_slot);
  if (wait && !planned.length) told.push(wait.wait_ms === null ? "Nothing can load it." : `A request waits about ${span(wait.wait_ms)} until it is loaded.`);
  for (const move of plan.moves.filter(of_slot)) told.push(`On its way: from ${move.from ?? "the disk"} to ${move.to ?? "the disk"}.`);
  return told;
}

/** What comes to this machine, the newest ends last. */
export function transfers(state) {
  const open = state.transfers.filter((one) => one.state !== "done");
  const done = state.transfers.length - open.length;
  const rate = open.reduce((sum, one) => sum + one.bytes_per_s, 0);
  return [
    open.length ? h("ul", { class: "bars" }, open.map(transfer)) : h("p", { class: "empty" }, "Nothing is on its way."),
    h("p", { class: "note" }, `${many(done, "transfer")} done`, rate ? ` · ${bytes(rate)}/s now` : "",
      ` · ${bytes(state.traffic.asked_bytes)} received and ${bytes(state.traffic.served_bytes)} sent since the start`),
  ];
}

function transfer(one) {
  const share = one.total_bytes ? (100 * one.done_bytes) / one.total_bytes : 0;
  const rest = one.eta_s === null ? "" : `, ${span(one.eta_s * 1000)} left`;
  const from = one.sources.map((source) => source.node).join(", ");
  return h("li", { key: one.artifact },
    h("span", { class: "who" }, one.slot, from ? ` from ${from}` : ""),
    h("span", { class: "much" }, one.reason || `${bytes(one.done_bytes)} of ${bytes(one.total_bytes)}, ${bytes(one.bytes_per_s)}/s${rest} `, " ",
      h("strong", { class: `tag ${one.state === "paused" ? "warning" : "loading"}` }, one.state)),
    h("progress", { max: 100, value: share.toFixed(1), "aria-label": `${one.slot}: ${Math.round(share)} %` }));
}

/** Everybody enrolled. */
export function machines(state, owner) {
  return [more(state.members.length, ROWS_MAX, "machines"), h("div", { class: "scroll", tabindex: 0, role: "group", "aria-label": "Enrolled machines" },
    h("table", {},
      h("thead", {}, h("tr", {}, ["Name", "Role", "State", "Heard", "Disk free", "Resident", owner.may() ? "Owner" : null]
        .filter(Boolean).map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, state.members.slice(0, ROWS_MAX).map((member) => h("tr", { key: member.peer_id },
        h("th", { scope: "row" }, member.name, member.peer_id === state.node.peer_id ? " (here)" : ""),
        h("td", {}, `${member.role}${member.plan_role && member.plan_role !== member.role ? `, ${member.plan_role}` : ""}${member.owner ? ", owner" : member.admin ? ", admin" : ""}`),
        h("td", {}, h("span", { class: `tag ${member.state}` }, member.state)),
        h("td", {}, member.seen_s_ago === null ? "not yet" : member.seen_s_ago < 3 ? "now" : `${span(member.seen_s_ago * 1000)} ago`),
        h("td", {}, member.role === "delegate" ? "–" : bytes(member.disk_free_bytes)),
        h("td", {}, member.resident.join(", ") || "–"),
        owner.may() ? h("td", {}, owner.revoke(state, member)) : null)))))];
}
