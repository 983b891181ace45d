# Signs forms with Ruby's aws-sdk-s3 (what Shrine's presign calls) and posts them with Net::HTTP.
#
# Reads one job a line from standard input, as JSON, and answers each with one line: what the server answered, or the client's error.
# suites/signers.mjs starts it and says what a job holds.

require "aws-sdk-s3"
require "json"
require "net/http"

$stdout.sync = true

# What the SDK calls the fields that it has a word for.
WORDS = {
  "acl" => :acl, "Content-Type" => :content_type, "success_action_status" => :success_action_status,
  "success_action_redirect" => :success_action_redirect
}.freeze

def form(job)
  s3 = Aws::S3::Resource.new(
    endpoint: job["endpoint"], force_path_style: !job["virtual"], region: "us-east-1",
    access_key_id: job["access_key"], secret_access_key: job["secret"]
  )
  options = { key: job["key"], signature_expiration: Time.now + job["seconds"] }
  options[:content_length_range] = Range.new(*job["range"]) if job["range"]
  metadata, fields = job["fields"].partition { |name, _| name.start_with?("x-amz-meta-") }
  options[:metadata] = metadata.to_h { |name, value| [name.delete_prefix("x-amz-meta-"), value] } if metadata.any?
  fields.each { |name, value| options[WORDS.fetch(name)] = value }
  signed = s3.bucket(job["bucket"]).presigned_post(options)
  [URI(signed.url), signed.fields.merge(job["altered"])]
end

def play(job)
  url, fields = form(job)
  return { url: url, fields: fields } if job["virtual"]

  File.open(job["file"], "rb") do |file|
    request = Net::HTTP::Post.new(url)
    request.set_form([*fields, ["file", file, { filename: job["filename"], content_type: "video/mp4" }]], "multipart/form-data")
    answer = Net::HTTP.start(url.host, url.port, read_timeout: 60) { |http| http.request(request) }
    { status: answer.code.to_i, headers: answer.each_header.to_h, text: answer.body.to_s.dup.force_encoding("UTF-8") }
  end
end

$stdin.each_line do |line|
  told = begin
    play(JSON.parse(line))
  rescue StandardError => e # The suite shows it beside the case that it failed.
    { error: "#{e.class}: #{e.message}" }
  end
  puts JSON.generate(told)
end
