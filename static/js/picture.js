// A picture from the server that changes: the old one stays until the new one can be shown, and failures say why.

import { Failure, getBlob } from './api.js';
import { h, setText, show } from './dom.js';

/** How long a failure is left alone, doubled with each further one: what failed may be what is short on the server. */
const PATIENCE_MS = 2_000;
const LONGEST_MS = 60_000;

/**
 * `alt` describes it. `load` answers what came of it: `shown`; `refused`, as it would be again; `failed`, where asking again
 * may help once `isDue` says so; or `overtaken` by another one. It fetches by itself, since an `<img>` would keep the old
 * picture of an address whose picture has changed, and would not tell why there is none.
 */
export function picture(alt) {
  const image = h('img', { alt, hidden: true });
  const message = h('p', { class: 'muted', hidden: true });
  const element = h('div', { class: 'picture' }, image, message);
  let loading = new AbortController();
  let patience = PATIENCE_MS;
  let due = 0;

  function fail(error) {
    if (!(error instanceof Failure)) throw error;
    setText(message, error.problem.detail ?? error.problem.title);
    show(message, true);
    show(image, false);
    // Our own fault is none that passes by itself, and on a full disk each attempt takes what is left of it.
    if (error.problem.status <= 500 || error.problem.status === 507) return 'refused';
    due = Date.now() + patience;
    patience = Math.min(2 * patience, LONGEST_MS);
    return 'failed';
  }

  async function swap(blob) {
    const next = new Image();
    next.src = URL.createObjectURL(blob);
    await next.decode();
    URL.revokeObjectURL(image.src);
    image.src = next.src;
    show(image, true);
    show(message, false);
    patience = PATIENCE_MS;
    return 'shown';
  }

  return {
    element,
    isDue: () => Date.now() >= due,
    async load(url) {
      // Nobody waits for the picture before any more: it would only hold a connection, and the server.
      loading.abort();
      loading = new AbortController();
      const { signal } = loading;
      element.setAttribute('aria-busy', 'true');
      if (image.hidden) {
        setText(message, 'Drawing…');
        show(message, true);
      }
      try {
        const blob = await getBlob(url, signal);
        return signal.aborted ? 'overtaken' : await swap(blob);
      } catch (error) {
        return signal.aborted ? 'overtaken' : fail(error);
      } finally {
        if (!signal.aborted) element.removeAttribute('aria-busy');
      }
    },
    close() {
      loading.abort();
      URL.revokeObjectURL(image.src);
    },
  };
}
