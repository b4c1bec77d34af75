// Headless Chromium on the demo page: it must show round trips, and no fault on its console.
const { chromium } = require('playwright-core');

const [url, executablePath] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const page = await browser.newPage();
  const faults = [];
  const sockets = { sent: 0, received: 0 };
  page.on('pageerror', (error) => faults.push(String(error)));
  page.on('console', (line) => line.type() === 'error' && faults.push(line.text()));
  page.on('requestfailed', (request) => faults.push(`${request.url()} failed`));
  page.on('websocket', (socket) => {
    socket.on('framesent', () => { sockets.sent += 1; });
    socket.on('framereceived', () => { sockets.received += 1; });
    socket.on('socketerror', (error) => faults.push(String(error)));
  });
  await page.goto(url, { waitUntil: 'load' });
  const end = Date.now() + 10000;
  while (sockets.received < 3 && Date.now() < end) await page.waitForTimeout(50);
  const text = await page.evaluate(() => document.body.innerText);
  await browser.close();
  console.log(JSON.stringify({ ...sockets, faults, hasConf: text.includes('proxy_pass') }));
  process.exit(0);
}

main().catch((error) => {
  console.log(`failed ${error}`);
  process.exit(1);
});
