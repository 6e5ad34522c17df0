// The result of a job: what was won, what it cost, and how sure one can be.

import { h, show } from './dom.js';
import * as format from './format.js';
import { PHASES } from './status.js';
import { ofFirst } from './sweep.js';

function sizeTable(result) {
  const { teacher, student, ratio, latency_ms: latency } = result;
  const rows = [
    ['Parameters', format.count(teacher.parameters), format.count(student.parameters), ratio.parameters],
    ['File size', format.bytes(teacher.bytes), format.bytes(student.bytes), ratio.bytes],
    // Those of a module that libtorch runs are not counted.
    ...(teacher.macs > 0 ? [['Multiply-accumulates', format.count(teacher.macs), format.count(student.macs), ratio.macs]] : []),
    ['Latency, median', format.milliseconds(latency.teacher.p50), format.milliseconds(latency.student.p50), ratio.latency],
    ['Latency, 95th percentile', format.milliseconds(latency.teacher.p95), format.milliseconds(latency.student.p95),
      latency.teacher.p95 / latency.student.p95],
  ];
  return h('div', {}, h('h3', {}, 'Size and speed'),
    h('table', { class: 'result-table' },
      h('thead', {}, h('tr', {}, h('td', {}), ['Teacher', 'Student', 'Ratio'].map((name) => h('th', { scope: 'col', class: 'num' }, name)))),
      h('tbody', {}, rows.map(([name, before, after, times]) => h('tr', {}, h('th', { scope: 'row' }, name),
        h('td', { class: 'num' }, before), h('td', { class: 'num' }, after), h('td', { class: 'num' }, format.ratio(times)))))),
    h('p', { class: 'hint' }, `Latency measured on ${latency.device}, batch ${latency.batch}. A ratio above 1× is smaller or faster.`));
}

/** A share of the whole as a line of that length. */
function shareBar(value, kind) {
  const bar = h('span', { class: `share ${kind}`, 'aria-hidden': 'true' }, h('span', {}));
  bar.firstChild.style.inlineSize = `${100 * value}%`;
  return bar;
}

function shareTable(title, rows, hint) {
  return h('div', {}, h('h3', {}, title),
    h('table', { class: 'share-table' }, h('tbody', {}, rows.map(({ name, sub, value, kind }) => h('tr', {},
      h('th', { scope: 'row' }, name, sub && h('span', { class: 'sub' }, sub)),
      h('td', { class: 'bars' }, shareBar(value, kind)),
      h('td', { class: 'num' }, format.percent(value)))))),
    h('p', { class: 'hint' }, hint));
}

function accuracyTable(accuracy, given) {
  return shareTable('Accuracy', [
    { name: 'Teacher', value: accuracy.teacher, kind: 'plain' },
    { name: given ? 'Student' : 'Compressed', sub: 'before distillation', value: accuracy.compressed, kind: 'plain' },
    { name: 'Student', value: accuracy.student, kind: 'accent' },
  ], `On the ${format.integer(accuracy.n)} real inputs of the test set that was sent, read after training had ended.`);
}

const SOURCES = {
  held_out_generator: 'Unseen generator',
  mixtures: 'Mixtures of its inputs',
  procedural: 'Images from formulas',
  noise: 'Noise',
  worst_case: 'Worst case',
};

const range = ({ low, high }) => `${(100 * low).toFixed(1)} to ${format.percent(high, 1)}`;

/** Reports of older versions have two sources, and no audit. */
function agreementTable({ agreement, audit }) {
  const inputs = (source) => `${format.integer(source.n)} inputs`;
  const { held_out_generator: heldOut, noise } = agreement;
  const rows = audit
    ? audit.sources.map(({ source, agreement: found }) => ({
      name: SOURCES[source] ?? source, sub: source === 'worst_case' ? 'searched for' : range(found), value: found.share,
      kind: source === 'held_out_generator' ? 'accent' : 'plain',
    }))
    : [
      { name: 'Unseen generator', sub: inputs(heldOut), value: heldOut.top1, kind: 'accent' },
      { name: 'Noise', sub: inputs(noise), value: noise.top1, kind: 'plain' },
    ];
  return shareTable('Agreement with the teacher', rows,
    'Agreement is not accuracy: it tells how often the student’s first choice is the teacher’s, on made-up inputs that it was not trained on.');
}

const points = (share) => `${(100 * share).toFixed(1)}`;

/** The loss of accuracy that the audit lets expect, or why it does not. */
function predictionText({ prediction, no_prediction: reason }) {
  const words = prediction
    ? [h('p', {}, `${points(prediction.loss)} points of accuracy lost (${points(prediction.low)} to ${points(prediction.high)}, ${format.percent(prediction.level, 0)} confidence)`),
      h('p', { class: 'hint' }, `Predicted from the agreement, not measured. Learned from ${format.integer(prediction.cells)} students of these teachers: ${prediction.teachers.join(', ')}. The confidence holds for teachers like them.`)]
    : [h('p', { class: 'hint' }, reason ?? 'The loss of accuracy was not predicted.')];
  return h('div', {}, h('h3', {}, 'Predicted loss'), words);
}

function coverageTable({ hits, classes, effective_classes: effective, missed, missed_names: names, lowest_class: lowest, lowest_agreement: agreement, balanced_agreement: balanced, by_class: rows }) {
  const missing = missed > 0 ? ` Never answered: ${names.join(', ')}${missed > names.length ? ', …' : ''}. Of these, agreement says nothing.` : '';
  // A class of a handful of inputs says little: what the share is of has to be seen.
  const answers = rows.find((row) => row.class === lowest)?.answers;
  const inputs = answers === undefined ? '' : `, of ${format.integer(answers)} ${answers === 1 ? 'input' : 'inputs'}`;
  return shareTable('Classes of the unseen generator', [
    { name: 'As asked', sub: 'by the teacher', value: hits.share, kind: 'plain' },
    { name: 'Reached', sub: `${effective.toFixed(1)} of ${format.integer(classes)}`, value: Math.min(1, effective / classes), kind: 'plain' },
    { name: 'Agreement', sub: 'mean over classes', value: balanced, kind: 'accent' },
    ...(lowest === null ? [] : [{ name: 'Agreement', sub: `lowest class: ${lowest}${inputs}`, value: agreement, kind: 'accent' }]),
  ], `How well the made-up inputs speak of all classes. Those of one class can be nearly alike: then it is agreed on all of them, or on none.${missing}`);
}

function timeTable(seconds) {
  const { total, ...phases } = seconds;
  const entries = PHASES.filter((phase) => phases[phase] > 0).map((phase) => [phase, phases[phase]]);
  const longest = Math.max(...entries.map(([, value]) => value));
  return h('div', {}, h('h3', {}, 'Time'),
    h('table', { class: 'share-table' }, h('tbody', {}, entries.map(([name, value]) => h('tr', {},
      h('th', { scope: 'row' }, name[0].toUpperCase() + name.slice(1)),
      h('td', { class: 'bars' }, shareBar(value / longest, 'plain')),
      h('td', { class: 'num' }, format.duration(value)))))),
    h('p', { class: 'hint' }, `${format.duration(total)} in all.`));
}

/** What curves do not show of the training. Reports of older versions have nothing of it, and most others neither. */
function trainingText(training = []) {
  return training.length === 0 ? [] : [h('div', {}, h('h3', {}, 'How it was taught'), training.map((text) => h('p', {}, text)))];
}

function figure(value, words) {
  return h('div', {}, h('dd', {}, value), h('dt', {}, words));
}

function headline(result) {
  const { ratio, accuracy, agreement } = result;
  return h('dl', { class: 'figures' },
    figure(format.ratio(ratio.parameters), 'fewer parameters'),
    figure(format.ratio(ratio.bytes), 'smaller file'),
    accuracy
      ? figure(format.percent(accuracy.student), `accuracy, teacher ${format.percent(accuracy.teacher)}`)
      : figure(format.percent(agreement.held_out_generator.top1), 'agreement, which is not accuracy'));
}

/** `downloads` goes below the headline. */
export function resultPanel(downloads) {
  const element = h('section', { class: 'result', 'aria-labelledby': 'result-title', hidden: true });
  let drawn = false;
  return {
    element,
    update(job) {
      if (drawn || !job.result) return;
      drawn = true;
      const { result } = job;
      // Of a sweep this is the first student, which has to be seen; the table above has all of them.
      const first = ofFirst(job);
      const title = h('h2', { id: 'result-title', class: first === '' && 'sr-only' }, `Result${first}`);
      element.replaceChildren(title, headline(result), downloads,
        h('div', { class: 'result-grid' },
          sizeTable(result), ...(result.accuracy ? [accuracyTable(result.accuracy, Boolean(job.config.student))] : []),
          agreementTable(result), ...(result.audit ? [coverageTable(result.audit.coverage), predictionText(result.audit)] : []),
          ...trainingText(result.training), timeTable(result.seconds)));
      show(element, true);
    },
  };
}
