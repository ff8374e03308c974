// node side_by_side.mjs LINK OUT CHROMIUM: two tiles in headless Chromium, orbited and shown as normals; prints pictures of each as mean colours. NODE_PATH has puppeteer-core.
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
page.on("console", (message) => message.type() === "error" && troubles.push(message.text()));
page.on("pageerror", (error) => troubles.push(String(error)));
page.on("request", (request) => /^(data|blob):/.test(request.url()) || request.url().startsWith(link.slice(0, link.indexOf("/", 8))) || foreign.push(request.url()));
await page.setViewport({ width: 1200, height: 700 });

// The mean colour of the middle of the left and of the right tile.
const tiles = async () => {
  const colors = [];
  for (const x of [260, 860]) {
    const png = Buffer.from(await page.screenshot({ clip: { x, y: 310, width: 80, height: 80 } })).toString("base64");
    colors.push(
      await page.evaluate(async (data) => {
        const image = new Image();
        image.src = `data:image/png;base64,${data}`;
        await image.decode();
        const context = new OffscreenCanvas(1, 1).getContext("2d");
        context.drawImage(image, 0, 0, 1, 1);
        return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
      }, png),
    );
  }
  return colors;
};
const far = (one, two) => one.some((value, index) => Math.abs(value - two[index]) > 12);
// The tiles once both differ from what they were.
const changed = async (before) => {
  let now = before;
  for (const end = Date.now() + timeout; Date.now() < end; await new Promise((done) => setTimeout(done, 300))) {
    now = await tiles();
    if (now.every((color, index) => far(color, before[index]))) return now;
  }
  throw new Error(`the tiles stay ${JSON.stringify(now)}`);
};

try {
  const seen = {};
  await page.goto(link, { waitUntil: "load" });
  await page.waitForFunction(() => document.body.innerText.includes("Show"), { timeout });
  const white = [255, 255, 255];
  seen.colour = await changed([white, white]);
  const input = await page.evaluateHandle(() => [...document.querySelectorAll("input:not([type=hidden])")].find((element) => element.value === "colour"));
  await input.asElement().click();
  const option = await page.waitForFunction(() => [...document.querySelectorAll('[role="option"]')].find((element) => element.innerText.trim() === "normals"));
  await option.asElement().evaluate((element) => element.click());
  seen.normals = await changed(seen.colour);
  await page.mouse.move(500, 560);
  await page.mouse.down();
  await page.mouse.move(900, 560, { steps: 12 });
  await page.mouse.up();
  seen.turned = await changed(seen.normals);
  await new Promise((done) => setTimeout(done, 3000));
  await page.screenshot({ path: path.join(out, "side-by-side.png") });
  fs.writeSync(1, JSON.stringify({ ...seen, troubles, foreign }));
} catch (error) {
  await page.screenshot({ path: path.join(out, "failed.png") });
  fs.writeSync(2, `${error}\n${troubles.join("\n")}\n`);
  process.exitCode = 1;
} finally {
  await browser.close();
}
