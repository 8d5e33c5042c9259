#include "infer/opencv_pages.h"

#include <sys/mman.h>

#include <map>
#include <mutex>
#include <opencv2/core.hpp>

namespace tidelock {
namespace {

thread_local std::uint64_t scope_of_thread = 0;  // 0: none

class Pages final : public cv::MatAllocator {
 public:
  cv::UMatData* allocate(int dims, const int* sizes, int type, void* data, size_t* step, cv::AccessFlag flags,
                         cv::UMatUsageFlags usage) const override {
    std::size_t total = CV_ELEM_SIZE(type);
    for (int d = 0; d < dims; ++d) total *= static_cast<std::size_t>(sizes[d]);
    cv::MatAllocator* standard = cv::Mat::getStdAllocator();
    if (data != nullptr || scope_of_thread == 0 || total < kSharedTensorBytesMin)
      return standard->allocate(dims, sizes, type, data, step, flags, usage);
    void* at = ::mmap(nullptr, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return standard->allocate(dims, sizes, type, data, step, flags, usage);
    std::size_t dense = CV_ELEM_SIZE(type);
    for (int d = dims - 1; d >= 0; --d) {
      if (step != nullptr) step[d] = dense;
      dense *= static_cast<std::size_t>(sizes[d]);
    }
    auto* made = new cv::UMatData(this);
    made->data = made->origdata = static_cast<uchar*>(at);
    made->size = total;
    const std::lock_guard lock(mutex_);
    live_[at] = {total, scope_of_thread};
    return made;
  }
  bool allocate(cv::UMatData* data, cv::AccessFlag, cv::UMatUsageFlags) const override { return data != nullptr; }
  void deallocate(cv::UMatData* data) const override {
    if (data == nullptr) return;
    {
      const std::lock_guard lock(mutex_);
      live_.erase(data->origdata);
    }
    ::munmap(data->origdata, data->size);
    delete data;
  }

  std::vector<SharedWeights::Region> live(std::uint64_t scope) const {
    const std::lock_guard lock(mutex_);
    std::vector<SharedWeights::Region> regions;
    for (const auto& [at, one] : live_) {
      if (one.scope == scope) regions.push_back({at, one.bytes});
    }
    return regions;
  }
  std::uint64_t next_scope() const {
    const std::lock_guard lock(mutex_);
    return ++scopes_;
  }

 private:
  struct One {
    std::size_t bytes = 0;
    std::uint64_t scope = 0;
  };
  mutable std::mutex mutex_;
  mutable std::map<void*, One> live_;
  mutable std::uint64_t scopes_ = 0;
};

const Pages& pages() {
  static const Pages& all = *new Pages;  // matrices may outlive whatever ends with the process
  return all;
}

}  // namespace

void install_opencv_pages() { cv::Mat::setDefaultAllocator(const_cast<Pages*>(&pages())); }

PagesScope::PagesScope() { scope_of_thread = pages().next_scope(); }
PagesScope::~PagesScope() { scope_of_thread = 0; }
std::vector<SharedWeights::Region> PagesScope::live() const { return pages().live(scope_of_thread); }

}  // namespace tidelock
