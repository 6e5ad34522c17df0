// The API key that this tab sends along. It lies in sessionStorage: for this tab and this origin alone, gone with the tab,
// and sent only by code of this page. A cookie would be sent by the browser itself, to every port of this host and with
// requests that other pages cause.

import { h, setText, show } from './dom.js';

const PLACE = 'kegd.key';
const SHAPE = 'kegd_[0-9a-f]{8}_[0-9a-f]{64}';

let asking = null;
let declined = false;

/** The key, or null. */
export const currentKey = () => sessionStorage.getItem(PLACE);

export function authorization(key) {
  return key === null ? {} : { Authorization: `Bearer ${key}` };
}

export function signOut() {
  sessionStorage.removeItem(PLACE);
  // Nothing that was fetched with the key stays in memory.
  location.reload();
}

function askForKey(problem) {
  return new Promise((resolve) => {
    const reason = h('p', {}, currentKey() === null ? 'This service answers those alone who have an API key.' : problem.detail);
    const input = h('input', {
      id: 'api-key', type: 'password', required: true, pattern: SHAPE, autocomplete: 'off', autofocus: true,
      placeholder: 'kegd_…', title: 'kegd_, eight characters, an underscore, and 64 characters',
    });
    const dialog = h('dialog', { class: 'sign-in', 'aria-labelledby': 'sign-in-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'sign-in-title' }, 'API key'), reason,
        h('label', { for: 'api-key', class: 'sr-only' }, 'API key'), input,
        h('p', { class: 'hint' }, 'It is kept in this tab alone. Whoever runs the service makes keys: kegd keys create.'),
        h('div', { class: 'buttons' },
          // No submit button: the Enter key would press the first of those.
          h('button', { type: 'button', value: 'no', class: 'button', onclick: () => dialog.close('no') }, 'Not now'),
          h('button', { value: 'yes', class: 'button primary' }, 'Sign in'))));
    input.addEventListener('input', () => { input.value = input.value.trim(); });
    dialog.addEventListener('close', () => {
      dialog.remove();
      const given = dialog.returnValue === 'yes';
      if (given) sessionStorage.setItem(PLACE, input.value);
      declined = !given;
      // The header says who is signed in, or offers the way in.
      window.dispatchEvent(new Event('keyasked'));
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Asks for a key because of a 401, once for all requests that got one; answers whether one was given. Who said "not now"
 * is not asked again by requests, only by the button.
 */
export async function signIn(problem) {
  if (declined) return false;
  asking ??= askForKey(problem).finally(() => { asking = null; });
  return asking;
}

/** Who is signed in, and the way out; or the way in for those who said "not now". */
export function sessionControls() {
  const who = h('span', {});
  const out = h('button', { type: 'button', class: 'button quiet', onclick: signOut }, 'Sign out');
  const into = h('button', {
    type: 'button', class: 'button quiet', hidden: true,
    // The page asks as it did at first.
    onclick: () => location.reload(),
  }, 'Sign in');
  const element = h('p', { class: 'session', hidden: true }, who, out, into);
  return {
    element,
    /** `usage` as the server has it; null where it gave none. */
    update(usage) {
      const key = usage?.key ?? null;
      setText(who, key ? `${key.name} (${key.scope})` : '');
      show(out, currentKey() !== null);
      show(into, usage === null && currentKey() === null);
      show(element, usage === null || key !== null);
    },
  };
}
