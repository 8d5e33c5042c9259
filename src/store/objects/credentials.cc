#include "store/objects/credentials.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>

#include "base/wall_clock.h"
#include "codec/hmac.h"

namespace tidelock {
namespace {

constexpr std::size_t kFileBytesMax = 64u << 10;
constexpr std::int64_t kMetadataTimeoutMs = 3'000;
constexpr std::uint64_t kRetryRenewalMs = 10'000;

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t\r\n");
  return begin == text.npos ? std::string_view() : text.substr(begin, text.find_last_not_of(" \t\r\n") - begin + 1);
}

// "2026-01-02T03:04:05Z" as milliseconds; nothing for any other shape.
std::optional<std::uint64_t> wall_ms_of(const std::string& text) {
  std::tm time{};
  const char* rest = ::strptime(text.c_str(), "%Y-%m-%dT%H:%M:%SZ", &time);
  if (rest == nullptr || *rest != '\0') return std::nullopt;
  const time_t seconds = ::timegm(&time);
  if (seconds < 0) return std::nullopt;
  return static_cast<std::uint64_t>(seconds) * 1'000;
}

// Lines NAME = VALUE under an optional [section]; of the sections only [default] counts.
Result<std::map<std::string, std::string>> parse_lines(const std::string& path, std::string_view text) {
  std::map<std::string, std::string> values;
  bool ours = true;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view line = trimmed(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      ours = line == "[default]";
      continue;
    }
    const std::size_t equals = line.find('=');
    if (equals == line.npos)  // the line may be a secret: not shown
      return fail(Code::kInvalid, path + ":" + std::to_string(number) + ": must be NAME = VALUE");
    if (ours) values[std::string(trimmed(line.substr(0, equals)))] = std::string(trimmed(line.substr(equals + 1)));
  }
  return values;
}

}  // namespace

CredentialSource::CredentialSource(const ObjectStoreOptions& options, std::function<std::uint64_t()> wall_ms)
    : engine_(options.engine),
      kind_(options.credentials),
      file_(options.credentials_file),
      metadata_url_(options.metadata_url),
      wall_ms_(std::move(wall_ms)),
      web_(WebOptions{{}, kMetadataTimeoutMs, kMetadataTimeoutMs}) {}

Result<Credentials> CredentialSource::get() {
  const std::lock_guard lock(mutex_);
  if (kind_ == CredentialKind::kFile && have_) {
    struct stat info{};
    const bool same = ::stat(file_.c_str(), &info) == 0 &&
                      info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec == file_changed_ns_;
    if (!same) have_ = false;
  }
  const std::uint64_t now = wall_ms_();
  const bool expires = have_ && now_.expires_wall_ms != 0;
  const bool lives = have_ && (!expires || now < now_.expires_wall_ms);
  const bool due = expires && now + kRenewBeforeMs >= now_.expires_wall_ms && now >= failed_wall_ms_ + kRetryRenewalMs;
  if (lives && !due) return now_;
  auto fresh = read();
  if (fresh) {
    now_ = *fresh;
    have_ = true;
    return fresh;
  }
  failed_wall_ms_ = now;
  if (lives) return now_;  // the old ones hold for some minutes more: renewed in the next attempts
  return fresh;
}

void CredentialSource::refused(const Credentials& credentials) {
  const std::lock_guard lock(mutex_);
  if (have_ && credentials == now_) have_ = false;
}

Result<Credentials> CredentialSource::read() {
  switch (kind_) {
    case CredentialKind::kEnvironment: return from_environment();
    case CredentialKind::kFile: return from_file();
    case CredentialKind::kMetadata: return from_metadata();
  }
  return fail(Code::kInvalid, "credentials: must be environment, file or metadata");
}

Result<Credentials> CredentialSource::checked(Credentials found, const std::string& where) const {
  const auto plain = [](const std::string& text) {  // a line break in a header would be another header
    return std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7F; });
  };
  if (engine_ == ObjectEngine::kS3) {
    if (found.id.empty() || found.secret.empty())
      return fail(Code::kInvalid, where + ": an access key and a secret key are needed");
    if (!plain(found.id) || !plain(found.secret) || !plain(found.session))
      return fail(Code::kInvalid, where + ": a key holds a space or a letter that none can hold");
    return found;
  }
  if (found.sas.starts_with('?')) found.sas.erase(0, 1);
  if (found.id.empty() || (found.secret.empty() && found.sas.empty()))
    return fail(Code::kInvalid, where + ": the account, and its key or a SAS token, are needed");
  if (!plain(found.id) || !plain(found.sas))
    return fail(Code::kInvalid, where + ": account or token hold a space or a letter that none can hold");
  if (!found.sas.empty()) {
    found.secret.clear();
    return found;
  }
  auto key = from_base64(found.secret);
  if (!key || key->empty()) return fail(Code::kInvalid, where + ": the account's key is not Base64");
  found.secret = std::move(*key);
  return found;
}

Result<Credentials> CredentialSource::from_environment() const {
  const auto variable = [](const char* name) {
    const char* value = std::getenv(name);
    return std::string(value == nullptr ? "" : value);
  };
  if (engine_ == ObjectEngine::kS3) {
    return checked(
        {variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY"), variable("AWS_SESSION_TOKEN"), {}, 0},
        "environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)");
  }
  return checked(
      {variable("AZURE_STORAGE_ACCOUNT"), variable("AZURE_STORAGE_KEY"), {}, variable("AZURE_STORAGE_SAS_TOKEN"), 0},
      "environment (AZURE_STORAGE_ACCOUNT, AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN)");
}

Result<Credentials> CredentialSource::from_file() {
  const auto wrong = [&](Code code, const std::string& why) {
    return fail(code, "credentials_file = \"" + file_ + "\": " + why);
  };
  const int fd = ::open(file_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return wrong(Code::kInvalid, std::strerror(errno));
  struct stat info{};
  std::string text(kFileBytesMax + 1, '\0');
  ssize_t got = -1;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) got = ::read(fd, text.data(), text.size());
  ::close(fd);
  if (got < 0) return wrong(Code::kInvalid, "not a file that can be read");
  if ((info.st_mode & 077) != 0 || (info.st_uid != ::geteuid() && info.st_uid != 0)) {
    return wrong(Code::kDenied, "only its owner, who must be the one this process runs as, may read it: chmod 600 it");
  }
  if (static_cast<std::size_t>(got) > kFileBytesMax)
    return wrong(Code::kInvalid, "more than " + std::to_string(kFileBytesMax) + " bytes");
  text.resize(static_cast<std::size_t>(got));
  auto values = parse_lines(file_, text);
  if (!values) return fail(values.error());
  file_changed_ns_ = info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec;
  auto& v = *values;
  if (engine_ == ObjectEngine::kS3) {
    return checked({v["aws_access_key_id"], v["aws_secret_access_key"], v["aws_session_token"], {}, 0},
                   file_ + " (aws_access_key_id, aws_secret_access_key)");
  }
  return checked({v["azure_storage_account"], v["azure_storage_key"], {}, v["azure_storage_sas_token"], 0},
                 file_ + " (azure_storage_account, azure_storage_key or azure_storage_sas_token)");
}

Result<Credentials> CredentialSource::from_metadata() {
  const auto ask = [&](const std::string& method, const std::string& path,
                       std::pair<std::string, std::string> header) -> Result<std::string> {
    WebRequest request;
    request.method = method;
    request.url = metadata_url_ + path;
    request.headers = {std::move(header)};
    request.body_bytes_max = kFileBytesMax;
    request.timeout_ms = kMetadataTimeoutMs;
    auto answer = web_.perform(request);
    if (!answer) return fail(answer.error());
    if (answer->status == 200) return std::move(answer->body);
    return fail(Code::kUnavailable, "metadata service: " + method + " " + path + ": status " +
                                        std::to_string(answer->status) +
                                        (answer->status == 404 ? "; has this machine a role?" : ""));
  };
  const std::string list = "/latest/meta-data/iam/security-credentials/";
  const auto token = ask("PUT", "/latest/api/token", {"X-aws-ec2-metadata-token-ttl-seconds", "21600"});
  if (!token) return fail(token.error());
  const std::pair<std::string, std::string> with_token{"X-aws-ec2-metadata-token", std::string(trimmed(*token))};
  if (with_token.second.find_first_of("\r\n") != std::string::npos)
    return fail(Code::kCorrupt, "metadata service: a token of more than one line");
  const auto roles = ask("GET", list, with_token);
  if (!roles) return fail(roles.error());
  const std::string role(trimmed(roles->substr(0, roles->find('\n'))));
  if (role.empty()) return fail(Code::kUnavailable, "metadata service: this machine has no role");
  const auto text = ask("GET", list + percent_encode(role), with_token);
  if (!text) return fail(text.error());
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  const auto field = [&](const char* name) {
    const auto it = json.is_object() ? json.find(name) : json.end();
    return it != json.end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  if (!json.is_object() || field("Code") != "Success")
    return fail(Code::kUnavailable, "metadata service: no credentials for this machine's role");
  const auto expires = wall_ms_of(field("Expiration"));
  if (!expires) return fail(Code::kCorrupt, "metadata service: Expiration is not a time such as 2026-01-02T03:04:05Z");
  return checked({field("AccessKeyId"), field("SecretAccessKey"), field("Token"), {}, *expires}, "metadata service");
}

}  // namespace tidelock
