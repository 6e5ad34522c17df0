// What the latent vector does: rows of one class with one latent at a time varied, or walks between two of them.

import { getJson } from './api.js';
import { h, show } from './dom.js';
import { picture } from './picture.js';
import { classOptions, isImage, magnification } from './samples.js';

const MODES = [['vary', 'vary'], ['interpolate', 'interpolate']];

const ROWS = 6;
/** About what the server draws in a row; only the magnification depends on it. */
const COLUMNS = 10;

/**
 * The numbers of the generators that are done. Not of those that have samples: these come while a generator trains, and a
 * job that stopped short may have no more of it.
 */
async function trainedGenerators(path) {
  const { data } = await getJson(`${path}/artifacts`);
  return data.filter(({ role }) => role === 'generator').map(({ name }) => Number(name.match(/\d+/)[0]));
}

export function latentRows(path) {
  const sheet = picture('Generated inputs of one class with the latent vector varied');
  const classes = h('select', { id: 'latent-class', onchange: () => draw() });
  const mode = h('select', { id: 'latent-mode', onchange: () => draw() }, MODES.map(([value, text]) => h('option', { value }, text)));
  const seed = h('input', { id: 'latent-seed', type: 'number', min: 0, step: 1, value: 1, onchange: () => draw() });
  const another = h('button', {
    type: 'button', class: 'button quiet',
    onclick: () => {
      seed.value = Number(seed.value) + 1;
      draw();
    },
  }, 'Another');
  const field = (label, control) => h('span', { class: 'choice' }, h('label', { for: control.id }, label), control);
  const element = h('section', { class: 'latent', 'aria-labelledby': 'latent-title', hidden: true },
    h('div', { class: 'section-head' }, h('h2', { id: 'latent-title' }, 'Latent space'),
      h('div', { class: 'controls' }, field('Class', classes), field('Mode', mode), field('Seed', seed), another)),
    sheet.element);
  let asked = '';
  let generator = null;
  let scale = 1;
  let failed = false;

  async function draw() {
    failed = false;
    const parameters = new URLSearchParams({ generator, mode: mode.value, seed: seed.value || 0, rows: ROWS, scale });
    if (classes.value !== '') parameters.set('class', classes.value);
    failed = await sheet.load(`${path}/samples/latent.png?${parameters}`) === 'failed';
  }

  return {
    element,
    close() {
      asked = '';
      sheet.close();
    },
    async update(job) {
      // A picture without an answer is asked for again when the page looks at the job, if that is not too soon.
      if (failed && sheet.isDue()) draw();
      const key = `${job.status}/${job.phase}`;
      if (generator !== null || key === asked || !isImage(job)) return;
      asked = key;
      const trained = await trainedGenerators(path).catch(() => null);
      // The job has gone on meanwhile, and was asked about again; or somebody has left it.
      if (asked !== key) return;
      // Without an answer it is asked again the next time that the page looks at the job.
      if (trained === null) asked = '';
      if (!trained?.length) return;
      generator = Math.min(...trained);
      scale = magnification(job, { rows: ROWS, columns: COLUMNS });
      classes.replaceChildren(...classOptions(job).map(([value, name]) => h('option', { value }, name)));
      show(element, true);
      draw();
    },
  };
}
