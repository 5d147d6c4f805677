/* Keyboard layouts: which physical key types which character.

   A VM gets the positions of keys, not characters; what a position means is up to the layout that
   is set inside the guest. Each layout lists, for the keys of a row, the characters without a
   modifier, with Shift and with AltGr; a space stands for none. The keys in `dead` wait for the
   next one: their accents are typed with a space behind them, or with the letter that they go
   onto. */

const ROWS = [
  ["Backquote", "Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9", "Digit0",
    "Minus", "Equal"],
  ["KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO", "KeyP", "BracketLeft", "BracketRight",
    "Backslash"],
  ["KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL", "Semicolon", "Quote"],
  ["IntlBackslash", "KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM", "Comma", "Period", "Slash"],
];

const LAYOUTS = {
  us: {
    plain: ["`1234567890-=", "qwertyuiop[]\\", "asdfghjkl;'", " zxcvbnm,./"],
    shift: ["~!@#$%^&*()_+", "QWERTYUIOP{}|", "ASDFGHJKL:\"", " ZXCVBNM<>?"],
    altgr: [],
    dead: {},
  },
  gb: {
    plain: ["`1234567890-=", "qwertyuiop[]#", "asdfghjkl;'", "\\zxcvbnm,./"],
    shift: ["¬!\"£$%^&*()_+", "QWERTYUIOP{}~", "ASDFGHJKL:@", "|ZXCVBNM<>?"],
    altgr: ["¦   €"],
    dead: {},
  },
  de: {
    plain: [" 1234567890ß ", "qwertzuiopü+#", "asdfghjklöä", "<yxcvbnm,.-"],
    shift: ["°!\"§$%&/()=? ", "QWERTZUIOPÜ*'", "ASDFGHJKLÖÄ", ">YXCVBNM;:_"],
    altgr: ["  ²³   {[]}\\", "@ €        ~", "", "|      µ"],
    dead: { "^": ["Backquote", ""], "´": ["Equal", ""], "`": ["Equal", "ShiftLeft"] },
  },
  fr: {
    plain: ["²&é\"'(-è_çà)=", "azertyuiop $*", "qsdfghjklmù", "<wxcvbn,;:!"],
    shift: [" 1234567890°+", "AZERTYUIOP £µ", "QSDFGHJKLM%", ">WXCVBN?./§"],
    altgr: ["  ~#{[|`\\^@]}", "  €        ¤"],
    dead: { "^": ["BracketLeft", ""], "¨": ["BracketLeft", "ShiftLeft"] },
  },
  es: {
    plain: ["º1234567890'¡", "qwertyuiop +ç", "asdfghjklñ ", "<zxcvbnm,.-"],
    shift: ["ª!\"·$%&/()=?¿", "QWERTYUIOP *Ç", "ASDFGHJKLÑ ", ">ZXCVBNM;:_"],
    altgr: ["\\|@#~€¬", "  €       []}", "          {"],
    dead: {
      "`": ["BracketLeft", ""],
      "^": ["BracketLeft", "ShiftLeft"],
      "´": ["Quote", ""],
      "¨": ["Quote", "ShiftLeft"],
    },
  },
};

/* The accents that Unicode takes letters apart into, as the keys are labelled. */
const COMBINING = { "\u0300": "`", "\u0301": "´", "\u0302": "^", "\u0308": "¨" };

const built = new Map();

function build(name) {
  const layout = LAYOUTS[name];
  const keys = new Map();
  for (const [level, modifiers] of [["altgr", ["AltRight"]], ["shift", ["ShiftLeft"]], ["plain", []]]) {
    layout[level].forEach((characters, row) => {
      [...characters].forEach((character, column) => {
        if (character !== " ") {
          keys.set(character, { code: ROWS[row][column], modifiers, character });
        }
      });
    });
  }
  keys.set(" ", { code: "Space", modifiers: [], character: " " });
  keys.set("\n", { code: "Enter", modifiers: [], character: "\n" });
  keys.set("\t", { code: "Tab", modifiers: [], character: "\t" });
  return keys;
}

function keysOf(name) {
  if (!built.has(name)) {
    built.set(name, build(name));
  }
  return built.get(name);
}

/* The key strokes for a character: a list of {code, modifiers, character}; null if the layout
   cannot type it. */
export function strokes(name, character) {
  const keys = keysOf(name);
  const dead = (accent) => {
    const [code, modifier] = LAYOUTS[name].dead[accent];
    return { code, modifiers: modifier ? [modifier] : [], character: accent };
  };
  if (keys.has(character)) {
    return [keys.get(character)];
  }
  if (character in LAYOUTS[name].dead) {
    return [dead(character), keys.get(" ")];
  }
  const [base, mark, ...rest] = [...character.normalize("NFD")];
  const accent = COMBINING[mark];
  if (rest.length || !accent || !(accent in LAYOUTS[name].dead) || !keys.has(base)) {
    return null;
  }
  return [dead(accent), keys.get(base)];
}

/* What of a text cannot be typed with a layout: the distinct characters. */
export function untypable(name, text) {
  return [...new Set([...normalise(text)])].filter((character) => !strokes(name, character));
}

/* One kind of line end, one form of accents. */
export function normalise(text) {
  return text.replace(/\r\n?/g, "\n").normalize("NFC");
}

export const NAMES = Object.keys(LAYOUTS);
