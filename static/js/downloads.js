// What can be taken home: the student in every format there is, its samples, its report.

import { getJson, save } from './api.js';
import { h, show } from './dom.js';
import * as format from './format.js';
import { showFailure } from './problem.js';
import { currentKey } from './session.js';

/** File suffix of a student → the `format` to ask for, and its name. */
const FORMATS = {
  onnx: ['onnx', 'ONNX'],
  pt: ['torchscript', 'TorchScript'],
  pt2: ['pt2', 'PT2'],
  safetensors: ['safetensors', 'safetensors'],
};

const suffix = (name) => name.slice(name.lastIndexOf('.') + 1);

/** A link to a file. With a key it is fetched by the page; without one the browser's own download can be paused and resumed. */
export function link(href, label, size, onFailure, kind = '') {
  const onclick = (event) => {
    if (currentKey() === null) return;
    event.preventDefault();
    onFailure(null);
    save(href).then(() => onFailure(null), onFailure);
  };
  return h('a', { class: `button ${kind}`, href, download: true, onclick }, label,
    size !== undefined && h('span', { class: 'size' }, format.bytes(size)));
}

/** Where the page shows the report; of a sweep, that of the student with the target. */
export const reportHash = (path, target) => `#/${path}/report${target === undefined ? '' : `/${target}`}`;

function links(path, artifacts, { uploaded, swept }, onFailure) {
  const samples =
    link(`${path}/samples.npz`, 'Samples, .npz', artifacts.find(({ role }) => role === 'bank')?.bytes, onFailure);
  // The students of a sweep, and their reports, have a table of their own.
  if (swept) return [samples];
  const students = artifacts
    .filter((artifact) => artifact.role === 'student' && FORMATS[suffix(artifact.name)])
    .map((artifact) => [...FORMATS[suffix(artifact.name)], artifact.bytes])
    .sort(([a], [b]) => (b === uploaded) - (a === uploaded));
  return [
    ...students.map(([name, label, size], index) =>
      link(`${path}/student?format=${name}`, `Student, ${label}`, size, onFailure, index === 0 ? 'primary' : '')),
    samples,
    ...artifacts.filter(({ role }) => role === 'report').map(({ href, bytes }) => link(href, 'Report, JSON', bytes, onFailure)),
    h('a', { class: 'button', href: reportHash(path) }, 'Read the report'),
  ];
}

export function downloads(path) {
  const list = h('div', { class: 'buttons' });
  const failure = h('div', {});
  const element = h('section', { class: 'downloads', 'aria-label': 'Downloads', hidden: true }, list, failure);
  const onFailure = (error) => showFailure(failure, error);
  let done = false;
  let asking = false;
  return {
    element,
    async update(job) {
      if (done || asking || job.status !== 'succeeded') return;
      asking = true;
      try {
        const { data } = await getJson(`${path}/artifacts`);
        list.replaceChildren(...links(path, data, { uploaded: job.model?.format, swept: job.results.length > 1 }, onFailure));
        done = true;
        onFailure(null);
      } catch (error) {
        // Asked again the next time that the page looks at the job.
        onFailure(error);
      } finally {
        asking = false;
      }
      show(element, true);
    },
  };
}
