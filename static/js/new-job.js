// A new job: choosing or dropping files, settings, the plan, and submitting.

import { Failure, getJson, upload } from './api.js';
import { configEditor, configOf } from './config-editor.js';
import { h, setText, show } from './dom.js';
import { formOf, noFiles, sortFiles, takesSideFiles } from './files.js';
import * as format from './format.js';
import { planPreview } from './plan.js';
import { showFailure } from './problem.js';

/** A native file input: hidden from the eye, but not from the keyboard, behind its label. */
function chooser({ name, label, accept, multiple, kind, onFiles }) {
  const id = `choose-${name}`;
  const input = h('input', {
    type: 'file', id, name, accept, multiple, class: 'sr-only',
    onchange: () => {
      onFiles([...input.files], name);
      // So that the same file, corrected, can be chosen once more.
      input.value = '';
    },
  });
  return h('span', { class: 'chooser' }, input, h('label', { for: id, class: kind }, label));
}

/** Dropping anywhere on the page counts; the zone only shows that it does. */
function acceptDrops(zone, onFiles, signal) {
  let depth = 0;
  const carriesFiles = (event) => event.dataTransfer?.types.includes('Files');
  const on = (name, listener) => window.addEventListener(name, (event) => {
    if (!carriesFiles(event) || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    listener(event);
    zone.classList.toggle('over', depth > 0);
  }, { signal });
  on('dragenter', () => { depth += 1; });
  on('dragleave', () => { depth -= 1; });
  on('dragover', () => {});
  on('drop', (event) => {
    depth = 0;
    onFiles([...event.dataTransfer.files]);
  });
}

function fileLine(what, file, onRemove, choose) {
  return h('li', {}, h('span', { class: 'what' }, what),
    file && [h('span', { class: 'file-name' }, file.name), h('span', { class: 'muted num' }, format.bytes(file.size)),
        onRemove && h('button', { type: 'button', class: 'link', 'aria-label': `Remove ${file.name}`, onclick: onRemove }, 'Remove')],
    choose);
}

/** What the service reads, by its own word. */
function takes() {
  const rest = 'A test set (.npz) and a config (.json) may come along.';
  const line = h('p', { class: 'muted' }, rest);
  getJson('/formats').then(({ data }) => {
    const suffixes = data.filter(({ read }) => read).flatMap((format) => format.suffixes);
    setText(line, `It reads ${suffixes.join(', ')}. ${rest}`);
  }, () => { /* The line says less; everything else will say that the server is gone. */ });
  return line;
}

export function newJob(onCreated) {
  const closing = new AbortController();
  let chosen = noFiles();
  let sending = false;
  const plan = planPreview();
  const config = configEditor(() => chosen.model && plan.update(chosen, config.get(), { fresh: false }));
  const failure = h('div', {});
  // Apart from the other, which is hidden where there is no model yet, and which the next file empties.
  const misread = h('div', {});
  const fileList = h('ul', { class: 'files' });
  const submit = h('button', { type: 'submit', class: 'button primary' }, 'Start');
  const sent = h('p', { class: 'muted', role: 'status' });

  const zone = h('div', { class: 'drop' },
    h('p', {}, h('strong', {}, 'Drop a model here'), ' or ',
      chooser({ name: 'model', label: 'choose a file', kind: 'link', multiple: true, onFiles: (files) => take(files) }), '.'),
    takes());
  const form = h('form', { class: 'new-form', hidden: true, onsubmit: start },
    h('div', { class: 'settings' }, h('h3', {}, 'Files'), fileList, config.element,
      h('div', { class: 'buttons' }, submit, h('button', { type: 'button', class: 'button', onclick: reset }, 'Discard'), sent),
      failure),
    plan.element);
  const element = h('section', { class: 'new-job', 'aria-labelledby': 'new-job-title' },
    h('h2', { id: 'new-job-title', class: 'sr-only' }, 'New job'), zone, misread, form);
  acceptDrops(zone, take, closing.signal);
  window.addEventListener('beforeunload', (event) => {
    if (sending) event.preventDefault();
  }, { signal: closing.signal });

  /** Takes dropped or chosen files by their names; `as` is what a chooser for one kind asked for, and wins over them. */
  async function take(files, as) {
    if (files.length === 0) return;
    const before = chosen;
    if (as === 'eval' || as === 'config' || as === 'student') chosen = { ...chosen, [as]: files[0] };
    else if (as === 'model') chosen = { ...chosen, model: files[0], external: [] };
    else if (as === 'external') chosen = { ...chosen, external: [...chosen.external, ...files] };
    else chosen = sortFiles(files, chosen);
    showFailure(failure, null);
    if (chosen.config) await readConfig();
    showFiles();
    const fresh = chosen.model !== before.model || chosen.external.length > before.external.length || as === 'student';
    if (chosen.model) plan.update(chosen, config.get(), { fresh });
  }

  async function readConfig() {
    const file = chosen.config;
    chosen = { ...chosen, config: null };
    try {
      config.set(configOf(await file.text()));
      showFailure(misread, null);
    } catch (error) {
      showFailure(misread, new Failure({ title: 'The configuration cannot be read', detail: `${file.name}: ${error.message}` }));
    }
  }

  /** Takes a file back: `left` is what stays under its name. The plan is made of all but the test set. */
  function drop(name, left) {
    chosen = { ...chosen, [name]: left };
    showFiles();
    if (chosen.model && name !== 'eval') plan.update(chosen, config.get(), { fresh: true });
  }

  function showFiles() {
    show(form, chosen.model !== null || chosen.eval !== null);
    zone.classList.toggle('compact', !form.hidden);
    fileList.replaceChildren(
      fileLine('Model', chosen.model, null,
        chooser({ name: 'model-again', label: chosen.model ? 'Change' : 'Choose', kind: 'link', onFiles: (files) => take(files, 'model') })),
      ...chosen.external.map((file) =>
        fileLine('Side file', file, () => drop('external', chosen.external.filter((other) => other !== file)))),
      takesSideFiles(chosen.model) ? fileLine('Side files', null, null,
        chooser({ name: 'external', label: 'Add weights of the model (.onnx.data)', multiple: true, kind: 'link', onFiles: take })) : '',
      fileLine('Student', chosen.student, () => drop('student', null),
        !chosen.student && chooser({ name: 'student', label: 'Add one of your own (.onnx)', accept: '.onnx', kind: 'link', onFiles: take })),
      fileLine('Test set', chosen.eval, () => drop('eval', null),
        !chosen.eval && chooser({ name: 'eval', label: 'Add .npz', accept: '.npz', kind: 'link', onFiles: take })),
      fileLine('Config', null, null,
        chooser({ name: 'config', label: 'Fill in from .json', accept: '.json,application/json', kind: 'link', onFiles: take })));
    submit.disabled = !chosen.model;
  }

  function reset() {
    chosen = noFiles();
    config.set({});
    showFailure(failure, null);
    showFailure(misread, null);
    showFiles();
  }

  async function start(event) {
    event.preventDefault();
    if (!config.isValid()) {
      config.reveal();
      return;
    }
    sending = true;
    submit.disabled = true;
    // Who tries again in vain shall hear of it again.
    showFailure(failure, null);
    // The server says the same of a bad model twice: once is enough.
    plan.forgive();
    try {
      const form = formOf(chosen, config.get(), { withEval: true });
      const job = await upload('jobs', form, {
        signal: closing.signal,
        onProgress: (fraction) => setText(sent, fraction < 1 ? `${Math.round(100 * fraction)} % sent` : 'Checking…'),
      });
      reset();
      onCreated(job);
    } catch (error) {
      submit.disabled = false;
      showFailure(failure, error);
    } finally {
      sending = false;
      setText(sent, '');
    }
  }

  return {
    element,
    /** Asks first where an upload would be lost: with the browser's own question, since nothing happens while that stands. */
    mayLeave: () => !sending || window.confirm('The upload has not ended. Leave the page, and lose it?'),
    close() {
      closing.abort();
      plan.close();
    },
  };
}
