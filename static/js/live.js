// Staying up to date: the server's event stream says that something changed, and asking says what. Where there is no
// stream (a proxy that buffers, a restart), asking now and then does the same.

import { getEvents } from './api.js';
import { throttle } from './dom.js';
import { eventsOf } from './event-stream.js';

/**
 * Calls `refresh` again and again: it answers in how many ms it wants to be called next. Rests while nobody looks at the
 * page, and catches up at once when somebody does.
 */
export function repeat(refresh) {
  let timer = null;
  let stopped = false;
  let running = false;
  let again = false;
  async function turn() {
    clearTimeout(timer);
    // What happens during a call may be too late for it, so another one follows.
    again = running;
    if (stopped || running || document.hidden) return;
    running = true;
    let pause = 5000;
    try {
      pause = await refresh();
    } finally {
      running = false;
      if (!stopped) timer = setTimeout(turn, again ? 0 : pause);
    }
  }
  document.addEventListener('visibilitychange', turn);
  turn();
  return {
    now: turn,
    stop() {
      stopped = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', turn);
    },
  };
}

/** Between the end of a stream and the next attempt. */
const RECONNECT_MS = 3000;

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

/** Until the page is shown or hidden; for ever once `signal` aborts. */
const change = (signal) => new Promise((resolve) => {
  document.addEventListener('visibilitychange', resolve, { once: true, signal });
});

/**
 * Listens to a job's events until there will be no more. `listeners` maps an event's name to what to do then, at most once
 * a `pace` ms each, and whenever the stream stands anew; `onStream` hears whether it stands.
 *
 * There is no stream while nobody looks at the page: browsers open six connections to a host for all their tabs together,
 * so as many hidden ones with a stream each would leave none for anything else.
 */
export function follow(path, listeners, { pace, onStream }) {
  const throttled = new Map(Object.entries(listeners).map(([name, work]) => [name, throttle(work, pace)]));
  const stopping = new AbortController();
  let connection = null;
  let last = null;

  function disconnect() {
    connection?.abort();
    throttled.forEach((listener) => listener.cancel());
  }

  async function listen(signal) {
    const stream = await getEvents(path, { last, signal });
    if (stream === null) return false;
    onStream(true);
    // Not every event is sent again, and what was due when the last stream ended was not done.
    throttled.forEach((listener) => listener());
    for await (const event of eventsOf(stream)) {
      // What had come already when the stream was ended is left to the next one.
      if (signal.aborted) break;
      last = event.id ?? last;
      throttled.get(event.name)?.();
    }
    return true;
  }

  async function keepListening() {
    while (!stopping.signal.aborted) {
      if (document.hidden) {
        await change(stopping.signal);
        continue;
      }
      connection = new AbortController();
      const { signal } = connection;
      try {
        if (!await listen(signal)) break;
      } catch (error) {
        // Gone, or not ours to see: asking again would not help. All else may pass, and meanwhile the page asks by itself.
        if ([401, 403, 404].includes(error.problem?.status)) break;
      }
      if (stopping.signal.aborted) return;
      onStream(false);
      if (!signal.aborted) await pause(RECONNECT_MS);
    }
    if (!stopping.signal.aborted) onStream(false);
  }

  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) return;
    disconnect();
    onStream(false);
  }, { signal: stopping.signal });
  keepListening();
  return {
    stop() {
      stopping.abort();
      disconnect();
    },
  };
}
