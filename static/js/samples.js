// The grid of generated inputs, a row for each class, while generators train and afterwards.

import { getJson } from './api.js';
import { h, setText, show } from './dom.js';
import { picture } from './picture.js';
import { isFinal } from './status.js';

const COLUMNS = 10;
/** Widest a sheet is ever shown, in CSS pixels. */
const SHEET_WIDTH = 1200;
/** Most pixels of a sheet that the page asks for; the server's own bound is higher. */
const SHEET_PIXELS = 24e6;

/** Names of the classes, as configured, else their numbers. */
export function classNames(job) {
  return job.config?.classes ?? Array.from({ length: job.model?.classes ?? 0 }, (_, index) => String(index));
}

/**
 * The classes to choose from: [what the server takes for one, its name]. The server looks names up first, so it needs the
 * name where the number is also the name of a class; it takes the first class of a name, so it gets the number elsewhere.
 */
export function classOptions(job) {
  const names = classNames(job);
  const known = new Set(names);
  return names.map((name, index) => [known.has(String(index)) ? name : index, name]);
}

/** Whether inputs of this job are pictures: [null, channels, height, width], or [null, height, width, channels]. */
export const isImage = (job) => job.model?.input.shape.length >= 3;

/** Height and width of a picture. */
function size(job) {
  const { shape, layout } = job.model.input;
  return layout === 'channels_last' ? shape.slice(1, 3) : shape.slice(-2);
}

/** Pixels of a sheet without magnification. */
function pixels(job, { rows, columns }) {
  const [height, width] = size(job);
  return rows * columns * width * height;
}

/** Magnification that fills a sheet's width and keeps to its pixels: 1 where even the inputs themselves are too many. */
export function magnification(job, sheet) {
  const across = Math.floor(SHEET_WIDTH / (sheet.columns * size(job)[1]));
  const whole = Math.floor(Math.sqrt(SHEET_PIXELS / pixels(job, sheet)));
  return Math.max(1, Math.min(8, across, whole));
}

/** A labelled list to choose from, which keeps what is chosen when its options grow. */
function choice(id, label, onchange) {
  const select = h('select', { id, onchange });
  return {
    element: h('span', { class: 'choice' }, h('label', { for: id }, label), select),
    value: () => select.value,
    text: () => select.selectedOptions[0].textContent,
    /** `options`: [value, text]. */
    fill(options) {
      if (options.length === select.options.length) return;
      const before = select.value;
      select.replaceChildren(...options.map(([value, text]) => h('option', { value }, text)));
      if (options.some(([value]) => String(value) === before)) select.value = before;
    },
  };
}

/** Why there is no sheet, or not yet. */
function absence(job) {
  if (job.model && !isImage(job)) return 'The inputs of this model are no pictures. Download the samples to look at them.';
  if (job.status === 'succeeded') return 'Loading…';
  if (isFinal(job)) return 'No samples were made.';
  if (job.config.extraction.sampler === 'kegnet') return 'Samples appear as soon as a generator has trained for an epoch.';
  return 'This job trains no generator. The noise that it takes instead appears when it has succeeded.';
}

/** Which samples to look at. */
function controls(onchange) {
  const name = choice('samples-class', 'Class', onchange);
  const generator = choice('samples-generator', 'Generator', onchange);
  const epoch = choice('samples-epoch', 'Epoch', onchange);
  const element = h('div', { class: 'controls', hidden: true }, name.element, generator.element, epoch.element);
  return {
    element,
    className: name.text,
    fill(job, index) {
      const classes = classOptions(job);
      const all = pixels(job, { rows: classes.length, columns: COLUMNS }) <= SHEET_PIXELS ? [['', 'all']] : [];
      name.fill([...all, ...classes]);
      generator.fill([['', 'all'], ...index.generators.map((number) => [number, String(number + 1)])]);
      epoch.fill([['', 'latest'], ...index.epochs.map((number) => [number, String(number)])]);
      // The inputs of a job without generators are of no generator and no epoch.
      show(generator.element, index.generators.length > 0);
      show(epoch.element, index.generators.length > 0);
      show(element, true);
    },
    /** As the server's query. */
    query(job) {
      const rows = name.value() === '' ? job.model.classes : 1;
      const query = new URLSearchParams({ per_class: COLUMNS, scale: magnification(job, { rows, columns: COLUMNS }) });
      for (const [key, chosen] of [['class', name], ['generator', generator], ['epoch', epoch]]) {
        if (chosen.value() !== '') query.set(key, chosen.value());
      }
      return query;
    },
  };
}

export function sampleGrid(path) {
  const labels = h('ol', { class: 'class-labels', 'aria-hidden': 'true' });
  const sheet = picture('Generated inputs, one row for each class');
  const waiting = h('p', { class: 'muted placeholder' }, 'Loading…');
  const chosen = controls(() => draw());
  const frame = h('div', { class: 'sheet', tabindex: 0, role: 'region', 'aria-label': 'Sheet of generated inputs', hidden: true },
    labels, sheet.element);
  const element = h('section', { class: 'samples', 'aria-labelledby': 'samples-title' },
    h('div', { class: 'section-head' }, h('h2', { id: 'samples-title' }, 'Generated inputs'), chosen.element), frame, waiting);
  let job = null;
  let index = null;
  /** The job's status when it was asked about; none where that got no answer: the next look at the job asks again. */
  let status = null;
  /** The sheet that is shown, or on its way. */
  let shown = null;
  /** Whether there is no sheet for want of an answer. */
  let failed = false;

  async function draw() {
    const query = chosen.query(job);
    // The same address shows more when there are more samples.
    const key = `${query} ${index.count}`;
    if (key === shown?.key) return;
    const asked = { key };
    shown = asked;
    failed = false;
    const rows = query.has('class') ? [chosen.className()] : classNames(job);
    const outcome = await sheet.load(`${path}/samples.png?${query}`);
    if (outcome === 'shown') labels.replaceChildren(...rows.map((name) => h('li', {}, name)));
    if (outcome === 'failed' && shown === asked) {
      shown = null;
      failed = true;
    }
    show(frame, true);
    show(waiting, false);
  }

  async function refresh() {
    if (!job?.model || !isImage(job)) return;
    const answer = await getJson(`${path}/samples`).catch(() => null);
    if (!answer) status = null;
    if (job === null || !answer) return;
    // What a job has learned from is there once it has succeeded, also where no generator made it.
    if (answer.count === 0 && job.status !== 'succeeded') return;
    index = answer;
    chosen.fill(job, index);
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
      const news = !job?.model || next.status !== status || (failed && sheet.isDue());
      job = next;
      status = next.status;
      show(element, Boolean(job.model) || !isFinal(job));
      setText(waiting, absence(job));
      if (news) refresh();
    },
  };
}
