// Words and marks for where a job stands, the same in the list and on the job's page.

import { h, setText } from './dom.js';
import * as format from './format.js';

export const PHASES = ['importing', 'extracting', 'compressing', 'distilling', 'evaluating', 'exporting'];

const FINAL = ['succeeded', 'failed', 'canceled'];

export const isFinal = (job) => FINAL.includes(job.status);

/** A dot and a word. */
export function statusBadge() {
  const word = h('span', {});
  const element = h('span', { class: 'status' }, h('span', { class: 'dot', 'aria-hidden': 'true' }), word);
  return {
    element,
    update(status) {
      element.dataset.status = status;
      setText(word, status);
    },
  };
}

/** A progress bar that stays where it is when nothing is known. */
export function progressBar(label) {
  const element = h('progress', { max: 1, value: 0, 'aria-label': label });
  return {
    element,
    update(job) {
      const fraction = job.status === 'succeeded' ? 1 : (job.progress?.fraction ?? 0);
      if (element.value !== fraction) element.value = fraction;
      element.dataset.status = job.status;
    },
  };
}

/** How long a finished job ran: "2 min 20 s". */
export function runTime(job) {
  return job.started_at && job.finished_at
    ? format.duration((Date.parse(job.finished_at) - Date.parse(job.started_at)) / 1000) : '';
}

/** "extracting · 31 %", "number 2 in the queue", "stopped after 2 min 20 s". */
export function standing(job) {
  if (job.status === 'queued') {
    return job.queue_position > 1 ? `number ${job.queue_position} in the queue` : 'next in the queue';
  }
  if (job.status === 'running') {
    const percent = `${Math.floor(100 * (job.progress?.fraction ?? 0))} %`;
    return [job.phase, percent, format.timeLeft(job.progress?.eta_seconds)].filter(Boolean).join(' · ');
  }
  if (job.status === 'succeeded') return `took ${runTime(job)}`;
  const time = runTime(job);
  return time === '' ? 'before it began' : `stopped after ${time}`;
}

/**
 * What came of a job in one line: "4.5× fewer parameters, 98.0 % accurate (teacher 98.9 %)", or why it failed. Of a sweep, what
 * came of its first student.
 */
export function outcome(job) {
  const { result, results, error } = job;
  if (error) return error.title;
  if (!result) return '';
  const which = results.length > 1 ? `${results.length} students; the first: ` : '';
  const smaller = `${which}${result.ratio.parameters.toFixed(1)}× fewer parameters`;
  if (!result.accuracy) return smaller;
  const { student, teacher } = result.accuracy;
  return `${smaller}, ${format.percent(student, 1)} accurate (teacher ${format.percent(teacher, 1)})`;
}
