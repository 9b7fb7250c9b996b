// The stream, with reconnects and a watch for silence; without it the figures are fetched again and again.

import { BASE, get } from "./api.js";
import { now, store } from "./store.js";

const SILENCE_MS = 30000;
const POLL_MS = 10000;
const FIRST_MS = 500;
const MOST_MS = 15000;
const PATIENCE = 2; // failed sockets before polling begins

class Live {
  #socket = null;
  #failures = 0;
  #retry = 0;
  #watch = 0;
  #poll = 0;

  start() {
    addEventListener("online", () => this.again());
    addEventListener("offline", () => this.#lost("This device is offline."));
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && store.connection.state !== "live") this.again();
    });
    this.#open();
  }

  /** Tries at once, whatever the wait was. */
  again() {
    if (this.#socket?.readyState === WebSocket.OPEN) return;
    this.#failures = 0;
    this.#open();
  }

  /** Opens the stream anew, whatever the old one seems to be. */
  renew() {
    this.#failures = 0;
    this.#open();
  }

  #open() {
    clearTimeout(this.#retry);
    this.#drop();
    const { state, detail } = store.connection;
    if (state === "offline") store.setConnection(state, detail, now()); // until somebody answers: a try is no news
    else if (state !== "polling") store.setConnection(store.lastData === null ? "connecting" : "reconnecting");
    const address = `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${BASE}/stream?topics=rates,opportunities,health`;
    const socket = (this.#socket = new WebSocket(address));
    const mine = (work) => (event) => this.#socket === socket && work(event);
    socket.addEventListener("message", mine((event) => this.#message(event.data)));
    socket.addEventListener("close", mine((event) => this.#lost(event.reason || "The connection to the service was lost.")));
    this.#listen();
  }

  #drop() {
    const old = this.#socket;
    this.#socket = null;
    clearTimeout(this.#watch);
    old?.close();
  }

  #listen() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => this.#lost("The service has said nothing for 30 seconds."), SILENCE_MS);
  }

  #message(data) {
    const message = JSON.parse(data);
    this.#failures = 0;
    this.#stopPolling();
    this.#listen();
    store.heard(message.generated_at);
    store.setConnection("live");
    if (message.type === "resync") this.#refetch().catch((error) => this.#lost(error.message));
    if (message.rates) store.putRates(message.rates, { whole: message.type === "snapshot", staleAfter: message.stale_after_s ?? null });
    if (message.opportunities) store.putOpportunities();
    if (message.type === "health") store.putHealth(message.health ?? message);
    else if (message.health) store.putHealth(message.health);
  }

  #lost(reason) {
    this.#drop();
    this.#failures += 1;
    const wait = Math.min(MOST_MS, FIRST_MS * 2 ** Math.min(this.#failures, 6)) * (0.75 + Math.random() / 2);
    if (this.#failures >= PATIENCE && !this.#poll) this.#startPolling();
    if (store.connection.state !== "polling") store.setConnection("offline", reason, now() + wait);
    clearTimeout(this.#retry);
    this.#retry = setTimeout(() => this.#open(), wait);
  }

  #startPolling() {
    const round = async () => {
      try {
        await this.#refetch();
        if (!this.#poll) return;
        store.setConnection("polling", "No stream: figures are fetched every 10 seconds.");
      } catch (error) {
        if (!this.#poll) return;
        store.setConnection("offline", error.message, store.connection.retryAt);
      }
      if (this.#poll) this.#poll = setTimeout(round, POLL_MS);
    };
    this.#poll = setTimeout(round, 0);
  }

  #stopPolling() {
    clearTimeout(this.#poll);
    this.#poll = 0;
  }

  async #refetch() {
    const [rates, health] = await Promise.all([get("/funding-rates"), get("/health")]);
    store.heard(rates.generated_at);
    store.putRates(rates.rates, { whole: true, staleAfter: rates.stale_after_s ?? null });
    store.putHealth(health);
    store.putOpportunities();
  }
}

export const live = new Live();
