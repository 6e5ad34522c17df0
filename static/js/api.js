// Talking to the server: every failure becomes a `Failure` that carries a problem (RFC 9457) to show.

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

async function request(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure(UNREACHABLE);
  }
  if (!response.ok) throw new Failure(problemFrom(response.status, await response.text()));
  return response;
}

export async function getJson(path, options = {}) {
  const response = await request(path, { ...options, headers: { Accept: 'application/json' } });
  return response.json();
}

export async function getBlob(path) {
  const response = await request(path);
  return response.blob();
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
export function upload(path, form, { onProgress = () => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    const xhr = new XMLHttpRequest();
    xhr.open('POST', path);
    xhr.setRequestHeader('Accept', 'application/json');
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
