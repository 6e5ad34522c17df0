// The loss curves: one small chart for each series' name, one line for each generator, or student of a sweep.

import { getJson } from './api.js';
import { keyOf, lineChart } from './chart.js';
import { h, show } from './dom.js';
import { isFinal } from './status.js';

const POINTS = 400;

/** Titles of the series that the engine writes, in the order of the charts; any other comes last, under its own name. */
const TITLES = {
  classifier_loss: 'Classifier loss',
  decoder_loss: 'Decoder loss',
  diversity_loss: 'Diversity loss',
  batch_norm_loss: 'Distance from what batch norm recorded',
  teacher_hit_rate: 'Teacher sees the class asked for',
  distillation_loss: 'Distillation loss',
  adversarial_distance: 'Distance to the teacher, hardest inputs',
  student_distance: 'Distance to the teacher, after the lesson',
  pool_agreement: 'Agreement with the teacher on the samples',
  pool_divergence: 'Divergence from the teacher on the samples',
};

function lineLabel({ generator, target }) {
  if (typeof generator === 'number') return `generator ${generator + 1}`;
  return typeof target === 'number' ? `target ${target}` : '';
}

/** The server's series, grouped by name: `[{name, lines: [{label, points}]}]`. */
function grouped(body) {
  const groups = new Map();
  for (const series of body.series) {
    if (series.points.length === 0) continue;
    if (!groups.has(series.name)) groups.set(series.name, []);
    groups.get(series.name).push({ label: lineLabel(series), points: series.points });
  }
  const order = Object.keys(TITLES);
  const place = ({ name }) => (order.includes(name) ? order.indexOf(name) : order.length);
  return [...groups].map(([name, lines]) => ({ name, lines })).sort((a, b) => place(a) - place(b));
}

export function lossCurves(path) {
  const charts = new Map();
  const grid = h('div', { class: 'charts' });
  const waiting = h('p', { class: 'muted placeholder' }, 'Curves appear with the first steps of training.');
  const log = h('input', { type: 'checkbox', id: 'log-scale', onchange: () => charts.forEach((chart) => chart.setLogarithmic(log.checked)) });
  const toggle = h('span', { class: 'choice', hidden: true }, log, h('label', { for: 'log-scale' }, 'Logarithmic'));
  const legend = h('p', { class: 'legend', hidden: true });
  const element = h('section', { class: 'losses', 'aria-labelledby': 'losses-title' },
    h('div', { class: 'section-head' }, h('h2', { id: 'losses-title' }, 'Training'), h('div', { class: 'controls' }, legend, toggle)),
    grid, waiting);
  let status = null;
  let explained = '';
  let closed = false;

  function showLegend(count, swept) {
    show(legend, count > 1);
    const kinds = swept ? 'Generator or student ' : 'Generator ';
    if (explained === kinds + count) return;
    explained = kinds + count;
    legend.replaceChildren(kinds, ...Array.from({ length: count }, (_, index) =>
      h('span', { class: `key key-${keyOf(index)}` }, String(index + 1))));
  }

  /** Answers whether the server did. */
  async function refresh() {
    const body = await getJson(`${path}/metrics?max_points=${POINTS}`).catch(() => null);
    // A chart that is made once nobody closes charts any more stays for ever.
    if (!body || closed) return false;
    const groups = grouped(body);
    const swept = body.series.some(({ target }) => typeof target === 'number');
    showLegend(Math.max(0, ...groups.map(({ lines }) => lines.length)), swept);
    for (const { name, lines } of groups) {
      if (!charts.has(name)) {
        const chart = lineChart({ title: TITLES[name] ?? name.replaceAll('_', ' '), logarithmic: log.checked });
        charts.set(name, chart);
        grid.append(chart.element);
      }
      charts.get(name).update(lines);
    }
    show(waiting, charts.size === 0);
    show(toggle, charts.size > 0);
    return true;
  }

  return {
    element,
    refresh,
    close() {
      closed = true;
      charts.forEach((chart) => chart.close());
    },
    async update(job) {
      if (job.status === status) return;
      status = job.status;
      // Without an answer it is asked again the next time that the page looks at the job.
      if (!await refresh()) status = null;
      show(element, charts.size > 0 || !isFinal(job));
    },
  };
}
