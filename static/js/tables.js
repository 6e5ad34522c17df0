// The compression table: what happens to each layer, as planned or as done.

import { h } from './dom.js';
import * as format from './format.js';

const LAYER_KINDS = {
  conv: 'convolution',
  depthwise_conv: 'depthwise convolution',
  grouped_conv: 'grouped convolution',
  conv_transpose: 'transposed convolution',
  linear: 'fully connected',
  batch_norm: 'batch norm',
  other: 'other',
};

const ACTIONS = { keep: 'kept', tucker: 'Tucker-2', svd: 'SVD', given: 'given', anew: 'begins anew' };

/** Before and after as two bars over each other, both against the network's largest layer. */
function sizeBar(before, after, largest) {
  const bar = h('span', { class: 'size-bar', 'aria-hidden': 'true' }, h('span', {}), h('span', {}));
  bar.children[0].style.inlineSize = `${(100 * before) / largest}%`;
  bar.children[1].style.inlineSize = `${(100 * after) / largest}%`;
  return bar;
}

const change = (before, after) => (before === after || before === format.MISSING ? after : `${before} → ${after}`);

function action(row) {
  return [
    ACTIONS[row.action] ?? row.action,
    row.ranks.length > 0 && h('span', { class: 'ranks' }, row.ranks.join(', ')),
    row.reason && h('span', { class: 'sub' }, row.reason),
  ];
}

/** The columns after the layer's name. `brief` ones are enough for a plan; `timed` ones need measured times. */
const COLUMNS = [
  { head: 'What happens', kind: 'action', brief: true, cell: action },
  { head: '', kind: 'bars', cell: (row, largest) => sizeBar(row.parameters_before, row.parameters_after, largest) },
  {
    head: 'Parameters', kind: 'num', brief: true,
    cell: (row) => change(format.count(row.parameters_before), format.count(row.parameters_after)),
  },
  { head: 'MACs', kind: 'num', cell: (row) => change(format.count(row.macs_before), format.count(row.macs_after)) },
  {
    head: 'Weight error', kind: 'num', brief: true,
    cell: (row) => (['keep', 'given', 'anew'].includes(row.action) ? format.MISSING : format.percent(row.error, 1)),
  },
  {
    head: 'Time', kind: 'num', timed: true,
    cell: (row) => change(format.milliseconds(row.ms_before), format.milliseconds(row.ms_after)),
  },
];

/** `rows` as `GET /jobs/{id}/layers` and the plan of `POST /inspect` give them. */
export function layerTable(rows, { caption, brief = false }) {
  const largest = Math.max(1, ...rows.map((row) => row.parameters_before));
  const timed = rows.some((row) => typeof row.ms_after === 'number');
  const columns = COLUMNS.filter((column) => (!brief || column.brief) && (!column.timed || timed));
  return h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': caption },
    h('table', { class: brief ? 'layers brief' : 'layers' },
      h('caption', { class: 'sr-only' }, caption),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Layer'), columns.map(({ head, kind }) =>
        (head === '' ? h('td', {}) : h('th', { scope: 'col', class: kind }, head))))),
      h('tbody', {}, rows.map((row) => h('tr', {},
        h('th', { scope: 'row' }, h('code', {}, row.layer), h('span', { class: 'sub' }, LAYER_KINDS[row.kind] ?? row.kind)),
        columns.map(({ kind, cell }) => h('td', { class: kind }, cell(row, largest))))))));
}
