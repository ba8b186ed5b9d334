/**
 * The same bits on every engine: one training run, in this Node and in a page, against bits that were written down
 * once. A change that moves them on purpose writes the new ones here.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const EXPECTED = { losses: "52a44971", weights: "be68afcc", build: "strict" };

const root = fileURLToPath(new URL("../../", import.meta.url));

const TYPES: Record<string, string> = { ".html": "text/html", ".js": "text/javascript", ".wasm": "application/wasm" };

/** Serves the checkout's files as they are, under a policy that allows no scripts but them and no eval. */
function serve(): Promise<Server> {
  const server = createServer(async (request, response) => {
    const path = normalize(join(root, new URL(request.url ?? "/", "http://localhost").pathname));
    const type = TYPES[extname(path)];
    if (!path.startsWith(root) || type === undefined || !existsSync(path)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      "content-type": type,
      "content-security-policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'",
    });
    response.end(await readFile(path));
  });
  return new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server)));
}

/** Chromium's program: CHROMIUM in the environment, or where systems install it. */
function findChromium(): string | undefined {
  const places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
  places.push("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome");
  return process.env.CHROMIUM ?? places.find((path) => existsSync(path));
}

describe("a training run", () => {
  it("gives the expected bits in Node", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [join(root, "test/engines/run-in-node.js")]);
    expect(JSON.parse(stdout)).toMatchObject(EXPECTED);
  });

  describe("in a page", () => {
    const executablePath = findChromium();
    let server: Server;
    beforeAll(async () => {
      server = await serve();
    });
    afterAll(() => {
      server.close();
    });

    // A machine without a browser cannot run this; CI installs one and must.
    it.skipIf(executablePath === undefined && process.env.CI === undefined)(
      "gives Node's bits in Chromium, from a plain static folder (needs Chromium, or CHROMIUM=path)",
      async () => {
        if (executablePath === undefined) throw new Error("no Chromium found: install it, or set CHROMIUM to its path");
        const args = [
          "--no-sandbox",
          "--disable-gpu",
          "--disable-quic",
          "--no-first-run",
          "--disable-background-networking",
        ];
        const browser = await chromium.launch({ executablePath, args });
        try {
          const page = await browser.newPage();
          const { port } = server.address() as AddressInfo;
          await page.goto(`http://127.0.0.1:${port}/test/engines/page.html`);
          const outcome = await page.locator("output").textContent();
          expect(JSON.parse(outcome ?? "")).toMatchObject(EXPECTED);
        } finally {
          await browser.close();
        }
      },
    );
  });
});
