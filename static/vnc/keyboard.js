/* Keys that a browser does not let through, and texts typed as keystrokes. */

import keysyms from "../vendor/novnc/input/keysymdef.js";
import { normalise, strokes } from "./layouts.js";

/* Physical key -> keysym of X11; the keysym serves servers that do not take positions. */
const KEYS = {
  AltLeft: 0xffe9,
  AltRight: 0xfe03,
  Backspace: 0xff08,
  ControlLeft: 0xffe3,
  Delete: 0xffff,
  Enter: 0xff0d,
  Escape: 0xff1b,
  MetaLeft: 0xffeb,
  PrintScreen: 0xff61,
  ShiftLeft: 0xffe1,
  Space: 0x20,
  Tab: 0xff09,
};
for (let n = 1; n <= 12; n += 1) {
  KEYS[`F${n}`] = 0xffbd + n;
}

const keysymOf = (code) => KEYS[code] ?? code.replace(/^Key/, "").toLowerCase().codePointAt(0);

/* A guest's keyboard holds sixteen bytes, about two strokes with Shift; a busy host needs a while to
   take them, and what comes faster is lost. */
const STROKE_PAUSE_MS = 40;

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/* Press keys in the given order and release them in the reverse one: "ControlLeft+AltLeft+Delete". */
export function pressCombination(rfb, combination) {
  const codes = combination.split("+");
  for (const code of codes) {
    rfb.sendKey(keysymOf(code), code, true);
  }
  for (const code of codes.reverse()) {
    rfb.sendKey(keysymOf(code), code, false);
  }
}

/* Hold a modifier down or let it go. */
export function holdKey(rfb, code, down) {
  rfb.sendKey(KEYS[code], code, down);
}

/* Type a text with the guest's layout. Resolves to how many characters could not be typed.
   `progress(done, total)` is called now and then; an aborted `signal` stops between two keys. */
export async function typeText(rfb, layout, text, { signal, progress } = {}) {
  const characters = [...normalise(text)];
  let skipped = 0;
  for (const [index, character] of characters.entries()) {
    if (signal?.aborted) {
      break;
    }
    const sequence = strokes(layout, character);
    if (!sequence) {
      skipped += 1;
      continue;
    }
    for (const stroke of sequence) {
      const keysym = KEYS[stroke.code] ?? keysyms.lookup(stroke.character.codePointAt(0));
      for (const modifier of stroke.modifiers) {
        rfb.sendKey(KEYS[modifier], modifier, true);
      }
      rfb.sendKey(keysym, stroke.code, true);
      rfb.sendKey(keysym, stroke.code, false);
      for (const modifier of stroke.modifiers) {
        rfb.sendKey(KEYS[modifier], modifier, false);
      }
      await pause(STROKE_PAUSE_MS);
    }
    progress?.(index + 1, characters.length);
  }
  return skipped;
}
