// What the server sees in a chosen model, and what it would do to it: `POST /inspect` before anything is submitted.

import { upload } from './api.js';
import { h } from './dom.js';
import { formOf } from './files.js';
import * as format from './format.js';
import { showFailure } from './problem.js';
import { layerTable } from './tables.js';

/** Above this, a change of the configuration does not send the whole model once more by itself. */
const QUIET_BYTES = 64e6;
const PAUSE_MS = 500;

function facts(inspection) {
  const entries = [
    ['Format', inspection.format],
    ['Input', `${format.shape(inspection.input.shape)} ${inspection.input.dtype}`],
    ['Classes', format.integer(inspection.classes)],
    ['Parameters', `${format.count(inspection.parameters)} → ${format.count(inspection.planned_parameters)}`],
    ['MACs', format.count(inspection.macs)],
  ];
  return h('dl', { class: 'facts' }, entries.map(([term, value]) => h('div', {}, h('dt', {}, term), h('dd', {}, value))));
}

/** The preview; `update` asks again after a short pause, since typing changes the configuration many times. */
export function planPreview() {
  const status = h('span', { class: 'muted', role: 'status' });
  const failure = h('div', {});
  const body = h('div', { class: 'plan-body' });
  const element = h('section', { class: 'plan', 'aria-label': 'Plan' }, h('div', { class: 'plan-head' }, h('h3', {}, 'Plan'), status), failure, body);
  let timer = null;
  let running = null;

  async function inspect(chosen, config) {
    running?.abort();
    running = new AbortController();
    const { signal } = running;
    element.setAttribute('aria-busy', 'true');
    // Taken away as an element: by then the offer to plan again may stand in its place.
    const reading = h('span', {}, 'Reading the model…');
    status.replaceChildren(reading);
    try {
      const inspection = await upload('inspect', formOf(chosen, config, { withEval: false }), { signal });
      showFailure(failure, null);
      reading.remove();
      body.replaceChildren(facts(inspection),
        ...(inspection.warnings ?? []).map((warning) => h('p', { class: 'warning' }, warning)),
        layerTable(inspection.plan, {
          caption: inspection.student ? 'Layers of the student' : 'Planned compression of each layer', brief: true,
        }));
    } catch (error) {
      if (signal.aborted) return;
      reading.remove();
      body.replaceChildren();
      showFailure(failure, error);
    }
    element.removeAttribute('aria-busy');
  }

  return {
    element,
    /** A new model is looked at at once; a changed configuration after a pause, and on request where the model is large. */
    update(chosen, config, { fresh }) {
      clearTimeout(timer);
      if (!fresh && chosen.model.size > QUIET_BYTES) {
        status.replaceChildren(h('button', { type: 'button', class: 'link', onclick: () => inspect(chosen, config) },
          'Plan again with these settings'));
        return;
      }
      timer = setTimeout(() => inspect(chosen, config), fresh ? 0 : PAUSE_MS);
    },
    /** Takes back what was wrong with the model: somebody else is about to say it. */
    forgive() {
      if (failure.childElementCount === 0) return;
      showFailure(failure, null);
      status.textContent = 'none';
    },
    close() {
      clearTimeout(timer);
      running?.abort();
    },
  };
}
