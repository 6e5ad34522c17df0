// The one question this page asks before something is lost.

import { h } from './dom.js';

/** Asks, and answers whether the person agreed. Escape and the way back mean no. */
export function confirm({ title, text, action, keep = 'Keep it', danger = true }) {
  return new Promise((resolve) => {
    const dialog = h('dialog', { 'aria-labelledby': 'confirm-title' },
      h('form', { method: 'dialog' },
        h('h2', { id: 'confirm-title' }, title),
        h('p', {}, text),
        h('div', { class: 'buttons' },
          h('button', { value: 'no', class: 'button', autofocus: true }, keep),
          h('button', { value: 'yes', class: `button ${danger ? 'danger' : 'primary'}` }, action))));
    dialog.addEventListener('close', () => {
      dialog.remove();
      resolve(dialog.returnValue === 'yes');
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
