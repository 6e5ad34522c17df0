// Making and changing elements: the little that a framework would otherwise do.

/**
 * Makes an element. Attributes that are `null`, `undefined` or `false` are left out, `true` gives an empty one, and
 * functions named `onclick`, `oninput`… become listeners. There is no `style`: the content security policy forbids it.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Changes a text only where it differs, so that selections live and screen readers stay quiet. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Shows or hides. */
export function show(element, visible) {
  element.hidden = !visible;
}

/** Tells people who cannot see the page what has just happened. */
export function announce(text) {
  setText(document.getElementById('announcer'), text);
}

/** Calls `work` at most once per `interval` ms: at once, and once more at the end if it was called in between. */
export function throttle(work, interval) {
  let timer = null;
  let again = false;
  const run = () => {
    again = false;
    work();
    timer = setTimeout(() => {
      timer = null;
      if (again) run();
    }, interval);
  };
  const throttled = () => {
    if (timer === null) run();
    else again = true;
  };
  throttled.cancel = () => {
    clearTimeout(timer);
    timer = null;
    again = false;
  };
  return throttled;
}
