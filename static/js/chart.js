// One line chart on uPlot, in the page's colours, with its newest value (or the one under the pointer) beside its title.

import uPlot from '../vendor/uplot/uPlot.esm.js';
import { h } from './dom.js';
import * as format from './format.js';

const HEIGHT = 148;
const dark = window.matchMedia('(prefers-color-scheme: dark)');

/** A colour of the style sheet; read when drawing, since it changes with the colour scheme. */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Which of the style sheet's line colours a line has: 1 to 8, as many as a sweep has students at most. */
export const keyOf = (index) => (index % 8) + 1;

/** Lines with steps of their own, as uPlot wants them: one list of steps, and one list of values for each line. */
function aligned(lines) {
  return uPlot.join(lines.map(({ points }) => [points.map(([step]) => step), points.map(([, value]) => value)]));
}

function axis(extra) {
  return {
    stroke: () => colour('--muted'),
    font: `11px ${getComputedStyle(document.body).fontFamily}`,
    grid: { stroke: () => colour('--hairline'), width: 1 },
    ticks: { show: false },
    ...extra,
  };
}

/** A line of a few points shows them: of one alone there would be nothing to see. */
const FEW = 12;
const known = (value) => value !== null && value !== undefined;
const sparse = (plot, index) => plot.data[index].filter(known).length <= FEW;

/** The value of each line at a place of the steps; its newest where that is `null`. */
const valuesAt = (plot, at) => plot.data.slice(1).map((series) => (at === null ? series.findLast(known) : series[at]));

const compact = new Intl.NumberFormat('en', { notation: 'compact' });

function options({ width, count, logarithmic, onCursor }) {
  return {
    width,
    height: HEIGHT,
    legend: { show: false },
    padding: [8, 12, 0, 0],
    cursor: { drag: { x: false, y: false }, y: false, points: { size: 6 }, sync: { key: 'training' } },
    scales: { x: { time: false }, y: logarithmic ? { distr: 3 } : {} },
    axes: [
      axis({ size: 24, gap: 4, values: (_, steps) => steps.map((step) => compact.format(step)) }),
      axis({ size: 44, gap: 4, values: (_, values) => values.map((value) => (value === null ? '' : String(Number(value.toPrecision(3))))) }),
    ],
    series: [{}, ...Array.from({ length: count }, (_, index) => ({
      stroke: () => colour(`--line-${keyOf(index)}`), width: 1.5, spanGaps: true, points: { show: sparse, size: 5 },
    }))],
    hooks: { setCursor: [onCursor] },
  };
}

/** `update` takes `[{label, points: [[step, value]]}]`. */
export function lineChart({ title, logarithmic }) {
  const readout = h('span', { class: 'readout num' });
  const place = h('div', { class: 'plot', role: 'img' });
  const element = h('figure', { class: 'chart' }, h('figcaption', {}, h('span', {}, title), readout), place);
  let lines = [];
  let plot = null;
  let built = '';

  function read(plot) {
    const at = plot.cursor.idx ?? null;
    readout.replaceChildren(at === null ? '' : `step ${format.integer(plot.data[0][at])}`, ...valuesAt(plot, at).map((value, index) =>
      h('span', { class: `key-${keyOf(index)}`, title: lines[index]?.label }, known(value) ? format.metric(value) : '')));
  }

  /** A logarithm needs values above 0; a chart that has others stays linear. */
  const scale = () => (logarithmic && lines.every(({ points }) => points.every(([, value]) => value > 0)) ? 'log' : 'linear');

  function build() {
    plot?.destroy();
    built = `${lines.length} ${scale()}`;
    plot = new uPlot(options({
      width: Math.max(place.clientWidth, 120), count: lines.length, logarithmic: scale() === 'log', onCursor: read,
    }), aligned(lines), place);
    read(plot);
  }

  const redraw = () => plot?.redraw(false);
  dark.addEventListener('change', redraw);
  const watcher = new ResizeObserver(() => plot?.setSize({ width: Math.max(place.clientWidth, 120), height: HEIGHT }));
  watcher.observe(place);

  return {
    element,
    update(next) {
      lines = next;
      if (built !== `${lines.length} ${scale()}`) build();
      else {
        plot.setData(aligned(lines));
        read(plot);
      }
      place.setAttribute('aria-label', `${title}: newest ${valuesAt(plot, null).map(format.metric).join(', ')}`);
    },
    setLogarithmic(next) {
      logarithmic = next;
      if (plot) build();
    },
    close() {
      watcher.disconnect();
      dark.removeEventListener('change', redraw);
      plot?.destroy();
    },
  };
}
