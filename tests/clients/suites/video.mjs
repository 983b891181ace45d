// A real video of at least 300 MiB: uploaded in chunks through a session, by `pillarbox upload` in parallel and by curl one chunk
// after the other, over plain HTTP and over TLS; then read by ffprobe and by a seek of ffmpeg over the download link (ranges), and
// compared byte for byte.

import fs from "node:fs";
import path from "node:path";

import { BIN, PIPELINE, TOKEN, check, chunkParams, equal, finish, link, openSession, rest, run, start, startTls, temporary } from "../lib.mjs";

const MIB = 1024 * 1024;
const SMALLEST = 300 * MIB;
const CURL_CHUNK = 32 * MIB;
const SECONDS = 10;
const SEEK = 7;

/** The video, made once for a machine: every frame is noise over a test picture, so that nothing compresses away. */
async function video() {
  const folder = process.env.TEST_CACHE ?? temporary;
  const file = path.join(folder, "video.mp4");
  if (!fs.existsSync(file)) {
    fs.mkdirSync(folder, { recursive: true });
    const half = path.join(folder, "half.mp4");
    const picture = `testsrc2=size=1920x1080:rate=25:duration=${SECONDS},noise=alls=60:allf=t+u`;
    const sound = `sine=frequency=440:duration=${SECONDS}`;
    const codecs = ["-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p", "-c:a", "aac"];
    await run("ffmpeg", ["-v", "error", "-y", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, ...codecs, half]);
    fs.renameSync(half, file);
  }
  const { size } = fs.statSync(file);
  check(size >= SMALLEST, `the video has only ${size} bytes`);
  return { file, size };
}

async function plain() {
  return { server: await start(), curlArgs: [], uploadArgs: [], ffArgs: [] };
}

async function tls() {
  const server = await startTls();
  const trust = ["--cacert", server.caFile];
  return { server, curlArgs: trust, uploadArgs: trust, ffArgs: ["-tls_verify", "1", "-ca_file", server.caFile] };
}

/** Uploads with `pillarbox upload`, in parallel; the session. */
async function byUpload({ server, uploadArgs }, file) {
  const args = ["upload", "--url", server.url, "--token", TOKEN, "--pipeline", PIPELINE, "--key", "video/upload.mp4", "--parallel", "4", ...uploadArgs, file];
  await run(BIN, args);
  const { files } = await rest(server, "GET", "/v1/files/");
  equal(files.length, 1, "files after the upload");
  return { id: files[0].id, file: { id: files[0].id } };
}

/** Uploads with curl, one chunk after the other, read from the file by dd; the session. */
async function byCurl({ server, curlArgs }, file, size) {
  const session = await openSession(server, "video/curl.mp4");
  const chunks = Math.ceil(size / CURL_CHUNK);
  const fixed = Object.entries(chunkParams(session)).flatMap(([name, value]) => ["-F", `${name}=${value}`]);
  for (let i = 0; i < chunks; i += 1) {
    const piece = path.join(temporary, "piece");
    await run("dd", [`if=${file}`, `of=${piece}`, `bs=${CURL_CHUNK}`, `skip=${i}`, "count=1", "status=none"]);
    const numbered = ["-F", "name=curl.mp4", "-F", `chunk=${i}`, "-F", `chunks=${chunks}`, "-F", `file=@${piece}`];
    const { out } = await run("curl", ["-sS", ...curlArgs, "-o", "/dev/null", "-w", "%{http_code}", ...fixed, ...numbered, session.form_post_url]);
    equal(out, "201", `chunk ${i} of ${chunks}`);
  }
  await finish(server, session, chunks);
  return session;
}

/** What ffprobe and a seek of ffmpeg see over the link must be what they see in the file; and every byte is the same. */
async function readsAsVideo({ server, curlArgs, ffArgs }, session, file) {
  const url = await link(server, session);
  const probe = async (args, input) => (await run("ffprobe", ["-v", "error", ...args, "-show_format", "-show_streams", "-of", "json", input])).out;
  const [local, remote] = [JSON.parse(await probe([], file)), JSON.parse(await probe(ffArgs, url))];
  equal(JSON.stringify(remote.streams), JSON.stringify(local.streams), "the streams that ffprobe sees");
  equal(remote.format.size, local.format.size, "the size that ffprobe sees");
  const frame = async (args, input) => (await run("ffmpeg", ["-v", "error", ...args, "-ss", String(SEEK), "-i", input, "-frames:v", "1", "-f", "md5", "-"])).out;
  equal(await frame(ffArgs, url), await frame([], file), `the frame at ${SEEK} s`);
  const back = path.join(temporary, "back.mp4");
  await run("curl", ["-sS", "-f", ...curlArgs, "-o", back, url]);
  await run("cmp", [file, back]);
  fs.rmSync(back);
}

async function roundTrip(open, upload) {
  const scene = await open();
  const { file, size } = await video();
  const session = await upload(scene, file, size);
  await readsAsVideo(scene, session, file);
  await scene.server.stop();
}

export default {
  "pillarbox upload over plain HTTP": () => roundTrip(plain, byUpload),
  "curl, chunk by chunk, over plain HTTP": () => roundTrip(plain, byCurl),
  "pillarbox upload over TLS": () => roundTrip(tls, byUpload),
  "curl, chunk by chunk, over TLS": () => roundTrip(tls, byCurl),
};
