// A session is whole without being told, so there is no request for combining the chunks (`chunking.success`).
function prepare({ url, fields, chunk, together, retry }) {
  const uploader = new qq.FineUploaderBasic({
    button: element(),
    cors: { expected: true },
    request: { endpoint: url, params: fields, inputName: "file" },
    chunking: { enabled: Boolean(chunk), partSize: chunk, mandatory: Boolean(chunk), concurrent: { enabled: together > 1 } },
    resume: { enabled: Boolean(chunk) },
    retry: { enableAuto: Boolean(retry), maxAutoAttempts: 3, autoAttemptDelay: 0.1 },
    callbacks: {
      onProgress: (id, name, sent, total) => progress(sent, total),
      onError: (id, name, reason, xhr) => refused(xhr),
      onComplete: (id, name, response, xhr) => {
        // Of chunks that go out together the last one is not always the last to arrive; then there is no request to show.
        if (response.success) answered(xhr ?? { status: 200, responseText: JSON.stringify(response) });
        end();
      },
    },
  });
}
