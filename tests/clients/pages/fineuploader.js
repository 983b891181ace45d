// Chunks that go out together need somebody to tell when all are there: the page's own server, which has nothing to do for it, for a session
// is whole without being told.
function prepare({ url, fields, chunk, together, retry }) {
  const uploader = new qq.FineUploaderBasic({
    button: element(),
    cors: { expected: true },
    request: { endpoint: url, params: fields, inputName: "file" },
    chunking: { enabled: Boolean(chunk), partSize: chunk, mandatory: Boolean(chunk), ...(together > 1 && { concurrent: { enabled: true }, success: { endpoint: "/done" } }) },
    resume: { enabled: Boolean(chunk) },
    retry: { enableAuto: Boolean(retry), maxAutoAttempts: 3, autoAttemptDelay: 0.1 },
    callbacks: {
      onProgress: (id, name, sent, total) => progress(sent, total),
      onError: (id, name, reason, xhr) => refused(xhr),
      onComplete: (id, name, response, xhr) => {
        if (response.success) answered(xhr);
        end();
      },
    },
  });
}
