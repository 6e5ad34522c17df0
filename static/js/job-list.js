// The list of jobs, newest first, kept up to date while somebody looks at it.

import { jobActions } from './actions.js';
import { getJson } from './api.js';
import { h, setText, show } from './dom.js';
import * as format from './format.js';
import { repeat } from './live.js';
import { showFailure } from './problem.js';
import { isFinal, outcome, progressBar, standing, statusBadge } from './status.js';

const PAGE = 20;
const BUSY_MS = 1500;
const IDLE_MS = 10_000;

const FILTERS = [['', 'All'], ['queued,running', 'Active'], ['succeeded', 'Succeeded'], ['failed,canceled', 'Failed or canceled']];

/** One row, which keeps its elements (and with them the focus) when its job changes. */
function jobRow(handlers) {
  const link = h('a', { class: 'job-name' });
  const age = h('time', { class: 'muted' });
  const badge = statusBadge();
  const text = h('span', { class: 'standing' });
  const bar = progressBar('Progress');
  const actions = jobActions(handlers);
  const element = h('li', { class: 'job-row' },
    h('div', { class: 'who' }, link, age), badge.element,
    h('div', { class: 'how' }, text, bar.element), actions.element);
  return {
    element,
    update(job) {
      element.dataset.job = job.id;
      link.href = `#/jobs/${job.id}`;
      setText(link, job.name);
      setText(age, format.age(job.created_at));
      age.dateTime = job.created_at;
      age.title = format.dateTime(job.created_at);
      badge.update(job.status);
      setText(text, outcome(job) || standing(job));
      bar.update(job);
      show(bar.element, !isFinal(job));
      actions.update(job);
    },
  };
}

const empty = (filter) => (filter === ''
  ? [h('p', {}, 'No jobs yet.'),
    h('p', { class: 'muted' }, 'Drop a trained classifier above, or send one from a terminal:'),
    h('pre', {}, h('code', {}, `curl -F model=@lenet5.onnx ${new URL('jobs', document.baseURI)}`))]
  : [h('p', {}, 'No such jobs.')]);

export function jobList() {
  const rows = new Map();
  let filter = '';
  let pages = 1;
  const failure = h('div', {});
  // Apart from the other, which every look at the jobs fills or empties.
  const refusal = h('div', {});
  const list = h('ul', { class: 'job-list', 'aria-label': 'Jobs' });
  const nothing = h('div', { class: 'empty' }, h('p', { class: 'muted' }, 'Loading…'));
  const more = h('button', { type: 'button', class: 'button', hidden: true, onclick: () => { pages += 1; loop.now(); } }, 'Show more');
  const select = h('select', { id: 'filter', onchange: () => { filter = select.value; pages = 1; loop.now(); } },
    FILTERS.map(([value, label]) => h('option', { value }, label)));
  const element = h('section', { class: 'jobs', 'aria-labelledby': 'jobs-title' },
    h('div', { class: 'section-head' }, h('h2', { id: 'jobs-title' }, 'Jobs'),
      h('div', { class: 'filter' }, h('label', { for: 'filter', class: 'sr-only' }, 'Show'), select)),
    refusal, failure, list, nothing, more);

  const handlers = { after: () => loop.now(), onFailure: (error) => showFailure(refusal, error) };

  async function fetchPages() {
    const jobs = [];
    let after = null;
    for (let page = 0; page < pages; page += 1) {
      const query = new URLSearchParams({ limit: PAGE });
      if (filter) query.set('status', filter);
      if (after) query.set('after', after);
      const answer = await getJson(`jobs?${query}`);
      jobs.push(...answer.data);
      after = answer.next;
      if (!after) break;
    }
    return { jobs, next: after };
  }

  function showJobs(jobs) {
    const seen = new Set(jobs.map((job) => job.id));
    for (const [id, row] of rows) {
      if (!seen.has(id)) {
        row.element.remove();
        rows.delete(id);
      }
    }
    jobs.forEach((job, index) => {
      if (!rows.has(job.id)) rows.set(job.id, jobRow(handlers));
      const row = rows.get(job.id);
      row.update(job);
      if (list.children[index] !== row.element) list.insertBefore(row.element, list.children[index] ?? null);
    });
    show(nothing, jobs.length === 0);
    if (jobs.length === 0) nothing.replaceChildren(...empty(filter));
  }

  async function refresh() {
    try {
      const asked = filter;
      const { jobs, next } = await fetchPages();
      if (asked !== filter) return 0;
      showFailure(failure, null);
      showJobs(jobs);
      show(more, Boolean(next));
      return jobs.some((job) => !isFinal(job)) ? BUSY_MS : IDLE_MS;
    } catch (error) {
      showFailure(failure, error);
      return IDLE_MS / 2;
    }
  }

  const loop = repeat(refresh);
  return { element, close: loop.stop };
}
