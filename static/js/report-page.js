// The report of a job, as the server writes it for people.

import { getText } from './api.js';
import { h } from './dom.js';
import { showFailure } from './problem.js';

/** `target` chooses among the students of a sweep; without one it is the first. */
export function reportPage(id, target) {
  const choice = target === undefined ? '' : `?target=${encodeURIComponent(target)}`;
  const failure = h('div', {});
  const place = h('div', { class: 'report' });
  const leaving = new AbortController();

  async function fetchReport() {
    try {
      const html = await getText(`jobs/${id}/report${choice}`, 'text/html', leaving.signal);
      // What DOMParser makes is inert: no script of it would run, if there were one.
      const { title, body } = new DOMParser().parseFromString(html, 'text/html');
      document.title = title;
      // Its links are for readers without this page: they carry no key.
      body.querySelector('.links')?.remove();
      place.replaceChildren(...body.childNodes);
    } catch (error) {
      showFailure(failure, error);
    }
  }

  fetchReport();
  return {
    title: 'Report · kegd',
    elements: [h('p', { class: 'back' }, h('a', { href: `#/jobs/${id}` }, '← The job')), failure, place],
    close: () => leaving.abort(),
  };
}
