// Canceling, repeating and deleting a job, with the question before.

import { post, remove } from './api.js';
import { confirm } from './confirm.js';
import { announce, h, show } from './dom.js';
import { isFinal } from './status.js';

async function cancelJob(job) {
  const agreed = await confirm({
    title: `Cancel ${job.name}?`,
    text: 'The run ends. What it trained since its last checkpoint is lost; the rest stays until you delete the job, and the job can go on from there.',
    action: 'Cancel the job',
    keep: 'Let it run',
  });
  if (agreed) {
    await post(`jobs/${job.id}/cancel`);
    announce(`${job.name} is being canceled`);
  }
  return agreed;
}

async function deleteJob(job) {
  const agreed = await confirm({
    title: `Delete ${job.name}?`,
    text: 'The job, its student, its samples and its report are removed from the server. This cannot be undone.',
    action: 'Delete the job',
  });
  if (agreed) {
    await remove(`jobs/${job.id}`);
    announce(`${job.name} is deleted`);
  }
  return agreed;
}

async function retryJob(job) {
  const agreed = await confirm({
    title: `Run ${job.name} again?`,
    text: 'The job starts anew with the same upload and configuration; what it made before is forgotten.',
    action: 'Run it again',
    keep: 'Leave it',
    danger: false,
  });
  if (agreed) {
    await post(`jobs/${job.id}/retry`);
    announce(`${job.name} is queued again`);
  }
  return agreed;
}

async function resumeJob(job) {
  await post(`jobs/${job.id}/retry`, { from: 'checkpoint' });
  announce(`${job.name} goes on`);
  return true;
}

/**
 * The buttons that fit where a job stands. `after` hears what was done, `onFailure` what went wrong, and `null` when somebody
 * tries again.
 */
export function jobActions({ after, onFailure }) {
  let job = null;
  const act = (work, what) => async () => {
    onFailure(null);
    try {
      if (await work(job)) after(what, job);
    } catch (error) {
      onFailure(error);
    }
  };
  const cancel = h('button', { type: 'button', class: 'button quiet', onclick: act(cancelJob, 'canceled') }, 'Cancel');
  const remove = h('button', { type: 'button', class: 'button quiet', onclick: act(deleteJob, 'deleted') }, 'Delete');
  const retry = h('button', { type: 'button', class: 'button quiet', onclick: act(retryJob, 'retried') }, 'Run again');
  const resume = h('button', { type: 'button', class: 'button', onclick: act(resumeJob, 'retried') }, 'Go on');
  return {
    element: h('div', { class: 'actions' }, resume, retry, cancel, remove),
    update(next) {
      job = next;
      resume.setAttribute('aria-label', `Go on with ${job.name} where it stopped`);
      show(resume, job.can_resume === true);
      retry.setAttribute('aria-label', `Run ${job.name} again`);
      show(retry, (job.status === 'failed' || job.status === 'canceled') && !job.upload_deleted_at);
      cancel.setAttribute('aria-label', `Cancel ${job.name}`);
      remove.setAttribute('aria-label', `Delete ${job.name}`);
      show(cancel, !isFinal(job));
      show(remove, isFinal(job));
    },
  };
}
