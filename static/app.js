// The page's frame: which view the address asks for, who is signed in, and what the server's devices are.

import { getJson } from './js/api.js';
import { h, setText } from './js/dom.js';
import { jobList } from './js/job-list.js';
import { jobPage } from './js/job-page.js';
import { newJob } from './js/new-job.js';
import { reportPage } from './js/report-page.js';
import { sessionControls } from './js/session.js';

const main = document.getElementById('main');
const session = sessionControls();
let view = null;
let address = '';

function home() {
  const list = jobList();
  const form = newJob((job) => { location.hash = `#/jobs/${job.id}`; });
  return {
    title: 'kegd',
    elements: [
      h('h1', {}, 'Shrink a classifier without its training data'),
      h('p', { class: 'lead' },
        'Give a trained, frozen network. Generators look for inputs that tell what it knows, '
        + 'and a smaller network learns its answers on such inputs.'),
      form.element, list.element,
    ],
    mayLeave: form.mayLeave,
    close() {
      form.close();
      list.close();
    },
  };
}

function unknown() {
  return {
    title: 'Not found · kegd',
    elements: [h('h1', {}, 'Nothing here'), h('p', {}, h('a', { href: '#/' }, 'All jobs'))],
    close() {},
  };
}

function viewFor(hash) {
  const path = hash.replace(/^#/, '') || '/';
  if (path === '/') return home();
  const job = path.match(/^\/jobs\/([0-9a-f-]+)(\/report(?:\/([0-9.]+))?)?$/i);
  if (!job) return unknown();
  return job[2] ? reportPage(job[1], job[3]) : jobPage(job[1]);
}

function route() {
  const first = view === null;
  if (view?.mayLeave?.() === false) {
    // By now the address is that of the other page.
    history.replaceState(null, '', address);
    return;
  }
  view?.close();
  view = viewFor(location.hash);
  address = location.hash || '#/';
  document.title = view.title;
  main.replaceChildren(...view.elements);
  if (!first) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
}

/** The server's devices; '' for those who may not see them. */
async function devicesFor(usage) {
  if (!usage || (usage.key && usage.key.scope !== 'admin')) return '';
  try {
    const { data = [] } = await getJson('workers');
    const slots = data.flatMap((worker) => worker.slots ?? []);
    return slots.map((slot) => slot.device ?? slot).join(', ');
  } catch {
    // The header says nothing rather than something wrong; the views report that the server is away.
    return '';
  }
}

async function showHeader() {
  const usage = await getJson('usage').catch((error) => (error.problem?.status === 401 ? null : undefined));
  if (usage === undefined) return;
  session.update(usage);
  setText(document.getElementById('devices'), await devicesFor(usage));
}

document.querySelector('[data-skip]').addEventListener('click', (event) => {
  // The address's fragment is the route, so the usual in-page link would leave the view.
  event.preventDefault();
  main.focus();
});
window.addEventListener('hashchange', route);
window.addEventListener('keyasked', showHeader);
document.querySelector('.top').append(session.element);
route();
showHeader();
