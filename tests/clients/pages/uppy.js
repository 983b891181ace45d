// Bundled, as its users do: an Uppy with one of its two uploaders for forms.
import Uppy from "@uppy/core";
import AwsS3 from "@uppy/aws-s3";
import XHRUpload from "@uppy/xhr-upload";

/** A plain S3 target answers no JSON, but says where the file is; and it wants no field that its form does not cover. */
const forPlain = (fields) => ({ getResponseData: (xhr) => ({ url: xhr.getResponseHeader("Location") }), allowedMetaFields: Object.keys(fields) });

/** What is refused stays refused; by default it would be tried three times more. */
const shouldRetry = (xhr) => xhr.status === 0 || xhr.status >= 500;

window.prepare = ({ url, fields, s3, plain }) => {
  const uppy = new Uppy({ autoProceed: true });
  if (s3) uppy.use(AwsS3, { shouldUseMultipart: false, signRequest: async () => ({ url, fields }) });
  else uppy.use(XHRUpload, { endpoint: url, fieldName: "file", shouldRetry, ...(plain && forPlain(fields)) });
  // Every file has a form of its own, which its page would ask for here.
  uppy.addPreProcessor(async ([id]) => {
    uppy.setFileMeta(id, fields);
    uppy.setFileState(id, { xhrUpload: { endpoint: url } });
  });
  uppy.on("upload-progress", (file, { bytesUploaded, bytesTotal }) => progress(bytesUploaded, bytesTotal));
  uppy.on("upload-success", (file, { status, body, uploadURL }) => told.answers.push({ status, text: JSON.stringify(body), url: uploadURL }));
  // The S3 uploader hands on status and body of a refusal, the other one the request itself.
  uppy.on("upload-error", (file, error, xhr) => {
    if (xhr) refused(xhr);
    else told.errors.push({ status: error.status, text: error.body });
  });
  uppy.on("complete", end);
  input((file) => uppy.addFile({ name: file.name, type: file.type, data: file }));
};
