// The result of a job: what was won, what it cost, and how sure one can be.

import { h, show } from './dom.js';
import * as format from './format.js';
import { PHASES } from './status.js';

function sizeTable(result) {
  const { teacher, student, ratio, latency_ms: latency } = result;
  const rows = [
    ['Parameters', format.count(teacher.parameters), format.count(student.parameters), ratio.parameters],
    ['File size', format.bytes(teacher.bytes), format.bytes(student.bytes), ratio.bytes],
    ['Multiply-accumulates', format.count(teacher.macs), format.count(student.macs), ratio.macs],
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

function accuracyTable(accuracy) {
  return shareTable('Accuracy', [
    { name: 'Teacher', value: accuracy.teacher, kind: 'plain' },
    { name: 'Compressed', sub: 'before distillation', value: accuracy.compressed, kind: 'plain' },
    { name: 'Student', value: accuracy.student, kind: 'accent' },
  ], `On the ${format.integer(accuracy.n)} real inputs of the test set that was sent, read after training had ended.`);
}

function agreementTable(agreement) {
  const inputs = (source) => `${format.integer(source.n)} inputs`;
  const { held_out_generator: heldOut, noise } = agreement;
  return shareTable('Agreement with the teacher', [
    { name: 'Unseen generator', sub: inputs(heldOut), value: heldOut.top1, kind: 'accent' },
    { name: 'Noise', sub: inputs(noise), value: noise.top1, kind: 'plain' },
  ], 'Agreement is not accuracy: it tells how often the student’s first choice is the teacher’s, on made-up inputs that it was not trained on.');
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
      // Of a sweep this is the first student; the table above has all of them.
      element.replaceChildren(h('h2', { id: 'result-title', class: 'sr-only' }, 'Result'), headline(result), downloads,
        h('div', { class: 'result-grid' },
          sizeTable(result), ...(result.accuracy ? [accuracyTable(result.accuracy)] : []),
          agreementTable(result.agreement), timeTable(result.seconds)));
      show(element, true);
    },
  };
}
