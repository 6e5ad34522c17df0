// The grid of generated inputs, a row for each class, while generators train and afterwards.

import { getJson } from './api.js';
import { h, setText, show } from './dom.js';
import { picture } from './picture.js';
import { isFinal } from './status.js';

const COLUMNS = 10;
/** Widest the sheet is ever shown, in CSS pixels. */
const SHEET_WIDTH = 1200;

/** Names of the classes, as configured, else their numbers. */
export function classNames(job) {
  return job.config?.classes ?? Array.from({ length: job.model?.classes ?? 0 }, (_, index) => String(index));
}

/** Whether inputs of this job are pictures: [null, channels, height, width]. */
export const isImage = (job) => job.model?.input.shape.length >= 3;

/** Magnification that fills the sheet without making it larger than a screen. */
export function magnification(job, columns) {
  const width = job.model.input.shape.at(-1) ?? 32;
  return Math.max(1, Math.min(8, Math.floor(SHEET_WIDTH / (columns * width))));
}

function choice(id, label, onChange) {
  const select = h('select', { id, onchange: onChange });
  return {
    element: h('span', { class: 'choice' }, h('label', { for: id }, label), select),
    select,
    /** Replaces the options where they changed, and keeps what is chosen. */
    fill(options) {
      const before = select.value;
      if (options.length === select.options.length) return;
      select.replaceChildren(...options.map(([value, text]) => h('option', { value }, text)));
      if (options.some(([value]) => String(value) === before)) select.value = before;
    },
  };
}

export function sampleGrid(path) {
  const labels = h('ol', { class: 'class-labels', 'aria-hidden': 'true' });
  const sheet = picture('Generated inputs, one row for each class');
  const waiting = h('p', { class: 'muted placeholder' }, 'Samples appear as soon as a generator has trained for an epoch.');
  const generator = choice('samples-generator', 'Generator', () => draw());
  const epoch = choice('samples-epoch', 'Epoch', () => draw());
  const controls = h('div', { class: 'controls', hidden: true }, generator.element, epoch.element);
  const frame = h('div', { class: 'sheet', hidden: true }, labels, sheet.element);
  const element = h('section', { class: 'samples', 'aria-labelledby': 'samples-title' },
    h('div', { class: 'section-head' }, h('h2', { id: 'samples-title' }, 'Generated inputs'), controls), frame, waiting);
  let job = null;
  let shown = '';
  let index = null;

  function query() {
    const parameters = new URLSearchParams({ per_class: COLUMNS, scale: magnification(job, COLUMNS) });
    if (generator.select.value) parameters.set('generator', generator.select.value);
    if (epoch.select.value) parameters.set('epoch', epoch.select.value);
    return parameters;
  }

  async function draw() {
    const parameters = query();
    const key = `${parameters} ${index.count}`;
    if (key === shown) return;
    shown = key;
    show(frame, true);
    if (await sheet.load(`${path}/samples.png?${parameters}`)) show(waiting, false);
  }

  async function refresh() {
    if (!job?.model || !isImage(job)) return;
    index = await getJson(`${path}/samples`).catch(() => null);
    if (!index || !index.count) return;
    generator.fill([['', 'all'], ...index.generators.map((number) => [number, String(number + 1)])]);
    epoch.fill([['', 'latest'], ...index.epochs.map((number) => [number, String(number)])]);
    show(controls, index.epochs.length > 1 || index.generators.length > 1);
    await draw();
  }

  return {
    element,
    refresh,
    close() {
      job = null;
      sheet.close();
    },
    update(next) {
      const first = job === null || job.status !== next.status || !job.model;
      job = next;
      show(element, Boolean(job.model) || !isFinal(job));
      if (job.model && !isImage(job)) {
        setText(waiting, 'The inputs of this model are no pictures. Download the samples to look at them.');
        return;
      }
      if (isFinal(job)) setText(waiting, 'No samples were made.');
      const names = classNames(job);
      if (labels.children.length !== names.length) labels.replaceChildren(...names.map((name) => h('li', {}, name)));
      if (first) refresh();
    },
  };
}
