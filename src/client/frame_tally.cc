#include "client/frame_tally.h"

#include <algorithm>

#include "base/wall_clock.h"

namespace tidelock {

void FrameTally::ran(bool good, Nanos took) {
  if (!good) {
    failed_.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  const auto micros = static_cast<std::uint64_t>(std::max<Nanos>(0, took) / kMicrosecond);
  Bucket& bucket = good_[std::min<std::size_t>(latency_bucket(micros), kBuckets - 1)];
  bucket.micros.fetch_add(micros, std::memory_order_relaxed);
  bucket.count.fetch_add(1, std::memory_order_relaxed);
}

std::optional<FrameTally::Part> FrameTally::take() {
  Part part;
  const auto worded = [&](Part::Of of, std::uint64_t count, const char* verdict) {
    part.of = of;
    part.count = count;
    part.command = {"TL.HEALTH", model_, version_, verdict};
    if (of != Part::Of::kSick) part.command.insert(part.command.end(), {"COUNT", std::to_string(count)});
    if (of == Part::Of::kGood)
      part.command.insert(part.command.end(), {"LATENCY_US", std::to_string(part.micros / count)});
    return part;
  };
  if (const std::uint64_t sick = sick_.exchange(0, std::memory_order_relaxed); sick > 0)
    return worded(Part::Of::kSick, sick, "SICK");
  if (const std::uint64_t failed = failed_.exchange(0, std::memory_order_relaxed); failed > 0)
    return worded(Part::Of::kFailed, failed, "BAD");
  for (std::size_t b = 0; b < good_.size(); ++b) {
    std::uint64_t count = good_[b].count.exchange(0, std::memory_order_relaxed);
    if (count == 0) continue;
    part.bucket = static_cast<std::uint16_t>(b);
    // A run may be between its two additions: its time is counted with the next one's then, and the mean stays right.
    part.micros = good_[b].micros.exchange(0, std::memory_order_relaxed);
    const std::uint64_t mean = part.micros / count;
    std::uint64_t owed = withheld_.load(std::memory_order_relaxed);
    while (owed > 0 &&
           !withheld_.compare_exchange_weak(owed, owed - std::min(owed, count), std::memory_order_relaxed)) {
    }
    const std::uint64_t withheld = std::min(owed, count);
    count -= withheld;
    part.micros -= withheld * mean;
    if (count > 0) return worded(Part::Of::kGood, count, "OK");
  }
  return std::nullopt;
}

void FrameTally::keep(const Part& part) {
  switch (part.of) {
    case Part::Of::kSick: sick_.fetch_add(part.count, std::memory_order_relaxed); break;
    case Part::Of::kFailed: failed_.fetch_add(part.count, std::memory_order_relaxed); break;
    case Part::Of::kGood:
      good_[part.bucket].micros.fetch_add(part.micros, std::memory_order_relaxed);
      good_[part.bucket].count.fetch_add(part.count, std::memory_order_relaxed);
      break;
  }
}

Result<std::vector<Tensor>> CountedModel::run(std::span<const TensorView> inputs) {
  const std::int64_t began_ns = monotonic_ns_now();
  auto outputs = model_->run(inputs);
  tally_->ran(outputs.has_value(), monotonic_ns_now() - began_ns);
  return outputs;
}

}  // namespace tidelock
