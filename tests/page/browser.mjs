// node browser.mjs SCENARIO PAGE OUT CHROMIUM: what a user of a page does, in headless Chromium; prints what was seen as JSON. NODE_PATH has puppeteer-core.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const puppeteer = createRequire(path.join(process.env.NODE_PATH, "x.js"))("puppeteer-core");
const [scenario, file, out, executablePath] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"] });
const troubles = [];
const requests = [];

async function open(width, scheme) {
  const page = await browser.newPage();
  page.on("console", (message) => ["error", "warn"].includes(message.type()) && !/GPU stall|swiftshader/i.test(message.text()) && troubles.push(message.text()));
  page.on("pageerror", (error) => troubles.push(String(error)));
  page.on("request", (request) => /^(data|blob):/.test(request.url()) || requests.push(request.url()));
  await page.setViewport({ width, height: 900 });
  await page.emulateMediaFeatures([
    { name: "prefers-color-scheme", value: scheme },
    { name: "prefers-reduced-motion", value: "reduce" },
  ]);
  const before = performance.now();
  await page.goto(pathToFileURL(file), { waitUntil: "load" });
  return [page, performance.now() - before];
}

const shot = (page, name) => page.screenshot({ path: path.join(out, `${name}.png`), fullPage: true });
const text = (page, selector) => page.$eval(selector, (element) => element.textContent);
const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
// The share of pixels of the mesh's picture that are not transparent, and its mean colour.
const drawn = (page) =>
  page.evaluate(async () => {
    const image = new Image();
    image.src = window.meshView.picture();
    await image.decode();
    const canvas = new OffscreenCanvas(64, 64);
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0, 64, 64);
    const pixels = context.getImageData(0, 0, 64, 64).data;
    const sum = [0, 0, 0, 0];
    for (let index = 0; index < pixels.length; index++) sum[index % 4] += pixels[index];
    return { covered: sum[3] / 255 / 4096, color: sum.slice(0, 3).map((value) => Math.round((255 * value) / Math.max(sum[3], 1))) };
  });

async function runPage() {
  const [page, milliseconds] = await open(1200, "light");
  const seen = { milliseconds, drawn: {} };
  if (await page.$("#viewer")) {
    await page.waitForFunction(() => window.meshView || document.getElementById("state").textContent, { timeout: 20000 });
    seen.state = await text(page, "#state");
    for (const mode of ["colour", "normals", "shape", "shaded"]) {
      await page.select("#mode", mode);
      seen.drawn[mode] = await drawn(page);
    }
    await page.focus("#viewer");
    const before = await page.evaluate(() => window.meshView.picture());
    await page.keyboard.press("ArrowLeft");
    seen.turned = (await page.evaluate(() => window.meshView.picture())) !== before;
    await page.keyboard.press("0");
    seen.back = (await page.evaluate(() => window.meshView.picture())) === before;
  }
  const pictures = [];
  seen.steps = [];
  if (await page.$("#slider")) {
    await page.focus("#slider");
    for (const key of ["Home", "ArrowRight", "End"]) {
      await page.keyboard.press(key);
      seen.steps.push(await text(page, "#step"));
      pictures.push(await page.$eval("#preview", (image) => image.src));
    }
    await page.focus(".curve");
    await page.keyboard.press("Home");
    seen.atFirstRow = [await text(page, ".curve output"), await text(page, "#step")];
    await page.keyboard.press("End");
  }
  seen.pictures = new Set(pictures).size;
  seen.curves = await page.$$eval(".curve b", (names) => names.map((name) => name.textContent));
  const rows = () => page.$$eval("#config tr:not([hidden])", (lines) => lines.map((line) => line.textContent));
  seen.set = await rows();
  await page.focus("#filter");
  await page.keyboard.type("max_steps");
  seen.filtered = await rows();
  await page.$eval("#filter", (input) => ((input.value = ""), input.dispatchEvent(new Event("input"))));
  seen.video = await page.$eval("video", (video) => new Promise((resolve) => (video.readyState ? resolve(video.videoWidth) : ((video.onloadedmetadata = () => resolve(video.videoWidth)), (video.onerror = () => resolve(0)))))).catch(() => null);
  seen.title = await page.title();
  seen.text = await text(page, "body");
  await shot(page, "run-light");
  seen.overflow = [];
  for (const [width, scheme] of [[360, "light"], [1200, "dark"]]) {
    const [other] = await open(width, scheme);
    if (await other.$("#viewer")) await other.waitForFunction(() => window.meshView || document.getElementById("state").textContent, { timeout: 20000 });
    seen.overflow.push(await overflow(other));
    await shot(other, `run-${scheme}-${width}`);
  }
  return seen;
}

async function gallery() {
  const [page, milliseconds] = await open(1200, "light");
  const seen = { milliseconds };
  const cards = () => page.$$eval(".card:not([hidden])", (found) => found.map((card) => card.dataset.run));
  seen.all = await cards();
  seen.sorts = await page.$$eval("#sort option", (options) => options.map((option) => option.value));
  seen.sorted = {};
  for (const name of seen.sorts) {
    await page.select("#sort", name);
    seen.sorted[name] = await cards();
  }
  await page.select("#sort", "truth.silhouette_iou");
  await page.focus("#direction");
  await page.keyboard.press("Enter");
  seen.reversed = await cards();
  await page.select("#sort", "begun");
  await page.type("#search", process.env.WORDS ?? "");
  seen.found = await cards();
  await page.$eval("#search", (input) => ((input.value = ""), input.dispatchEvent(new Event("input"))));
  seen.keys = await page.$$eval("#key option", (options) => options.map((option) => option.value));
  if (process.env.KEY) {
    await page.select("#key", process.env.KEY);
    await page.select("#value", process.env.VALUE);
    seen.filtered = await cards();
    await shot(page, "gallery-filtered");
    await page.select("#key", "");
  }
  for (const box of (await page.$$(".card input")).slice(0, 2)) {
    await box.focus();
    await page.keyboard.press("Space");
  }
  seen.compared = await page.$$eval("#compare tr", (rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  seen.pictures = await page.$$eval("#compare img", (images) => images.length);
  await shot(page, "gallery-light");
  seen.links = await page.$$eval(".card a", (links) => links.map((link) => link.getAttribute("href")));
  seen.overflow = [];
  for (const [width, scheme] of [[360, "light"], [1200, "dark"]]) {
    const [other] = await open(width, scheme);
    seen.overflow.push(await overflow(other));
    for (const box of (await other.$$(".card input")).slice(0, 2)) await box.click();
    seen.overflow.push(await overflow(other));
    await shot(other, `gallery-${scheme}-${width}`);
  }
  return seen;
}

try {
  const seen = await { run: runPage, gallery }[scenario]();
  fs.writeSync(1, JSON.stringify({ ...seen, troubles, requests: requests.filter((url) => url !== String(pathToFileURL(file))) }));
} finally {
  await browser.close();
}
