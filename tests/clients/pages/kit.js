// What every page shares: what the client's handlers were told.
//
// A page has `prepare(options)`, which makes the client and, somewhere, an input for a file; picking one begins the upload.
const told = { progress: [], answers: [], errors: [] };
let end;
const ended = new Promise((resolve) => {
  end = () => resolve(told);
});

/** What was told when the upload has ended; an error when it has not, after so many milliseconds. */
function inTime(ms) {
  const late = new Promise((_, fail) => {
    setTimeout(() => fail(new Error(`the upload did not end within ${ms} ms; the page was told ${JSON.stringify(told)}`)), ms);
  });
  return Promise.race([ended, late]);
}

const progress = (sent, total) => told.progress.push([sent, total]);

/** An answer that the client calls a success. */
const answered = (xhr) => told.answers.push({ status: xhr.status, text: xhr.responseText });

/** A refusal, as far as the page can read it; `explain` is null when it cannot, and not there when the client hands on no headers. */
const refused = (xhr) =>
  told.errors.push({ status: xhr.status, text: xhr.responseText, explain: xhr.getResponseHeader("x-pillarbox-explain") });

/** Makes the page's own input; `take(file)` gets what was picked. */
function input(take) {
  const element = Object.assign(document.createElement("input"), { type: "file" });
  element.addEventListener("change", () => take(element.files[0]));
  document.body.append(element);
}

/** An element for clients that want one. */
function element() {
  return document.body.appendChild(document.createElement("div"));
}
