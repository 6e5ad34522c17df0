// The students of a sweep: a table with a row for each target, as each is done.

import { link, reportHash } from './downloads.js';
import { h, show } from './dom.js';
import * as format from './format.js';
import { showFailure } from './problem.js';

const HEADS = {
  ratio: 'Times fewer parameters', parameters: 'Parameters asked for', macs: 'MACs asked for', bytes: 'Bytes asked for',
  latency: 'Times as fast',
};

/** The columns after the target. */
const COLUMNS = [
  ['Parameters', ({ student }) => format.count(student.parameters)],
  ['Ratio', ({ ratio }) => format.ratio(ratio.parameters)],
  ['MACs', ({ student }) => format.count(student.macs)],
  ['File', ({ student }) => format.bytes(student.bytes)],
  ['Faster', ({ ratio }) => format.ratio(ratio.latency)],
  ['Agreement', ({ agreement }) => format.percent(agreement.held_out_generator.top1)],
  ['Accuracy', ({ accuracy }) => (accuracy ? format.percent(accuracy.student) : format.MISSING)],
];

const targetText = ({ by, target }) => (by === 'ratio' || by === 'latency' ? `${target}×` : format.integer(target));

/** For a heading of what is shown of the first student alone: " of the first student, ratio 2×"; '' where there is but one. */
export function ofFirst({ config: { compression } }) {
  const by = Object.keys(HEADS).find((name) => compression[name]?.length > 1);
  return by ? ` of the first student, ${by} ${targetText({ by, target: compression[by][0] })}` : '';
}

function row(path, made, onFailure) {
  return h('tr', {},
    h('th', { scope: 'row' }, targetText(made)),
    COLUMNS.map(([, cell]) => h('td', { class: 'num' }, cell(made.result))),
    h('td', {}, h('span', { class: 'buttons' },
      link(made.links.student.slice(1), 'Student', made.result.student.bytes, onFailure),
      h('a', { class: 'button', href: reportHash(path, made.target) }, 'Report'))));
}

export function sweepTable(path) {
  const failure = h('div', {});
  const place = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Students by target' });
  const element = h('section', { class: 'sweep', 'aria-labelledby': 'sweep-title', hidden: true },
    h('h2', { id: 'sweep-title' }, 'Students'), place, failure);
  let drawn = 0;
  return {
    element,
    update(job) {
      const { results } = job;
      // A usual job has one, which has the page to itself.
      const swept = results.some(({ links }) => links.student.includes('target='));
      show(element, swept);
      if (!swept || drawn === results.length) return;
      drawn = results.length;
      place.replaceChildren(h('table', { class: 'layers' },
        h('caption', { class: 'sr-only' }, 'Students by target'),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, HEADS[results[0].by]),
          COLUMNS.map(([head]) => h('th', { scope: 'col', class: 'num' }, head)), h('td', {}))),
        h('tbody', {}, results.map((made) => row(path, made, (error) => showFailure(failure, error))))));
    },
  };
}
