"use strict";
// Runs a solution and its tests as two scripts of one realm, and reports how many asserts held.
//
// Tests never lie on disk. `console` cannot be replaced, `process` is out of reach, and built-in objects that the solution
// changed make the tests fail. A determined solution can still forge: it shares the realm with the tests.
const fs = require("fs"), vm = require("vm");
const given = JSON.parse(fs.readFileSync(0, "utf8"));
const { ownKeys, getOwnPropertyDescriptor: own, apply } = Reflect;
const { defineProperty, freeze, is } = Object;
const replace = String.prototype.replace, slice = String.prototype.slice;
const real = console, write = fs.writeSync, text = String, exit = process.reallyExit.bind(process);
const load = require;
const GIVEN = ["assert", "buffer", "crypto", "events", "querystring", "string_decoder", "url", "util"];
const FORGING = ["toJSON", Symbol.toPrimitive];

let asserted = 0, failure = null, missing = null;
const fail = (why) => { if (failure === null) failure = why; };
const shown = {
  log: (...words) => real.log(...words),
  assert: (condition, ...words) => {
    asserted += 1;
    if (!condition) fail("assertion " + asserted + " failed");
  },
};
for (const name of ["info", "debug", "warn", "error", "table", "dir", "trace", "time", "timeEnd"]) shown[name] = shown.log;
defineProperty(globalThis, "console", { value: freeze(shown), writable: false, configurable: false });
defineProperty(globalThis, "require", {
  value: (name) => {
    if (given.needs.includes(name) || GIVEN.includes(name)) {
      try {
        return load(name);
      } catch (error) {
        missing = name;
      }
    }
    throw new Error("Cannot find module '" + name + "'");
  },
  writable: false,
  configurable: false,
});
const main = module;
defineProperty(globalThis, "module", { value: { exports: {} }, writable: true, configurable: true });
delete globalThis.process;

const watched = [Object, Function, Array, String, Number, Boolean, Symbol, Math, JSON, Map, Set, Date, RegExp, Error, Promise,
  Reflect]
  .flatMap((thing) => (thing.prototype ? [thing, thing.prototype] : [thing]));
const before = watched.map((thing) => ownKeys(thing).map((key) => [key, own(thing, key)]));
const plain = ownKeys(Object.prototype).length;
const changed = () => {
  for (let i = 0; i < watched.length; i++) {
    for (let j = 0; j < before[i].length; j++) {
      const key = before[i][j][0], old = before[i][j][1], now = own(watched[i], key);
      if (now === undefined || !is(now.value, old.value) || now.get !== old.get || now.set !== old.set) return true;
    }
    for (let j = 0; j < FORGING.length; j++) {
      if (own(watched[i], FORGING[j]) !== undefined && !known(before[i], FORGING[j])) return true;
    }
  }
  return ownKeys(Object.prototype).length !== plain;
};
const known = (rows, key) => {
  for (let i = 0; i < rows.length; i++) if (rows[i][0] === key) return true;
  return false;
};

let stage = "it does not load: ";
try {
  vm.runInThisContext(given.solution, { filename: "solution.js" });
  if (changed()) fail("it changes a built-in object");
  stage = "";
  vm.runInThisContext(given.tests, { filename: "tests.js" });
} catch (error) {
  let why = "an exception";
  try { why = text(error); } catch (second) { /* its own text fails */ }
  fail(stage + why);
}
if (changed()) fail("it changes a built-in object");
const line = failure === null ? "" : apply(slice, apply(replace, failure, [/\s+/g, " "]), [0, 300]);
write(1, "\n" + given.mark + " " + asserted + " " + (missing === null ? "-" : missing) + " " + line + "\n");
exit(0);
