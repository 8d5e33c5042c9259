// ModelHandle keeps one model of an inference process on the version in force (M6, M9, M10).
//
//   auto handle = tidelock::ModelHandle::open(*client, "detector", {});
//   for (;;) {
//     auto use = (*handle)->acquire();                 // never waits
//     if (!use) continue;                              // overloaded, or no version may be used: this frame is dropped
//     auto outputs = use->model->run({{"images", shape, pixels}});
//     log(use->receipt.version, use->receipt.fallback, use->receipt.bound_ns);
//   }
//
// A watcher thread looks at the strong pointers `model:NAME:current@next` and `@default` about every millisecond (M5:
// the first counts for a gateway that a rollout took ahead; reads in this process's own memory), loads and warms a
// staged version beside the one in use, and swaps one pointer; frames in flight finish on the version they began with
// and name it.
//
// Health:    every run of a model that acquire gave is a frame: how many, how many failed and what they took is told
//            to the edge about twice a second, by version (TL.HEALTH), without the app's doing. The gates of a rollout
//            and the gateway's breaker judge by it. The telling is the watcher's.
// Overload:  while the namespace's breaker is open acquire refuses with kBusy (`is_overloaded`): too many frames on
//            this gateway failed or came late. Half-open, each handle lets one frame through every kProbeEvery.
// Threads:   acquire may be called from any thread and takes no lock beyond one atomic shared_ptr load.
// Proof:     acquire reads the pointer itself: `proven` is true only if the pointer was read under its contract and
//            names exactly the version whose loaded model is returned, that is verified on this gateway still, and its
//            trust files are fresh (X2, X3: the edge says so, looked at ten times a second). Otherwise the last
//            verified version is returned, flagged.
// Verified:  a version is loaded only after the edge verified signature, hashes and golden outputs (M4), and its file
//            is hashed again before it is parsed. Then its first golden case is run here, with the engine of this app,
//            which need not be the edge's: a version whose outputs this engine does not give is not swapped to, counts
//            as sick, and `problem` names it. Of a version without golden cases the warm-up knows no outputs (M10).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "infer/engine.h"
#include "protocol/receipt.h"
#include "tidelock/client.h"

namespace tidelock {

struct ModelOptions {
  std::string engine = "opencv";           // or "onnxruntime"
  std::int64_t poll_us = 1'000;            // how often the watcher looks at the pointer
  std::int64_t first_timeout_ms = 30'000;  // open() waits this long for a first version
  // M9: whether large weights lie in memory once for all processes of the gateway that say so. Unset: with opencv,
  // where it costs nothing, yes; with onnxruntime, which then runs slower, no.
  std::optional<bool> share_weights = {};
  bool report_health = true;  // false: the app tells of its frames itself (TL.HEALTH), or nobody does
};

struct ModelReceipt {
  std::string version;        // the version that `model` is
  std::string digest;         // SHA-256 of its manifest, 32 raw bytes: names every byte of it
  Index activation;           // ledger index of the activation that put it in force: the fencing token (S5)
  bool proven = false;        // the strong pointer named this version when acquire looked
  bool fallback = false;      // last verified version, not provably the one in force
  Nanos bound_ns = kForever;  // true bound on the pointer's age
  Basis basis = Basis::kNone;
  bool trust_expired = false;  // this gateway's trust files have expired: the version may be an old one (X2)
};

struct ModelUse {
  std::shared_ptr<Model> model;  // keeps the version alive until the frame is done
  ModelReceipt receipt;
};

struct ModelSwap {  // what the watcher saw, for logs: times are CLOCK_MONOTONIC nanoseconds
  std::string version;
  Index activation;
  std::int64_t pointer_seen_ns = 0;
  std::int64_t swapped_ns = 0;
};

// What only the app can tell of a frame, or of a version.
enum class FrameVerdict : std::uint8_t {
  kBad,   // the model ran, and its outputs are of no use: the frame counts as failed
  kSick,  // this app is not well with this version; counts beside the frames
};

inline constexpr Nanos kProbeEvery = 100 * kMillisecond;  // frames of a handle while the breaker is half-open
// Whether acquire refused because of the breaker; detail_ns says when to ask again.
inline bool is_overloaded(const Error& error) {
  return error.code == Code::kBusy && error.message.starts_with("overloaded: ");
}

class ModelHandle {
 public:
  // Waits for a first version; kNotFound after first_timeout_ms says why there is none. While it cannot be told whether
  // a rollout took this gateway ahead, the version is the last that was in force on this gateway, flagged, if the
  // namespace allows a fallback; never the one that the other gateways run.
  static Result<std::unique_ptr<ModelHandle>> open(Client& client, std::string name, ModelOptions options);
  virtual ~ModelHandle() = default;
  // kBusy: overloaded. kStale: the pointer cannot be proven, and the namespace allows no fallback, or none so old (M6);
  // detail_ns is the bound.
  virtual Result<ModelUse> acquire() = 0;
  // Of the frame that was run with `use`. May be called from any thread, and after another version was swapped in.
  virtual void report(const ModelUse& use, FrameVerdict verdict) = 0;
  // Why the version that the pointer names cannot be used here, if it cannot: not verified yet, damaged, or one that
  // this app's engine does not run or runs to other outputs. Empty when it is in use. Takes a lock; for logs.
  virtual std::string problem() = 0;
  // Swaps since the last call, oldest first.
  virtual std::vector<ModelSwap> take_swaps() = 0;
};

}  // namespace tidelock
