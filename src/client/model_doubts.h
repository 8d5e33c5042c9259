// ModelDoubts is what an edge says about a version that is in use, beside the models it lays out: that the trust files
// have expired, so that an old release may have been put in force (X2, freeze); or that the version is verified no
// more: it was damaged on disk (X3), or withdrawn. Whoever uses it goes on and is told: its frames are not proven. And
// which versions were recalled (M7): of those nobody takes one for want of another.
//
// Threads: look and recalled are the watcher's; the others are for any. Cost: look is two stats and the read of
// a short file at most every kEveryNs.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "protocol/recalled_list.h"

namespace tidelock {

class ModelDoubts {
 public:
  static constexpr std::int64_t kEveryNs = 100'000'000;

  // `folder` holds the versions of all models: RUN_DIR/models.
  ModelDoubts(std::string folder, const std::string& name)
      : flag_(folder + "/" + kExpiredFlag), versions_(std::move(folder) + "/" + name + "/") {}

  // `version`: the one that is in use; empty: none yet. False: it is not time to look again.
  bool look(std::int64_t now_ns, const std::string& version) {
    if (now_ns < next_ns_) return false;
    next_ns_ = now_ns + kEveryNs;
    std::error_code ignored;
    expired_.store(std::filesystem::exists(flag_, ignored), std::memory_order_relaxed);
    unverified_.store(!version.empty() && !std::filesystem::exists(versions_ + version + "/" + kVerifiedMark, ignored),
                      std::memory_order_relaxed);
    std::ifstream in(versions_ + kRecalledList, std::ios::binary);
    recalled_.assign(std::istreambuf_iterator<char>(in), {});
    return true;
  }
  bool recalled(std::string_view version) const { return is_listed(recalled_, version); }
  bool trust_expired() const { return expired_.load(std::memory_order_relaxed); }
  bool unverified() const { return unverified_.load(std::memory_order_relaxed); }
  bool any() const { return trust_expired() || unverified(); }

 private:
  const std::string flag_, versions_;
  std::int64_t next_ns_ = 0;
  std::string recalled_;
  std::atomic<bool> expired_{false}, unverified_{false};
};

}  // namespace tidelock
