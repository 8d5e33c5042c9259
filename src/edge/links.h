// Links carries out LinkOpen, LinkSend and LinkClose of the core over SessionClient.
//
// Threads:  the loop's thread. gRPC's threads decode frames and post; ended links are destroyed on a worker, because
// that
//           waits for gRPC.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "edge/edge.h"
#include "edge/work_thread.h"
#include "protocol/edge_core.h"
#include "wire/grpc/transport.h"
#include "wire/resp/event_loop.h"

namespace tidelock {

class Links {
 public:
  using Event = std::function<void(decltype(EdgeEvent::what))>;
  // `on_event` is called on the loop's thread. Everything outlives the links.
  Links(const EdgeConfig& config, EventLoop& loop, EdgeWorker& worker, Event on_event);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  void open(LinkNo link, const std::string& hint);
  void send(LinkNo link, EdgeFrame frame);
  void close(LinkNo link);

  std::uint64_t bytes_sent() const { return bytes_sent_.load(std::memory_order_relaxed); }
  std::uint64_t bytes_received() const { return bytes_received_.load(std::memory_order_relaxed); }

 private:
  void count_bytes();

  const EdgeConfig& config_;
  EventLoop& loop_;
  EdgeWorker& worker_;
  const Event on_event_;
  std::vector<std::pair<NodeId, std::string>> hubs_;
  std::size_t next_hub_ = 0;
  LinkNo link_;  // of client_
  std::unique_ptr<SessionClient> client_;
  std::uint64_t ended_sent_ = 0, ended_received_ = 0;  // of links that are gone
  std::atomic<std::uint64_t> bytes_sent_{0}, bytes_received_{0};
  std::shared_ptr<std::atomic<bool>> alive_;  // posted tasks outlive nothing of ours
};

}  // namespace tidelock
