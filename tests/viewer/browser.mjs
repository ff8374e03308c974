// node browser.mjs LINK OUT CHROMIUM: what a user of the live page does, in headless Chromium; prints what was seen as JSON. NODE_PATH has puppeteer-core.
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const puppeteer = createRequire(path.join(process.env.NODE_PATH, "x.js"))("puppeteer-core");
const [link, out, executablePath] = process.argv.slice(2);
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"] });
const timeout = 120000;
const troubles = [];
const foreign = [];
const page = await browser.newPage();
page.setDefaultTimeout(timeout);
page.on("console", (message) => ["error", "warn"].includes(message.type()) && !/GPU stall|swiftshader|THREE.Clock/i.test(message.text()) && troubles.push(message.text()));
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(link.slice(0, link.indexOf("/", 8))) || foreign.push(request.url()));
await page.setViewport({ width: 1280, height: 860 });

const text = () => page.evaluate(() => document.body.innerText);
const until = (words) => page.waitForFunction((wanted) => document.body.innerText.includes(wanted), { timeout }, words);
const gone = (words) => page.waitForFunction((wanted) => !document.body.innerText.includes(wanted), { timeout }, words);
const step = async () => Number((await text()).match(/step\s+(\d+) of/)[1]);
const shot = (name) => page.screenshot({ path: path.join(out, `${name}.png`) });
const click = async (words, kind = "button") => {
  const handle = await page.evaluateHandle(
    (wanted, selector) => [...document.querySelectorAll(selector)].find((element) => element.innerText.trim() === wanted),
    words,
    kind,
  );
  await handle.asElement().click();
};
// The mean colour of the middle of the scene.
const middle = async () => {
  const png = Buffer.from(await page.screenshot({ clip: { x: 560, y: 380, width: 160, height: 120 } })).toString("base64");
  return page.evaluate(async (data) => {
    const image = new Image();
    image.src = `data:image/png;base64,${data}`;
    await image.decode();
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    context.drawImage(image, 0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
  }, png);
};
const differs = async (before) => {
  for (const end = Date.now() + timeout; Date.now() < end; await new Promise((done) => setTimeout(done, 300))) {
    const now = await middle();
    if (now.some((value, index) => Math.abs(value - before[index]) > 12)) return now;
  }
  throw new Error(`the picture stays ${before}`);
};
const choose = async (channel) => {
  const input = await page.evaluateHandle(() =>
    [...document.querySelectorAll("input:not([type=hidden])")].find((element) => /^(colour|albedo|normals|opacity|depth|exported mesh)$/.test(element.value)),
  );
  await input.asElement().click();
  await page.waitForFunction((wanted) => [...document.querySelectorAll('[role="option"]')].some((o) => o.innerText.trim() === wanted), { timeout }, channel);
  await click(channel, '[role="option"]');
};

try {
  const seen = {};
  await page.goto(link, { waitUntil: "load" });
  await until("steps/s");
  seen.colour = await differs([255, 255, 255]);
  await page.mouse.move(340, 430);
  await page.mouse.down();
  for (let x = 340; x < 540; x += 20) {
    await page.mouse.move(x, 440);
    await new Promise((done) => setTimeout(done, 30));
  }
  await page.mouse.up();
  await choose("normals");
  seen.normals = await differs(seen.colour);
  await until("Wanted change");
  seen.pictures = await page.$$eval("img", (images) => images.filter((image) => image.naturalWidth > 90).length);
  await shot("live");
  await click("Pause", "label, button");
  await until("paused");
  seen.paused = await step();
  await new Promise((done) => setTimeout(done, 1500));
  seen.still = await step();
  await click("Curves", '[role="tab"]');
  await page.waitForSelector(".uplot canvas");
  seen.charts = (await page.$$(".uplot")).length;
  await shot("curves");
  await click("Settings", '[role="tab"]');
  await until("guidance.guidance_scale");
  const input = await page.evaluateHandle(() => {
    let part = [...document.querySelectorAll("label")].find((label) => label.innerText.trim() === "guidance.guidance_scale");
    while (!part.querySelector("input:not([type=hidden])")) part = part.parentElement;
    return part.querySelector("input:not([type=hidden])");
  });
  await input.asElement().click({ clickCount: 3 });
  await page.keyboard.type("1.5");
  await page.keyboard.press("Enter");
  await until("guidance.guidance_scale is 1.5");
  await shot("settings");
  await click("Go on", "label, button");
  await gone("paused");
  await click("Export", "label, button");
  await until("exported");
  await choose("exported mesh");
  await new Promise((done) => setTimeout(done, 2000));
  seen.mesh = await middle();
  await shot("mesh");
  await click("Stop", "label, button");
  await new Promise((done) => setTimeout(done, 1000)); // the page does not say that its server has gone
  fs.writeSync(1, JSON.stringify({ ...seen, troubles: troubles.filter((text) => !/WebSocket|ERR_CONNECTION/.test(text)), foreign }));
} catch (error) {
  await shot("failed");
  fs.writeSync(2, `${error}\n${troubles.join("\n")}\n${await text()}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
