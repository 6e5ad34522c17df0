// What can be taken home: the student in every format there is, its samples, its report.

import { getJson } from './api.js';
import { h, show } from './dom.js';
import * as format from './format.js';

/** File suffix of a student → the `format` to ask for, and its name. */
const FORMATS = {
  onnx: ['onnx', 'ONNX'],
  pt: ['torchscript', 'TorchScript'],
  pt2: ['pt2', 'PT2'],
  safetensors: ['safetensors', 'safetensors'],
};

const suffix = (name) => name.slice(name.lastIndexOf('.') + 1);

function link(href, label, size, kind = '') {
  return h('a', { class: `button ${kind}`, href, download: true }, label,
    size !== undefined && h('span', { class: 'size' }, format.bytes(size)));
}

function links(path, artifacts, uploaded) {
  const students = artifacts
    .filter((artifact) => artifact.role === 'student' && FORMATS[suffix(artifact.name)])
    .map((artifact) => [...FORMATS[suffix(artifact.name)], artifact.bytes])
    .sort(([a], [b]) => (b === uploaded) - (a === uploaded));
  return [
    ...students.map(([name, label, size], index) =>
      link(`${path}/student?format=${name}`, `Student, ${label}`, size, index === 0 ? 'primary' : '')),
    link(`${path}/samples.npz`, 'Samples, .npz', artifacts.find(({ role }) => role === 'bank')?.bytes),
    ...artifacts.filter(({ role }) => role === 'report').map(({ href, bytes }) => link(href, 'Report, JSON', bytes)),
    h('a', { class: 'button', href: `${path}/report` }, 'Read the report'),
  ];
}

export function downloads(path) {
  const list = h('div', { class: 'buttons' });
  const element = h('section', { class: 'downloads', 'aria-label': 'Downloads', hidden: true }, list);
  let done = false;
  return {
    element,
    async update(job) {
      if (done || job.status !== 'succeeded') return;
      done = true;
      const { data } = await getJson(`${path}/artifacts`).catch(() => ({ data: [] }));
      list.replaceChildren(...links(path, data, job.model?.format));
      show(element, true);
    },
  };
}
