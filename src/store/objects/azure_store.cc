// Azure Blob Storage with block blobs. SharedKey signs the request line, the x-ms headers and the query with the
// account's key; a SAS token in the query stands for a signature that somebody else made. Neither covers the body: its
// MD5 goes with it, so that the store refuses what was damaged on the way.
#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>

#include "base/wall_clock.h"
#include "codec/hmac.h"
#include "store/objects/cloud_store.h"
#include "store/objects/xml_answers.h"

namespace tidelock {
namespace {

constexpr const char* kVersion = "2021-12-02";

std::string http_date(std::uint64_t wall_ms) {  // "Thu, 01 Jan 1970 00:00:00 GMT", in whatever locale
  static constexpr std::array<const char*, 7> kDays{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> kMonths{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const time_t seconds = static_cast<time_t>(wall_ms / 1'000);
  std::tm t{};
  ::gmtime_r(&seconds, &t);
  char text[40];
  std::snprintf(text, sizeof text, "%s, %02d %s %04d %02d:%02d:%02d GMT", kDays[static_cast<std::size_t>(t.tm_wday)],
                t.tm_mday, kMonths[static_cast<std::size_t>(t.tm_mon)], t.tm_year + 1900, t.tm_hour, t.tm_min,
                t.tm_sec);
  return text;
}

}  // namespace

class AzureStore : public CloudStore {
 public:
  AzureStore(const ObjectStoreOptions& options, const Clock& clock, WebUrl url)
      : CloudStore({"azure", "x-ms-meta-sha256", "x-ms-range"}, options, clock), url_(std::move(url)) {}

 protected:
  Result<WebAnswer> exchange(const Call& call, const Credentials& credentials, std::int64_t timeout_ms) override {
    WebRequest request;
    request.method = call.method;
    const std::string path = url_.path + (call.key.empty() ? "" : "/" + percent_encode(call.key, true));
    request.url = url_.scheme + "://" + url_.authority + path;
    const char* before = "?";
    for (const auto& [name, value] : call.query)
      request.url += std::exchange(before, "&") + percent_encode(name) + "=" + percent_encode(value);
    request.headers = call.headers;
    request.headers.emplace_back("x-ms-date", http_date(wall_ms_now()));
    request.headers.emplace_back("x-ms-version", kVersion);
    if (call.method == "PUT") {
      request.headers.emplace_back("Content-Type", "application/octet-stream");
      request.headers.emplace_back("Content-MD5", to_base64(md5(call.body)));
    }
    if (!credentials.sas.empty()) {
      request.url += before + credentials.sas;
    } else {
      request.headers.emplace_back(
          "Authorization",
          "SharedKey " + credentials.id + ":" +
              to_base64(hmac_sha256(credentials.secret, string_to_sign(call, request, path, credentials.id))));
    }
    request.body = call.body;
    request.sink = call.sink;
    request.body_bytes_max = kXmlBytesMax;
    request.timeout_ms = timeout_ms;
    return web_.perform(request);
  }

  Error meaning(const WebAnswer& answer) const override {
    std::string word = shown_word(answer.header("x-ms-error-code"));
    if (word.empty()) word = shown_word(xml_text(answer.body, "Error/Code").value_or(""));
    Error error{
        Code::kUnavailable, "status " + std::to_string(answer.status) + (word.empty() ? "" : " " + word), {}, 0};
    const int status = answer.status;
    if (word == "Md5Mismatch") {
      error.code = Code::kCorrupt;
    } else if (word == "ContainerNotFound" || word == "ResourceNotFound") {
      error.code = Code::kInvalid;
      error.message += ": make the container, or correct url";
    } else if (status == 503 || status == 429) {
      error.code = Code::kBusy;
      error.detail_ns = retry_after(answer);
    } else if (status == 401 || status == 403) {
      error.code = Code::kDenied;
      error.message += ": key, token and its rights, or this machine's clock (15 minutes are allowed)";
    } else if (status == 404) {
      error.code = Code::kNotFound;
    } else if (status == 409 || status == 412) {
      error.code = Code::kConflict;
    } else if (status >= 300 && status < 500) {
      error.code = Code::kInvalid;
    }
    return error;
  }

  Result<void> put_whole(const std::string& key, BytesView bytes, const std::string& sha256_hex) override {
    const auto answer =
        ask("put " + key,
            Call{"PUT", key, {}, {{"x-ms-blob-type", "BlockBlob"}, {"x-ms-meta-sha256", sha256_hex}}, bytes, {}});
    if (answer) return {};
    return fail(answer.error());
  }
  // The names of blocks begin with the digest of the whole: two who put the same object help each other, and others
  // do not meet. Blocks that are never joined are dropped by the store after a week.
  Result<std::string> begin_parts(const std::string&, const std::string& sha256_hex) override {
    return sha256_hex.substr(0, 16);
  }
  Result<std::string> put_part(const std::string& key, const std::string& upload, std::size_t number,
                               BytesView bytes) override {
    char digits[8];
    std::snprintf(digits, sizeof digits, "-%05u", static_cast<unsigned>(number % 100'000));
    const std::string id = to_base64(upload + digits);
    const auto answer = ask("put " + key + " part " + std::to_string(number),
                            Call{"PUT", key, {{"blockid", id}, {"comp", "block"}}, {}, bytes, {}});
    if (answer) return id;
    return fail(answer.error());
  }
  Result<void> finish_parts(const std::string& key, const std::string&, const std::vector<std::string>& parts,
                            const std::string& sha256_hex) override {
    std::string xml = "<?xml version=\"1.0\" encoding=\"utf-8\"?><BlockList>";
    for (const std::string& id : parts) xml += "<Latest>" + id + "</Latest>";
    xml += "</BlockList>";
    const auto answer =
        ask("put " + key, Call{"PUT", key, {{"comp", "blocklist"}}, {{"x-ms-meta-sha256", sha256_hex}}, xml, {}});
    if (answer) return {};
    return fail(answer.error());
  }
  void drop_parts(const std::string&, const std::string&) override {}
  Call list_call(const std::string& prefix, const std::string& from, std::size_t limit) const override {
    Call call{"GET", {}, {{"comp", "list"}}, {}, {}, {}};
    if (!from.empty()) call.query.emplace_back("marker", from);
    call.query.emplace_back("maxresults", std::to_string(limit));
    if (!prefix.empty()) call.query.emplace_back("prefix", prefix);
    call.query.emplace_back("restype", "container");
    return call;
  }
  Result<ObjectPage> parse_list(BytesView xml) const override { return parse_azure_list(xml); }

 private:
  // As the service's documentation has it: the verb, eleven standard headers by position, the x-ms headers by name, and
  // the resource with the query's names and values by name.
  static std::string string_to_sign(const Call& call, const WebRequest& request, const std::string& path,
                                    const std::string& account) {
    const auto header = [&](const char* name) {
      for (const auto& [have, value] : request.headers)
        if (have == name) return value;
      return std::string();
    };
    std::string text = call.method + "\n\n\n" + (call.body.empty() ? "" : std::to_string(call.body.size())) + "\n" +
                       header("Content-MD5") + "\n" + header("Content-Type") + "\n\n\n" + header("If-Match") +
                       "\n\n\n\n";
    std::vector<std::pair<std::string, std::string>> own;
    for (const auto& one : request.headers)
      if (one.first.starts_with("x-ms-")) own.push_back(one);
    std::sort(own.begin(), own.end());
    for (const auto& [name, value] : own) text += name + ":" + value + "\n";
    text += "/" + account + path;
    for (const auto& [name, value] : call.query) text += "\n" + name + ":" + value;
    return text;
  }

  const WebUrl url_;
};

Result<std::unique_ptr<ObjectStore>> open_azure_store(const ObjectStoreOptions& options, const Clock& clock) {
  auto url = parse_web_url("url", options.url, options.allow_plain_http);
  if (!url) return fail(url.error());
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '$' || c == '/' || c == '_';
  };
  if (url->path.size() < 2 || !std::all_of(url->path.begin(), url->path.end(), good) ||
      url->path.find("//") != std::string::npos) {
    return fail(Code::kInvalid,
                "url: must end with the container's name, https://ACCOUNT.blob.core.windows.net/CONTAINER");
  }
  if (options.credentials == CredentialKind::kMetadata)
    return fail(Code::kInvalid, "credentials = \"metadata\": is for s3; take environment or file");
  return std::unique_ptr<ObjectStore>(new AzureStore(options, clock, std::move(*url)));
}

}  // namespace tidelock
