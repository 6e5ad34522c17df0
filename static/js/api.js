// Talking to the server: every failure becomes a `Failure` that carries a problem (RFC 9457) to show.

import { h } from './dom.js';
import { authorization, currentKey, signIn } from './session.js';

export class Failure extends Error {
  constructor(problem) {
    super(problem.detail ?? problem.title);
    this.problem = problem;
  }
}

const UNREACHABLE = {
  title: 'The server cannot be reached',
  detail: 'The request got no answer.',
  hint: 'Check that kegd is running and that this device is connected to it.',
};

function problemFrom(status, text) {
  try {
    const body = JSON.parse(text);
    if (body && typeof body.title === 'string') return body;
  } catch {
    // Not JSON: something between us and the server answered.
  }
  return { title: `The server answered ${status}`, detail: text.slice(0, 400) || 'The answer was empty.', status };
}

/** Fetches with the tab's key; a 401 asks for one and tries again. */
async function request(path, options = {}) {
  for (;;) {
    const key = currentKey();
    let response;
    try {
      response = await fetch(path, { ...options, headers: { ...options.headers, ...authorization(key) } });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new Failure(UNREACHABLE);
    }
    if (response.ok) return response;
    const problem = problemFrom(response.status, await response.text());
    if (response.status !== 401 || !await hasNewKey(key, problem)) throw new Failure(problem);
  }
}

/** Whether there is another key than the one that was refused: somebody may have given it meanwhile. */
async function hasNewKey(refused, problem) {
  return currentKey() !== refused || signIn(problem);
}

export async function getJson(path) {
  const response = await request(path, { headers: { Accept: 'application/json' } });
  return response.json();
}

export async function getText(path, type, signal) {
  const response = await request(path, { headers: { Accept: type }, signal });
  return response.text();
}

export async function getBlob(path, signal) {
  const response = await request(path, { signal });
  return response.blob();
}

/** A stream of events, from after the event `last`; `null` where there will be no more. */
export async function getEvents(path, { last, signal }) {
  const headers = { Accept: 'text/event-stream', ...(last !== null && { 'Last-Event-ID': last }) };
  const response = await request(path, { headers, signal });
  return response.status === 204 ? null : response.body;
}

/** Downloads a file with the tab's key, which a link cannot send. */
export async function save(path) {
  const response = await request(path);
  const name = response.headers.get('Content-Disposition')?.match(/filename="([^"]*)"/)?.[1] ?? '';
  const url = URL.createObjectURL(await response.blob());
  h('a', { href: url, download: name }).click();
  // The browser has its own hold on the bytes as soon as the download has begun, which it tells nobody.
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

export function post(path, body) {
  const json = body === undefined ? {} : { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
  return request(path, { method: 'POST', ...json });
}

export const remove = (path) => request(path, { method: 'DELETE' });

/**
 * Sends a multipart form and answers the parsed JSON. XMLHttpRequest, because fetch does not tell how much it has sent.
 * `onProgress` gets 0 to 1; `signal` aborts.
 */
export async function upload(path, form, options = {}) {
  for (;;) {
    const key = currentKey();
    try {
      return await uploadOnce(path, form, { ...options, headers: authorization(key) });
    } catch (error) {
      if (error.problem?.status !== 401 || !await hasNewKey(key, error.problem)) throw error;
    }
  }
}

function uploadOnce(path, form, { onProgress = () => {}, signal, headers }) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', path);
    for (const [name, value] of Object.entries({ Accept: 'application/json', ...headers })) xhr.setRequestHeader(name, value);
    xhr.upload.addEventListener('progress', (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    xhr.addEventListener('load', () => {
      if (xhr.status < 200 || xhr.status > 299) reject(new Failure(problemFrom(xhr.status, xhr.responseText)));
      else resolve(JSON.parse(xhr.responseText));
    });
    xhr.addEventListener('error', () => reject(new Failure(UNREACHABLE)));
    xhr.addEventListener('abort', () => reject(new DOMException('aborted', 'AbortError')));
    signal?.addEventListener('abort', () => xhr.abort());
    xhr.send(form);
  });
}
