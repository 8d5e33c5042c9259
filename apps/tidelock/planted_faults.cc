#include "planted_faults.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "codec/archive.h"
#include "codec/compress.h"

namespace tidelock {
namespace {

// "stale": the hub's records of feature keys never arrive, and the stream is renumbered so that nobody notices: the
// edge goes on proving freshness over values that are old.
FrameHooks stale_feed() {
  FrameHooks hooks;
  auto dropped = std::make_shared<std::pair<std::uint64_t, std::uint64_t>>(0, 0);  // session, records dropped in it
  hooks.incoming = [dropped](HubFrame& frame) {
    if (dropped->first != frame.session.value) *dropped = {frame.session.value, 0};
    if (const auto* record = std::get_if<Record>(&frame.body)) {
      bool features = !record->keys.empty();
      for (const ChangedKey& key : record->keys)
        features = features && key.key.starts_with("feature:") && key.value.has_value();
      if (features) {
        ++dropped->second;
        return false;
      }
    }
    frame.number -= dropped->second;
    return true;
  };
  return hooks;
}

// "lost-write": every 16th batch leaves without its last record, which is nevertheless counted as flushed.
FrameHooks lossy_batches() {
  FrameHooks hooks;
  hooks.outgoing = [](EdgeFrame& frame) {
    auto* batch = std::get_if<WriteBatch>(&frame.body);
    if (batch == nullptr || batch->number % 4 != 0) return true;
    const auto raw = decompress(batch->records, 4u << 20, "batch");
    if (!raw) return true;
    auto records = decode<std::vector<BatchRecord>>(*raw, "batch");
    if (!records || records->empty()) return true;
    records->pop_back();
    batch->records = compress(encode(*records));
    return true;
  };
  return hooks;
}

}  // namespace

TestHooks hooks_from_environment() {
  TestHooks hooks;
  if (const char* version = std::getenv("TIDELOCK_VERSION_MAX")) {
    hooks.version_max = static_cast<std::uint32_t>(std::strtoul(version, nullptr, 10));
  }
  if (const char* shim = std::getenv("TIDELOCK_CLOCK_SHIM")) {
    long long offset_ms = 0;
    long long rate_ppm = 0;
    if (std::sscanf(shim, "%lld:%lld", &offset_ms, &rate_ppm) != 2) {
      std::fprintf(stderr, "TIDELOCK_CLOCK_SHIM=%s: must be offset_ms:rate_ppm\n", shim);
      std::exit(2);
    }
    hooks.shim.offset_ns = offset_ms * kMillisecond;
    hooks.shim.rate_ppb = rate_ppm * 1000;
  }
  if (const char* fault = std::getenv("TIDELOCK_BREAK")) {
    const std::string name = fault;
    if (name == "stale")
      hooks.frames = stale_feed();
    else if (name == "lost-write")
      hooks.frames = lossy_batches();
    else if (!name.empty()) {
      std::fprintf(stderr, "TIDELOCK_BREAK=%s: must be stale or lost-write\n", fault);
      std::exit(2);
    }
  }
  return hooks;
}

}  // namespace tidelock
