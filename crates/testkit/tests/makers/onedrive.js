// Microsoft's own client of Graph at work. Reads from stdin where the drive is and who gives tokens; ends badly at the first surprise.

const assert = require("node:assert/strict");
const { Client, LargeFileUploadTask, FileUpload, PageIterator, ResponseType } = require("@microsoft/microsoft-graph-client");

const given = JSON.parse(require("node:fs").readFileSync(0, "utf8"));

// The client shows its token to nobody without TLS. It is put in front of a proxy that takes the TLS off.
const secure = given.url.replace("http:", "https:");
const straight = globalThis.fetch;
globalThis.fetch = (url, options) => {
  const headers = new Headers(options.headers);
  headers.set("x-forwarded-proto", "https");
  return straight(String(url).replace(secure, given.url), { ...options, headers });
};

function client(token) {
  const customHosts = new Set(["127.0.0.1"]);
  return Client.init({ baseUrl: secure + "/", customHosts, authProvider: (done) => done(null, token) });
}

async function refused(status, code, call) {
  const error = await call().then(
    () => assert.fail(`${status} ${code} was expected`),
    (error) => error,
  );
  // What an upload in pieces throws is the bare answer.
  const told = error.error ? [status, error.error.code] : [error.statusCode, error.code];
  assert.deepEqual(told, [status, code], String(error));
}

async function all(graph, first) {
  const found = [];
  const pages = new PageIterator(graph, first, (item) => found.push(item) > 0);
  await pages.iterate();
  return { found, link: pages.getDeltaLink() };
}

async function main() {
  const graph = client(given.token);
  const drive = (rest) => graph.api("/me/drive" + rest);
  const start = await all(graph, await drive("/root/delta").query({ token: "latest" }).get());
  assert.deepEqual(start.found, []);

  // A folder, which is there once; an upload in one request; the folders of its path come with it.
  const about = { name: "Recordings", folder: {}, "@microsoft.graph.conflictBehavior": "fail" };
  const folder = await drive("/root/children").post(about);
  assert.deepEqual([folder.name, folder.folder, folder.file], ["Recordings", { childCount: 0 }, undefined]);
  await refused(409, "nameAlreadyExists", () => drive("/root/children").post(about));
  const small = Buffer.from("RIFF, and ü");
  const path = "/root:/Recordings/2026/It's%20%C3%BCber.wav:";
  const made = await drive(path + "/content").header("content-type", "audio/wav").put(small);
  assert.deepEqual([made.name, made.size, made.file.mimeType], ["It's über.wav", small.length, "audio/wav"]);
  await refused(409, "nameAlreadyExists", () =>
    drive(path + "/content").query({ "@microsoft.graph.conflictBehavior": "fail" }).put(Buffer.from("x")));
  const below = await drive(`/items/${folder.id}:/2026`).get();
  assert.equal(below.folder.childCount, 1);
  assert.equal(made.parentReference.id, below.id);

  // A large one in a session, piece by piece; one that meets a conflict at its end; one that is given up.
  const large = Buffer.alloc(1_500_000, "0123456789abcdef!");
  const item = { item: { "@microsoft.graph.conflictBehavior": "fail", name: "large.wav" } };
  const session = await LargeFileUploadTask.createUploadSession(
    graph, "/me/drive/root:/Recordings/large.wav:/createUploadSession", item);
  assert.ok(session.url && session.expiry > new Date());
  const task = new LargeFileUploadTask(graph, new FileUpload(large, "large.wav", large.length), session, { rangeSize: 640 << 10 });
  const stored = (await task.upload()).responseBody;
  assert.deepEqual([stored.name, stored.size], ["large.wav", large.length]);
  const other = await LargeFileUploadTask.createUploadSession(
    graph, "/me/drive/root:/Recordings/large.wav:/createUploadSession", item);
  const late = new LargeFileUploadTask(graph, new FileUpload(large, "large.wav", large.length), other, { rangeSize: 2 << 20 });
  await refused(409, "nameAlreadyExists", () => late.upload());
  const ended = await LargeFileUploadTask.createUploadSession(
    graph, "/me/drive/root:/Recordings/ended.wav:/createUploadSession", item);
  const ending = new LargeFileUploadTask(graph, new FileUpload(large, "ended.wav", large.length), ended, { rangeSize: 320 << 10 });
  await ending.uploadSlice(large.subarray(0, 320 << 10), { minValue: 0, maxValue: (320 << 10) - 1 }, large.length);
  assert.deepEqual((await ending.getStatus()).nextExpectedRanges, [`${320 << 10}-`]);
  await ending.cancel();
  await refused(404, "itemNotFound", () => ending.getStatus());

  // Read back: whole, and in part.
  const read = (range) => {
    const asked = drive(`/items/${stored.id}/content`).responseType(ResponseType.ARRAYBUFFER);
    return (range ? asked.header("Range", range) : asked).get();
  };
  assert.ok(Buffer.from(await read()).equals(large));
  assert.ok(Buffer.from(await read("bytes=5-1004")).equals(large.subarray(5, 1005)));
  assert.deepEqual(await drive("/root:/recordings/LARGE.wav").get(), stored);

  // What lies in a folder, page by page.
  for (let n = 0; n < 5; n++) await drive(`/root:/Recordings/n${n}.wav:/content`).put(Buffer.from(String(n)));
  const first = await drive(`/items/${folder.id}/children`).top(3).get();
  assert.equal(first.value.length, 3);
  const names = (await all(graph, first)).found.map((item) => item.name);
  assert.deepEqual(names.sort(), ["2026", "large.wav", "n0.wav", "n1.wav", "n2.wav", "n3.wav", "n4.wav"]);
  await refused(404, "itemNotFound", () => drive("/root:/Nothing:/children").get());

  // The feed: everything, then only what is new.
  const feed = await all(graph, await drive("/root/delta").top(2).get());
  assert.deepEqual(new Set(feed.found.map((item) => item.name)), new Set([...names, "Recordings", "It's über.wav"]));
  await drive(`/items/${made.id}`).delete();
  await drive("/root:/late.wav:/content").put(Buffer.from("late"));
  const news = await all(graph, await graph.api(feed.link).get());
  assert.deepEqual(news.found.map((item) => [item.id, item.name, item.deleted]), [
    [made.id, undefined, { state: "deleted" }],
    [news.found[1].id, "late.wav", undefined],
  ]);
  assert.deepEqual((await all(graph, await graph.api(news.link).get())).found, []);
  await refused(404, "itemNotFound", () => drive(`/items/${made.id}`).get());
  await refused(404, "itemNotFound", () => drive(`/items/${made.id}`).delete());
  await refused(410, "resyncRequired", () => drive("/root/delta").query({ token: "long-ago" }).get());

  // Too fast: the client waits as it is told, and comes again.
  assert.equal((await drive("/root:/late.wav").get()).size, 4);

  // A token that has ended.
  await refused(401, "InvalidAuthenticationToken", () => client(given.expired).api("/me/drive/root").get());
  console.log("content");
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
