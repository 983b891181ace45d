// The form's fields go in before the file by the hook that is meant for it. It leaves out FilePond's own data about the file, which come
// first and under the name of the file: an S3 target would take them for it.
function prepare({ url, fields }) {
  const ondata = (data) => {
    const form = new FormData();
    for (const [name, value] of Object.entries(fields)) form.append(name, value);
    form.append("file", data.getAll("filepond").pop());
    return form;
  };
  FilePond.create(element(), {
    allowMinimumUploadDuration: false,
    server: { process: { url, method: "POST", ondata, onerror: (text) => text } },
    onprocessfileprogress: (file, part) => progress(part * file.fileSize, file.fileSize),
    onprocessfile: (error, file) => {
      if (error) told.errors.push({ status: error.code, text: error.body });
      else told.answers.push({ status: "taken", text: String(file.serverId) });
      end();
    },
  });
}
