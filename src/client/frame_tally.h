// How the frames of one loaded version go: counted where the app runs it, told to the edge by the handle (TL.HEALTH),
// for the gates of a rollout (M5) and the breaker (M10).
//
// Threads: every method from any thread.
// Cost:    of a run: two clock reads and two relaxed additions; no lock, no allocation.
// Counts:  each run of the model is a frame. What could not be told is kept for the next try.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/time.h"
#include "infer/engine.h"
#include "protocol/rollout.h"

namespace tidelock {

class FrameTally {
 public:
  static constexpr std::size_t kBuckets = 160;  // of latency_bucket
  FrameTally(std::string model, std::string version) : model_(std::move(model)), version_(std::move(version)) {}

  void ran(bool good, Nanos took);
  // Of a frame whose run counted as good: its outputs are not. It counts as failed instead.
  void was_bad() { failed_.fetch_add(1, std::memory_order_relaxed), withheld_.fetch_add(1, std::memory_order_relaxed); }
  void sick() { sick_.fetch_add(1, std::memory_order_relaxed); }

  // One part of what is to be told, as the words of a command; nothing: no more. What could not be told goes back with
  // `keep`.
  struct Part {
    enum class Of : std::uint8_t { kGood, kFailed, kSick };
    Of of = Of::kGood;
    std::uint64_t count = 0;
    std::uint64_t micros = 0;  // together, of kGood
    std::uint16_t bucket = 0;
    std::vector<std::string> command;
  };
  std::optional<Part> take();
  void keep(const Part& part);
  bool trouble() const {  // to be told sooner than the rest
    return failed_.load(std::memory_order_relaxed) > 0 || sick_.load(std::memory_order_relaxed) > 0;
  }

 private:
  using Word = std::atomic<std::uint64_t>;
  struct Bucket {
    Word count{0}, micros{0};
  };
  const std::string model_, version_;
  std::array<Bucket, kBuckets> good_;
  Word failed_{0}, sick_{0};
  Word withheld_{0};  // of the good ones: as many were bad
};

// What an app is given: the engine's model, counted.
class CountedModel final : public Model {
 public:
  CountedModel(std::unique_ptr<Model> model, std::shared_ptr<FrameTally> tally)
      : model_(std::move(model)), tally_(std::move(tally)) {}
  const std::vector<ModelPort>& inputs() const override { return model_->inputs(); }
  const std::vector<ModelPort>& outputs() const override { return model_->outputs(); }
  Result<std::vector<Tensor>> run(std::span<const TensorView> inputs) override;
  FrameTally& tally() { return *tally_; }

 private:
  const std::unique_ptr<Model> model_;
  const std::shared_ptr<FrameTally> tally_;
};

}  // namespace tidelock
