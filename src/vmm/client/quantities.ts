const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes, in the largest unit that leaves it whole, or nearly. */
export function size(bytes: number): string {
  let [value, unit] = [bytes, 0];
  for (; value >= 1024 && unit < units.length - 1; unit++) value /= 1024;
  return `${Number(value.toFixed(1))} ${units[unit]}`;
}

/** Such as `2 h 10 min 5 s`. */
export function duration(seconds: number): string {
  const parts = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'min'],
    [Math.floor(seconds) % 60, 's'],
  ] as const;
  const first = parts.findIndex(([value]) => value > 0);
  return parts
    .slice(first === -1 ? -1 : first)
    .map(([value, unit]) => `${value} ${unit}`)
    .join(' ');
}

/** A length of time in ms, with as many digits as mean something. */
export function milliseconds(length: number): string {
  const ms = Math.max(0, length);
  if (ms < 10) return `${Number(ms.toFixed(1))} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  return roughly(ms / 1000);
}

/** A length of time in its two largest units, such as `2 h 10 min`. */
export function roughly(seconds: number): string {
  return duration(seconds).split(' ').slice(0, 4).join(' ');
}

/** Such as `15,204`. */
export function count(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, ',');
}

/** This host's time of day, such as `14:02:11`. @param ms since 1970 */
export function timeOfDay(ms: number): string {
  const date = new Date(ms);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(':');
}

/** As {@link timeOfDay}, with the day. */
export function dayAndTime(ms: number): string {
  const date = new Date(ms);
  return `${date.getFullYear()}-${twoDigits(date.getMonth() + 1)}-${twoDigits(date.getDate())} ${timeOfDay(ms)}`;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}
