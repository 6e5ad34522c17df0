// Staying up to date: the server's event stream says that something changed, and asking says what. Where there is no
// stream (a proxy that buffers, a restart), asking now and then does the same.

import { throttle } from './dom.js';

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

/**
 * Listens to a job's events. `listeners` maps an event's name to what to do then, at most once a `pace` ms each;
 * `onStream` hears whether the stream stands.
 */
export function follow(path, listeners, { pace, onStream }) {
  const source = new EventSource(path);
  const throttled = Object.entries(listeners).map(([name, work]) => {
    const listener = throttle(work, pace);
    source.addEventListener(name, listener);
    return listener;
  });
  source.addEventListener('open', () => onStream(true));
  source.addEventListener('error', () => onStream(false));
  return {
    stop() {
      source.close();
      throttled.forEach((listener) => listener.cancel());
    },
  };
}
