// A value that was read without copying it, where that pays: up to kInlineBytes are copied into the reference itself,
// longer ones of L1 stay where they are until the reference is gone.
//
// Owns:    its value. It may be moved, and ended, on any thread; it ends before the reader or client it came from.
// Cost:    a thread holds eight values of L1 at a time; of more, and of what came from elsewhere, a copy is made.
// Aligned: bytes() of more than fifteen bytes begins at a multiple of 16.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

namespace tidelock {

class ValueRef {
 public:
  static constexpr std::size_t kInlineBytes = 256;

  ValueRef() = default;
  ~ValueRef() { let_go(); }
  ValueRef(ValueRef&& from) noexcept { take(from); }
  ValueRef& operator=(ValueRef&& from) noexcept {
    if (this == &from) return *this;
    let_go();
    take(from);
    return *this;
  }

  std::string_view bytes() const {
    switch (at_) {
      case At::kInline: return {inline_.data(), size_};
      case At::kHeld: return {held_bytes_, size_};
      case At::kOwn: break;
    }
    return own_;
  }
  bool copied() const { return at_ != At::kHeld; }
  void clear() {
    let_go();
    own_.clear();
  }

  // For readers: a copy; what `hold` keeps; what own() was filled with.
  void copy(std::string_view value) {
    let_go();
    if (value.size() > kInlineBytes) {
      own_ = value;
      return;
    }
    at_ = At::kInline;
    size_ = value.size();
    if (!value.empty()) std::memcpy(inline_.data(), value.data(), value.size());
  }
  void keep(std::string_view value, std::atomic<const void*>& hold) {
    let_go();
    at_ = At::kHeld;
    held_bytes_ = value.data();
    size_ = value.size();
    hold_ = &hold;
  }
  std::string& own() {
    let_go();
    return own_;
  }

 private:
  enum class At { kOwn, kInline, kHeld };
  void let_go() {
    if (hold_ != nullptr) hold_->store(nullptr, std::memory_order_release);  // all reads of it come before
    hold_ = nullptr;
    at_ = At::kOwn;
  }
  void take(ValueRef& from) {
    at_ = from.at_;
    size_ = from.size_;
    if (at_ == At::kInline) std::memcpy(inline_.data(), from.inline_.data(), size_);
    held_bytes_ = from.held_bytes_;
    hold_ = std::exchange(from.hold_, nullptr);
    own_ = std::move(from.own_);
    from.at_ = At::kOwn;
    from.own_.clear();
  }
  alignas(16) std::array<char, kInlineBytes> inline_;  // not zeroed: `size_` of it are set
  std::size_t size_ = 0;
  const char* held_bytes_ = nullptr;
  std::atomic<const void*>* hold_ = nullptr;
  std::string own_;
  At at_ = At::kOwn;
};

}  // namespace tidelock
