// A problem (RFC 9457) on the page: what is wrong, every cause, and what to do about it.

import { Failure } from './api.js';
import { h } from './dom.js';

/** The causes that say more than the detail already does. */
function causes(problem) {
  return (problem.errors ?? []).filter((cause) => cause.detail !== problem.detail);
}

export function problemBox(problem) {
  const list = causes(problem).map((cause) =>
    h('li', {}, cause.param ? [h('code', {}, cause.param), ' '] : null, cause.detail));
  return h('div', { class: 'problem', role: 'alert' },
    h('p', {}, h('strong', {}, problem.title)),
    problem.detail && h('p', {}, problem.detail),
    list.length > 0 && h('ul', {}, list),
    problem.hint && h('p', { class: 'hint' }, problem.hint),
    h('p', { class: 'codes' },
      [problem.code, problem.param, problem.request_id && `request ${problem.request_id}`].filter(Boolean).join(' · ')));
}

/** What each place shows, without the id of the request, which differs each time. */
const shown = new WeakMap();

/** A box that stands already stays: a new one is an alert, read out again at each attempt while the server is away. */
function put(place, problem) {
  const key = JSON.stringify({ ...problem, request_id: undefined });
  if (place.hasChildNodes() && shown.get(place) === key) return;
  shown.set(place, key);
  place.replaceChildren(problemBox(problem));
}

/** Puts a failure's problem into `place`, or empties it. An aborted request is nobody's failure. */
export function showFailure(place, error) {
  if (!error || error.name === 'AbortError') {
    place.replaceChildren();
    return;
  }
  if (error instanceof Failure) {
    put(place, error.problem);
    return;
  }
  put(place, { title: 'The page stumbled', detail: String(error) });
  throw error;
}
