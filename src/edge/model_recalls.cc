#include "edge/model_recalls.h"

#include "codec/archive.h"
#include "codec/manifest.h"
#include "edge/l2_store.h"
#include "telemetry/log.h"

namespace tidelock {
namespace {
constexpr char kRecalledRow[] = "recalled";
}

Result<ModelRecalls> ModelRecalls::open(Kv& kv) {
  ModelRecalls recalls(kv);
  const auto row = kv.get(kMetaFamily, kRecalledRow);
  if (!row) return fail(row.error());
  if (!*row) return recalls;
  auto kept = decode<std::vector<StagedModel>>(**row, "recalled versions");
  if (!kept) return fail(kept.error());
  for (StagedModel& model : *kept) recalls.recalled_.emplace(std::move(model.name), std::move(model.version));
  return recalls;
}

std::vector<VersionKey> ModelRecalls::take(const std::vector<StagedModel>& versions) {
  std::vector<VersionKey> fresh;
  for (const StagedModel& model : versions) {
    if (!validate_model_name(model.name) || !validate_model_version(model.version)) continue;
    VersionKey key{model.name, model.version};
    if (recalled_.insert(key).second) fresh.push_back(std::move(key));
  }
  if (fresh.empty() && !unstored_) return fresh;
  std::vector<StagedModel> all;
  all.reserve(recalled_.size());
  for (const auto& [name, version] : recalled_) all.push_back({name, version});
  KvBatch batch;
  batch.put(kMetaFamily, kRecalledRow, encode(all));
  const auto stored = kv_->commit(batch, Sync::kDisk);
  unstored_ = !stored;
  if (!stored) log(LogLevel::kError, "models", "recalls not stored", {{"message", stored.error().message}});
  return fresh;
}

}  // namespace tidelock
