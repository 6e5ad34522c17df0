// Numbers, sizes and times as a person reads them.

/** Stands for a value that is not there. */
export const MISSING = '–';
const integers = new Intl.NumberFormat('en');
const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** 61706 → "61,706". */
export const integer = (value) => (known(value) ? integers.format(value) : MISSING);

/** 416520 → "416,520", 1814073344 → "1.81 G": exact while short. */
export function count(value) {
  if (!known(value) || value < 1e7) return integer(value);
  for (const [unit, size] of [['T', 1e12], ['G', 1e9], ['M', 1e6]]) {
    // What would be rounded to 1000 is 1 of the next unit.
    if (value >= 0.9995 * size) return `${(value / size).toPrecision(3)} ${unit}`;
  }
  return integer(value);
}

/** 249175 → "249 kB". */
export function bytes(value) {
  if (!known(value)) return MISSING;
  if (value < 1000) return `${value} B`;
  for (const [unit, size] of [['GB', 1e9], ['MB', 1e6], ['kB', 1e3]]) {
    if (value >= 0.9995 * size) {
      const scaled = value / size;
      return `${scaled < 10 ? scaled.toFixed(1) : Math.round(scaled)} ${unit}`;
    }
  }
  return MISSING;
}

/** 4.4949 → "4.49×"; a ratio of 0 means that nothing was measured. */
export const ratio = (value) => (known(value) && value > 0 ? `${value.toFixed(2)}×` : MISSING);

/** 0.9801 → "98.01 %". */
export const percent = (value, digits = 2) => (known(value) ? `${(100 * value).toFixed(digits)} %` : MISSING);

/** 1.832 → "1.83 ms", 0.0832 → "83.2 µs"; a time of 0 means that nothing was measured. */
export function milliseconds(value) {
  if (!known(value) || value <= 0) return MISSING;
  const [scaled, unit] = value < 0.1 ? [1000 * value, 'µs'] : [value, 'ms'];
  return `${scaled < 100 ? scaled.toPrecision(3) : Math.round(scaled)} ${unit}`;
}

/** Three significant digits, without an exponent where that is readable. */
export function metric(value) {
  if (!known(value)) return MISSING;
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) return value.toExponential(2);
  return value.toFixed(size >= 100 ? 1 : size >= 10 ? 2 : 3);
}

const units = (value, base, large, small) =>
  `${Math.floor(value / base)} ${large}${value % base === 0 ? '' : ` ${value % base} ${small}`}`;

/** 140 → "2 min 20 s". */
export function duration(seconds) {
  if (!known(seconds)) return MISSING;
  if (seconds < 0.05) return 'under 0.1 s';
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return units(whole, 60, 'min', 's');
  const minutes = Math.round(whole / 60);
  if (minutes < 2880) return units(minutes, 60, 'h', 'min');
  return `${Math.round(minutes / 1440)} days`;
}

/** What is left: rounded more coarsely than a duration, since it is an estimate. */
export function timeLeft(seconds) {
  if (!known(seconds)) return '';
  if (seconds < 5) return 'a few seconds left';
  const step = seconds < 60 ? 5 : seconds < 180 ? 10 : 60;
  return `about ${duration(Math.max(10, Math.ceil(seconds / step) * step))} left`;
}

/** "just now", "4 min ago", "3 days ago". */
export function age(time) {
  const seconds = (Date.now() - Date.parse(time)) / 1000;
  if (!known(seconds)) return '';
  if (seconds < 45) return 'just now';
  if (seconds < 3570) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 84600) return `${Math.round(seconds / 3600)} h ago`;
  const days = Math.round(seconds / 86400);
  return days === 1 ? 'yesterday' : `${days} days ago`;
}

/** [null, 1, 32, 32] → "1 × 32 × 32": the batch is nobody's business here. */
export const shape = (extents) => extents.filter((extent) => extent !== null).join(' × ');

/** JSON to read: indented, but a list of plain values on one line. */
export const json = (value) => JSON.stringify(value, null, 2)
  .replace(/\[\n\s*([^[\]{}]*?)\n\s*\]/g, (_, values) => `[${values.replace(/\n\s*/g, ' ')}]`);

/** 2026-01-02T03:04:05Z → the reader's own date and time. */
export const dateTime = (time) => (time ? new Date(time).toLocaleString() : MISSING);
