#include "edge/links.h"

#include <algorithm>

#include "codec/archive.h"
#include "telemetry/log.h"

namespace tidelock {

constexpr std::size_t kHubsMax = 32;

Links::Links(const EdgeConfig& config, EventLoop& loop, EdgeWorker& worker, Event on_event)
    : config_(config),
      loop_(loop),
      worker_(worker),
      on_event_(std::move(on_event)),
      hubs_(config.hubs.begin(), config.hubs.end()),
      alive_(std::make_shared<std::atomic<bool>>(true)) {
  // Edges of one cluster begin at different hubs.
  if (!hubs_.empty()) next_hub_ = hash64(config.id) % hubs_.size();
}

Links::~Links() {
  alive_->store(false);
  client_.reset();
}

void Links::open(LinkNo link, const std::string& hint) {
  close(link_);
  link_ = link;
  const auto down = [this, link](std::string reason) {
    loop_.post([this, alive = alive_, link, reason = std::move(reason)] {
      if (alive->load()) on_event_(EdgeLinkDown{link, reason});
    });
  };
  if (hubs_.empty()) return down("no hub is configured");
  // "ID=HOST:PORT" where the hub knows it: a hub that came after this edge was configured. What is configured goes
  // first.
  const std::size_t equals = hint.find('=');
  const NodeId wanted = hint.substr(0, equals);
  auto hub = std::find_if(hubs_.begin(), hubs_.end(), [&](const auto& one) { return one.first == wanted; });
  if (hub == hubs_.end() && equals != std::string::npos && hubs_.size() < kHubsMax) {
    hub = hubs_.emplace(hubs_.end(), wanted, hint.substr(equals + 1));
  }
  if (hub == hubs_.end()) {
    hub = hubs_.begin() + static_cast<std::ptrdiff_t>(next_hub_ % hubs_.size());
    ++next_hub_;
  }
  SessionClientOptions options;
  options.address = hub->second;
  options.tls = config_.tls;
  options.expected_hub = hub->first;
  SessionCallbacks callbacks;
  callbacks.on_open = [this, alive = alive_, link](const PeerIdentity&) {
    loop_.post([this, alive, link] {
      if (alive->load()) on_event_(EdgeLinkUp{link});
    });
  };
  callbacks.on_frame = [this, alive = alive_, link, down](Bytes bytes) {
    auto frame = decode<HubFrame>(bytes, "hub frame");
    if (!frame) return down(frame.error().message);
    loop_.post([this, alive, link, shared = std::make_shared<HubFrame>(std::move(*frame))] {
      if (!alive->load()) return;
      count_bytes();
      if (config_.frames.incoming && !config_.frames.incoming(*shared)) return;
      on_event_(EdgeFrameIn{link, std::move(*shared)});
    });
  };
  callbacks.on_closed = [down](const Error& why) { down(why.message); };
  auto client = SessionClient::connect(options, std::move(callbacks));
  if (!client) return down(client.error().message);
  client_ = std::move(*client);
}

void Links::send(LinkNo link, EdgeFrame frame) {
  if (link != link_ || !client_) return;
  if (config_.frames.outgoing && !config_.frames.outgoing(frame)) return;
  (void)client_->send(encode(frame));  // when it cannot take the frame the session ends, and on_closed says so
  count_bytes();
}

void Links::close(LinkNo link) {
  if (link != link_ || !client_) return;
  ended_sent_ += client_->bytes_sent();
  ended_received_ += client_->bytes_received();
  std::shared_ptr<SessionClient> ended(std::move(client_));
  count_bytes();
  ended->close();
  // Refused only while stopping, or with a thousand links ending at once: then the loop waits here.
  (void)worker_.post([ended] {});
}

void Links::count_bytes() {
  bytes_sent_.store(ended_sent_ + (client_ ? client_->bytes_sent() : 0), std::memory_order_relaxed);
  bytes_received_.store(ended_received_ + (client_ ? client_->bytes_received() : 0), std::memory_order_relaxed);
}

}  // namespace tidelock
