// The dashboard in a real headless Chromium: what loads, what lives, what is said, what a keyboard reaches, what axe-core finds.
//
// Told in FEDNODE_TOLD: base, url (with an owner's session), chromium, shots (a folder), model, prompt, answer, swapped (a slot
// on the disk that is loaded when it is asked for). It speaks line by line: `ok NAME` or `FAIL NAME: why` for each case, and
// `want WHAT` when the test is to do something, which answers with a line.

import { mkdirSync } from "node:fs";
import { createInterface } from "node:readline";

import axe from "axe-core";
import { chromium } from "playwright-core";

const told = JSON.parse(process.env.FEDNODE_TOLD);
const LIMIT = 30_000;
const BYTES_MAX = 200_000;
const PAINT_MS_MAX = 1_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let failed = 0;

async function want(what) {
  console.log(`want ${what}`);
  const { value } = await lines.next();
  if (value !== "done") throw new Error(`${what}: ${value}`);
}

async function test(name, run) {
  try {
    await run();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL ${name}: ${String(error.stack ?? error).split("\n").slice(0, 6).join(" | ")}`);
  }
}

function assert(holds, why) {
  if (!holds) throw new Error(why);
}

mkdirSync(told.shots, { recursive: true });
// As root, which CI often is, Chromium has no sandbox.
const browser = await chromium.launch({ executablePath: told.chromium, args: process.getuid() === 0 ? ["--no-sandbox"] : [] });

/** A page whose every complaint, request and byte is noted. */
async function open(url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { complaints: [], hosts: new Set() };
  page.on("console", (said) => ["error", "warning"].includes(said.type()) && seen.complaints.push(said.text()));
  page.on("pageerror", (error) => seen.complaints.push(error.message));
  page.on("request", (request) => seen.hosts.add(new URL(request.url()).host));
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector("#live").dataset.state === "live" && document.querySelector(".matrix"), null, { timeout: LIMIT });
  return { page, seen, context };
}

const shot = (page, name) => page.screenshot({ path: `${told.shots}/${name}.png`, fullPage: true });
const has = (page, selector, text) =>
  page.waitForFunction(([selector, text]) => document.querySelector(selector)?.textContent.includes(text), [selector, text], { timeout: LIMIT });

async function accessible(page, where) {
  // The page's own policy forbids scripts from elsewhere; the debugger's are no page's.
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const said = found.violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.map((node) => node.target.join(" ")).slice(0, 4).join(", ")}`);
  assert(!said.length, `${where}: ${said.join("; ")}`);
}

const { page, seen } = await open(told.url);

await test("loads_small_quick_and_from_this_host_alone", async () => {
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0]?.startTime);
  const files = await page.evaluate(() => {
    const own = (entry) => entry.entryType === "navigation" || new URL(entry.name).pathname.startsWith("/dashboard/");
    const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")].filter(own);
    return { count: new Set(all.map((entry) => entry.name)).size, bytes: all.reduce((sum, entry) => sum + entry.decodedBodySize, 0) };
  });
  console.log(`measured: ${files.bytes} bytes in ${files.count} files, first paint after ${Math.round(paint)} ms`);
  assert(files.count >= 9 && files.bytes > 30_000 && files.bytes < BYTES_MAX, JSON.stringify(files));
  assert(paint > 0 && paint < PAINT_MS_MAX, `first paint after ${paint} ms`);
  assert([...seen.hosts].every((host) => host === new URL(told.base).host), [...seen.hosts].join(" "));
  assert(new URL(page.url()).hash === "", "the owner's session left the address");
});

// The page asks as people do, with chance in the answer; here there is none.
await page.route("**/v1/chat/completions", (route) =>
  route.continue({ postData: JSON.stringify({ ...route.request().postDataJSON(), temperature: 0 }) }));

await test("streams_a_chat_and_says_who_answered", async () => {
  await page.selectOption("#chat-model", told.model);
  await page.fill("#chat-text", told.prompt);
  await page.keyboard.press("Enter");
  await has(page, "#chat-log", told.answer);
  await has(page, "#chat-state", "first token after");
  assert((await page.textContent("#chat-state")).includes("F16"), await page.textContent("#chat-state"));
  await page.waitForFunction(() => [...document.querySelectorAll("#requests dd")][1].textContent !== "0", null, { timeout: LIMIT });
});

await test("shows_a_swap", async () => {
  const cell = `button[aria-label^="${told.swapped} on griffith"]`;
  await page.waitForSelector(`${cell}.stored`, { timeout: LIMIT });
  await page.selectOption("#chat-model", told.swapped);
  await page.fill("#chat-text", "Who are you?");
  await page.click("#chat-send");
  await page.waitForSelector(`${cell}.ready`, { timeout: LIMIT });
  await has(page, "#events", `${told.swapped} is resident on griffith`);
  await has(page, "#events", "has left the memory of griffith");
  await has(page, "#chat-state", "first token after");
});

await test("explains_why_a_manager_is_where_it_is", async () => {
  await page.click(`button[aria-label^="${told.swapped} on griffith"]`);
  await has(page, "#why-body", "The plan has it here, in ram");
  await accessible(page, "the explanation");
  await page.keyboard.press("Escape");
  assert(!(await page.evaluate(() => document.querySelector("#why").open)), "Escape closes it");
});

await test("shows_a_node_that_joins_without_being_reloaded", async () => {
  await page.evaluate(() => { window.sameDocument = true; });
  await want("join");
  await has(page, "#machines", "desktop");
  await has(page, "#map", "desktop");
  await has(page, "#memory", "desktop ram");
  await has(page, "#events", "desktop has joined the federation");
  assert(await page.evaluate(() => window.sameDocument), "it was reloaded");
  await shot(page, "two-machines");
});

await test("invites_and_revokes_in_the_owners_session", async () => {
  await page.selectOption("#owner-role", "delegate");
  await page.click("#owner-invite");
  await has(page, "#owner", "fednode join fednode1");
  await page.click('button[aria-label="Revoke desktop"]');
  await page.click('#sure button[value="no"]');
  await page.waitForTimeout(200);
  assert(await page.$('button[aria-label="Revoke desktop"]'), "nothing happens without a yes");
  await page.click('button[aria-label="Revoke desktop"]');
  await page.click('#sure button[value="yes"]');
  await has(page, "#events", "desktop is no longer a member");
  await page.waitForFunction(() => !document.querySelector('button[aria-label="Revoke desktop"]'), null, { timeout: LIMIT });
});

await test("nobody_else_may_invite_or_revoke", async () => {
  const { page: guest, context } = await open(told.base);
  assert((await guest.textContent("#owner")).includes("fednode dashboard"), "it says how one becomes the owner");
  assert(!(await guest.$('button[aria-label^="Revoke"]')), "no button");
  const tried = await guest.evaluate(async () => {
    const ask = (secret) => fetch("/owner/invite", { method: "POST", body: "{}", headers: { "x-fednode-owner": secret } });
    return [(await ask("")).status, (await ask("0".repeat(64))).status];
  });
  assert(tried.every((status) => status === 403), tried.join(" "));
  await context.close();
});

await test("text_from_peers_stays_text", async () => {
  await page.selectOption("#chat-model", told.model);
  await page.fill("#chat-text", "<img src=x onerror=\"document.title='owned'\"><b id=bold>hello</b>");
  await page.click("#chat-send");
  await has(page, "#chat-log", "<b id=bold>");
  await has(page, "#chat-state", "first token after");
  assert(!(await page.$("#bold")) && !(await page.title()).includes("owned"), "it became markup");
  const refused = await page.evaluate(() => {
    try {
      document.querySelector("#chat-log").innerHTML = "<p>";
      return false;
    } catch {
      return true;
    }
  });
  assert(refused, "the policy lets text become markup");
});

await test("a_keyboard_reaches_everything", async () => {
  await page.reload();
  await page.waitForSelector("#owner-invite", { timeout: LIMIT });
  const reached = new Set();
  for (let step = 0; step < 80; step += 1) {
    await page.keyboard.press("Tab");
    const what = await page.evaluate(() => {
      const on = document.activeElement;
      const outline = getComputedStyle(on).outlineStyle;
      return on === document.body ? null : [on.id || on.getAttribute("aria-label") || on.textContent.slice(0, 30), outline];
    });
    if (!what) break;
    assert(what[1] !== "none", `${what[0]} shows no focus`);
    reached.add(what[0]);
  }
  for (const wanted of ["theme", "chat-model", "chat-text", "chat-send", "owner-role", "owner-invite", "Skip to the managers"])
    assert(reached.has(wanted), `${wanted} was not reached: ${[...reached].join(", ")}`);
  assert([...reached].some((what) => what.startsWith(`${told.swapped} on griffith`)), [...reached].join(", "));
});

for (const colorScheme of ["light", "dark"])
  await test(`has_contrast_and_labels_in_${colorScheme}`, async () => {
    await page.emulateMedia({ colorScheme });
    await page.waitForTimeout(500);
    await accessible(page, colorScheme);
    await shot(page, colorScheme);
  });

await test("fits_a_phone", async () => {
  const { page: phone, seen: there, context } = await open(told.base, { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true });
  const wide = await phone.evaluate(() => document.documentElement.scrollWidth);
  assert(wide <= 390, `it is ${wide} pixels wide`);
  await accessible(phone, "phone");
  await shot(phone, "phone");
  assert(!there.complaints.length, there.complaints.join(" | "));
  await context.close();
});

await test("has_no_complaint_in_its_console", async () => {
  // The one refusal that a test above provoked with markup is the policy's own word.
  const others = seen.complaints.filter((text) => !text.includes("TrustedHTML"));
  assert(!others.length, others.join(" | "));
});

await test("comes_back_when_the_node_does", async () => {
  await want("stop");
  await page.waitForFunction(() => document.querySelector("#live").dataset.state === "away", null, { timeout: LIMIT });
  await want("start");
  await page.waitForFunction(() => document.querySelector("#live").dataset.state === "live", null, { timeout: LIMIT });
});

await browser.close();
process.exit(failed ? 1 : 0);
