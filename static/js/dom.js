// Small helpers shared by the modules.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

/** Call handler(event, element) for events inside elements that match, now and in future parts. */
export function on(type, selector, handler, options) {
  document.addEventListener(
    type,
    (event) => {
      const element = event.target.closest?.(selector);
      if (element) handler(event, element);
    },
    options,
  );
}

/** Texts that the server has translated; see the #texts template of base.html. */
export function text(key) {
  return $("#texts")?.dataset[key] ?? "";
}

export function setCookie(name, value) {
  document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`;
}
