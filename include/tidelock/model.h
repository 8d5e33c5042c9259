// ModelHandle keeps one model of an inference process on the version in force (M6, M9, M10).
//
//   auto handle = tidelock::ModelHandle::open(*client, "detector", {});
//   for (;;) {
//     auto use = (*handle)->acquire();                 // never waits
//     auto outputs = use->model->run({{"images", shape, pixels}});
//     log(use->receipt.version, use->receipt.fallback, use->receipt.bound_ns);
//   }
//
// A watcher thread looks at the strong pointers `model:NAME:current@next` and `@default` about every millisecond (M5:
// the first counts for a gateway that a rollout took ahead; reads in this process's own memory), loads and warms a
// staged version beside the one in use, and swaps one pointer; frames in flight finish on the version they began with
// and name it.
//
// Threads:   acquire may be called from any thread and takes no lock beyond one atomic shared_ptr load.
// Proof:     acquire reads the pointer itself: `proven` is true only if the pointer was read under its contract and
// names
//            exactly the version whose loaded model is returned, that is verified on this gateway still, and its trust
//            files are fresh (X2, X3: the edge says so, looked at ten times a second). Otherwise the last verified
//            version is returned, flagged.
// Verified:  a version is loaded only after the edge verified signature, hashes and golden outputs (M4), and its file
// is
//            hashed again before it is parsed.
#pragma once

#include <cstdint>
#include <memory>
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

class ModelHandle {
 public:
  static Result<std::unique_ptr<ModelHandle>> open(Client& client, std::string name, ModelOptions options);
  virtual ~ModelHandle() = default;
  virtual Result<ModelUse> acquire() = 0;
  // Swaps since the last call, oldest first.
  virtual std::vector<ModelSwap> take_swaps() = 0;
};

}  // namespace tidelock
