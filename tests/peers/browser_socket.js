// Headless Chromium with a WebSocket of a page of its own server: messages of many sizes must come
// back, text and bytes. Faults of certificates do not count: no system trusts those of tests.
const { chromium } = require('playwright-core');

const [page_url, socket_url, executablePath] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
  const context = await browser.newContext({ ignoreHTTPSErrors: true });
  const page = await context.newPage();
  const answer = await page.goto(page_url, { waitUntil: 'load' });
  const security = await answer.securityDetails();
  const echoed = await page.evaluate((address) => new Promise((resolve, reject) => {
    const socket = new WebSocket(address);
    socket.binaryType = 'arraybuffer';
    const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20];
    const messages = ['žluťoučký kůň', 'x'.repeat(100000)];
    const bytes = sizes.map((size) => new Uint8Array(size).map((_, at) => at * 31 + size));
    const all = [...messages, ...bytes];
    const same = (sent, come) => {
      if (typeof sent === 'string') return sent === come;
      const seen = new Uint8Array(come);
      return seen.length === sent.length && seen.every((byte, at) => byte === sent[at]);
    };
    let next = 0;
    socket.onopen = () => socket.send(all[0]);
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onmessage = (event) => {
      if (!same(all[next], event.data)) reject(new Error(`message ${next} differs`));
      next += 1;
      if (next < all.length) socket.send(all[next]);
      else socket.close(1000, 'done');
    };
    socket.onclose = (event) => (event.wasClean && event.code === 1000
      ? resolve(next)
      : reject(new Error(`closed with ${event.code}`)));
  }), socket_url);
  await browser.close();
  const protocol = security === null ? 'none' : security.protocol;
  console.log(echoed === 9 ? `ok ${protocol}` : `failed ${echoed}`);
  process.exit(0);
}

main().catch((error) => {
  console.log(`failed ${error}`);
  process.exit(1);
});
