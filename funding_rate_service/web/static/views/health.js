// How the service is doing, in words.

import { Latest, aborted } from "../api.js";
import { h, notice, renew, replace, text } from "../dom.js";
import { NONE, age, bytes, count, hours, moment, plural, utc } from "../format.js";
import { now, store } from "../store.js";
import { plain } from "../table.js";

const AGAIN_MS = 5000;
const WORDS = { ok: "current", stale: "stale", down: "not answering", waiting: "not asked yet" };

const ago = (iso) => (
  iso ? h("time", { datetime: iso, title: utc(Date.parse(iso)) }, `${age((store.serverNow() - Date.parse(iso)) / 1000)} ago`) : NONE
);
const ahead = (iso) => (
  iso ? h(
    "time",
    { datetime: iso, title: utc(Date.parse(iso)) },
    `in ${age(Math.max(0, (Date.parse(iso) - store.serverNow()) / 1000))}`,
  ) : NONE
);

export function create(context) {
  const request = new Latest();
  const tasksRequest = new Latest();
  const said = h("p", { class: "said" });
  const venues = h("tbody");
  const tasks = h("tbody");
  const base = h("dl", { class: "facts" });
  const stream = h("dl", { class: "facts" });
  const wrong = h("div");
  let database = null;
  let taskList = [];
  const scroll = (name, heads, body) => h(
    "div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${name}, table` },
    h(
      "table", { class: "data", "aria-label": name },
      h("thead", null, h("tr", null, heads.map(([label, left]) => plain(label, { left })))),
      body,
    ),
  );
  const element = h(
    "section",
    { "aria-labelledby": "title" },
    h("div", { class: "head" }, h("h1", { id: "title" }, "Health")),
    said, wrong,
    h(
      "div",
      { class: "columns" },
      h(
        "section", { class: "w12", "aria-label": "Venues" },
        h("div", { class: "head" }, h("h2", null, "Venues")),
        scroll(
          "Venues",
          [
            ["Venue", true], ["State", true], ["Last answer"], ["Took"], ["Markets"], ["Failures in a row"], ["Next"],
            ["What went wrong last", true],
          ],
          venues,
        ),
      ),
      h(
        "section", { class: "w8", "aria-label": "Tasks" },
        h("div", { class: "head" }, h("h2", null, "Tasks")),
        scroll(
          "Tasks",
          [["Task", true], ["State", true], ["Last run"], ["Took"], ["Runs"], ["Failures"], ["Next"], ["Last error", true]],
          tasks,
        ),
      ),
      h(
        "div", { class: "w4 stack" },
        h("section", { class: "card", "aria-label": "Database" }, h("header", null, h("h2", null, "Database")), base),
        h("section", { class: "card", "aria-label": "This page" }, h("header", null, h("h2", null, "This page")), stream),
      ),
    ),
  );

  function sentence() {
    const health = store.health;
    if (!health) return store.connection.state === "offline" ? "The service cannot be reached, so nothing is known about it." : "Asking the service…";
    const of = (...states) => health.dexes.filter((venue) => states.includes(store.venueState(venue)));
    const [well, ill, waiting] = [of("ok"), of("stale", "down"), of("waiting")];
    const names = (list) => list.map((venue) => venue.dex).join(", ");
    const parts = [];
    const silence = store.silence();
    const lost = !["live", "polling"].includes(store.connection.state);
    if (lost) parts.push(`The service cannot be reached. It was heard ${age(silence)} ago; by what it said then:`);
    if (ill.length === 0 && waiting.length === 0) parts.push(`All ${plural(well.length, "venue")} are current.`);
    else {
      parts.push(`${well.length} of ${plural(health.dexes.length, "venue")} are current.`);
      if (ill.length) parts.push(`${names(ill)}: no current answer, so ${ill.length === 1 ? "it is" : "they are"} in no opportunity.`);
      if (waiting.length) parts.push(`${names(waiting)}: not asked yet.`);
    }
    if (health.failing_tasks?.length) parts.push(`Failing: ${health.failing_tasks.join(", ")}.`);
    if (health.database && health.database !== "ok") parts.push(`Database: ${health.database}.`);
    return parts.join(" ");
  }

  function draw() {
    text(said, sentence());
    const passed = store.healthAt === null ? 0 : (now() - store.healthAt) / 1000;
    renew(
      venues,
      (store.health?.dexes ?? []).map((venue) =>
        h(
          "tr",
          { dataset: { dex: venue.dex } },
          h("th", { scope: "row" }, venue.dex),
          h("td", { class: "l" }, h("i", { class: `dot ${store.venueState(venue)}`, "aria-hidden": "true" }), WORDS[store.venueState(venue)]),
          h(
            "td",
            { title: venue.last_ok_at ? utc(Date.parse(venue.last_ok_at)) : null },
            venue.age_s === null ? "never" : `${age(venue.age_s + passed)} ago`,
          ),
          h("td", null, venue.latency_ms === null ? NONE : `${count(venue.latency_ms)} ms`),
          h("td", null, count(venue.markets)),
          h("td", { class: venue.consecutive_failures ? "warn" : null }, count(venue.consecutive_failures)),
          h("td", null, ahead(venue.next_collection_at)),
          h("td", { class: venue.state === "ok" ? "words aged" : "words errors" }, venue.last_error ?? ""),
        ),
      ),
    );
    renew(
      tasks,
      taskList.map((task) =>
        h(
          "tr",
          { dataset: { task: task.name } },
          h("th", { scope: "row" }, task.name),
          h("td", { class: "l" }, h("i", { class: `dot ${task.consecutive_failures ? "down" : "ok"}`, "aria-hidden": "true" }), task.state),
          h("td", null, ago(task.last_run_at)), h("td", null, task.last_duration_ms === null ? NONE : `${count(task.last_duration_ms)} ms`),
          h("td", null, count(task.runs)), h("td", { class: task.failures ? "warn" : null }, count(task.failures)),
          h("td", null, ahead(task.next_run_at)), h("td", { class: "words errors" }, task.last_error ?? ""),
        ),
      ),
    );
    const facts = (rows) => rows.map(([name, shown]) => [h("dt", null, name), h("dd", null, shown)]);
    if (database) {
      renew(base, facts([
        ["State", database.status], ["Place", h("code", null, database.url)], ["Rows", count(database.rows)], ["Size", bytes(database.bytes)],
        [
          "First sample",
          database.first_sample_at ? moment(Date.parse(database.first_sample_at)) : NONE,
        ], ["Last sample", ago(database.last_sample_at)], ...(database.error ? [["Error", h("span", { class: "down" }, database.error)]] : []),
      ]));
    }
    const health = store.health;
    renew(stream, facts([
      ["Connection", store.connection.state], [
        "Heard last",
        store.silence() === null ? "never" : `${age(store.silence())} ago`,
      ], ["Newest figure", age(store.newestAge())],
      ["Service", health ? `version ${health.version}` : NONE], [
        "Up for",
        health?.uptime_s === undefined ? NONE : hours((health.uptime_s + passed) / 3600),
      ], ["Open pages", health ? count(health.subscribers) : NONE],
    ]));
  }

  async function load() {
    try {
      database = await request.get("/health/database");
      taskList = (await tasksRequest.get("/tasks/status")).tasks;
      replace(wrong);
    } catch (error) {
      if (aborted(error)) return;
      replace(wrong, notice("bad", "Part of the health could not be read", error.message));
    }
    draw();
  }

  const timer = setInterval(load, AGAIN_MS);
  context.signal.addEventListener("abort", () => {
    clearInterval(timer);
    request.stop();
    tasksRequest.stop();
  });
  store.on("health", draw, context.signal);
  store.on("connection", draw, context.signal);
  store.on("tick", draw, context.signal);
  draw();
  load();
  return { title: "Health", element };
}
