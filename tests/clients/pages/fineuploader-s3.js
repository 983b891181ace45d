// Asks its own server to sign each policy that it writes.
function prepare({ url, version, key, accessKey, bucket, secret, retry }) {
  const uploader = new qq.s3.FineUploaderBasic({
    button: element(),
    cors: { expected: true },
    request: { endpoint: url, accessKey },
    signature: { endpoint: `/sign/${version}${secret ? `/${secret}` : ""}`, version },
    objectProperties: { key: () => key, bucket: () => bucket, region: "us-east-1" },
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
