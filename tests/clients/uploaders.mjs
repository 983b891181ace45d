// The uploaders of the suite of the browsers, and what each can do.
//
// `package`, `script` and `page` say where it comes from and which of our pages drives it; `options` are for its page alone; `adds` names fields
// that it adds to a form by itself. A session is started for the uploader that it `asks` for, and answers in the style `answer`. `s3` and
// `session` are what the client calls a success of either form. What it cannot do holds a reason.

import { fromNpm } from "./matrix.mjs";

/** Why there is nothing to see. */
const no = (why) => ({ why });
const ONCE = no("posts once");
const ALONE = { chunks: ONCE, together: ONCE };

const html = {
  title: "HTML form",
  version: "the browser's",
  page: "form",
  s3: 303,
  session: 201,
  ...ALONE,
  retries: no("the user's own business"),
  progress: no("the browser shows it"),
};

const fetch = {
  title: "fetch()",
  version: "the browser's",
  page: "fetch",
  s3: 201,
  session: 201,
  ...ALONE,
  retries: no("the page's own business"),
  progress: no("tells of none"),
};

const plupload = {
  title: "Plupload 2",
  package: "plupload",
  script: "js/plupload.full.min.js",
  page: "plupload",
  adds: ["name"],
  asks: "plupload",
  s3: 201,
  session: 201,
  together: no("one at a time"),
};

const uppyS3 = { title: "Uppy aws-s3", package: "@uppy/aws-s3", page: "uppy", options: { s3: true }, s3: 200, session: 200, ...ALONE };

const uppyXhr = { title: "Uppy xhr-upload", package: "@uppy/xhr-upload", page: "uppy", asks: "uppy", answer: "json", s3: 201, session: 200, ...ALONE };

const dropzone = (major, name, script) => ({
  title: `Dropzone ${major}`,
  package: name,
  script,
  page: "dropzone",
  asks: "dropzone",
  answer: "json",
  s3: 201,
  session: 200,
});

const fineUploaderS3 = (version) => ({
  title: `FineUploader S3, V${version}`,
  package: "fine-uploader",
  script: "s3.fine-uploader/s3.fine-uploader.core.min.js",
  page: "fineuploader-s3",
  options: { version },
  s3: 200,
  session: no("writes its own policy"),
  chunks: no("asks for S3's multipart upload"),
  together: no("asks for S3's multipart upload"),
});

const fineUploader = {
  title: "FineUploader",
  package: "fine-uploader",
  script: "fine-uploader/fine-uploader.core.min.js",
  page: "fineuploader",
  asks: "fineuploader",
  answer: "json",
  s3: no("wants JSON"),
  session: 200,
};

const resumable = {
  title: "Resumable.js",
  package: "resumablejs",
  script: "resumable.js",
  page: "resumable",
  asks: "resumable",
  answer: "json",
  s3: no("repeats the form in the URL"),
  session: 200,
  // Hands on the text of a refusal, not its status.
  blind: true,
};

const flow = {
  title: "Flow.js",
  package: "@flowjs/flow.js",
  script: "dist/flow.min.js",
  page: "flow",
  adds: ["ChunkNumber", "ChunkSize", "CurrentChunkSize", "TotalSize", "Identifier", "Filename", "RelativePath", "TotalChunks"].map((name) => `flow${name}`),
  asks: "flow",
  answer: "json",
  s3: 201,
  session: 200,
};

const filePond = {
  title: "FilePond",
  package: "filepond",
  script: "dist/filepond.min.js",
  page: "filepond",
  asks: "filepond",
  answer: "text",
  s3: "taken",
  session: "taken",
  chunks: no("by PATCH"),
  together: no("one at a time"),
  retries: no("the user's own business"),
};

const all = [
  html,
  fetch,
  plupload,
  uppyS3,
  uppyXhr,
  dropzone(6, "dropzone", "dist/dropzone-min.js"),
  dropzone(5, "dropzone5", "dist/min/dropzone.min.js"),
  fineUploaderS3(2),
  fineUploaderS3(4),
  fineUploader,
  resumable,
  flow,
  filePond,
];

export const UPLOADERS = all.map((one) => ({ version: one.version ?? fromNpm(one.package), ...one }));
