// Amazon's protocol, signed by libcurl (README.md says what it signs). Every request names the digest of its payload,
// so the server checks what came.
#include <algorithm>

#include "codec/signature.h"
#include "store/objects/cloud_store.h"
#include "store/objects/xml_answers.h"

namespace tidelock {
namespace {

constexpr const char* kEmptySha256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

}  // namespace

class S3Store : public CloudStore {
 public:
  S3Store(const ObjectStoreOptions& options, const Clock& clock, std::string base)
      : CloudStore({"s3", "x-amz-meta-sha256", "Range"}, options, clock),
        base_(std::move(base)),
        region_(options.region) {}

 protected:
  Result<WebAnswer> exchange(const Call& call, const Credentials& credentials, std::int64_t timeout_ms) override {
    const WebSignature signature{region_, credentials.id, credentials.secret};
    WebRequest request;
    request.method = call.method;
    request.url = base_ + (call.key.empty() ? "/" : "/" + percent_encode(call.key, true));
    const char* before = "?";
    for (const auto& [name, value] : call.query) {
      request.url += std::exchange(before, "&") + percent_encode(name) + "=" + percent_encode(value);
    }
    request.headers = call.headers;
    request.headers.emplace_back("x-amz-content-sha256", call.body.empty() ? kEmptySha256 : to_hex(sha256(call.body)));
    if (call.method == "PUT" || call.method == "POST")
      request.headers.emplace_back("Content-Type", "application/octet-stream");
    if (!credentials.session.empty()) request.headers.emplace_back("x-amz-security-token", credentials.session);
    request.body = call.body;
    request.signature = &signature;
    request.sink = call.sink;
    request.body_bytes_max = kXmlBytesMax;
    request.timeout_ms = timeout_ms;
    return web_.perform(request);
  }

  Error meaning(const WebAnswer& answer) const override {
    const auto code = xml_text(answer.body, "Error/Code");
    const std::string word = shown_word(code.value_or(""));
    Error error{
        Code::kUnavailable, "status " + std::to_string(answer.status) + (word.empty() ? "" : " " + word), {}, 0};
    const int status = answer.status;
    if (word == "RequestTimeTooSkewed") {
      error.code = Code::kDenied;
      error.message += ": this machine's clock and the store's differ by more than 15 minutes; set this one";
    } else if (word == "ExpiredToken" || word == "InvalidToken" || word == "TokenRefreshRequired") {
      error.code = Code::kDenied;
    } else if (word == "XAmzContentSHA256Mismatch" || word == "BadDigest") {
      error.code = Code::kCorrupt;
    } else if (word == "NoSuchBucket") {
      error.code = Code::kInvalid;
      error.message += ": make the bucket, or correct url";
    } else if (word == "RequestTimeout") {  // 400: the body came too slowly
      error.code = Code::kUnavailable;
    } else if (status == 503 || status == 429 || word == "SlowDown") {
      error.code = Code::kBusy;
      error.detail_ns = retry_after(answer);
    } else if (status == 401 || status == 403) {
      error.code = Code::kDenied;
    } else if (status == 404) {
      error.code = Code::kNotFound;
    } else if (status == 409 || status == 412) {
      error.code = Code::kConflict;
    } else if (status >= 300 && status < 400) {
      error.code = Code::kInvalid;
      error.message += ": the bucket is served from elsewhere; correct url and region";
    } else if (status >= 400 && status < 500) {
      error.code = Code::kInvalid;
    }
    return error;
  }

  Result<void> put_whole(const std::string& key, BytesView bytes, const std::string& sha256_hex) override {
    return ended(ask("put " + key, Call{"PUT", key, {}, {{"x-amz-meta-sha256", sha256_hex}}, bytes, {}}));
  }
  Result<std::string> begin_parts(const std::string& key, const std::string& sha256_hex) override {
    const auto answer =
        ask("put " + key, Call{"POST", key, {{"uploads", ""}}, {{"x-amz-meta-sha256", sha256_hex}}, {}, {}});
    if (!answer) return fail(answer.error());
    auto upload = xml_text(answer->body, "InitiateMultipartUploadResult/UploadId");
    if (upload && !upload->empty()) return upload;
    return fail(Code::kCorrupt, "s3 put " + key + ": the answer names no upload");
  }
  Result<std::string> put_part(const std::string& key, const std::string& upload, std::size_t number,
                               BytesView bytes) override {
    const auto answer =
        ask("put " + key + " part " + std::to_string(number),
            Call{"PUT", key, {{"partNumber", std::to_string(number)}, {"uploadId", upload}}, {}, bytes, {}});
    if (!answer) return fail(answer.error());
    const std::string etag = answer->header("etag");
    const bool plain =
        std::all_of(etag.begin(), etag.end(), [](char c) { return c > ' ' && c < 0x7F && c != '<' && c != '&'; });
    if (!etag.empty() && plain) return etag;
    return fail(Code::kCorrupt, "s3 put " + key + ": part " + std::to_string(number) + " got no ETag");
  }
  Result<void> finish_parts(const std::string& key, const std::string& upload, const std::vector<std::string>& parts,
                            const std::string& sha256_hex) override {
    std::string xml = "<CompleteMultipartUpload>";
    for (std::size_t i = 0; i < parts.size(); ++i)
      xml += "<Part><PartNumber>" + std::to_string(i + 1) + "</PartNumber><ETag>" + parts[i] + "</ETag></Part>";
    xml += "</CompleteMultipartUpload>";
    const auto answer = ask("put " + key, Call{"POST", key, {{"uploadId", upload}}, {}, xml, {}});
    if (answer) {  // its 200 is sent before the parts are joined: the body says how that ended
      const auto made = xml_text(answer->body, "CompleteMultipartUploadResult/ETag");
      if (made && !made->empty()) return {};
    } else if (answer.error().code != Code::kNotFound) {
      return fail(answer.error());
    }
    // The upload is gone when an answer was lost on its way and the request repeated: then the object is there.
    const auto info = head_of(key);
    if (info && to_hex(info->sha256) == sha256_hex) return {};
    return answer ? Result<void>(fail(Code::kUnavailable, "s3 put " + key + ": the store could not join the parts"))
                  : Result<void>(fail(answer.error()));
  }
  void drop_parts(const std::string& key, const std::string& upload) override {
    (void)ask("drop parts of " + key, Call{"DELETE", key, {{"uploadId", upload}}, {}, {}, {}});
  }
  Call list_call(const std::string& prefix, const std::string& from, std::size_t limit) const override {
    Call call{"GET", {}, {}, {}, {}, {}};
    if (!from.empty()) call.query.emplace_back("continuation-token", from);
    call.query.insert(
        call.query.end(),
        {{"encoding-type", "url"}, {"list-type", "2"}, {"max-keys", std::to_string(limit)}, {"prefix", prefix}});
    return call;
  }
  Result<ObjectPage> parse_list(BytesView xml) const override { return parse_s3_list(xml); }

 private:
  static Result<void> ended(const Result<WebAnswer>& answer) {
    if (answer) return {};
    return fail(answer.error());
  }
  const std::string base_;  // scheme, host and bucket
  const std::string region_;
};

Result<std::unique_ptr<ObjectStore>> open_s3_store(const ObjectStoreOptions& options, const Clock& clock) {
  const auto url = parse_web_url("url", options.url, options.allow_plain_http);
  if (!url) return fail(url.error());
  const std::string bucket = url->path.empty() ? "" : url->path.substr(1);
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           (c >= 'A' && c <= 'Z');
  };
  if (bucket.size() < 3 || bucket.size() > 63 || !std::all_of(bucket.begin(), bucket.end(), good) ||
      bucket.find("..") != std::string::npos) {
    return fail(Code::kInvalid, "url: must end with the bucket's name, https://HOST/BUCKET");
  }
  if (options.region.empty() || options.region.size() > 64 ||
      !std::all_of(options.region.begin(), options.region.end(), good))
    return fail(Code::kInvalid,
                "region = \"" + options.region.substr(0, 64) + "\": must be a name such as eu-central-1");
  const std::string base =
      url->scheme + "://" + (options.path_style ? url->authority + "/" + bucket : bucket + "." + url->authority);
  return std::unique_ptr<ObjectStore>(new S3Store(options, clock, base));
}

}  // namespace tidelock
