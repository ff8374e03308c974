// node three.mjs FOLDER OUT SETTINGS: a picture of every file of three.js in headless Chromium; NODE_PATH has three, esbuild, puppeteer-core
import { createRequire } from "node:module";
import fs from "node:fs";
import path from "node:path";

const modules = process.env.NODE_PATH;
const require = createRequire(path.join(modules, "x.js"));
const esbuild = require("esbuild");
const puppeteer = require("puppeteer-core");
const [folder, out, text] = process.argv.slice(2);
const settings = JSON.parse(text);
const built = await esbuild.build({
  entryPoints: [path.join(import.meta.dirname, "page.js")],
  bundle: true,
  write: false,
  format: "iife",
  nodePaths: [modules],
});
const browser = await puppeteer.launch({
  executablePath: settings.chromium,
  args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--allow-file-access-from-files"],
});
const page = await browser.newPage();
page.on("console", (message) => message.type() === "error" && console.error(message.text()));
await page.addScriptTag({ content: built.outputFiles[0].text });
const read = (directory) =>
  Object.fromEntries(
    fs.readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile()).map((entry) => [entry.name, fs.readFileSync(path.join(directory, entry.name)).toString("base64")]),
  );
const facts = {};
for (const name of settings.files) {
  const files = read(path.dirname(path.join(folder, name)));
  const zUp = /\.(ply|stl|3mf)$/.test(name);
  try {
    const { picture, ...found } = await page.evaluate((...given) => window.draw(...given), path.basename(name), files, { ...settings, zUp });
    fs.writeFileSync(path.join(out, `${name.replaceAll("/", "-")}.png`), Buffer.from(picture, "base64"));
    facts[name] = found;
  } catch (error) {
    facts[name] = { error: String(error).split("\n")[0] };
  }
}
fs.writeFileSync(path.join(out, "facts.json"), JSON.stringify({ version: `r${facts[settings.files[0]].version}, ${await browser.version()}`, files: facts }));
await browser.close();
