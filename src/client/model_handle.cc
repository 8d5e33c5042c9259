// A handle keeps up to three versions loaded: the one in use, the one that is staged, the one before (for a rollback).
// The watcher loads and warms; acquire only compares the pointer with what is loaded and flips one shared_ptr.
//
// What the frames did is counted where they run (frame_tally.h) and told by the watcher; when the edge does not answer
// it is kept and told later.

#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>
#include <utility>

#include "base/assert.h"
#include "base/wall_clock.h"
#include "client/client_impl.h"
#include "client/frame_tally.h"
#include "client/model_doubts.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "infer/shared_weights.h"
#include "protocol/admin.h"
#include "protocol/in_force_mark.h"
#include "protocol/pointer_in_force.h"
#include "tidelock/model.h"

namespace tidelock {
namespace {

constexpr std::size_t kLoadedMax = 3;
constexpr std::int64_t kStagedEveryMs = 20;
constexpr std::int64_t kTellEveryNs = 500'000'000;    // how the frames went
constexpr std::int64_t kTellTroubleNs = 100'000'000;  // when some failed
constexpr std::int64_t kPolicyEveryNs = 100'000'000;
constexpr std::int64_t kLoadAgainNs = 1'000'000'000;  // what the engine cannot run costs a whole load to try
constexpr std::int64_t kLoadAgainMostNs = 60'000'000'000;
constexpr std::size_t kHeldBackMax = 16;
constexpr Nanos kTellWait = 50 * kMillisecond;
constexpr std::size_t kPartsAtOnceMax = 64;  // of what is told, at a time

Result<std::string> read_all(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  if (in) out << in.rdbuf();
  if (!in) return fail(Code::kNotFound, path + " is not there");
  return out.str();
}

// X3: hashed again before it is used.
Result<Bytes> read_checked(const std::string& folder, const ManifestFile& file) {
  auto bytes = read_all(folder + "/" + file.path);
  if (bytes && (bytes->size() != file.size_bytes || sha256(*bytes) != file.sha256))
    return fail(Code::kCorrupt, folder + "/" + file.path + " does not hash to what its manifest says");
  return bytes;
}

// The files of a version's first golden case, by their path in the release.
using GoldenFiles = std::map<std::string, Bytes>;
Result<GoldenFiles> read_first_golden(const std::string& folder, const Manifest& manifest) {
  GoldenFiles files;
  if (manifest.golden.empty()) return files;
  for (const auto* side : {&manifest.golden[0].inputs, &manifest.golden[0].outputs}) {
    for (const GoldenTensor& tensor : *side) {
      const ManifestFile* file = find_file(manifest, tensor.file);
      if (file == nullptr) continue;  // its values are in the manifest
      auto bytes = read_checked(folder, *file);
      if (!bytes) return fail(bytes.error());
      files.emplace(file->path, std::move(*bytes));
    }
  }
  return files;
}

struct Loaded {
  std::string version;
  Bytes manifest_sha256;
  std::shared_ptr<CountedModel> model;
  std::shared_ptr<FrameTally> tally;
  mutable std::atomic<bool> recalled{false};  // M7: the edge knows that it was
};

class Handle : public ModelHandle {
 public:
  Handle(ClientImpl& client, std::string name, ModelOptions options, std::unique_ptr<Engine> engine)
      : client_(client),
        name_(std::move(name)),
        current_key_(model_current_key(name_)),
        ring_key_(model_ring_key(name_)),
        staged_key_(model_staged_key(name_)),
        options_(std::move(options)),
        engine_(std::move(engine)),
        doubts_(client_.run_dir() + "/models", name_) {
    const std::vector<Namespace> shipped = default_namespaces();  // until a page has told
    take_policy(client_.policy_of(current_key_).value_or(namespace_of(shipped, current_key_)));
  }

  ~Handle() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    if (watcher_.joinable()) watcher_.join();
  }

  Result<void> start() {
    watcher_ = std::thread([this] { watch(); });
    std::unique_lock lock(mutex_);
    const bool ready = changed_.wait_for(lock, std::chrono::milliseconds(options_.first_timeout_ms),
                                         [this] { return std::atomic_load(&in_use_) != nullptr; });
    if (ready) return {};
    return fail(Code::kNotFound, "model '" + name_ + "' has no version in force that this gateway has verified" +
                                     (last_problem_.empty() ? std::string() : ": " + last_problem_));
  }

  Result<ModelUse> acquire() override {
    if (const Breaker breaker = client_.breaker(current_key_); breaker != Breaker::kClosed && !may_probe(breaker)) {
      Error overloaded;
      overloaded.code = Code::kBusy;
      overloaded.message = "overloaded: the breaker of '" + current_key_ + "' is " +
                           std::string(breaker_name(breaker)) + ": too many frames on this gateway failed or came late";
      overloaded.detail_ns = kProbeEvery;
      return fail(std::move(overloaded));
    }
    const PointerInForce look = pointer();
    std::shared_ptr<const Loaded> use = std::atomic_load(&in_use_);
    TIDELOCK_ASSERT(use != nullptr);  // start() gave no handle without a version, and a version is only ever replaced
    ModelReceipt receipt;
    if (look.pointer) {
      if (look.proven && !same(*use, *look.pointer)) {
        if (auto other = loaded(*look.pointer)) {  // warmed already: this frame is the first of the new version
          adopt(other, look.receipt.version, monotonic_ns_now());
          use = std::move(other);
        } else {
          seen(*look.pointer, look.receipt.version);
        }
      }
      if (same(*use, *look.pointer)) {
        receipt.activation = look.receipt.version;
        receipt.bound_ns = look.receipt.bound_ns;
        receipt.basis = look.receipt.basis;
        receipt.proven = look.proven && !doubts_.any();  // X2, X3
        if (look.proven) last_proven_ns_.store(monotonic_ns_now() - look.receipt.bound_ns, std::memory_order_relaxed);
      }
    }
    receipt.version = use->version;
    receipt.digest = use->manifest_sha256;
    receipt.trust_expired = doubts_.trust_expired();
    receipt.fallback = !receipt.proven;  // M6: never unmarked
    if (receipt.fallback) {
      // M7: until its pointer has moved it is in force, doubted; behind that it is no fallback either.
      const bool in_force = look.proven && look.pointer && same(*use, *look.pointer);
      if (!in_force && use->recalled.load(std::memory_order_relaxed)) {
        return fail(Code::kDenied, "model '" + name_ + "': version " + use->version +
                                       " was recalled, and what is in force instead cannot be proven here yet");
      }
      // This version was in force when it was last proven; that is what can be said about it now.
      const std::int64_t proven_ns = last_proven_ns_.load(std::memory_order_relaxed);
      if (receipt.basis == Basis::kNone)
        receipt.bound_ns = proven_ns == 0 ? kForever : stretch(monotonic_ns_now() - proven_ns, 1'000);
      if (receipt.activation.value == 0) receipt.activation = Index{activation_.load(std::memory_order_relaxed)};
      if (receipt.bound_ns >
          fallback_cap_ns_.load(std::memory_order_relaxed)) {  // M6: or a refusal, as the namespace says
        Error stale;
        stale.code = Code::kStale;
        stale.message = "model '" + name_ + "': version " + use->version +
                        " cannot be proven to be in force, and its namespace allows no such fallback";
        stale.detail_ns = receipt.bound_ns;
        return fail(std::move(stale));
      }
    }
    return ModelUse{use->model, std::move(receipt)};
  }

  void report(const ModelUse& use, FrameVerdict verdict) override {
    auto* counted = dynamic_cast<CountedModel*>(use.model.get());
    if (counted == nullptr) return;  // not from here
    verdict == FrameVerdict::kBad ? counted->tally().was_bad() : counted->tally().sick();
  }

  std::string problem() override {
    const std::lock_guard lock(mutex_);
    return last_problem_;
  }

  std::vector<ModelSwap> take_swaps() override {
    const std::lock_guard lock(mutex_);
    return std::exchange(swaps_, {});
  }

 private:
  // No fallback is never younger than nothing: a cap below zero refuses all of them.
  void take_policy(const Namespace& ns) {
    const bool allowed = std::find(ns.on_stale.begin(), ns.on_stale.end(), OnStale::kFallback) != ns.on_stale.end();
    fallback_cap_ns_.store(allowed ? ns.fallback_cap_ns : -1, std::memory_order_relaxed);
  }
  // M10: half-open, one frame of this handle now and then.
  bool may_probe(Breaker breaker) {
    if (breaker != Breaker::kHalfOpen) return false;
    const std::int64_t now_ns = monotonic_ns_now();
    std::int64_t last_ns = last_probe_ns_.load(std::memory_order_relaxed);
    return now_ns - last_ns >= kProbeEvery && last_probe_ns_.compare_exchange_strong(last_ns, now_ns);
  }

  // M5: what counts for this gateway, from its own memory.
  PointerInForce pointer() {
    const auto edge = std::atomic_load(&edge_);
    return pointer_in_force(ring_key_, current_key_, edge ? *edge : NodeId{}, [this](const std::string& key) {
      PointerRead read;
      const ReadOutcome outcome = client_.peek(key, Contract{Consistency::kStrong, {}, {}, {}}, read.value);
      read.proven = outcome.must_ask == MustAsk::kNo;
      read.found = outcome.found;
      read.absent = outcome.negative;
      read.receipt = outcome.receipt;
      return read;
    });
  }
  // The same, asked of the edge: it brings both pointers into memory, and says which gateway this is.
  PointerInForce asked_pointer() {
    if (!std::atomic_load(&edge_)) {
      const auto info = client_.ask({"TL.INFO"}, 50 * kMillisecond);
      constexpr std::string_view kField = "\"edge\":\"";
      if (const std::size_t at = info ? info->text.find(kField) : std::string::npos; at != std::string::npos) {
        const std::size_t from = at + kField.size();
        std::atomic_store(&edge_, std::make_shared<const NodeId>(info->text, from, info->text.find('"', from) - from));
      }
    }
    const auto edge = std::atomic_load(&edge_);
    return pointer_in_force(ring_key_, current_key_, edge ? *edge : NodeId{}, [this](const std::string& key) {
      PointerRead read;
      const Contract contract{Consistency::kStrong, {}, 50 * kMillisecond, {}};
      auto asked = client_.get(key, contract, &read.receipt);
      if (!asked) {  // absent, or not to be had; memory may know that it was absent, too
        std::string ignored;
        read.absent = asked.error().code == Code::kNotFound || client_.peek(key, contract, ignored).negative;
        return read;
      }
      read.found = true;
      read.value = std::move(asked->bytes);
      read.receipt = asked->receipt;
      return read;
    });
  }

  static bool same(const Loaded& model, const ModelPointer& pointer) {
    return model.version == pointer.version && model.manifest_sha256 == pointer.manifest_sha256;
  }
  std::shared_ptr<const Loaded> loaded(const ModelPointer& pointer) {
    const std::lock_guard lock(mutex_);
    for (const auto& model : loaded_) {
      if (same(*model, pointer)) return model;
    }
    return nullptr;
  }

  // When a pointer to a version that is not in use yet was first seen.
  void seen(const ModelPointer& pointer, Index activation) {
    const std::lock_guard lock(mutex_);
    if (seen_activation_ != activation) {
      seen_activation_ = activation;
      seen_ns_ = monotonic_ns_now();
    }
    (void)pointer;
  }

  void adopt(std::shared_ptr<const Loaded> next, Index activation, std::int64_t now_ns) {
    const std::lock_guard lock(mutex_);
    if (activation.value < activation_.load(std::memory_order_relaxed)) return;  // I4: never back in activation index
    if (std::atomic_load(&in_use_) == next && activation.value == activation_.load(std::memory_order_relaxed)) return;
    ModelSwap swap;
    swap.version = next->version;
    swap.activation = activation;
    swap.pointer_seen_ns = seen_activation_ == activation ? seen_ns_ : now_ns;
    swap.swapped_ns = monotonic_ns_now();
    std::atomic_store(&in_use_, std::move(next));
    last_problem_.clear();
    activation_.store(activation.value, std::memory_order_relaxed);
    if (swaps_.size() < 1'000) swaps_.push_back(std::move(swap));
    changed_.notify_all();
  }

  // Loads and warms a version from the model room, once.
  std::shared_ptr<const Loaded> load(const ModelPointer& pointer, bool in_force) {
    if (auto here = loaded(pointer)) return here;
    if (const auto held = held_back_.find(pointer.manifest_sha256); held != held_back_.end()) {
      // M5: what was told of it while it was staged does not count any more once it is in force.
      const bool anew = in_force && held->second.activation != seen_activation_;
      if (!anew && monotonic_ns_now() < held->second.retry_ns) return nullptr;
      if (anew) held->second.backoff_ns = 0;
    }
    auto result = try_load(pointer);
    const auto held = held_back_.find(pointer.manifest_sha256);
    if (result && held != held_back_.end()) held_back_.erase(held);
    if (!result && held != held_back_.end() && in_force) held->second.activation = seen_activation_;
    if (result)
      ::malloc_trim(0);  // M9: loading took a few times the model's size for a moment; back to the machine with it
    const std::lock_guard lock(mutex_);
    if (!result) {
      if (in_force) last_problem_ = result.error().message;
      return nullptr;
    }
    loaded_.push_back(*result);
    const auto in_use = std::atomic_load(&in_use_);
    while (loaded_.size() > kLoadedMax) {  // the oldest that is not in use; frames in flight keep theirs alive (M10)
      const auto victim =
          std::find_if(loaded_.begin(), loaded_.end(), [&](const auto& model) { return model != in_use; });
      leaving_.push_back((*victim)->tally);
      loaded_.erase(victim);
    }
    return *result;
  }

  void mark_recalled() {  // M7
    const std::lock_guard lock(mutex_);
    for (const auto& model : loaded_) {
      if (doubts_.recalled(model->version)) model->recalled.store(true, std::memory_order_relaxed);
    }
  }

  Result<std::shared_ptr<const Loaded>> try_load(const ModelPointer& pointer) {
    if (doubts_.recalled(pointer.version))
      return fail(Code::kDenied, "version " + pointer.version + " was recalled");  // M7
    const std::string folder = client_.run_dir() + "/models/" + name_ + "/" + pointer.version;
    // M4: the edge leaves this mark after signature, hashes and golden outputs held.
    if (!std::filesystem::exists(folder + "/" + kVerifiedMark))
      return fail(Code::kUnavailable, folder + " is not verified yet");
    const auto encoded = read_all(folder + "/tidelock.manifest");
    if (!encoded) return fail(encoded.error());
    if (sha256(*encoded) != pointer.manifest_sha256)
      return fail(Code::kCorrupt, folder + " holds another manifest than the pointer names");
    const auto signed_manifest = decode<SignedManifest>(*encoded, "signed manifest");
    if (!signed_manifest) return fail(signed_manifest.error());
    const auto manifest = decode<Manifest>(signed_manifest->manifest, "manifest");
    if (!manifest) return fail(manifest.error());
    const ManifestFile* file = find_file(*manifest, kModelFileName);
    if (file == nullptr) return fail(Code::kCorrupt, folder + " names no model file");
    const auto bytes = read_checked(folder, *file);
    if (!bytes) return fail(bytes.error());
    const auto golden = read_first_golden(folder, *manifest);
    if (!golden) return fail(golden.error());
    auto loaded = std::make_shared<Loaded>();
    loaded->version = pointer.version;
    loaded->manifest_sha256 = pointer.manifest_sha256;
    loaded->tally = std::make_shared<FrameTally>(name_, pointer.version);
    // M9: without the edge's file of weights it costs memory only.
    auto weights = options_.share_weights.value_or(engine_->shares_for_free())
                       ? SharedWeights::open(*bytes, folder + "/" + kWeightsFileName)
                       : Result<std::shared_ptr<const SharedWeights>>(fail(Code::kNotFound, ""));
    auto model = weights ? engine_->load_shared(*bytes, std::move(*weights)) : engine_->load(*bytes);
    auto warm = model ? warm_up(*manifest, *golden, **model) : Result<void>(fail(model.error()));
    if (!warm) {  // it verified at the edge, and this process cannot run it: that counts against the version (M5)
      if (held_back_.size() >= kHeldBackMax) held_back_.clear();
      HeldBack& held = held_back_[pointer.manifest_sha256];
      held.backoff_ns = std::clamp(2 * held.backoff_ns, kLoadAgainNs, kLoadAgainMostNs);
      held.retry_ns = monotonic_ns_now() + held.backoff_ns;
      if (!held.tally) held.tally = loaded->tally;
      held.tally->sick();  // each time: the edge begins to count anew when a version comes into force
      tell(*held.tally);
      return fail(warm.error());
    }
    loaded->model = std::make_shared<CountedModel>(std::move(*model), loaded->tally);
    return std::shared_ptr<const Loaded>(std::move(loaded));
  }

  // M10: the first run allocates. M4: the edge ran the golden cases in its engine; this app may have chosen another.
  Result<void> warm_up(const Manifest& manifest, const GoldenFiles& golden, Model& model) const {
    if (manifest.golden.empty()) return warm_up_with_zeros(model);
    auto held = verify_golden_case(manifest, 0, model,
                                   [&](const ManifestFile& file) -> Result<Bytes> { return golden.at(file.path); });
    if (held) return held;
    return fail(held.error().code, "with engine " + std::string(engine_->name()) + ", " + held.error().message);
  }

  static Result<void> warm_up_with_zeros(Model& model) {
    std::vector<Tensor> inputs;
    std::vector<TensorView> views;
    for (const ModelPort& port : model.inputs()) {
      Tensor tensor;
      tensor.name = port.name;
      std::size_t count = 1;
      for (const std::int64_t side : port.shape) {
        tensor.shape.push_back(side > 0 ? side : 1);
        count *= static_cast<std::size_t>(tensor.shape.back());
      }
      tensor.values.resize(count);
      inputs.push_back(std::move(tensor));
    }
    for (const Tensor& tensor : inputs) views.push_back(tensor.view());
    const auto run = model.run(views);
    if (!run) return fail(run.error());
    return {};
  }

  void watch() {
    std::string bytes;  // of the staged pointer
    std::int64_t next_staged_ns = 0;
    std::int64_t next_ask_ns = 0;
    std::int64_t next_policy_ns = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        if (changed_.wait_for(lock, std::chrono::microseconds(options_.poll_us), [this] { return stopping_; })) break;
      }
      const std::int64_t now_ns = monotonic_ns_now();
      const auto use = std::atomic_load(&in_use_);
      if (doubts_.look(now_ns, use ? use->version : std::string())) mark_recalled();
      const PointerInForce look = pointer();
      if (look.proven && look.pointer) {
        follow(*look.pointer, look.receipt.version);
      } else if (now_ns >= next_ask_ns) {  // not in this gateway's memory yet, or not provable: let the edge look
        next_ask_ns = now_ns + 100'000'000;
        const PointerInForce asked = asked_pointer();
        if (std::atomic_load(&in_use_) == nullptr) {
          if (asked.pointer)
            follow(*asked.pointer, asked.receipt.version);
          else if (asked.ring_unknown)
            follow_mark();
        }
      }
      if (now_ns >= next_policy_ns) {
        next_policy_ns = now_ns + kPolicyEveryNs;
        if (const auto policy = client_.policy_of(current_key_)) take_policy(*policy);
      }
      tell_all(now_ns);
      if (now_ns >= next_staged_ns) {
        next_staged_ns = now_ns + kStagedEveryMs * 1'000'000;
        const ReadOutcome staged = client_.peek(staged_key_, Contract{Consistency::kEventual, {}, {}, {}}, bytes);
        if (staged.found) {
          if (const auto pointer = decode<ModelPointer>(bytes, "model pointer")) (void)load(*pointer, false);
        }
      }
    }
    for (const auto& tally : tallies()) {
      if (!tell(*tally)) break;
    }
  }

  // M6: nobody can tell whether this gateway went ahead. What was last in force here, if the namespace allows that.
  void follow_mark() {
    const auto refuse = [&](const std::string& why) {
      const std::lock_guard lock(mutex_);
      last_problem_ = "whether a rollout took this gateway ahead cannot be read (" + ring_key_ + "), and " + why;
    };
    if (fallback_cap_ns_.load(std::memory_order_relaxed) != kForever)
      return refuse("its namespace allows no fallback of unknown age");
    const std::string path = client_.run_dir() + "/models/" + name_ + "/" + std::string(kInForceMark);
    const auto bytes = read_all(path);
    if (!bytes) return refuse("no version was in force here before: " + bytes.error().message);
    const auto mark = decode<InForceMark>(*bytes, "mark of the version in force");
    if (!mark || mark->format != InForceMark{}.format) return refuse(path + " is not what this library can read");
    follow(mark->pointer, mark->activation);
  }

  std::vector<std::shared_ptr<FrameTally>> tallies() {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<FrameTally>> all = std::exchange(leaving_, {});
    for (const auto& model : loaded_) all.push_back(model->tally);
    for (const auto& [manifest, held] : held_back_) all.push_back(held.tally);
    return all;
  }
  // What was counted, if it is time. An edge that does not answer is asked for no more than one wait at a time.
  void tell_all(std::int64_t now_ns) {
    if (!options_.report_health || now_ns < tell_not_before_ns_) return;
    const bool all =
        now_ns >= next_tell_ns_ || client_.breaker(current_key_) == Breaker::kHalfOpen;  // its probes are waited for
    if (!all && now_ns < next_trouble_ns_) return;
    next_trouble_ns_ = now_ns + kTellTroubleNs;
    if (all) next_tell_ns_ = now_ns + kTellEveryNs;
    for (const auto& tally : tallies()) {
      if ((all || tally->trouble()) && !tell(*tally)) {
        tell_not_before_ns_ = now_ns + kTellEveryNs;
        return;
      }
    }
  }
  // False when the edge was not there; what is not told is kept.
  bool tell(FrameTally& tally) {
    if (!options_.report_health) return true;
    for (std::size_t parts = 0; parts < kPartsAtOnceMax; ++parts) {
      const auto part = tally.take();
      if (!part) return true;
      const auto answer = client_.ask(part->command, kTellWait);
      if (answer) continue;  // an edge that refuses it once refuses it again
      // With an unknown outcome it is not told again: rather too few frames than some twice.
      if (answer.error().code == Code::kUnavailable) tally.keep(*part);
      return false;
    }
    return true;
  }

  void follow(const ModelPointer& pointer, Index activation) {
    const auto use = std::atomic_load(&in_use_);
    if (use != nullptr && same(*use, pointer) && activation.value == activation_.load(std::memory_order_relaxed))
      return;
    seen(pointer, activation);
    if (auto next = load(pointer, true)) adopt(std::move(next), activation, monotonic_ns_now());
  }

  ClientImpl& client_;
  const std::string name_, current_key_, ring_key_, staged_key_;
  const ModelOptions options_;
  const std::unique_ptr<Engine> engine_;
  ModelDoubts doubts_;

  std::shared_ptr<const Loaded> in_use_;  // std::atomic_load / std::atomic_store
  std::shared_ptr<const NodeId> edge_;    // likewise; null until the edge has said which gateway this is
  std::atomic<std::uint64_t> activation_{0};
  std::atomic<std::int64_t> last_proven_ns_{0};
  std::atomic<std::int64_t> last_probe_ns_{0};
  std::atomic<Nanos> fallback_cap_ns_{kForever};  // -1: no fallback at all

  // the watcher's
  std::int64_t next_tell_ns_ = 0, next_trouble_ns_ = 0, tell_not_before_ns_ = 0;
  struct HeldBack {
    std::int64_t retry_ns = 0, backoff_ns = 0;
    Index activation;  // that it was tried for
    std::shared_ptr<FrameTally> tally;
  };
  std::map<Bytes, HeldBack> held_back_;  // by their manifests: versions that cannot be run here

  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::shared_ptr<const Loaded>> loaded_;
  std::vector<std::shared_ptr<FrameTally>> leaving_;  // of versions that are loaded no more: to be told once more
  std::vector<ModelSwap> swaps_;
  Index seen_activation_;
  std::int64_t seen_ns_ = 0;
  std::string last_problem_;
  bool stopping_ = false;
  std::thread watcher_;
};

}  // namespace

Result<std::unique_ptr<ModelHandle>> ModelHandle::open(Client& client, std::string name, ModelOptions options) {
  auto* impl = dynamic_cast<ClientImpl*>(&client);
  if (impl == nullptr) return fail(Code::kInvalid, "the client must come from Client::connect");
  if (options.poll_us < 100)
    return fail(Code::kInvalid, "poll_us = " + std::to_string(options.poll_us) + ": must be at least 100");
  EngineOptions engine_options;
  engine_options.name = options.engine;
  auto engine = open_engine(engine_options);
  if (!engine) return fail(engine.error());
  auto handle = std::make_unique<Handle>(*impl, std::move(name), std::move(options), std::move(*engine));
  if (const auto started = handle->start(); !started) return fail(started.error());
  return std::unique_ptr<ModelHandle>(std::move(handle));
}

}  // namespace tidelock
