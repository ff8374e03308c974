// node viewer_orbit.mjs FOLDER CHROMIUM LINK: opens the live page in headless Chromium and orbits until it is ended. FOLDER has puppeteer-core of npm.
import { createRequire } from "node:module";
import path from "node:path";

const [folder, executablePath, link] = process.argv.slice(2);
const puppeteer = createRequire(path.join(path.resolve(folder), "node_modules", "x.js"))("puppeteer-core");
const browser = await puppeteer.launch({ executablePath, args: ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"] });
process.on("SIGTERM", async () => {
  await browser.close();
  process.exit(0);
});
const page = await browser.newPage();
await page.setViewport({ width: 1280, height: 800 });
await page.goto(link, { waitUntil: "load" });
for (;;) {
  await page.mouse.move(300, 400);
  await page.mouse.down();
  for (let x = 300; x < 700; x += 5) {
    await page.mouse.move(x, 400);
    await new Promise((done) => setTimeout(done, 33));
  }
  await page.mouse.up();
}
