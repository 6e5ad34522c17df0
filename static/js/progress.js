// How far a job has come: the phases in their order, the bar, the time left.

import { h, setText, show } from './dom.js';
import * as format from './format.js';
import { PHASES, progressBar, standing } from './status.js';

export function progressPanel() {
  const steps = PHASES.map((phase) => h('li', {}, h('span', {}, phase)));
  const bar = progressBar('Progress of the job');
  const text = h('p', { class: 'standing' });
  let furthest = -1;
  const counter = h('p', { class: 'muted num' });
  const element = h('section', { class: 'progress', 'aria-label': 'Progress' },
    h('ol', { class: 'phases' }, steps), bar.element, h('div', { class: 'progress-line' }, text, counter));
  return {
    element,
    update(job) {
      // Each run of a job reads the model once more; for the job, that phase is over. Where a job has ended or waits again,
      // its own phase is `done` or `queued`; that of its progress still tells how far it came.
      furthest = Math.max(furthest, PHASES.indexOf(job.progress?.phase));
      steps.forEach((step, index) => {
        step.className = index < furthest ? 'done' : '';
        if (index === furthest && job.status === 'running') step.setAttribute('aria-current', 'step');
        else step.removeAttribute('aria-current');
      });
      bar.update(job);
      setText(text, standing(job));
      const progress = job.progress;
      const counted = job.status === 'running' && progress?.steps > 1;
      setText(counter, counted ? `step ${format.integer(progress.step)} of ${format.integer(progress.steps)}` : '');
      show(element, job.status !== 'succeeded');
    },
  };
}
