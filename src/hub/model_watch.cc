#include "hub/model_watch.h"

#include <chrono>

#include "telemetry/log.h"

namespace tidelock {

ModelWatch::ModelWatch(ModelWatchOptions options, ObjectStore& store, ModelWatchHub hub, bool own_thread)
    : options_(std::move(options)), store_(store), hub_(std::move(hub)), rng_(options_.seed) {
  if (own_thread) thread_ = std::thread([this] { run(); });
}

ModelWatch::~ModelWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ModelWatch::run() {
  bool failing = false;
  for (;;) {
    const auto fifth = static_cast<std::uint64_t>(options_.every / 5);
    const Nanos wait = options_.every - options_.every / 5 + static_cast<Nanos>(rng_.below(2 * fifth + 1));
    {
      std::unique_lock lock(mutex_);
      if (changed_.wait_for(lock, std::chrono::nanoseconds(wait), [this] { return stopping_; })) return;
    }
    if (!hub_.active()) continue;
    const auto seen = look();
    if (!seen && !failing)
      log(LogLevel::kWarn, "hub", "watch fails", {{"inbox", options_.inbox}, {"message", seen.error().message}});
    failing = !seen;
  }
}

Result<std::size_t> ModelWatch::look() {
  std::size_t published = 0, count = 0;
  std::string from;
  do {
    const auto page = store_.list(options_.inbox, from, kListMax);
    if (!page) return fail(page.error());
    for (const ObjectInfo& object : page->objects) {
      if (++count > kInboxMax)
        return fail(Code::kBusy,
                    "more than " + std::to_string(kInboxMax) + " objects in " + options_.inbox + ": remove old ones");
      if (!object.key.ends_with("/tidelock.manifest") || settled_.contains(object.key)) continue;
      const auto taken = take(object.key);
      if (taken) {
        published += *taken ? 1 : 0;
        settled_.insert(object.key);
        continue;
      }
      const Code code = taken.error().code;
      const bool for_good =
          code == Code::kDenied || code == Code::kCorrupt || code == Code::kInvalid || code == Code::kConflict;
      if (!for_good) continue;  // its files are not all there yet, or the link is down: looked at again
      settled_.insert(object.key);
      log(LogLevel::kWarn, "hub", "not published",
          {{"key", object.key}, {"code", code_name(code)}, {"message", taken.error().message}});
    }
    from = page->next;
  } while (!from.empty());
  return published;
}

// True: published by this look.
Result<bool> ModelWatch::take(const std::string& key) {
  Bytes bytes;
  bool too_long = false;
  const auto got = store_.get(key, 0, std::nullopt, [&](BytesView piece) -> Result<void> {
    too_long = bytes.size() + piece.size() > kManifestBytesMax;
    if (too_long) return fail(Code::kCorrupt, "longer than " + std::to_string(kManifestBytesMax) + " bytes");
    bytes += piece;
    return {};
  });
  // What the store refuses now it may give later (a policy, a clock, a file that is still being written).
  if (!got) return fail(too_long ? Code::kCorrupt : Code::kUnavailable, got.error().message);
  const auto manifest = open_manifest(bytes, hub_.model_key());  // X3: nothing is parsed before its signature
  if (!manifest) return fail(manifest.error());
  if (key != options_.inbox + manifest->name + "/" + manifest->version + "/tidelock.manifest")
    return fail(Code::kInvalid,
                "it is the manifest of " + manifest->name + " " + manifest->version + ": it lies in the wrong place");
  for (const ManifestFile& file : manifest->files) {
    if (const auto here = hub_.bring(file); !here) return fail(Code::kUnavailable, here.error().message);
  }
  if (const auto done = hub_.publish(*manifest, bytes); !done) return fail(done.error());
  log(LogLevel::kInfo, "hub", "published from the store", {{"model", manifest->name}, {"version", manifest->version}});
  return true;
}

}  // namespace tidelock
