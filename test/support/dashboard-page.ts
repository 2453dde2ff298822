/** What tests ask of the dashboard's page in a browser (chromium.ts). */

export const desktop = { width: 1280, height: 800 };
export const phone = { width: 390, height: 844, isPhone: true };

/** Expressions that are true of a page. */
export const says = (word: string): string => `document.querySelector('#state strong')?.textContent === '${word}'`;
/** After {@link isPainted}. */
export const draws = (title: string): string =>
  `[...document.querySelectorAll('.chart:not([hidden])')].some((chart) => chart.querySelector('h2').textContent === ${JSON.stringify(title)} &&
    isPainted(chart.querySelector('canvas')))`;
/** A canvas on which nothing was drawn is like a new one. */
export const isPainted = `globalThis.isPainted = (canvas) => canvas !== null &&
  canvas.toDataURL() !== Object.assign(document.createElement('canvas'), { width: canvas.width, height: canvas.height }).toDataURL()`;
export const fits = 'document.documentElement.scrollWidth <= innerWidth';
