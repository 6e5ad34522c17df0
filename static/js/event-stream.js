// Server-Sent Events by fetch: the browser's own EventSource cannot send a key.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

/** The events of a stream: `{name, id, data}`; comments and events without data are left out. */
export async function* eventsOf(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  let event = { name: 'message', id: null, data: [] };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      text += value;
      const lines = text.split('\n');
      text = lines.pop();
      for (const line of lines) {
        if (line !== '') {
          read(line, event);
          continue;
        }
        if (event.data.length > 0) yield { ...event, data: event.data.join('\n') };
        event = { name: 'message', id: null, data: [] };
      }
    }
  } finally {
    // Whoever stops listening ends the request.
    reader.cancel().catch(() => {});
  }
}

function read(line, event) {
  const colon = line.indexOf(':');
  const [field, value] = colon < 0 ? [line, ''] : [line.slice(0, colon), line.slice(colon + 1).replace(/^ /, '')];
  if (field === 'event') event.name = value;
  else if (field === 'id') event.id = value;
  else if (field === 'data') event.data.push(value);
}
