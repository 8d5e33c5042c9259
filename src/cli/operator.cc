#include "cli/operator.h"

#include <sys/random.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>
#include <thread>

#include "base/elapsed_clock.h"
#include "codec/archive.h"
#include "hub/restore.h"

namespace tidelock {
namespace {
constexpr int kTryMs = 3'000;  // one hub's time before the next is asked
constexpr std::size_t kChunkBytes = 1u << 20;
}  // namespace

Operator::~Operator() = default;

Result<std::unique_ptr<Operator>> Operator::connect(const OperatorConfig& config, int timeout_ms) {
  std::unique_ptr<Operator> result(new Operator());
  result->timeout_ms_ = timeout_ms;
  if (getrandom(&result->boot_, sizeof result->boot_, 0) != static_cast<ssize_t>(sizeof result->boot_)) {
    return fail(Code::kUnavailable, "the system gave no random number");
  }
  result->tls_ = config.tls;
  for (const auto& [id, address] : config.hubs) {
    if (auto added = result->add_hub(id, address); !added) return fail(added.error());
  }
  return result;
}

Result<void> Operator::add_hub(const NodeId& id, const std::string& address) {
  NodeClientOptions options;
  options.address = address;
  options.tls = tls_;
  options.expected_hub = id;
  options.connect_timeout_ms = 1'000;
  auto client = NodeClient::make(options);
  if (!client) return fail(client.error());
  hubs_.push_back({id, std::move(*client)});
  return {};
}

void Operator::learn() {
  for (Hub& hub : hubs_) {
    const auto raw = hub.client->call(encode(NodeCall{HubsCall{}}), 1'000);
    const auto answer = raw ? decode<AdminAnswer>(*raw, "answer") : Result<AdminAnswer>(fail(raw.error()));
    const auto view = answer && answer->value ? decode<HubsView>(*answer->value, "hubs")
                                              : Result<HubsView>(fail(Code::kUnavailable, "no answer"));
    if (!view || view->hubs.empty()) continue;
    for (const HubsView::Hub& one : view->hubs) {
      const bool known = std::any_of(hubs_.begin(), hubs_.end(), [&](const Hub& h) { return h.id == one.id; });
      if (!known) static_cast<void>(add_hub(one.id, one.address));  // one that cannot be used is one that is not there
    }
    return;
  }
}

std::vector<NodeId> Operator::hubs() const {
  std::vector<NodeId> ids;
  for (const Hub& hub : hubs_) ids.push_back(hub.id);
  return ids;
}

Result<AdminAnswer> Operator::ask_one(const NodeId& id, decltype(AdminRequest::body) request, int timeout_ms) {
  return call_one(id, encode(NodeCall{AdminRequest{CommandId{boot_, ++sequence_}, std::move(request)}}), timeout_ms);
}

Result<AdminAnswer> Operator::ask_one_hub(const NodeId& id, int timeout_ms) {
  return call_one(id, encode(NodeCall{HubsCall{}}), timeout_ms);
}

Result<AdminAnswer> Operator::ask_store(const NodeId& id, const StoreCall& call, int timeout_ms) {
  return call_one(id, encode(NodeCall{call}), timeout_ms);
}

SiteView Operator::ask_sites(const NodeId& active, int timeout_ms) {
  const auto answer = call_one(active, encode(NodeCall{SiteCall{}}), timeout_ms);
  if (!answer || answer->code != Code::kOk || !answer->value) return {};
  return decode<SiteView>(*answer->value, "sites").value_or(SiteView{});
}

Result<AdminAnswer> Operator::call_one(const NodeId& id, const Bytes& call, int timeout_ms) {
  for (Hub& hub : hubs_) {
    if (hub.id != id) continue;
    const auto raw = hub.client->call(call, timeout_ms);
    if (!raw) return fail(raw.error());
    return decode<AdminAnswer>(*raw, "answer");
  }
  return fail(Code::kNotFound, "no hub '" + id + "' in the configuration");
}

Result<AdminAnswer> Operator::ask(decltype(AdminRequest::body) request) {
  AdminRequest full{CommandId{boot_, ++sequence_}, std::move(request)};
  return ask_active(
      [&](bool fresh_id) {
        if (fresh_id) full.id = CommandId{boot_, ++sequence_};
        return encode(NodeCall{full});
      },
      kTryMs, true);
}

Result<AdminAnswer> Operator::ask_patiently(const decltype(AdminRequest::body)& request, int patience_ms,
                                            const std::function<void(const std::string&)>& busy) {
  const ElapsedClock clock;
  const Nanos until = clock.now() + patience_ms * kMillisecond;
  for (;;) {
    auto answer = ask(request);
    if (!answer || answer->code != Code::kBusy || clock.now() >= until) return answer;
    busy(answer->message);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  }
}

Result<AdminAnswer> Operator::ask_hubs(const HubsCall& call) {
  // Adding lasts until the new hub has caught up. A word of the leader is final: it says what to do.
  return ask_active([&](bool) { return encode(NodeCall{call}); },
                    call.what == HubsCall::What::kAdd ? timeout_ms_ : kTryMs, false);
}

Result<AdminAnswer> Operator::ask_active(const std::function<Bytes(bool fresh_id)>& make_call, int try_ms,
                                         bool repeat_unknown) {
  Bytes call = make_call(false);
  const ElapsedClock clock;
  const Nanos deadline = clock.now() + timeout_ms_ * kMillisecond;
  Error last{Code::kUnavailable, "no hub answered", {}, 0};
  bool may_have_left = false;
  int pause_ms = 10;
  for (std::size_t turn = 0;; ++turn) {
    const std::int64_t left = (deadline - clock.now()) / kMillisecond;
    if (left <= 0) break;
    Hub& hub = hubs_[(first_ + turn) % hubs_.size()];
    const auto raw = hub.client->call(call, static_cast<int>(std::min<std::int64_t>(left, try_ms)));
    if (raw) {
      auto answer = decode<AdminAnswer>(*raw, "answer");
      if (!answer) return answer;
      const bool again =
          answer->code == Code::kNotActive ||
          (repeat_unknown && (answer->code == Code::kMaybeApplied || answer->code == Code::kUnavailable));
      may_have_left = may_have_left || answer->code == Code::kMaybeApplied;
      if (!again) {
        first_ = (first_ + turn) % hubs_.size();
        return answer;
      }
      last = Error{answer->code, answer->message, answer->hint, 0};
      if (answer->code == Code::kUnavailable) {  // an active hub's word: under this id nothing happened, nor ever will
        may_have_left = false;
        call = make_call(true);
      }
      // Straight to the hub that was named.
      const auto named = [&] {
        return std::find_if(hubs_.begin(), hubs_.end(), [&](const Hub& one) { return one.id == answer->hint; });
      };
      const NodeId asked = hub.id;
      if (!answer->hint.empty() && named() == hubs_.end()) learn();  // `hub` is no longer valid
      const auto hinted = named();
      if (hinted != hubs_.end() && hinted->id != asked) {
        first_ = static_cast<std::size_t>(hinted - hubs_.begin()) + hubs_.size() - (turn + 1) % hubs_.size();
      }
    } else {
      may_have_left = may_have_left || raw.error().code == Code::kMaybeApplied;
      last = raw.error();
      if (last.code == Code::kDenied || last.code == Code::kInvalid) return fail(last);
      // A hub of a build that does not know the question; the active one may.
      if (last.code == Code::kCorrupt && turn + 1 >= hubs_.size()) return fail(last);
    }
    if ((turn + 1) % hubs_.size() == 0) {  // every hub was asked once: an election may be on
      std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms));
      pause_ms = std::min(pause_ms * 2, 100);
    }
  }
  if (may_have_left) last.code = Code::kMaybeApplied;
  last.message =
      "no hub gave an answer within " + std::to_string(timeout_ms_) + " ms; the last word was: " + last.message;
  return fail(last);
}

Result<NodeId> Operator::backup(const std::string& path) {
  learn();
  std::vector<std::size_t> order;
  for (std::size_t i = 0; i < hubs_.size(); ++i) {
    const auto view = call_one(hubs_[i].id, encode(NodeCall{HubsCall{}}), kTryMs);
    order.insert(view && view->active ? order.begin() : order.end(), i);
  }
  Error last{Code::kUnavailable, "no hub answered", {}, 0};
  for (const std::size_t i : order) {
    std::ofstream out(path, std::ios::binary | std::ios::trunc);
    if (!out) return fail(Code::kInvalid, path + ": cannot be written");
    const auto done = hubs_[i].client->download(
        kBackupRequest,
        [&](Bytes chunk) -> Result<void> {
          if (!(out << chunk)) return fail(Code::kBusy, path + ": cannot be written; free some space");
          return {};
        },
        60'000);
    if (done && out.flush()) return hubs_[i].id;
    last = done ? Error{Code::kBusy, path + ": cannot be written; free some space", {}, 0} : done.error();
  }
  return fail(last);
}

Result<void> Operator::upload(const std::string& path, const Bytes& sha256, std::uint64_t size_bytes,
                              const std::function<void(const NodeId&, std::uint64_t)>& progress) {
  std::size_t complete = 0;
  std::string why;
  for (Hub& hub : hubs_) {
    const auto raw = hub.client->call(encode(NodeCall{HasBlobs{{sha256}}}), kTryMs);
    if (raw) {
      const auto answer = decode<AdminAnswer>(*raw, "answer");
      const auto absent = answer && answer->value ? decode<std::vector<Bytes>>(*answer->value, "missing blobs")
                                                  : Result<std::vector<Bytes>>(fail(Code::kCorrupt, "no list"));
      if (absent && absent->empty()) {  // here already
        ++complete;
        progress(hub.id, size_bytes);
        continue;
      }
    }
    std::ifstream in(path, std::ios::binary);
    if (!in) return fail(Code::kInvalid, path + ": cannot be read");
    std::uint64_t sent = 0;
    const auto done = hub.client->upload(
        encode(BlobUpload{sha256, size_bytes}),
        [&]() -> Result<std::optional<Bytes>> {
          Bytes chunk(kChunkBytes, '\0');
          in.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
          chunk.resize(static_cast<std::size_t>(in.gcount()));
          if (chunk.empty()) return std::optional<Bytes>{};
          sent += chunk.size();
          progress(hub.id, sent);
          return std::optional<Bytes>(std::move(chunk));
        },
        10'000);
    if (done)
      ++complete;
    else
      why += " " + hub.id + ": " + done.error().message + ";";
  }
  if (complete >= hubs_.size() / 2 + 1) return {};
  return fail(Code::kUnavailable, path + " reached " + std::to_string(complete) + " of " +
                                      std::to_string(hubs_.size()) + " hubs, a majority is needed;" + why);
}

Result<void> Operator::download(const Bytes& sha256, std::uint64_t size_bytes,
                                const std::function<Result<void>(BytesView piece)>& sink) {
  std::uint64_t taken = 0;
  std::optional<Error> refused;  // by the sink
  std::string why;
  for (Hub& hub : hubs_) {
    if (taken == size_bytes) return {};
    const auto got = hub.client->download(
        encode(BlobDownload{sha256, taken}),
        [&](const Bytes& chunk) -> Result<void> {
          if (chunk.size() > size_bytes - taken) return fail(Code::kCorrupt, "more bytes than the manifest says");
          if (const auto ok = sink(chunk); !ok) {
            refused = ok.error();
            return ok;
          }
          taken += chunk.size();
          return {};
        },
        10'000);
    if (refused) return fail(*refused);
    if (!got) why += " " + hub.id + ": " + got.error().message + ";";
  }
  if (taken == size_bytes) return {};
  return fail(Code::kUnavailable, "blob " + to_hex(sha256) + ": " + std::to_string(taken) + " of " +
                                      std::to_string(size_bytes) + " bytes came;" + why);
}

}  // namespace tidelock
