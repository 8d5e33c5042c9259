#include "edge/model_trust.h"

#include <utility>

#include "edge/l2_store.h"
#include "protocol/trust_push.h"

namespace tidelock {
namespace {

constexpr char kTrustRow[] = "model_trust";
constexpr int kRootsMissedMax = 1'000;  // in one refresh; the next goes on from there

}  // namespace

Result<ModelTrust> ModelTrust::open(Kv& kv) {
  const auto row = kv.get(kMetaFamily, kTrustRow);
  if (!row) return fail(row.error());
  if (!*row) return ModelTrust(kv, Trust(), false);
  auto trust = Trust::load(**row);
  if (!trust) return fail(trust.error());
  return ModelTrust(kv, std::move(*trust), true);
}

Result<bool> ModelTrust::refresh(const Read& read) {
  const auto state = read(kTrustStateKey);
  if (!state) return fail(state.error());
  if (!*state) {
    known_ = true;
    return false;
  }
  const auto files = Trust::files_in(**state);
  if (!files) return fail(files.error());
  Trust next = trust_;
  if (!next.is_set()) {
    auto first = Trust::anchor(files->root);
    if (!first) return fail(first.error());
    next = std::move(*first);
  }
  // Every root since ours, each vouched for by the one before; the last of them is the one in force.
  Result<void> followed;
  std::string next_key;
  for (int missed = 0; followed && missed < kRootsMissedMax; ++missed) {
    next_key = trust_root_key(next.root()->head.version + 1);
    const auto root = read(next_key);
    if (!root) return fail(root.error());
    if (!*root) break;
    followed = next.accept_root(**root);
  }
  if (followed) {
    followed = next.accept_root(files->root);
    if (!followed)
      followed = fail(followed.error().code, followed.error().message + "; the ledger has no '" + next_key + "'");
  }
  const auto before = trust_.save();
  if (!followed) {
    if (const auto kept = keep(std::move(next)); !kept) return fail(kept.error());
    return fail(followed.error());
  }
  const Result<void> taken = files->timestamp.empty()
                                 ? Result<void>{}
                                 : next.accept_catalogue(files->timestamp, files->snapshot, files->targets);
  if (const auto kept = keep(std::move(next)); !kept) return fail(kept.error());
  if (!taken) return fail(taken.error());
  known_ = true;
  return trust_.save() != before;
}

// On disk first: a floor that a power cut takes away is none.
Result<void> ModelTrust::keep(Trust next) {
  Bytes row = next.save();
  if (row != trust_.save()) {
    KvBatch batch;
    batch.put(kMetaFamily, kTrustRow, std::move(row));
    if (auto stored = kv_->commit(batch, Sync::kDisk); !stored) return stored;
  }
  trust_ = std::move(next);
  return {};
}

Result<void> ModelTrust::check(std::string_view name, std::string_view version, BytesView encoded_manifest) const {
  if (!trust_.is_set()) return {};
  const auto release = trust_.check_release(name, version, encoded_manifest);
  if (!release) return fail(release.error());
  return {};
}

Result<void> ModelTrust::check_fresh(std::uint64_t wall_ms) {
  const Trust::Standing standing = trust_.standing(wall_ms);
  if (standing.what == TrustStanding::kUnset || standing.what == TrustStanding::kFresh) return {};
  // C4: that it was so late once outlives a restart and a clock set back.
  if (Trust next = trust_; next.saw_time(wall_ms)) {
    if (auto kept = keep(std::move(next)); !kept) return kept;
  }
  return fail(Code::kStale, standing.why);
}

}  // namespace tidelock
