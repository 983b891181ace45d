// The form's fields go in before the file by the event that is meant for it, which keeps Dropzone's own fields in both versions.
function prepare({ url, fields, chunk, together, retry }) {
  const chunked = chunk && { chunking: true, forceChunking: true, chunkSize: chunk, parallelChunkUploads: together > 1, parallelUploads: together ?? 2, retryChunks: Boolean(retry), retryChunksLimit: 3 };
  const uploader = new Dropzone(element(), { url, paramName: "file", ...chunked });
  uploader.on("sending", (file, xhr, form) => {
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
  });
  uploader.on("uploadprogress", (file, percent, sent) => progress(sent, file.size));
  uploader.on("success", (file) => answered(file.xhr));
  uploader.on("error", (file, message, xhr) => (xhr ? refused(xhr) : told.errors.push({ status: 0, text: String(message) })));
  uploader.on("complete", end);
}
if (typeof Dropzone !== "undefined") Dropzone.autoDiscover = false;
