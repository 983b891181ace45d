// curl, as the hosted API's own example uses it: word for word but for host and token.

import fs from "node:fs";
import path from "node:path";

import { PIPELINE, TOKEN, bytes, check, equal, link, rest, run, sha256, start, temporary, whole } from "../lib.mjs";

/** A line as a person types it; what it prints. */
const shell = async (line) => (await run("bash", ["-c", line], { cwd: temporary })).out;

async function threeSteps(putHeader) {
  const server = await start();
  const video = bytes(300_001);
  fs.writeFileSync(path.join(temporary, "test.mp4"), video);

  const query = `object_key=uploads%2Ftest.mp4&pipeline_id=${PIPELINE}`;
  const created = await shell(`curl -sS -X POST -H "Authorization: Bearer ${TOKEN}" "${server.url}/v1/files/uploads/?${query}"`);
  const { upload } = JSON.parse(created);
  const params = Object.entries(upload.form_post_params);
  const names = ["name", "success_action_status", "filename", "chunk", "chunks", "policy", "signature", "AWSAccessKeyId", "key", "acl"];
  equal(params.map(([name]) => name).join(), names.join(), "the members of form_post_params");
  equal(upload.status, "UPLOADING", "the new session's status");
  equal(upload.file.id, upload.id, "the session's file");

  const fields = params.map(([name, value]) => `-F '${name}=${value}'`).join(" ");
  const posted = await shell(`curl -sS -w '%{http_code}' ${fields} -F 'file=@test.mp4' "${upload.form_post_url}"`);
  check(posted.endsWith("201"), `the form post answered ${posted}`);
  check(/<PostResponse.*<Key>[^<]*uploads\/test\.mp4<\/Key>/s.test(posted), `no PostResponse with the key in ${posted}`);

  const put = `curl -sS -X PUT -H "Authorization: Bearer ${TOKEN}" ${putHeader} --data '{"upload":{"nb_chunks":1}}'`;
  const finished = JSON.parse(await shell(`${put} "${server.url}/v1/files/uploads/${upload.id}?human=true"`)).upload;
  equal(finished.nb_chunks, 1, "nb_chunks after PUT");
  check(["COMPLETING", "COMPLETED"].includes(finished.status), `the status after PUT is ${finished.status}`);
  equal(finished.form_post_params, undefined, "form_post_params after PUT");
  const polled = await shell(`curl -sS -H "Authorization: Bearer ${TOKEN}" "${server.url}/v1/files/uploads/${upload.id}"`);
  equal(JSON.parse(polled).upload.id, upload.id, "the session that GET shows");
  await whole(server, upload);

  await shell(`curl -sS -o back.mp4 "${await link(server, upload)}"`);
  equal(sha256(fs.readFileSync(path.join(temporary, "back.mp4"))), sha256(video), "the bytes read back");
  await server.stop();
}

export default {
  "three steps with a JSON content type": () => threeSteps('-H "Content-Type: application/json"'),
  // The manual's own sample forgets the header's name: curl drops such a header and says it sends a urlencoded form.
  "three steps with the header as the manual prints it": () => threeSteps('-H "application/json"'),
  "the example that dev prints works when pasted": async () => {
    const server = await start();
    const printed = fs.readFileSync(server.log, "utf8");
    const example = printed.slice(printed.indexOf("cd \"$(mktemp -d)\"")).split(/(?<=redirect=true')\n/)[0];
    check(example.startsWith("cd ") && example.includes(server.url), `dev prints no example:\n${printed}`);
    const answer = await shell(`set -e; ${example}`);
    check(answer.endsWith("Hello, pillar box\n"), `the example printed ${answer}`);
    await server.stop();
  },
  "a refusal is told by curl --fail and says why": async () => {
    const server = await start();
    const line = `curl -sS -w '%{http_code}' -X POST -H "Authorization: Bearer wrong" "${server.url}/v1/files/uploads/"`;
    const answer = await shell(line);
    check(answer.endsWith("403") && answer.includes('"0x0000003"'), `a wrong token was answered ${answer}`);
    const { files } = await rest(server, "GET", "/v1/files/");
    equal(files.length, 0, "files after a refusal");
    await server.stop();
  },
};
