// A page and an arena in shared memory, with a proof and a lease, as an edge would leave them. For the benches of
// memory.
#pragma once

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "base/elapsed_clock.h"
#include "memory/arena.h"
#include "memory/page.h"

namespace tidelock::bench {

class LocalEdge {
 public:
  explicit LocalEdge(std::size_t arena_bytes = 64u << 20) {
    // On tmpfs, as in production: a disk's write-back would be measured instead.
    base_ = "/dev/shm/tidelock-bench-" + std::to_string(::getpid());
    arena_ = std::make_unique<ArenaWriter>(made(ArenaWriter::create({arena_path(), Boot{1}, arena_bytes})));
    PageOptions options;
    options.path = page_path();
    options.edge_boot = Boot{1};
    page_ = std::make_unique<PageWriter>(made(PageWriter::create(options)));
    page_->publish_applied(Index{1});
    page_->publish_writers(kSecond);
    page_->publish_fresh_at(ElapsedClock().now());
    page_->publish_lease(kForever);
  }
  ~LocalEdge() {
    ::unlink(page_path().c_str());
    ::unlink(arena_path().c_str());
  }
  LocalEdge(const LocalEdge&) = delete;
  LocalEdge& operator=(const LocalEdge&) = delete;

  std::string page_path() const { return base_ + ".page"; }
  std::string arena_path() const { return base_ + ".arena"; }
  ArenaWriter& arena() { return *arena_; }
  PageWriter& page() { return *page_; }

 private:
  template <class T>
  static T made(Result<T> result) {
    if (!result) {
      std::fprintf(stderr, "bench: %s\n", result.error().message.c_str());
      std::exit(1);
    }
    return *std::move(result);
  }
  std::string base_;
  std::unique_ptr<ArenaWriter> arena_;
  std::unique_ptr<PageWriter> page_;
};

}  // namespace tidelock::bench
