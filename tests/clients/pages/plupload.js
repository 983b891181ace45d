function prepare({ url, fields, chunk, retry }) {
  element().innerHTML = '<button id="pick">Pick</button>';
  const uploader = new plupload.Uploader({
    runtimes: "html5", browse_button: "pick", url, multipart_params: fields, file_data_name: "file", chunk_size: chunk ?? 0, max_retries: retry ? 2 : 0,
    init: {
      FilesAdded: () => uploader.start(),
      UploadProgress: (_, file) => progress(file.loaded, file.size),
      FileUploaded: (_, file, { status, response }) => told.answers.push({ status, text: response }),
      Error: (_, { status, response, responseHeaders }) => {
        const explain = /^x-pillarbox-explain: (.*)$/im.exec(responseHeaders)?.[1] ?? null;
        told.errors.push({ status, text: response, explain });
      },
      UploadComplete: end,
    },
  });
  uploader.init();
}
