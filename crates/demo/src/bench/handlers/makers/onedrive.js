// Microsoft's own client of Graph puts the files of a folder into a drive, several at once. Reads from stdin what is to go where; says how many
// seconds it took.

const assert = require("node:assert/strict");
const fs = require("node:fs");
const path = require("node:path");
const { Client, LargeFileUploadTask, FileUpload } = require("@microsoft/microsoft-graph-client");

// What Microsoft's documentation wants in one request; what is larger goes in pieces, which are of 320 KiB times a number.
const SMALL = 4 << 20;
const PIECE = 32 * (320 << 10);

const given = JSON.parse(fs.readFileSync(0, "utf8"));

// The client shows its token to nobody without TLS. It is put in front of a proxy that takes the TLS off.
const secure = given.url.replace("http:", "https:");
const straight = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const headers = new Headers(options.headers);
  headers.set("x-forwarded-proto", "https");
  return straight(String(url).replace(secure, given.url), { ...options, headers });
};

const graph = Client.init({
  baseUrl: secure + "/",
  customHosts: new Set(["127.0.0.1"]),
  authProvider: (done) => done(null, given.token),
});

async function put(name) {
  const data = await fs.promises.readFile(path.join(given.from, name));
  const at = `/me/drive/root:/${given.to}/${name}:`;
  let stored;
  if (data.length <= SMALL) {
    stored = await graph.api(at + "/content").header("content-type", "audio/wav").put(data);
  } else {
    const item = { item: { "@microsoft.graph.conflictBehavior": "fail", name } };
    const session = await LargeFileUploadTask.createUploadSession(graph, at + "/createUploadSession", item);
    const upload = new FileUpload(data, name, data.length);
    stored = (await new LargeFileUploadTask(graph, upload, session, { rangeSize: PIECE }).upload()).responseBody;
  }
  assert.equal(stored.size, data.length);
}

async function main() {
  const names = fs.readdirSync(given.from).sort();
  const began = performance.now();
  const lane = async () => {
    while (names.length) await put(names.shift());
  };
  await Promise.all(Array.from({ length: given.lanes }, lane));
  console.log((performance.now() - began) / 1000);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
