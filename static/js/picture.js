// A picture from the server that changes: the old one stays until the new one can be shown, and failures say why.

import { Failure, getBlob } from './api.js';
import { h, setText, show } from './dom.js';

/**
 * `alt` describes it. `load` answers whether the picture could be shown; it fetches by itself, since an `<img>` would keep
 * the old picture of an address whose picture has changed, and would not tell why there is none.
 */
export function picture(alt) {
  const image = h('img', { alt, hidden: true });
  const message = h('p', { class: 'muted', hidden: true });
  const element = h('div', { class: 'picture' }, image, message);
  let loading = new AbortController();

  function fail(error) {
    if (!(error instanceof Failure)) throw error;
    setText(message, error.problem.detail ?? error.problem.title);
    show(message, true);
    show(image, false);
    return false;
  }

  async function swap(blob) {
    const next = new Image();
    next.src = URL.createObjectURL(blob);
    await next.decode();
    URL.revokeObjectURL(image.src);
    image.src = next.src;
    show(image, true);
    show(message, false);
    return true;
  }

  return {
    element,
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
        return !signal.aborted && await swap(blob);
      } catch (error) {
        return !signal.aborted && fail(error);
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
