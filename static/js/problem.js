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

/** Puts a failure's problem into `place`, or empties it. An aborted request is nobody's failure. */
export function showFailure(place, error) {
  if (!error || error.name === 'AbortError') {
    place.replaceChildren();
    return;
  }
  if (error instanceof Failure) {
    place.replaceChildren(problemBox(error.problem));
    return;
  }
  place.replaceChildren(problemBox({ title: 'The page stumbled', detail: String(error) }));
  throw error;
}
