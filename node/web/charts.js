// Requests in numbers and lines: now, and over the last minutes.

import { clock, h, many, span } from "./dom.js";

const WIDTH = 600;
const HEIGHT = 120;

/** The tiles and the two charts. */
export function requests(state, samples, sampleS) {
  const { in_flight, done, failed, retried, answer_tokens, first_token, duration } = state.requests;
  const times = (spread) => (spread?.counts.some(Boolean) ? [span(quantile(spread, 0.5)), " ", h("small", {}, `95 % in ${span(quantile(spread, 0.95))}`)] : "–");
  const tile = (name, value) => h("div", { key: name }, h("dt", {}, name), h("dd", {}, value));
  return [
    h("dl", { class: "tiles" },
      tile("open", in_flight), tile("answered", done), tile("failed", failed), tile("retried", retried), tile("tokens", answer_tokens),
      tile("first token, median", times(first_token)), tile("whole answer, median", times(duration)),
      tile("loads", state.loads ? `${state.loads.done}${state.loads.failed ? `, ${state.loads.failed} failed` : ""}` : "–")),
    chart("Requests a minute", samples, sampleS, [
      { name: "answered", class: "one", of: (sample) => (60 * sample.done) / sampleS },
      { name: "failed", class: "bad", of: (sample) => (sample.failed ? (60 * sample.failed) / sampleS : null) },
    ], (value) => value.toFixed(value < 10 ? 1 : 0)),
    chart("Latency", samples, sampleS, [
      { name: "first token", class: "one", of: (sample) => sample.first_token_ms },
      { name: "whole answer", class: "two", of: (sample) => sample.duration_ms },
    ], span),
  ];
}

/** Where so great a part of a histogram lies below, milliseconds: the bound of its bucket. */
export function quantile(spread, part) {
  const all = spread.counts.reduce((sum, count) => sum + count, 0);
  let below = 0;
  for (const [at, count] of spread.counts.entries()) {
    below += count;
    if (below >= part * all && count) return spread.bounds_ms[Math.min(at, spread.bounds_ms.length - 1)];
  }
  return 0;
}

function chart(title, samples, sampleS, lines, word) {
  const values = samples.flatMap((sample) => lines.map((line) => line.of(sample))).filter((value) => value !== null);
  const top = Math.max(...values, 0);
  // A few pixels from the edges, where a dot would be cut.
  const x = (at) => (samples.length < 2 ? WIDTH - 5 : 5 + ((WIDTH - 10) * at) / (samples.length - 1));
  const y = (value) => HEIGHT - 4 - ((HEIGHT - 14) * value) / (top || 1);
  const legend = lines.map((line) => h("span", { class: `key ${line.class}` }, line.name));
  const minutes = Math.round((samples.length * sampleS) / 60);
  const label = top ? `${title}, the last ${many(minutes, "minute")}: at most ${word(top)}` : `${title}: nothing in the last ${many(minutes, "minute")}`;
  return h("figure", { class: "chart", key: title },
    h("figcaption", {}, h("strong", {}, title), " ", legend),
    h("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
      h("line", { class: "grid", x1: 0, x2: WIDTH, y1: HEIGHT - 4, y2: HEIGHT - 4 }),
      h("line", { class: "grid", x1: 0, x2: WIDTH, y1: 10, y2: 10 }),
      lines.map((line) => [h("path", { class: `line ${line.class}`, d: path(samples, line, x, y) }),
        h("path", { class: `line dots ${line.class}`, d: lonely(samples, line, x, y) })])),
    h("p", { class: "axis" }, h("span", {}, samples.length ? clock(samples[0].unix_s) : ""),
      h("span", {}, top ? `most: ${word(top)}` : "nothing"), h("span", {}, "now")));
}

/** A sample without a value leaves a gap. */
function path(samples, line, x, y) {
  let drawn = "";
  let open = false;
  for (const [at, sample] of samples.entries()) {
    const value = line.of(sample);
    if (value !== null) drawn += `${open ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`;
    open = value !== null;
  }
  return drawn;
}

/** Those with gaps on both sides, which no line would show. */
function lonely(samples, line, x, y) {
  const value = (at) => (samples[at] ? line.of(samples[at]) : null);
  const alone = samples.map((_, at) => at).filter((at) => value(at) !== null && value(at - 1) === null && value(at + 1) === null);
  return alone.map((at) => `M${x(at).toFixed(1)} ${y(value(at)).toFixed(1)}h.01`).join("");
}
