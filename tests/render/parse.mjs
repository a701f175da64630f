// Asks Mermaid's own parser whether it accepts each of the texts on standard input, a JSON list; prints a JSON list of
// what it says against each, null where it says nothing. Mermaid and jsdom are found from the working directory.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";
import { readFileSync } from "node:fs";
import path from "node:path";

const here = createRequire(path.join(process.cwd(), "package.json"));
const { JSDOM } = here("jsdom");
const { window } = new JSDOM("<!doctype html><body></body>");
globalThis.window = window;
globalThis.document = window.document;
const folder = path.join(process.cwd(), "node_modules", "mermaid", "dist", "mermaid.core.mjs");
const mermaid = (await import(pathToFileURL(folder).href)).default;
mermaid.initialize({ startOnLoad: false, maxTextSize: 1e7, maxEdges: 1e5 });

const answers = [];
for (const text of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    await mermaid.parse(text);
    answers.push(null);
  } catch (error) {
    answers.push(String(error && error.message ? error.message : error));
  }
}
console.log(JSON.stringify(answers));
