// Headless Chromium that knows of a proxy: a WebSocket must reach its server by CONNECT.
const { chromium } = require('playwright-core');

const [url, proxy, executablePath] = process.argv.slice(2);

async function main() {
  const args = ['--no-sandbox', `--proxy-server=${proxy}`, '--proxy-bypass-list=<-loopback>'];
  const browser = await chromium.launch({ executablePath, args });
  const page = await browser.newPage();
  const echoed = await page.evaluate((address) => new Promise((resolve, reject) => {
    const socket = new WebSocket(address);
    const messages = ['one', 'two', 'x'.repeat(100000)];
    let next = 0;
    socket.onopen = () => socket.send(messages[0]);
    socket.onerror = () => reject(new Error('the socket failed'));
    socket.onmessage = (event) => {
      if (event.data !== messages[next]) reject(new Error(`message ${next} differs`));
      next += 1;
      if (next < messages.length) socket.send(messages[next]);
      else resolve(next);
    };
  }), url);
  await browser.close();
  console.log(echoed === 3 ? 'ok' : `failed ${echoed}`);
  process.exit(0);
}

main().catch((error) => {
  console.log(`failed ${error}`);
  process.exit(1);
});
