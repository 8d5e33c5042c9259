#include "protocol/rehash.h"

#include <algorithm>
#include <utility>

namespace tidelock {

void Rehash::set_files(std::vector<RehashFile> files) {
  files_ = std::move(files);
  std::erase_if(files_, [](const RehashFile& file) { return file.bytes == 0; });
  const auto in_use = [&](const Bytes& sha256) {
    return std::any_of(files_.begin(), files_.end(), [&](const RehashFile& file) { return file.sha256 == sha256; });
  };
  std::erase_if(read_at_, [&](const auto& entry) { return !in_use(entry.first); });
  if (reading_ && !in_use(reading_->sha256)) reading_.reset();
}

void Rehash::choose() {
  const auto last = [&](const RehashFile& file) {
    const auto it = read_at_.find(file.sha256);
    return it == read_at_.end() ? kNever : it->second;
  };
  reading_ = *std::min_element(files_.begin(), files_.end(),
                               [&](const RehashFile& a, const RehashFile& b) { return last(a) < last(b); });
  offset_ = 0;
}

std::optional<Rehash::Slice> Rehash::due(Nanos now) {
  if (now < wake_at()) return std::nullopt;
  if (!reading_) choose();
  Slice slice{reading_->sha256, offset_, std::min(kSliceBytes, reading_->bytes - offset_), false};
  offset_ += slice.bytes;
  slice.last = offset_ == reading_->bytes;
  if (slice.last) {
    read_at_[slice.sha256] = now;
    reading_.reset();
  }
  due_at_ = saturating_add(
      now, static_cast<Nanos>((slice.bytes * static_cast<std::uint64_t>(kSecond) + bytes_per_s_ - 1) / bytes_per_s_));
  return slice;
}

void Rehash::give_up(Nanos now) {
  if (!reading_) return;
  read_at_[reading_->sha256] = now;
  reading_.reset();
}

Nanos Rehash::round_ns() const {
  if (bytes_per_s_ == 0) return 0;
  double bytes = 0;
  for (const RehashFile& file : files_) bytes += static_cast<double>(file.bytes);
  return static_cast<Nanos>(std::min(bytes / static_cast<double>(bytes_per_s_), 1e9) * static_cast<double>(kSecond));
}

}  // namespace tidelock
