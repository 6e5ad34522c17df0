// The configuration of a new job: a few fields, and the JSON that they write. The JSON is the truth: it is what is sent.

import { h, setText, show } from './dom.js';
import * as format from './format.js';

const PRESETS = [
  ['fast', 'Fast', 'A good student in minutes on a CPU'],
  ['paper', 'Paper', 'The reference method and its settings'],
  ['best', 'Best', 'Usually the highest accuracy, in two to five times as long as Fast'],
];

/** What is no number stays text, so that the server can name it. */
const number = (text) => (Number.isNaN(Number(text)) ? text : Number(text));
const numbers = (text) => text.split(/[\s,;]+/).filter((part) => part !== '').map(number);

const oneOrMore = (text) => {
  const all = numbers(text);
  return all.length === 1 ? all[0] : all;
};

/** Fields that write one member each: `read` turns the field's text into the member's value. */
const FIELDS = [
  { path: ['name'], label: 'Name', hint: 'Names the job and its files', placeholder: 'the file’s name', read: (text) => text },
  {
    path: ['compression', 'ratio'], label: 'Times fewer parameters', hint: 'Teacher ÷ student; several, as 2, 4, 8, make a student each',
    placeholder: '4', inputmode: 'decimal', read: oneOrMore,
  },
  {
    path: ['arch'], label: 'Architecture', hint: 'Of a safetensors file, which has weights alone', placeholder: 'resnet18',
    read: (text) => text,
  },
  {
    path: ['input', 'mean'], label: 'Mean', hint: 'How inputs were normalised, per channel', placeholder: '0.1307',
    inputmode: 'decimal', read: numbers,
  },
  {
    path: ['input', 'std'], label: 'Standard deviation', hint: 'With the mean: what real images are like, worth points of accuracy', placeholder: '0.3081',
    inputmode: 'decimal', read: numbers,
  },
];

const member = (config, path) => path.reduce((value, key) => value?.[key], config);

/** A copy of `config` with one member set, or left out where `value` is undefined; empty objects go too. */
function withMember(config, [key, ...rest], value) {
  const copy = { ...config };
  const next = rest.length === 0 ? value : withMember(copy[key] ?? {}, rest, value);
  const empty = next === undefined || (rest.length > 0 && Object.keys(next).length === 0);
  if (empty) delete copy[key];
  else copy[key] = next;
  return copy;
}

const toText = (value) => (Array.isArray(value) ? value.join(', ') : value === undefined ? '' : String(value));

function textField(field, onInput) {
  const { path, label, hint, read, ...attributes } = field;
  const id = `config-${path.join('-')}`;
  const input = h('input', {
    id, type: 'text', autocomplete: 'off', spellcheck: 'false', 'aria-describedby': `${id}-hint`, ...attributes,
    oninput: () => onInput(path, input.value.trim() === '' ? undefined : read(input.value)),
  });
  const element = h('div', { class: 'field' },
    h('label', { for: id }, label), input, h('p', { class: 'hint', id: `${id}-hint` }, hint));
  const fill = (config) => {
    if (document.activeElement !== input) input.value = toText(member(config, path));
  };
  return { element, fill };
}

function presetField(onInput) {
  const radios = PRESETS.map(([value]) =>
    h('input', { type: 'radio', name: 'preset', value, id: `preset-${value}`, onchange: () => onInput(['preset'], value) }));
  const hint = h('p', { class: 'hint' });
  const element = h('fieldset', { class: 'field presets' }, h('legend', {}, 'Preset'),
    h('div', { class: 'choices' }, PRESETS.map(([value, label], index) =>
      [radios[index], h('label', { for: `preset-${value}` }, label)])), hint);
  const fill = (config) => {
    const chosen = config.preset ?? 'fast';
    radios.forEach((radio) => { radio.checked = radio.value === chosen; });
    setText(hint, PRESETS.find(([value]) => value === chosen)?.[2] ?? '');
  };
  return { element, fill };
}

/** Whether the uploads stay; the member is only written where it differs from the default. */
function keepField(onInput) {
  const box = h('input', {
    type: 'checkbox', id: 'config-keep_upload', 'aria-describedby': 'config-keep_upload-hint',
    onchange: () => onInput(['keep_upload'], box.checked ? undefined : false),
  });
  const element = h('div', { class: 'field' },
    h('span', { class: 'choice' }, box, h('label', { for: box.id }, 'Keep the uploads after success')),
    h('p', { class: 'hint', id: 'config-keep_upload-hint' }, 'Without them the job cannot be run again'));
  const fill = (config) => { box.checked = config.keep_upload !== false; };
  return { element, fill };
}

/** The configuration that a text is; throws where it is none. */
export function configOf(text) {
  const parsed = JSON.parse(text);
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) throw new Error('an object is needed, as {"seed": 1}');
  return parsed;
}

/** The JSON itself, for everything that has no field. `onConfig` hears what is typed: null as long as it is no configuration. */
function jsonField(onConfig) {
  const message = h('p', { class: 'field-error', id: 'config-json-error', role: 'alert', hidden: true });
  const complain = (text) => {
    setText(message, text);
    show(message, text !== '');
  };
  const read = () => {
    try {
      const config = area.value.trim() === '' ? {} : configOf(area.value);
      complain('');
      return config;
    } catch (error) {
      complain(`The settings wait until the JSON can be read: ${error.message}`);
      return null;
    }
  };
  const area = h('textarea', {
    id: 'config-json', rows: 8, spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off',
    'aria-describedby': message.id, oninput: () => onConfig(read()),
  });
  const fold = h('details', { class: 'json' }, h('summary', {}, 'Everything else, as JSON'),
    h('p', { class: 'hint' }, 'What is sent as config. Members without a field go here: see ',
      h('a', { href: 'docs' }, 'the API'), '.'),
    h('label', { for: 'config-json', class: 'sr-only' }, 'Configuration as JSON'), area);
  const fill = (config) => {
    area.value = Object.keys(config).length === 0 ? '' : format.json(config);
    complain('');
  };
  const reveal = () => {
    fold.open = true;
    area.focus();
  };
  return { element: h('div', {}, fold, message), fill, reveal };
}

/** The editor; `onChange` hears every change. */
export function configEditor(onChange) {
  let config = {};
  /** Takes over what the JSON says. Where it cannot be read nothing may be set: it would be lost when the text is mended. */
  const take = (next) => {
    controls.disabled = next === null;
    if (next === null) return;
    config = next;
    parts.forEach((part) => part.fill(config));
    onChange();
  };
  const change = (next) => {
    json.fill(next);
    take(next);
  };
  const set = (path, value) => change(withMember(config, path, value));
  const preset = presetField(set);
  const fields = FIELDS.map((field) => textField(field, set));
  const keep = keepField(set);
  const json = jsonField(take);
  const parts = [preset, ...fields, keep];
  parts.forEach((part) => part.fill(config));
  const controls = h('fieldset', { class: 'config' },
    preset.element, h('div', { class: 'fields' }, fields.map((field) => field.element)), keep.element);
  return {
    element: h('div', { class: 'config' }, controls, json.element),
    get: () => config,
    set: change,
    isValid: () => !controls.disabled,
    /** Leads to what is not valid. */
    reveal: json.reveal,
  };
}
