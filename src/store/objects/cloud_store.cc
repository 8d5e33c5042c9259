// A call is one loop around one exchange. What an attempt brought is kept by the caller's own closure (a get's offset,
// a put's part), so that the loop knows nothing of it but whether there was progress.
#include "store/objects/cloud_store.h"

#include <algorithm>
#include <charconv>
#include <chrono>

#include "base/time.h"
#include "base/wall_clock.h"
#include "codec/signature.h"

namespace tidelock {
namespace {

Bytes from_hex_or_empty(const std::string& hex) {
  Bytes out;
  if (hex.size() != 2 * kSha256Bytes) return out;
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned byte = 0;
    const char* end = hex.data() + i + 2;
    if (std::from_chars(hex.data() + i, end, byte, 16).ptr != end) return {};
    out += static_cast<char>(byte);
  }
  return out;
}

bool may_repeat(Code code) { return code == Code::kUnavailable || code == Code::kBusy; }

Error behind(const std::string& what, Error error) {
  error.message = what + ": " + error.message;
  return error;
}

std::optional<std::uint64_t> number_in(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (problem != std::errc() || end == text.data()) return std::nullopt;
  return value;
}

}  // namespace

Nanos retry_after(const WebAnswer& answer) {
  const auto seconds = number_in(answer.header("retry-after"));
  return seconds ? static_cast<Nanos>(std::min<std::uint64_t>(*seconds, 60)) * kSecond : 0;
}

std::string shown_word(std::string_view word) {
  std::string out;
  for (const char c : word.substr(0, 64)) {
    if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')) out += c;
  }
  return out;
}

Result<Bytes> read_exactly(const ObjectSource& source, std::uint64_t offset, std::size_t size) {
  Bytes out;
  while (out.size() < size) {
    auto piece = source(offset + out.size(), size - out.size());
    if (!piece) return fail(piece.error());
    if (piece->empty() || piece->size() > size - out.size()) {
      return fail(Code::kCorrupt, "the source gave " + std::to_string(offset + out.size() + piece->size()) +
                                      " bytes, other than declared");
    }
    if (out.empty() && piece->size() == size) return piece;
    out += *piece;
  }
  return out;
}

CloudStore::CloudStore(const Dialect& dialect, const ObjectStoreOptions& options, const Clock& clock)
    : web_(WebOptions{options.ca_file, options.connect_timeout_ms, options.idle_timeout_ms}),
      name_(dialect.name),
      url_(options.url),
      sha256_header_(dialect.sha256_header),
      range_header_(dialect.range_header),
      deadline_ms_(options.deadline_ms),
      backoff_min_ms_(options.backoff_min_ms),
      backoff_max_ms_(options.backoff_max_ms),
      attempts_max_(options.attempts_max),
      pause_(options.pause),
      clock_(clock),
      credentials_(options, [] { return wall_ms_now(); }),
      rng_(options.seed) {}

void CloudStore::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  stopped_.notify_all();
  web_.stop();
  credentials_.stop();
}

bool CloudStore::pause(Nanos wait) {
  if (pause_) return pause_(wait);
  std::unique_lock lock(mutex_);
  return !stopped_.wait_for(lock, std::chrono::nanoseconds(wait), [this] { return stopping_; });
}

Result<WebAnswer> CloudStore::once(const Call& call, const Credentials& credentials, std::int64_t left_ms) {
  auto answer = exchange(call, credentials, left_ms);
  if (!answer || (answer->status >= 200 && answer->status < 300)) return answer;
  return fail(meaning(*answer));
}

Result<WebAnswer> CloudStore::retried(
    const std::string& what, const std::function<Result<WebAnswer>(const Credentials&, std::int64_t left_ms)>& attempt,
    const std::function<bool()>& progressed) {
  const Nanos until = saturating_add(clock_.now(), deadline_ms_ * kMillisecond);
  bool renewed = false;
  for (int failures = 0;;) {
    const auto credentials = credentials_.get();
    const std::int64_t left_ms = (until - clock_.now()) / kMillisecond;
    auto answer = credentials ? attempt(*credentials, left_ms) : Result<WebAnswer>(fail(credentials.error()));
    if (answer) return answer;
    Error error = answer.error();
    if (error.code == Code::kDenied && credentials && !renewed) {  // they may have been replaced meanwhile
      renewed = true;
      credentials_.refused(*credentials);
      const auto fresh = credentials_.get();
      if (fresh && !(*fresh == *credentials)) continue;
    }
    if (!may_repeat(error.code)) return fail(behind(what, std::move(error)));
    failures = progressed() ? 1 : failures + 1;
    if (failures >= attempts_max_) {
      error.message += " (" + std::to_string(failures) + " attempts)";
      return fail(behind(what, std::move(error)));
    }
    // Twice as long each time, from half of it to all of it by chance; longer when the store says so.
    const std::int64_t step = std::min(backoff_max_ms_, backoff_min_ms_ << std::min(failures - 1, 20));
    Nanos wait = 0;
    {
      const std::lock_guard lock(mutex_);
      wait = (step / 2 + static_cast<std::int64_t>(rng_.below(static_cast<std::uint64_t>(step - step / 2 + 1)))) *
             kMillisecond;
    }
    wait = std::max(wait, error.code == Code::kBusy ? error.detail_ns : 0);
    if (clock_.now() + wait >= until) {
      error.message += " (no time is left of " + std::to_string(deadline_ms_) + " ms)";
      return fail(behind(what, std::move(error)));
    }
    if (!pause(wait)) return fail(Code::kBusy, what + ": stopped");
  }
}

Result<WebAnswer> CloudStore::ask(const std::string& what, const Call& call) {
  return retried(
      name_ + " " + what,
      [&](const Credentials& credentials, std::int64_t left_ms) { return once(call, credentials, left_ms); },
      [] { return false; });
}

Result<void> CloudStore::put(const std::string& key, std::uint64_t size_bytes, BytesView sha256,
                             const ObjectSource& source) {
  if (const auto ok = validate_object_key(key); !ok) return ok;
  if (size_bytes > kObjectBytesMax || sha256.size() != kSha256Bytes) {
    return fail(Code::kInvalid, name_ + " put " + key + ": " + std::to_string(size_bytes) + " bytes with a digest of " +
                                    std::to_string(sha256.size()) + "; at most " + std::to_string(kObjectBytesMax) +
                                    " and 32");
  }
  const std::string hex = to_hex(sha256);
  const auto differs = [&] {
    return fail(Code::kCorrupt, name_ + " put " + key + ": the bytes do not hash to " + hex + "; nothing was put");
  };
  if (size_bytes <= kPartBytes) {
    const auto bytes = read_exactly(source, 0, static_cast<std::size_t>(size_bytes));
    if (!bytes) return fail(behind(name_ + " put " + key, bytes.error()));
    if (tidelock::sha256(*bytes) != sha256) return differs();
    return put_whole(key, *bytes, hex);
  }
  const auto upload = begin_parts(key, hex);
  if (!upload) return fail(upload.error());
  const auto parts_of = [&]() -> Result<std::vector<std::string>> {
    Sha256 hasher;
    std::vector<std::string> parts;
    for (std::uint64_t at = 0; at < size_bytes;) {
      const auto bytes =
          read_exactly(source, at, static_cast<std::size_t>(std::min<std::uint64_t>(kPartBytes, size_bytes - at)));
      if (!bytes) return fail(behind(name_ + " put " + key, bytes.error()));
      hasher.update(*bytes);
      auto part = put_part(key, *upload, parts.size() + 1, *bytes);
      if (!part) return fail(part.error());
      parts.push_back(std::move(*part));
      at += bytes->size();
    }
    if (hasher.finish() != sha256) return differs();
    return parts;
  };
  const auto parts = parts_of();
  auto done = parts ? finish_parts(key, *upload, *parts, hex) : Result<void>(fail(parts.error()));
  if (!done) drop_parts(key, *upload);
  return done;
}

Result<void> CloudStore::get(const std::string& key, std::uint64_t offset, std::optional<std::uint64_t> bytes_max,
                             const ObjectSink& sink) {
  if (const auto ok = validate_object_key(key); !ok) return ok;
  const std::string what = name_ + " get " + key;
  if (offset > kObjectBytesMax)
    return fail(Code::kInvalid, what + ": offset " + std::to_string(offset) + " is beyond any object");
  if (bytes_max && *bytes_max == 0) return {};
  std::uint64_t at = offset;
  std::uint64_t at_last_failure = offset;
  const std::uint64_t end = bytes_max ? offset + std::min(*bytes_max, kObjectBytesMax) : kObjectBytesMax;
  std::string etag;
  std::optional<Error> refused;  // by the sink: its error is the answer, and nothing is repeated
  bool beyond = false;           // asked from behind the last byte
  const auto attempt = [&](const Credentials& credentials, std::int64_t left_ms) -> Result<WebAnswer> {
    const bool part = at > 0 || bytes_max.has_value();
    if (bytes_max && at >= end) return WebAnswer{};
    Call call{"GET", key, {}, {}, {}, {}};
    if (part) {
      call.headers.emplace_back(
          range_header_, "bytes=" + std::to_string(at) + "-" + (bytes_max ? std::to_string(end - 1) : std::string()));
    }
    if (!etag.empty()) call.headers.emplace_back("If-Match", etag);
    bool checked = false;
    call.sink = [&](const WebAnswer& head, BytesView piece) -> Result<void> {
      if (!checked) {
        checked = true;
        const std::string range = head.header("content-range");
        const auto begin = range.starts_with("bytes ") ? number_in(std::string_view(range).substr(6)) : std::nullopt;
        if (part && (head.status != 206 || begin != at))
          return fail(Code::kCorrupt, "asked from byte " + std::to_string(at) + ", and got other bytes");
        if (etag.empty()) etag = head.header("etag");
      }
      if (piece.size() > end - at) return fail(Code::kCorrupt, "more bytes than asked for");
      if (const auto taken = sink(piece); !taken) {
        refused = taken.error();
        return fail(*refused);
      }
      at += piece.size();
      return {};
    };
    auto answer = exchange(call, credentials, left_ms);
    if (refused) return fail(Code::kInvalid, refused->message);
    if (!answer || (answer->status >= 200 && answer->status < 300)) return answer;
    beyond = answer->status == 416;
    return fail(beyond ? Error{Code::kInvalid, "no bytes from " + std::to_string(at) + " on", {}, 0}
                       : meaning(*answer));
  };
  const auto done = retried(what, attempt, [&] { return std::exchange(at_last_failure, at) != at; });
  if (done) return {};
  if (refused) return fail(*refused);
  if (beyond) {  // an empty rest is no error
    const auto info = head_of(key);
    if (!info) return fail(info.error());
    if (at == info->size_bytes) return {};
    return fail(Code::kInvalid, what + ": offset " + std::to_string(at) + " lies beyond its " +
                                    std::to_string(info->size_bytes) + " bytes");
  }
  return fail(done.error());
}

Result<ObjectInfo> CloudStore::head_of(const std::string& key) {
  const auto answer = ask("head " + key, Call{"HEAD", key, {}, {}, {}, {}});
  if (!answer) return fail(answer.error());
  const auto size = number_in(answer->header("content-length"));
  if (!size) return fail(Code::kCorrupt, name_ + " head " + key + ": the answer has no length");
  return ObjectInfo{key, *size, from_hex_or_empty(answer->header(sha256_header_))};
}

Result<ObjectInfo> CloudStore::head(const std::string& key) {
  if (const auto ok = validate_object_key(key); !ok) return fail(ok.error());
  return head_of(key);
}

Result<ObjectPage> CloudStore::list(const std::string& prefix, const std::string& from, std::size_t limit) {
  const auto answer = ask("list " + prefix, list_call(prefix, from, std::clamp<std::size_t>(limit, 1, kListMax)));
  if (!answer) return fail(answer.error());
  auto page = parse_list(answer->body);
  if (!page) return fail(behind(name_ + " list " + prefix, page.error()));
  return page;
}

Result<void> CloudStore::remove(const std::string& key) {
  if (const auto ok = validate_object_key(key); !ok) return ok;
  const auto answer = ask("remove " + key, Call{"DELETE", key, {}, {}, {}, {}});
  if (answer || answer.error().code == Code::kNotFound) return {};
  return fail(answer.error());
}

}  // namespace tidelock
