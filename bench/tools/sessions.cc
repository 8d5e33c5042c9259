// Many gateways' sessions in one process, for benches of a real hub: for each edge of a cluster's folder its own
// certificate, its own connection and the core of an edge, which answers blocks as an edge does. No page, no disk, no
// apps, no models: a version that is staged is said to be verified at once.
//
//   bench-sessions CLUSTER_FOLDER FIRST LAST       edge-FIRST to edge-LAST
//
// On stdin: "open" waits until every session is open and prints how many; "reset" forgets and "windows" prints, as one
// JSON object, how long blocks were shown (from the operation that shows one to the one that closes it) and when each
// gateway had the last pointer (CLOCK_MONOTONIC, nanoseconds). It ends with its stdin.
#include <poll.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/elapsed_clock.h"
#include "cli/config.h"
#include "codec/archive.h"
#include "protocol/edge_core.h"
#include "protocol/map_memory_fixture.h"
#include "protocol/rollout.h"
#include "wire/grpc/transport.h"

namespace {

using namespace tidelock;

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench-sessions: %s\n", why.c_str());
  std::exit(1);
}
long long monotonic_now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

class NoStore final : public EdgeStore {
 public:
  std::optional<EdgeEntry> find(std::string_view) const override { return std::nullopt; }
};

class Sessions {
 public:
  Sessions(const std::string& folder, int first, int last) {
    for (int number = first; number <= last; ++number) {
      auto config = read_edge_config(folder + "/edge-" + std::to_string(number) + "/edge.toml");
      if (!config) die(config.error().message);
      auto gateway = std::make_unique<Gateway>();
      gateway->config = std::move(config->edge);
      gateways_.push_back(std::move(gateway));
    }
    for (std::size_t i = 0; i < gateways_.size(); ++i) start(i);
    thread_ = std::thread([this] { run(); });
  }
  ~Sessions() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    thread_.join();
    for (auto& gateway : gateways_) gateway->client.reset();
  }

  std::size_t wait_open(int seconds) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::seconds(seconds), [this] { return open_ == gateways_.size(); });
    return open_;
  }
  void reset() {
    const std::lock_guard lock(mutex_);
    windows_.clear();
    shown_.clear();
  }
  std::string windows() {
    const std::lock_guard lock(mutex_);
    std::string text = "{\"windows_ms\":[";
    for (std::size_t i = 0; i < windows_.size(); ++i) text += (i == 0 ? "" : ",") + std::to_string(windows_[i]);
    text += "],\"shown_ns\":[";
    for (auto it = shown_.begin(); it != shown_.end(); ++it)
      text += (it == shown_.begin() ? "" : ",") + std::to_string(it->second);
    return text + "]}";
  }

 private:
  struct Gateway {
    EdgeConfig config;
    MapMemory memory;
    NoStore store;
    std::unique_ptr<EdgeCore> core;
    std::unique_ptr<SessionClient> client;
    LinkNo link;
    std::size_t next_hub = 0;
    Nanos wake_at = kForever;
    int open_blocks = 0;
    Nanos blocked_since = 0;
  };
  using What = decltype(EdgeEvent::what);

  void start(std::size_t number) {
    Gateway& gateway = *gateways_[number];
    EdgeOptions options;
    options.id = gateway.config.id;
    options.site = gateway.config.site;
    options.boot = Boot{static_cast<std::uint64_t>(monotonic_now_ns()) + number};
    options.writer = hash64(options.id);
    auto outbox = Outbox::restore({}, {}, clock_.now(), 1'000, Rng(number + 1));
    if (!outbox) die(outbox.error().message);
    gateway.core =
        std::make_unique<EdgeCore>(options, gateway.memory, gateway.store, std::move(*outbox), Rng(number + 7));
    queue_.emplace_back(number, EdgeTick{});
  }

  void post(std::size_t number, What what) {
    {
      const std::lock_guard lock(mutex_);
      queue_.emplace_back(number, std::move(what));
    }
    changed_.notify_all();
  }
  void run() {
    for (;;) {
      std::deque<std::pair<std::size_t, What>> taken;
      {
        std::unique_lock lock(mutex_);
        Nanos due = clock_.now() + kSecond;
        for (const auto& gateway : gateways_) due = std::min(due, gateway->wake_at);
        changed_.wait_for(lock, std::chrono::nanoseconds(std::max<Nanos>(0, due - clock_.now())),
                          [this] { return stopping_ || !queue_.empty(); });
        if (stopping_) return;
        taken.swap(queue_);
      }
      for (auto& [number, what] : taken) step(number, std::move(what));
      for (std::size_t i = 0; i < gateways_.size(); ++i) {
        if (clock_.now() >= gateways_[i]->wake_at) step(i, EdgeTick{});
      }
      std::size_t open = 0;
      for (const auto& gateway : gateways_) open += gateway->core->session_open() ? 1 : 0;
      const std::lock_guard lock(mutex_);
      if (std::exchange(open_, open) != open) changed_.notify_all();
    }
  }
  void step(std::size_t number, What what) {
    Gateway& gateway = *gateways_[number];
    EdgeActions actions;
    gateway.core->step(EdgeEvent{clock_.now(), std::move(what)}, actions);
    for (auto& op : actions.ops) std::visit([&](auto& one) { carry_out(number, gateway, one); }, op);
    gateway.wake_at = actions.wake_at;
  }
  template <class Other>
  void carry_out(std::size_t, Gateway&, Other&) {}
  void carry_out(std::size_t, Gateway& gateway, EntryPut& put) { gateway.memory.put(put.key, put.entry); }
  void carry_out(std::size_t, Gateway& gateway, EntryErase& erase) { gateway.memory.erase(erase.key); }
  void carry_out(std::size_t number, Gateway&, OutboxPersist& rows) {
    post(number, EdgeOutboxPersisted{rows.number, AckLevel::kDisk});
  }
  void carry_out(std::size_t number, Gateway& gateway, LinkOpen& open) {
    gateway.client.reset();
    gateway.link = open.link;
    const auto& hubs = gateway.config.hubs;
    auto hub = hubs.find(open.hint.substr(0, open.hint.find('=')));
    if (hub == hubs.end()) hub = std::next(hubs.begin(), static_cast<std::ptrdiff_t>(gateway.next_hub++ % hubs.size()));
    SessionClientOptions options;
    options.address = hub->second;
    options.tls = gateway.config.tls;
    options.expected_hub = hub->first;
    options.connect_timeout_ms = 20'000;  // all of them at once, on a machine that is busy with it
    SessionCallbacks callbacks;
    callbacks.on_open = [this, number, link = open.link](const PeerIdentity&) { post(number, EdgeLinkUp{link}); };
    callbacks.on_frame = [this, number, link = open.link](Bytes bytes) {
      auto frame = decode<HubFrame>(bytes, "hub frame");
      if (!frame) die(frame.error().message);
      post(number, EdgeFrameIn{link, std::move(*frame)});
    };
    callbacks.on_closed = [this, number, link = open.link](const Error& why) {
      post(number, EdgeLinkDown{link, why.message});
    };
    auto client = SessionClient::connect(options, std::move(callbacks));
    if (!client) die(client.error().message);
    gateway.client = std::move(*client);
  }
  void carry_out(std::size_t, Gateway& gateway, LinkClose& close) {
    if (close.link == gateway.link && gateway.client) gateway.client->close();
  }
  void carry_out(std::size_t, Gateway& gateway, LinkSend& send) {
    if (send.link == gateway.link && gateway.client) (void)gateway.client->send(encode(send.frame));
  }
  void carry_out(std::size_t number, Gateway&, StrongChanged& changed) {
    if (!changed.value) return;
    if (changed.key.ends_with(":current@default")) {
      const std::lock_guard lock(mutex_);
      shown_[number] = monotonic_now_ns();
    }
    if (!changed.key.ends_with(":staged@default")) return;
    const auto pointer = decode<ModelPointer>(*changed.value, "model pointer");
    const std::size_t from = std::string_view("model:").size();
    const std::string name = changed.key.substr(from, changed.key.find(':', from) - from);
    if (pointer) post(number, EdgeStagedModel{{name, pointer->version}, ""});
  }
  void carry_out(std::size_t, Gateway& gateway, PageOpenBlock&) {
    if (gateway.open_blocks++ == 0) gateway.blocked_since = clock_.now();
  }
  void carry_out(std::size_t, Gateway& gateway, PageCloseBlock&) {
    if (--gateway.open_blocks != 0) return;
    const std::lock_guard lock(mutex_);
    windows_.push_back(static_cast<double>(clock_.now() - gateway.blocked_since) / static_cast<double>(kMillisecond));
  }

  const ElapsedClock clock_;
  std::vector<std::unique_ptr<Gateway>> gateways_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<std::size_t, What>> queue_;
  std::vector<double> windows_;
  std::map<std::size_t, long long> shown_;
  std::size_t open_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) die("usage: bench-sessions CLUSTER_FOLDER FIRST LAST");
  set_transport_log([](bool, const std::string&) {});
  const int first = std::atoi(argv[2]), last = std::atoi(argv[3]);
  if (first < 1 || last < first) die("FIRST and LAST must be numbers of edges, from 1");
  Sessions sessions(argv[1], first, last);
  char line[32];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const std::string word(line, std::string_view(line).find_last_not_of("\n") + 1);
    if (word == "open") {
      std::printf("%zu\n", sessions.wait_open(120));
    } else if (word == "reset") {
      sessions.reset();
      std::printf("ok\n");
    } else if (word == "windows") {
      std::printf("%s\n", sessions.windows().c_str());
    } else {
      die("'" + word + "': must be open, reset or windows");
    }
    std::fflush(stdout);
  }
  return 0;
}
