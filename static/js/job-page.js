// A job's page: fetches the job, keeps its parts up to date, and leaves the parts to their own modules.

import { jobActions } from './actions.js';
import { getJson } from './api.js';
import { announce, h, setText, show } from './dom.js';
import { downloads } from './downloads.js';
import * as format from './format.js';
import { latentRows } from './latent.js';
import { lossCurves } from './losses.js';
import { follow, repeat } from './live.js';
import { problemBox, showFailure } from './problem.js';
import { progressPanel } from './progress.js';
import { resultPanel } from './result.js';
import { sampleGrid } from './samples.js';
import { isFinal, statusBadge } from './status.js';
import { ofFirst, sweepTable } from './sweep.js';
import { layerTable } from './tables.js';

/** With a stream, asking is only a safety net. */
const STREAMING_MS = 15_000;
const POLLING_MS = 2000;
const PACE_MS = 1000;

function facts(job) {
  const { model } = job;
  return [
    model && model.format,
    model && `${format.count(model.parameters)} parameters`,
    model && `${format.shape(model.input.shape)} → ${model.classes} classes`,
    `preset ${job.config?.preset ?? 'fast'}`,
    job.device,
    `sent ${format.age(job.created_at)}`,
    job.upload_deleted_at && 'uploads deleted',
    job.expires_at && `goes ${format.dateTime(job.expires_at)}`,
  ].filter(Boolean).join(' · ');
}

function heading(handlers) {
  const name = h('h1', {}, 'Job');
  const badge = statusBadge();
  const line = h('p', { class: 'muted facts-line' }, '\u00a0');
  const actions = jobActions(handlers);
  const known = h('div', { class: 'known', hidden: true }, badge.element, actions.element);
  return {
    element: h('header', { class: 'job-head' },
      h('p', { class: 'back' }, h('a', { href: '#/' }, '← All jobs')),
      h('div', { class: 'title-row' }, name, known), line),
    update(job) {
      show(known, true);
      setText(name, job.name);
      setText(line, facts(job));
      line.title = `${job.id}, ${format.dateTime(job.created_at)}`;
      badge.update(job.status);
      actions.update(job);
    },
  };
}

/** What the job warns of, and why it failed. */
function notices() {
  const element = h('div', { class: 'notices' });
  let shown = '';
  return {
    element,
    update(job) {
      const key = JSON.stringify([job.warnings, job.error]);
      if (key === shown) return;
      shown = key;
      element.replaceChildren(
        ...(job.warnings ?? []).map((warning) => h('p', { class: 'warning' }, warning)),
        ...(job.error ? [problemBox(job.error)] : []));
    },
  };
}

/** The compression table and the configuration: there is no hurry about them, so they are fetched when they can be. */
function details(path) {
  const layers = h('section', { hidden: true }, h('h2', {}, 'Layers'));
  const config = h('pre', {}, h('code', {}));
  const element = h('div', { class: 'details' }, layers,
    h('details', {}, h('summary', {}, 'Configuration, with every default'), config));
  let fetched = '';
  let asked = '';
  return {
    element,
    async update(job) {
      setText(config.firstChild, format.json(job.config));
      const key = `${job.status}/${job.phase}`;
      if (!job.model || key === fetched || key === asked) return;
      asked = key;
      const table = await getJson(`${path}/layers`).catch(() => null);
      // The job has gone on meanwhile, and was asked about again.
      if (asked !== key) return;
      asked = '';
      // Without an answer it is asked again the next time that the page looks at the job.
      if (!table) return;
      fetched = key;
      layers.replaceChildren(h('h2', {}, `Layers${ofFirst(job)}${table.planned ? ', as planned' : ''}`),
        layerTable(table.data, { caption: 'Compression of each layer' }));
      show(layers, true);
    },
  };
}

export function jobPage(id) {
  const path = `jobs/${id}`;
  const failure = h('div', {});
  // Apart from the other, which every look at the job fills or empties.
  const refusal = h('div', {});
  const handlers = {
    after(what) {
      // Somebody may have left while the server was asked.
      if (closed) return;
      if (what === 'deleted') location.assign('#/');
      else if (what === 'retried') beginAnew();
      else loop.now();
    },
    onFailure: (error) => showFailure(refusal, error),
  };
  const head = heading(handlers);
  const files = downloads(path);
  const samples = sampleGrid(path);
  const losses = lossCurves(path);
  const latent = latentRows(path);
  const more = details(path);
  const top = [notices(), progressPanel(), sweepTable(path), resultPanel(files.element)];
  const parts = [head, ...top, files, samples, losses, latent, more];
  const body = h('div', { class: 'job-body', hidden: true },
    top.map((part) => part.element),
    h('div', { class: 'columns' }, h('div', { class: 'pictures' }, samples.element, latent.element), losses.element),
    more.element);
  const loading = h('p', { class: 'muted empty' }, 'Loading…');

  let status = null;
  let attempt = null;
  let streaming = false;
  let stream = null;
  let closed = false;

  /** A job that starts anew gets a page that does. */
  const beginAnew = () => window.dispatchEvent(new HashChangeEvent('hashchange'));

  function openStream() {
    stream = follow(`${path}/events`, {
      progress: () => loop.now(),
      status: () => loop.now(),
      failed: () => loop.now(),
      metrics: () => losses.refresh(),
      sample: () => samples.refresh(),
    }, { pace: PACE_MS, onStream: (stands) => { streaming = stands; } });
  }

  function showJob(job) {
    showFailure(failure, null);
    show(loading, false);
    show(body, true);
    document.title = `${job.name} · kegd`;
    if (status !== null && status !== job.status) announce(`${job.name} ${job.status}`);
    ({ status, attempt } = job);
    parts.forEach((part) => part.update(job));
  }

  async function refresh() {
    try {
      const job = await getJson(path);
      if (closed) return POLLING_MS;
      if (attempt !== null && attempt !== job.attempt) {
        announce(`${job.name} was started again`);
        beginAnew();
        return POLLING_MS;
      }
      showJob(job);
      if (isFinal(job)) {
        stream?.stop();
        return 60_000;
      }
      if (stream === null) openStream();
      if (!streaming && !document.hidden) await Promise.all([losses.refresh(), samples.refresh()]);
      return streaming ? STREAMING_MS : POLLING_MS;
    } catch (error) {
      if (closed) return POLLING_MS;
      show(loading, false);
      showFailure(failure, error);
      return error.problem?.status === 404 ? 3_600_000 : POLLING_MS;
    }
  }

  const loop = repeat(refresh);
  return {
    title: 'Job · kegd',
    elements: [head.element, refusal, failure, loading, body],
    close() {
      closed = true;
      loop.stop();
      stream?.stop();
      losses.close();
      samples.close();
      latent.close();
    },
  };
}
