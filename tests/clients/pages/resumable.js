// Asks for each chunk whether it is there already, then posts it; a plain S3 target knows of no chunks.
function prepare({ url, fields, plain, chunk, together, retry }) {
  const uploader = new Resumable({
    target: url, query: fields, fileParameterName: "file", testChunks: !plain, ...(chunk && { chunkSize: chunk, forceChunkSize: true }),
    simultaneousUploads: together ?? 1,
    // Without a limit a refusal other than 400 is tried a hundred times.
    maxChunkRetries: retry ? 3 : 0, chunkRetryInterval: 100,
  });
  uploader.assignBrowse(element());
  uploader.on("fileAdded", () => uploader.upload());
  uploader.on("fileProgress", (file) => progress(file.progress() * file.size, file.size));
  uploader.on("fileSuccess", (file) => answered(file.chunks.at(-1).xhr));
  // It has let go of the request by then, and hands on nothing but the text.
  uploader.on("fileError", (file, text) => told.errors.push({ text }));
  uploader.on("complete", end);
  uploader.on("error", end);
}
