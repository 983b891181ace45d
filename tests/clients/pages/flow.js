// Asks for each chunk whether it is there already, then posts it; a plain S3 target knows of no chunks.
function prepare({ url, fields, plain, chunk, together, retry }) {
  const uploader = new Flow({
    target: url, query: fields, fileParameterName: "file", testChunks: !plain, ...(chunk && { chunkSize: chunk, forceChunkSize: true }),
    simultaneousUploads: together ?? 1, maxChunkRetries: retry ? 3 : 0, chunkRetryInterval: 100,
  });
  uploader.assignBrowse(element());
  uploader.on("filesSubmitted", () => uploader.upload());
  uploader.on("fileProgress", (file) => progress(file.progress() * file.size, file.size));
  uploader.on("fileSuccess", (file, message, one) => answered(one.xhr));
  uploader.on("fileError", (file, message, one) => refused(one.xhr));
  uploader.on("complete", end);
}
