// A plain HTML form with a button: the browser leaves the page and shows what it gets.
function prepare({ url, fields }) {
  const form = Object.assign(document.createElement("form"), { method: "post", enctype: "multipart/form-data", action: url });
  for (const [name, value] of Object.entries(fields)) form.append(Object.assign(document.createElement("input"), { type: "hidden", name, value }));
  form.append(Object.assign(document.createElement("input"), { type: "file", name: "file" }));
  form.append(Object.assign(document.createElement("input"), { type: "submit", name: "submit", value: "Upload to Amazon S3" }));
  document.body.append(form);
}
